;; Emits until the host refuses, then goes on with its work.
(import "events" "emit" (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 1024) "order.paid")
(data (i32.const 1040) "o-1")
(data (i32.const 1048) "{\22a\22:1}")
(func $attack
  (loop $again
    (call $emit (i32.const 1024) (i32.const 10) (i32.const 1040) (i32.const 3)
                (i32.const 1048) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 2048))
    (br_if $again (i32.eqz (i32.load8_u (i32.const 2048))))))
