;; Logs for ever.
(import "log" "write" (func $log (param i32 i32 i32 i32 i32)))
(data (i32.const 1024) "spam")
(func $attack
  (loop $again
    (call $log (i32.const 4) (i32.const 1024) (i32.const 4) (i32.const 0) (i32.const 0))
    (br $again)))
