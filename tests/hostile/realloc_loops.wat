;; Never gives the host a place for its answer.
(import "exchange" "body" (func $body (param i32)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (loop $again (br $again))
  (i32.const 8192))
(func $attack
  (call $body (i32.const 2048)))
