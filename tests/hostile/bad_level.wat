;; Passes a log level that does not exist.
(import "log" "write" (func $log (param i32 i32 i32 i32 i32)))
(func $attack
  (call $log (i32.const 77) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 0)))
