;; Asks about the run.
(import "exchange" "attempt" (func $attempt (result i32)))
(func $attack
  (drop (call $attempt)))
