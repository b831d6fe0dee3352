//! Whether a sink or an endpoint is asked at all: after several events failed in a row it is left
//! in peace, then asked with one event, and if that one fails left in peace for longer. What is an
//! event to a sink is a notification to an endpoint.

use std::collections::BTreeSet;

use callgate_core::retry::Backoff;
use callgate_core::time::Timestamp;
use serde::Deserialize;

/// When a sink is left in peace, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitSettings {
    /// So many different events failed and none was delivered in between.
    pub failures: usize,
    /// The first pause, in milliseconds; it doubles with each probe that fails.
    pub first_ms: u32,
    /// No pause is longer, jitter apart, in milliseconds.
    pub max_ms: u32,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        Self { failures: 5, first_ms: 1_000, max_ms: 60_000 }
    }
}

/// The state of one sink. Time comes from outside.
#[derive(Debug)]
pub(crate) struct Circuit {
    settings: CircuitSettings,
    /// Different events, so that one poisoned event alone never stops a sink.
    failed: BTreeSet<i64>,
    /// Pauses since the last success; 0 is a closed circuit.
    pauses: u32,
    /// Nothing is sent before; also a sink's own wish.
    until: Timestamp,
}

impl Circuit {
    pub(crate) fn new(settings: CircuitSettings) -> Self {
        Self { settings, failed: BTreeSet::new(), pauses: 0, until: Timestamp::default() }
    }

    /// Whether the sink is left in peace or asked with one event at a time.
    pub(crate) fn is_open(&self) -> bool {
        self.pauses > 0
    }

    /// How many more events may be sent, where so many are on their way.
    pub(crate) fn room(&self, now: Timestamp, sending: usize, max: usize) -> usize {
        if now < self.until {
            return 0;
        }
        let max = if self.is_open() { 1 } else { max };
        max.saturating_sub(sending)
    }

    /// When the sink may be asked again.
    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }

    /// The sink took an event.
    pub(crate) fn success(&mut self) {
        self.failed.clear();
        self.pauses = 0;
    }

    /// The sink asks to be left in peace.
    pub(crate) fn hold(&mut self, until: Timestamp) {
        self.until = self.until.max(until);
    }

    /// An event failed; `probe` where it was sent while the circuit was open. Tells whether the
    /// circuit opens by it.
    pub(crate) fn failure(&mut self, seq: i64, probe: Probe, now: Timestamp) -> bool {
        let was_open = self.is_open();
        self.failed.insert(seq);
        let opens = !was_open && self.failed.len() >= self.settings.failures;
        if opens || (was_open && probe == Probe::Yes) {
            self.failed.clear();
            self.pauses = self.pauses.saturating_add(1);
            let backoff = Backoff {
                first_ms: self.settings.first_ms,
                max_ms: self.settings.max_ms,
                attempts_max: u32::MAX,
            };
            let seed = u64::try_from(now.as_ms()).unwrap_or(0).wrapping_mul(SPREAD);
            let longest = i64::from(self.settings.max_ms);
            self.hold(now.plus_ms(backoff.delay_ms(self.pauses, None, seed).unwrap_or(longest)));
        }
        opens
    }
}

/// Whether an event was sent to find out how the sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// It was: a failure is the sink's, and does not count against the event.
    Yes,
    /// It was sent as always.
    No,
}

/// A large odd number: neighbouring moments get jitter that is far apart.
pub(crate) const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;

    use super::{Circuit, CircuitSettings, Probe};

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn circuit() -> Circuit {
        Circuit::new(CircuitSettings { failures: 3, first_ms: 100, max_ms: 400 })
    }

    #[test]
    fn it_opens_after_different_events_failed_in_a_row() {
        let mut circuit = circuit();
        assert!(!circuit.failure(1, Probe::No, at(0)));
        assert!(!circuit.failure(2, Probe::No, at(0)));
        circuit.success();
        assert!(!circuit.failure(1, Probe::No, at(0)));
        assert!(!circuit.failure(2, Probe::No, at(0)));
        assert_eq!(circuit.room(at(0), 3, 8), 5);
        assert!(circuit.failure(3, Probe::No, at(0)));
        assert!(circuit.is_open());
        assert_eq!(circuit.room(at(99), 0, 8), 0);
        assert_eq!(circuit.room(at(126), 0, 8), 1, "one probe");
        assert_eq!(circuit.room(at(126), 1, 8), 0, "and not two");
    }

    #[test]
    fn one_event_that_fails_again_and_again_does_not_open_it() {
        let mut circuit = circuit();
        assert!((0..20).all(|n| !circuit.failure(1, Probe::No, at(n))));
    }

    #[test]
    fn pauses_grow_with_failed_probes_and_end_with_a_good_one() {
        let mut circuit = circuit();
        for seq in 0..3 {
            circuit.failure(seq, Probe::No, at(0));
        }
        // Stragglers that were sent before it opened lengthen nothing.
        let until = circuit.until();
        assert!(!circuit.failure(9, Probe::No, at(50)));
        assert_eq!(circuit.until(), until);
        for (now, least, most) in [(200, 200, 250), (500, 400, 500), (1_000, 400, 500)] {
            assert!(!circuit.failure(1, Probe::Yes, at(now)), "it is open already");
            let pause = circuit.until().ms_since(at(now));
            assert!((least..=most).contains(&pause), "{pause}");
        }
        circuit.success();
        assert!(!circuit.is_open());
        assert_eq!(circuit.room(at(2_000), 0, 8), 8);
    }
}
