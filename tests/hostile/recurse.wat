;; Calls itself until the stack is used up.
(func $attack
  (call $deeper (i64.const 0)))
(func $deeper (param i64)
  (call $deeper (i64.add (local.get 0) (i64.const 1)))
  (drop (i64.mul (local.get 0) (local.get 0))))
