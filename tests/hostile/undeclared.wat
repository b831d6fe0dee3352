;; Moves its order along an edge that it did not declare.
(data (i32.const 1024) "ELSEWHERE")
(func (export "next-state") (result i32)
  (call $move (i32.const 1024) (i32.const 9)))
