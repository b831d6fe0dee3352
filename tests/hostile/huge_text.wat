;; Passes a text of 2 MiB.
(import "log" "write" (func $log (param i32 i32 i32 i32 i32)))
(func $attack
  (drop (memory.grow (i32.const 64)))
  (call $log (i32.const 2) (i32.const 4096) (i32.const 2097152) (i32.const 0) (i32.const 0)))
