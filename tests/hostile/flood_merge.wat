;; Writes a large document, then has the host merge a little into it, for ever.
(import "documents" "put" (func $put (param i32 i32 i32 i32 i32 i32 i32 i32)))
(import "documents" "merge" (func $merge (param i32 i32 i32 i32 i32 i32 i32 i32)))
(data (i32.const 1024) "ledger")
(data (i32.const 1032) "fat")
(data (i32.const 1040) "{\22a\22:1}")
(data (i32.const 8192) "{\22b\22:\22")
(func $attack
  (drop (memory.grow (i32.const 10)))
  (memory.fill (i32.const 8198) (i32.const 120) (i32.const 400000))
  (i32.store16 (i32.const 408198) (i32.const 0x7d22))
  (call $put (i32.const 1024) (i32.const 6) (i32.const 1032) (i32.const 3)
             (i32.const 8192) (i32.const 400008) (i32.const 0) (i32.const 2048))
  (if (i32.load8_u (i32.const 2048)) (then unreachable))
  (loop $again
    (call $merge (i32.const 1024) (i32.const 6) (i32.const 1032) (i32.const 3)
                 (i32.const 1040) (i32.const 7) (i32.const 0) (i32.const 2048))
    (br $again)))
