;; Takes one page of memory after the other and writes into each, whatever the answer.
(func $attack
  (local $page i32)
  (loop $again
    (local.set $page (memory.grow (i32.const 1)))
    (memory.fill (i32.mul (local.get $page) (i32.const 65536)) (i32.const 90) (i32.const 65536))
    (br $again)))
