;; Reads one document after the other, whatever the answer.
(import "documents" "get" (func $get (param i32 i32 i32 i32 i32)))
(data (i32.const 1024) "ledger")
(data (i32.const 1032) "    ")
(func $attack
  (local $n i32)
  (loop $again
    ;; three digits, each in 6 bits from "0" on, make the next key
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (i32.store8 (i32.const 1032)
      (i32.add (i32.const 48) (i32.and (local.get $n) (i32.const 63))))
    (i32.store8 (i32.const 1033)
      (i32.add (i32.const 48) (i32.and (i32.shr_u (local.get $n) (i32.const 6)) (i32.const 63))))
    (call $get (i32.const 1024) (i32.const 6) (i32.const 1032) (i32.const 2) (i32.const 2048))
    (br $again)))
