;; Passes a text that ends behind its memory.
(import "log" "write" (func $log (param i32 i32 i32 i32 i32)))
(func $attack
  (call $log (i32.const 2) (i32.const 131000) (i32.const 1000) (i32.const 0) (i32.const 0)))
