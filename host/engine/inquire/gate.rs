//! The gate in front of a gateway's host: left in peace while it fails, and met again slowly, so
//! that one that comes back is not flooded by what waited.

use std::sync::{Arc, Mutex, PoisonError};

use callgate_core::time::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::outbound::circuit::{Circuit, CircuitSettings, Probe};

/// One host, shared by every channel that asks there.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
    /// Rung when a pass came back that somebody was refused.
    freed: Notify,
}

#[derive(Debug)]
struct State {
    circuit: Circuit,
    /// Questions on their way.
    going: usize,
    /// How many may be: doubles with each round of answers, halves with each failure.
    width: usize,
    /// Answers since it grew.
    good: usize,
    /// Whether somebody was refused because others were going.
    wanted: bool,
}

impl Default for Gate {
    fn default() -> Self {
        let circuit = Circuit::new(CircuitSettings::default());
        let state = State { circuit, going: 0, width: 1, good: 0, wanted: false };
        Self { state: Mutex::new(state), freed: Notify::new() }
    }
}

/// The right to put one question at a host. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    probe: Probe,
}

impl Gate {
    /// As many passes as there is room for, `most` at most.
    pub(super) fn reserve(gate: &Arc<Self>, now: Timestamp, most: usize) -> Vec<Pass> {
        let mut state = gate.state();
        let room = state.circuit.room(now, state.going, state.width).min(most);
        state.going = state.going.saturating_add(room);
        // Without others it is the host that is left in peace, and only time helps.
        state.wanted |= room == 0 && most > 0 && state.going > 0;
        let probe = if state.circuit.is_open() { Probe::Yes } else { Probe::No };
        std::iter::repeat_with(|| Pass { gate: Arc::clone(gate), probe }).take(room).collect()
    }

    /// Ends when a pass came back after this was called, if somebody was refused one.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// A pass for a question out of turn, beside those of the schedule; `None` where the host is
    /// left in peace.
    pub(super) fn beside(gate: &Arc<Self>, now: Timestamp) -> Option<Pass> {
        let mut state = gate.state();
        let width = state.width.max(state.going.saturating_add(1));
        if state.circuit.room(now, state.going, width) == 0 {
            return None;
        }
        state.going = state.going.saturating_add(1);
        let probe = if state.circuit.is_open() { Probe::Yes } else { Probe::No };
        drop(state);
        Some(Pass { gate: Arc::clone(gate), probe })
    }

    /// Whether the host is left in peace.
    pub(super) fn is_open(&self) -> bool {
        self.state().circuit.is_open()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The host answered, whatever it said.
    pub(super) fn well(self) {
        let mut state = self.gate.state();
        state.circuit.success();
        state.good = state.good.saturating_add(1);
        if state.good >= state.width {
            state.width = state.width.saturating_mul(2).min(WIDTH_MAX);
            state.good = 0;
        }
    }

    /// The host did not answer, or wants to be left in peace; `seed` stands for the question.
    /// Tells whether it is left in peace by this.
    pub(super) fn ill(self, seed: u64, now: Timestamp) -> bool {
        let mut state = self.gate.state();
        let opens = state.circuit.failure(i64::from_ne_bytes(seed.to_ne_bytes()), self.probe, now);
        state.width = if opens || state.circuit.is_open() { 1 } else { (state.width / 2).max(1) };
        state.good = 0;
        opens
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.going = state.going.saturating_sub(1);
        if std::mem::take(&mut state.wanted) {
            self.gate.freed.notify_waiters();
        }
    }
}

/// Questions at once at one host, all channels together.
const WIDTH_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use callgate_core::time::Timestamp;

    use super::{Gate, Pass};

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn take(gate: &Arc<Gate>, ms: i64) -> Vec<Pass> {
        Gate::reserve(gate, at(ms), usize::MAX)
    }

    #[test]
    fn a_host_is_met_slowly_and_then_with_more() {
        let gate = Arc::new(Gate::default());
        for expected in [1, 2, 4, 8] {
            let passes = take(&gate, 0);
            assert_eq!(passes.len(), expected);
            assert!(take(&gate, 0).is_empty());
            passes.into_iter().for_each(Pass::well);
        }
        assert_eq!(Gate::reserve(&gate, at(0), 3).len(), 3);
    }

    #[test]
    fn a_host_that_fails_is_left_in_peace_and_then_tried_with_one_question() {
        let gate = Arc::new(Gate::default());
        for _ in 0..5 {
            take(&gate, 0).into_iter().for_each(Pass::well);
        }
        let passes = take(&gate, 0);
        assert_eq!(passes.len(), 32);
        for (seed, pass) in (0..).zip(passes) {
            pass.ill(seed, at(0));
        }
        assert!(gate.is_open() && take(&gate, 500).is_empty());
        let trial = take(&gate, 2_000);
        assert_eq!(trial.len(), 1);
        trial.into_iter().for_each(Pass::well);
        // It comes back, and the flood that waited meets it slowly.
        assert_eq!(take(&gate, 2_000).len(), 2);
    }

    #[test]
    fn a_pass_that_is_not_used_goes_back() {
        let gate = Arc::new(Gate::default());
        drop(take(&gate, 0));
        assert_eq!(take(&gate, 0).len(), 1);
    }

    #[tokio::test]
    async fn who_was_refused_is_told_when_a_pass_comes_back() {
        let gate = Arc::new(Gate::default());
        let going = take(&gate, 0);
        let freed = gate.freed();
        assert!(take(&gate, 0).is_empty());
        drop(going);
        freed.await;
        assert_eq!(take(&gate, 0).len(), 1);
    }

    #[test]
    fn a_question_out_of_turn_waits_for_no_other_but_leaves_an_ill_host_in_peace() {
        let gate = Arc::new(Gate::default());
        let going = take(&gate, 0);
        let beside = [Gate::beside(&gate, at(0)), Gate::beside(&gate, at(0))];
        assert!(beside.iter().all(Option::is_some));
        drop((going, beside));
        for seed in 0..5 {
            take(&gate, 0).into_iter().for_each(|pass| {
                pass.ill(seed, at(0));
            });
        }
        assert!(Gate::beside(&gate, at(500)).is_none());
        let probe = Gate::beside(&gate, at(2_000));
        assert!(probe.is_some() && Gate::beside(&gate, at(2_000)).is_none());
    }
}
