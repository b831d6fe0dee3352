;; Gives the host a place for its answer that is not there.
(import "exchange" "body" (func $body (param i32)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (i32.const -8))
(func $attack
  (call $body (i32.const 2048)))
