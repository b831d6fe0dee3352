;; Sends one request and tells the answer: the body as `ignore`, an error as `reject` with the name
;; of its case as code and its text as message. Lengths stand beside their texts.
(import "http" "send" (func $send
  (param i32 i32) (param i32) (param i32 i32) (param i32 i32) (param i32 i32 i32)
  (param i32 i32) (param i32 i32 i32) (param i32)))
(data (i32.const 1024) "erp")
(global $path_len i32 (i32.const 7))
(data (i32.const 4096) "/orders")
;; one header
(global $name_len i32 (i32.const 6))
(data (i32.const 1088) "accept")
(global $value_len i32 (i32.const 4))
(data (i32.const 1152) "text")
(global $headers i32 (i32.const 1))
(global $body_len i32 (i32.const 2))
(data (i32.const 1216) "{}")
;; none: the host makes a key
(global $with_key i32 (i32.const 0))
(global $key_len i32 (i32.const 5))
(data (i32.const 1280) "key-1")
;; none: as long as the run may wait
(global $with_timeout i32 (i32.const 0))
(data (i32.const 1344) "timeout")
(data (i32.const 1360) "failed")
(data (i32.const 1376) "too-large")
(func $once
  (i32.store (i32.const 1408) (i32.const 1088)) (i32.store (i32.const 1412) (global.get $name_len))
  (i32.store (i32.const 1416) (i32.const 1152)) (i32.store (i32.const 1420) (global.get $value_len))
  (call $send
    (i32.const 1024) (i32.const 3)                                    ;; endpoint
    (i32.const 1)                                                     ;; post
    (i32.const 4096) (global.get $path_len)
    (i32.const 1408) (global.get $headers)
    (i32.const 1) (i32.const 1216) (global.get $body_len)             ;; a text
    (global.get $with_timeout) (i32.const 40)
    (global.get $with_key) (i32.const 1280) (global.get $key_len)
    (i32.const 2048)))
(func $speak (result i32)
  (local $kind i32)
  (call $once)
  ;; ok: its body
  (if (i32.eqz (i32.load8_u (i32.const 2048)))
    (then (return (call $ignore (i32.load (i32.const 2068)) (i32.load (i32.const 2072))))))
  (local.set $kind (i32.load8_u (i32.const 2052)))
  (if (i32.eq (local.get $kind) (i32.const 3))
    (then (return (call $ignore (i32.const 1344) (i32.const 7)))))
  (if (i32.eq (local.get $kind) (i32.const 5))
    (then (return (call $ignore (i32.const 1376) (i32.const 9)))))
  (if (i32.eq (local.get $kind) (i32.const 4))
    (then
      (drop (call $tell (i32.const 2048) (i32.const 2052)))
      (i32.store (i32.const 136) (i32.const 1360)) (i32.store (i32.const 140) (i32.const 6))
      (return (i32.const 128))))
  (call $tell (i32.const 2048) (i32.const 2052)))
;; Sends twice, and tells the second answer.
(func $twice (result i32) (call $once) (call $speak))
