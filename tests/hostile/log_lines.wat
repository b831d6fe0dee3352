;; Logs three hundred lines, with a terminal escape and a forged line in each, then stops.
(import "log" "write" (func $log (param i32 i32 i32 i32 i32)))
(data (i32.const 1024) "\1b[2Jok\0aERROR forged")
(func $attack
  (local $left i32)
  (local.set $left (i32.const 300))
  (loop $again
    (call $log (i32.const 2) (i32.const 1024) (i32.const 19) (i32.const 0) (i32.const 0))
    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
