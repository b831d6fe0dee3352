//! The gate in front of one plugin: how many of its runs are under way, who waits for one, and the
//! breakers of its versions. Nothing here waits; time comes from outside.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::sync::Arc;

use callgate_core::time::Timestamp;

use super::breaker::{Breaker, BreakerSettings, Ended, State};

/// A version of a plugin: its component and its configuration.
pub(super) type Version = Arc<str>;

/// Which version somebody wants to run, and for which notification.
pub(super) type Wish = (Version, u64);

/// Why a run cannot begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Enough runs of the plugin are under way.
    Full,
    /// It failed too often; until when it is left alone, where that is known.
    Open(Option<Timestamp>),
}

/// The answer to who wants to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Go on; the state in which the run begins.
    Go(State),
    /// It takes a moment.
    Wait,
    /// Not now.
    No(Why),
}

/// A change of state that is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) version: String,
    pub(super) state: State,
    pub(super) until: Option<Timestamp>,
    pub(super) faults: usize,
    pub(super) runs: usize,
}

/// One version and its breaker.
#[derive(Debug)]
pub(super) struct Lock {
    /// As its author numbers it.
    pub(super) label: String,
    pub(super) breaker: Breaker,
    pub(super) running: usize,
}

/// The gate of one plugin. `Waiter` is how somebody who waits is told.
#[derive(Debug)]
pub(super) struct Gate<Waiter> {
    settings: BreakerSettings,
    /// Runs at once, all versions together.
    concurrency: usize,
    running: usize,
    waiting: VecDeque<(Wish, Waiter)>,
    /// Called back and not here yet.
    coming: usize,
    /// Held in the store, as far as is known.
    held: u64,
    /// What a run takes, smoothed, in microseconds.
    run_us: u64,
    versions: BTreeMap<Version, Lock>,
}

