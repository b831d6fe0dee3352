;; What every guest has: memory, an allocator, and ways to answer.
;;   0..64      zeroes: the answer "ok" of every phase
;;   64..128    the answer of `describe`
;;   128..192   answers built by $ignore, $tell, $move and $stay
;;   256..1024  texts of `describe`
(memory (export "memory") 2)
(global $heap (mut i32) (i32.const 65536))

;; A bump allocator: everything is gone with the instance anyway.
(func $realloc (export "cabi_realloc") (param $old i32) (param i32) (param i32) (param $size i32)
      (result i32)
  (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
  (global.set $heap (i32.add (local.get $at) (local.get $size)))
  (block $fits
    (br_if $fits (i32.le_u (global.get $heap)
                           (i32.mul (memory.size) (i32.const 65536))))
    (drop (memory.grow (i32.add (i32.div_u (local.get $size) (i32.const 65536)) (i32.const 1)))))
  (local.get $at))

;; Answers `err(phase-error.ignore(text))`.
(func $ignore (param $text i32) (param $len i32) (result i32)
  (i32.store (i32.const 128) (i32.const 1))
  (i32.store (i32.const 132) (i32.const 0))
  (i32.store (i32.const 136) (local.get $text))
  (i32.store (i32.const 140) (local.get $len))
  (i32.const 128))

;; Answers `ok(transition.move-to(text))`.
(func $move (param $text i32) (param $len i32) (result i32)
  (i32.store (i32.const 128) (i32.const 0))
  (i32.store (i32.const 132) (i32.const 0))
  (i32.store (i32.const 136) (local.get $text))
  (i32.store (i32.const 140) (local.get $len))
  (i32.const 128))

;; Answers `ok(transition.stay)`.
(func $stay (result i32)
  (i32.store (i32.const 128) (i32.const 0))
  (i32.store (i32.const 132) (i32.const 1))
  (i32.const 128))

;; Tells what an import answered: "ok" as `ignore`, an error as `reject` with the name of its case
;; as code and its text as message. $case is where the error's case stands, its text follows.
(data (i32.const 576) "denied")
(data (i32.const 592) "quota")
(data (i32.const 608) "invalid")
(data (i32.const 624) "unavailable")
(func $tell (param $result i32) (param $case i32) (result i32)
  (local $kind i32)
  (if (i32.eqz (i32.load8_u (local.get $result)))
    (then (return (call $ignore (i32.const 320) (i32.const 2)))))
  (local.set $kind (i32.load8_u (local.get $case)))
  (i32.store (i32.const 128) (i32.const 1))
  (i32.store (i32.const 132) (i32.const 1))
  (i32.store (i32.const 136) (i32.add (i32.const 576) (i32.shl (local.get $kind) (i32.const 4))))
  (i32.store (i32.const 140)
    (i32.and (i32.shr_u (i32.const 0x0b070506) (i32.shl (local.get $kind) (i32.const 3)))
             (i32.const 255)))
  (i32.store (i32.const 144) (i32.load offset=4 (local.get $case)))
  (i32.store (i32.const 148) (i32.load offset=8 (local.get $case)))
  (i32.const 128))

;; test/guest 1.0.0: SHOP * payment.* *, OPEN to PAID, with `after`.
(data (i32.const 256) "test/guest")
(data (i32.const 272) "1.0.0")
(data (i32.const 280) "SHOP")
(data (i32.const 288) "payment.*")
(data (i32.const 300) "*")
(data (i32.const 304) "OPEN")
(data (i32.const 312) "PAID")
(data (i32.const 320) "ok")
(func $describe (result i32)
  ;; name, version
  (i32.store (i32.const 64) (i32.const 256)) (i32.store (i32.const 68) (i32.const 10))
  (i32.store (i32.const 72) (i32.const 272)) (i32.store (i32.const 76) (i32.const 5))
  ;; one route: business, scene, event type, state
  (i32.store (i32.const 80) (i32.const 512)) (i32.store (i32.const 84) (i32.const 1))
  (i32.store (i32.const 512) (i32.const 280)) (i32.store (i32.const 516) (i32.const 4))
  (i32.store (i32.const 520) (i32.const 300)) (i32.store (i32.const 524) (i32.const 1))
  (i32.store (i32.const 528) (i32.const 288)) (i32.store (i32.const 532) (i32.const 9))
  (i32.store (i32.const 536) (i32.const 300)) (i32.store (i32.const 540) (i32.const 1))
  ;; one transition: from, to
  (i32.store (i32.const 88) (i32.const 544)) (i32.store (i32.const 92) (i32.const 1))
  (i32.store (i32.const 544) (i32.const 304)) (i32.store (i32.const 548) (i32.const 4))
  (i32.store (i32.const 552) (i32.const 312)) (i32.store (i32.const 556) (i32.const 4))
  ;; after
  (i32.store (i32.const 96) (i32.const 1))
  (i32.const 64))
