;; Never comes back, and never returns: each call takes the place of the one before.
(func $attack
  (return_call $attack))
