;; Sends for ever, whatever the answer; goes behind `send.wat`.
(func $attack (loop $again (call $once) (br $again)))
