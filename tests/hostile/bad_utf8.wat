;; Passes bytes that are no text.
(import "log" "write" (func $log (param i32 i32 i32 i32 i32)))
(data (i32.const 1024) "\ff\fe\fd")
(func $attack
  (call $log (i32.const 2) (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 0)))
