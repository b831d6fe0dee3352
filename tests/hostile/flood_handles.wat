;; Makes handles of a resource of its own for ever: no host function is involved.
(import "[export]stock" "[resource-new]thing" (func $new (param i32) (result i32)))
(func $attack
  (loop $again
    (drop (call $new (i32.const 1)))
    (br $again)))
