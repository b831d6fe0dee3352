;; Expects its own order to be absent, which the host would have to find out at each commit anew.
(import "exchange" "subject" (func $subject (param i32)))
(import "documents" "put" (func $put (param i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 1040) "{\22a\22:1}")
(func $attack
  (call $subject (i32.const 2048))
  (call $put (i32.load (i32.const 2056)) (i32.load (i32.const 2060))
             (i32.load (i32.const 2064)) (i32.load (i32.const 2068))
             (i32.const 1040) (i32.const 7) (i32.const 0) (i32.const 3072))
  (if (i32.load8_u (i32.const 3072)) (then unreachable)))
