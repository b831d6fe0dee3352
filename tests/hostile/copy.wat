;; Copies 48 MiB within its own memory, again and again, and logs each time: little fuel, much work.
(import "log" "write" (func $log (param i32 i32 i32 i32 i32)))
(data (i32.const 1024) "copied")
(func $attack
  (drop (memory.grow (i32.const 1000)))
  (loop $again
    (memory.copy (i32.const 8192) (i32.const 12288) (i32.const 50331648))
    (call $log (i32.const 2) (i32.const 1024) (i32.const 6) (i32.const 0) (i32.const 0))
    (br $again)))
