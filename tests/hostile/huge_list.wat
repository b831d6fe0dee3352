;; Names two hundred thousand documents at once.
(import "documents" "get-many" (func $get_many (param i32 i32 i32)))
(func $attack
  (drop (memory.grow (i32.const 64)))
  (call $get_many (i32.const 4096) (i32.const 200000) (i32.const 2048)))
