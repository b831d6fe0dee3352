;; Calls an import while the host is putting an answer into its memory.
(import "exchange" "attempt" (func $attempt (result i32)))
(import "exchange" "body" (func $body (param i32)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (call $attempt))
(func $attack
  (call $body (i32.const 2048)))
