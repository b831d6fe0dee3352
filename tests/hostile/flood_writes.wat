;; Stages one document after the other, whatever the answer.
(import "documents" "put" (func $put (param i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 1024) "ledger")
(data (i32.const 1032) "    ")
(data (i32.const 1040) "{\22a\22:1}")
(func $attack
  (local $n i32)
  (loop $again
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (i32.store8 (i32.const 1032)
      (i32.add (i32.const 48) (i32.and (local.get $n) (i32.const 63))))
    (i32.store8 (i32.const 1033)
      (i32.add (i32.const 48) (i32.and (i32.shr_u (local.get $n) (i32.const 6)) (i32.const 63))))
    (call $put (i32.const 1024) (i32.const 6) (i32.const 1032) (i32.const 2)
               (i32.const 1040) (i32.const 7) (i32.const 0) (i32.const 2048))
    (br $again)))
