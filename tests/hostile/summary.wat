;; Answers the summary as its reason.
(import "exchange" "summary" (func $summary (param i32)))
(func $speak (result i32)
  (call $summary (i32.const 2048))
  (call $ignore (i32.load (i32.const 2048)) (i32.load (i32.const 2052))))
