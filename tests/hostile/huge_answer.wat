;; Gives a reason of 2 MiB.
(func $speak (result i32)
  (drop (memory.grow (i32.const 64)))
  (call $ignore (i32.const 4096) (i32.const 2097152)))
