;; Logs lines of a MiB for ever.
(import "log" "write" (func $log (param i32 i32 i32 i32 i32)))
(func $attack
  (drop (memory.grow (i32.const 20)))
  (memory.fill (i32.const 8192) (i32.const 120) (i32.const 1000000))
  (loop $again
    (call $log (i32.const 4) (i32.const 8192) (i32.const 1000000) (i32.const 0) (i32.const 0))
    (br $again)))
