;; Chooses a state that is no state.
(data (i32.const 1024) "PAID; drop table")
(func (export "next-state") (result i32)
  (call $move (i32.const 1024) (i32.const 16)))
