;; Rejects with a code that is none.
(data (i32.const 1024) "Not A Code")
(data (i32.const 1040) "amount\0adiffers")
(func $speak (result i32)
  (i32.store (i32.const 128) (i32.const 1))
  (i32.store (i32.const 132) (i32.const 1))
  (i32.store (i32.const 136) (i32.const 1024)) (i32.store (i32.const 140) (i32.const 10))
  (i32.store (i32.const 144) (i32.const 1040)) (i32.store (i32.const 148) (i32.const 14))
  (i32.const 128))
