;; Never comes back.
(func $attack
  (loop $again (br $again)))
