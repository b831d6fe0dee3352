;; Takes ten thousand table elements after the other, whatever the answer.
(table $t 1 funcref)
(func $attack
  (loop $again
    (drop (table.grow $t (ref.null func) (i32.const 10000)))
    (br $again)))