impl<Waiter> Gate<Waiter> {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            concurrency: 1,
            running: 0,
            waiting: VecDeque::new(),
            coming: 0,
            held: 0,
            run_us: FIRST_RUN_US,
            versions: BTreeMap::new(),
        }
    }

    /// Gets to know a version that is in force, and how many runs the plugin may have.
    pub(super) fn know(
        &mut self,
        (version, label): (&Version, &dyn Display),
        concurrency: usize,
        now: Timestamp,
    ) {
        self.concurrency = concurrency.max(1);
        if !self.versions.contains_key(version) {
            let breaker = Breaker::new(self.settings, now);
            let lock = Lock { label: label.to_string(), breaker, running: 0 };
            self.versions.insert(Arc::clone(version), lock);
        }
    }

    /// Forgets versions that are not in force any more, once their runs are over.
    pub(super) fn forget_all_but(&mut self, versions: &[Version]) {
        self.versions.retain(|version, lock| lock.running > 0 || versions.contains(version));
    }

    /// Somebody wants to run a version, and would wait so long.
    pub(super) fn ask(
        &mut self,
        version: &str,
        patience_us: u64,
        now: Timestamp,
    ) -> (Answer, Option<Change>) {
        self.coming = self.coming.saturating_sub(1);
        let (fits, best, running) =
            (self.running < self.concurrency, self.concurrency, self.running);
        let waits = self.waiting.len();
        let run_us = self.run_us;
        let Some(lock) = self.versions.get_mut(version) else {
            return (Answer::No(Why::Full), None);
        };
        let (width, changed) = lock.breaker.width(best, now);
        let change = changed.map(|state| change(lock, state, (0, 0)));
        let state = lock.breaker.state();
        let answer = if width == 0 {
            Answer::No(Why::Open(lock.breaker.until()))
        } else if fits && lock.running < width {
            lock.running = lock.running.saturating_add(1);
            self.running = running.saturating_add(1);
            Answer::Go(state)
        } else if state == State::HalfOpen {
            Answer::No(Why::Open(None))
        } else {
            let before = u64::try_from(waits.saturating_add(1)).unwrap_or(u64::MAX);
            let width = u64::try_from(width).unwrap_or(1).max(1);
            let wait_us = before.saturating_mul(run_us).checked_div(width).unwrap_or(0);
            if wait_us <= patience_us { Answer::Wait } else { Answer::No(Why::Full) }
        };
        (answer, change)
    }

    /// Somebody waits.
    pub(super) fn wait(&mut self, wish: Wish, waiter: Waiter) {
        self.waiting.push_back((wish, waiter));
    }

    /// A run is over.
    pub(super) fn end(
        &mut self,
        version: &str,
        (notification, ended, begun): (u64, Ended, State),
        (took_us, now): (u64, Timestamp),
    ) -> Option<Change> {
        self.running = self.running.saturating_sub(1);
        // A run that says nothing of the plugin says nothing of its time.
        if ended != Ended::Neither {
            self.run_us = self.run_us.saturating_mul(7).saturating_add(took_us) / 8;
        }
        let lock = self.versions.get_mut(version)?;
        lock.running = lock.running.saturating_sub(1);
        let share = lock.breaker.share();
        let state = lock.breaker.ended((notification, ended), begun, now)?;
        let fault = usize::from(ended == Ended::Fault);
        let share = (share.0.saturating_add(fault), share.1.saturating_add(1));
        Some(change(lock, state, share))
    }

    /// Who waits and may go on now, or hears that there is no point in waiting.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<(Wish, Waiter, Answer)> {
        // A version that is held to one run does not hold up another.
        let mut decided = None;
        for (place, ((version, _), _)) in self.waiting.iter().enumerate() {
            let Some(lock) = self.versions.get_mut(version) else {
                decided = Some((place, Answer::No(Why::Full)));
                break;
            };
            let width = lock.breaker.width(self.concurrency, now).0;
            if width == 0 {
                decided = Some((place, Answer::No(Why::Open(lock.breaker.until()))));
                break;
            }
            if self.running < self.concurrency && lock.running < width {
                lock.running = lock.running.saturating_add(1);
                self.running = self.running.saturating_add(1);
                decided = Some((place, Answer::Go(lock.breaker.state())));
                break;
            }
        }
        let (place, answer) = decided?;
        let (wish, waiter) = self.waiting.remove(place)?;
        Some((wish, waiter, answer))
    }

    /// Takes out those who wait no longer.
    pub(super) fn retain_waiting(&mut self, mut waits: impl FnMut(&Waiter) -> bool) {
        self.waiting.retain(|(_, waiter)| waits(waiter));
    }

    /// How many held notifications could be run soon, within so much time.
    pub(super) fn room(&mut self, patience_us: u64, now: Timestamp) -> usize {
        if self.held == 0 {
            return 0;
        }
        let best = self.concurrency;
        let locks = self.versions.values_mut();
        let widest = locks.map(|lock| (lock.breaker.width(best, now).0, lock.breaker.state()));
        let Some((width, state)) = widest.max_by_key(|(width, _)| *width) else { return 0 };
        let under_way = self.running.saturating_add(self.waiting.len()).saturating_add(self.coming);
        if state == State::HalfOpen {
            return width.saturating_sub(under_way);
        }
        let wide = u64::try_from(width).unwrap_or(u64::MAX);
        let soon = wide.saturating_mul(patience_us).checked_div(self.run_us.max(1)).unwrap_or(0);
        let soon = usize::try_from(soon).unwrap_or(usize::MAX).min(ROOM_MAX);
        width.saturating_add(if width == 0 { 0 } else { soon }).saturating_sub(under_way)
    }

    /// So many were called back.
    pub(super) fn called(&mut self, count: u64) {
        self.coming = self.coming.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
        self.held = self.held.saturating_sub(count);
    }

    /// So many are held, says the store; who was called back is here by now, or not coming.
    pub(super) fn counted(&mut self, held: u64) {
        self.held = held;
        self.coming = 0;
    }

    /// Nobody is left to be called back.
    pub(super) fn none_held(&mut self) {
        self.held = 0;
    }

    /// One more is held.
    pub(super) fn hold(&mut self) -> u64 {
        self.held = self.held.saturating_add(1);
        self.held
    }

    pub(super) fn held(&self) -> u64 {
        self.held
    }

    pub(super) fn concurrency(&self) -> usize {
        self.concurrency
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn versions(&self) -> impl Iterator<Item = (&Version, &Lock)> {
        self.versions.iter()
    }

    /// The state of the version that is worst off, for metrics.
    pub(super) fn state(&self) -> State {
        let states = self.versions.values().map(|lock| lock.breaker.state());
        let badness = |state: &State| match state {
            State::Closed => 0,
            State::Restricted => 1,
            State::HalfOpen => 2,
            State::Open => 3,
        };
        states.max_by_key(badness).unwrap_or(State::Closed)
    }
}

fn change(lock: &Lock, state: State, (faults, runs): (usize, usize)) -> Change {
    let until = lock.breaker.until();
    Change { version: lock.label.clone(), state, until, faults, runs }
}

/// What a run is thought to take before one was seen, in microseconds.
const FIRST_RUN_US: u64 = 1_000;

/// Called back at once, beside those that can run at once: they must not stand in others' way.
const ROOM_MAX: usize = 128;

#[cfg(test)]
mod tests;
