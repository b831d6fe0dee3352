;; Describes itself differently from the second call on, if its memory were to outlive the first.
(global $calls (mut i32) (i32.const 0))
(func (export "describe") (result i32)
  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (i32.store8 (i32.const 272) (i32.add (i32.const 48) (global.get $calls)))
  (call $describe))
