;; Names a thousand million documents that it does not have.
(import "documents" "get-many" (func $get_many (param i32 i32 i32)))
(func $attack
  (call $get_many (i32.const 4096) (i32.const 1000000000) (i32.const 2048)))
