;; Behaves while it is being described, and never comes back once there is a run: whoever asks
;; whether lines are wanted must not learn which of the two it is.
(import "log" "enabled" (func $enabled (param i32) (result i32)))
(func $attack
  (if (call $enabled (i32.const 4))
    (then (loop $again (br $again)))))
