;; Has the host write everything about the run, for ever.
(import "exchange" "summary" (func $summary (param i32)))
(func $attack
  (loop $again
    (call $summary (i32.const 2048))
    ;; The same place for each answer.
    (global.set $heap (i32.const 65536))
    (br $again)))
