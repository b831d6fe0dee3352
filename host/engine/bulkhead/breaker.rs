//! Whether one version of a plugin is run at all: its faults among its last runs decide. First it
//! is held to one run at a time, then it is left alone, then it is tried with one run after the
//! other.

use std::collections::VecDeque;

use callgate_core::retry::Backoff;
use callgate_core::time::Timestamp;
use serde::Deserialize;

/// When a plugin counts as broken, and for how long it is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerSettings {
    /// So many last runs are looked at, each of another notification.
    pub window: usize,
    /// Fewer runs than this decide nothing.
    pub runs_min: usize,
    /// At this share of faults, in percent, it is held to one run at a time.
    pub restrict_percent: u32,
    /// At this share of faults, in percent, while it is held to one run, it is left alone.
    pub open_percent: u32,
    /// For how long at first, in milliseconds; it doubles with each trial that fails.
    pub open_ms: u32,
    /// It is not left alone for longer, jitter apart, in milliseconds.
    pub open_max_ms: u32,
    /// So many trials in a row must go well before it is run as always.
    pub probes: u32,
}

impl BreakerSettings {
    /// Holds every number against its bounds; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        for (field, found, least, most) in [
            ("window", wide(self.window), 1, 1000),
            ("runs_min", wide(self.runs_min), 1, wide(self.window)),
            ("restrict_percent", self.restrict_percent.into(), 1, 100),
            ("open_percent", self.open_percent.into(), self.restrict_percent.into(), 100),
            ("open_ms", self.open_ms.into(), 10, 86_400_000),
            ("open_max_ms", self.open_max_ms.into(), self.open_ms.into(), 86_400_000),
            ("probes", self.probes.into(), 1, 1000),
        ] {
            if !(least..=most).contains(&found) {
                return Err((field, format!("found {found}, expected {least} to {most}")));
            }
        }
        Ok(())
    }
}

/// Where a plugin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is run as often at once as it may.
    Closed,
    /// It is run, one at a time.
    Restricted,
    /// It is not run.
    Open,
    /// It is tried, one at a time.
    HalfOpen,
}

impl State {
    /// All of them, for metrics.
    pub(super) const ALL: [Self; 4] = [Self::Closed, Self::Restricted, Self::Open, Self::HalfOpen];

    /// The word for metrics, logs and operators.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Restricted => "restricted",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// How a run ended, as far as it says something of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It came to an answer, whichever.
    Good,
    /// It used up its fuel, time or memory, trapped or broke the contract.
    Fault,
    /// It says nothing of the plugin: the host failed it.
    Neither,
}

/// The breaker of one version of a plugin. Time comes from outside.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// When it came to its state.
    since: Timestamp,
    /// The last runs, one for each notification, and whether they were faults.
    window: VecDeque<(u64, bool)>,
    /// Times that it was left alone since it was last well.
    pauses: u32,
    /// While it is left alone: until when.
    until: Timestamp,
    /// Trials in a row that went well.
    good: u32,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings, now: Timestamp) -> Self {
        Self {
            settings,
            state: State::Closed,
            since: now,
            window: VecDeque::new(),
            pauses: 0,
            until: Timestamp::default(),
            good: 0,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// When it came to its state.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    /// Until when it is left alone.
    pub(super) fn until(&self) -> Option<Timestamp> {
        (self.state == State::Open).then_some(self.until)
    }

    /// Faults among the runs that are looked at.
    pub(super) fn share(&self) -> (usize, usize) {
        let faults = self.window.iter().filter(|(_, fault)| *fault).count();
        (faults, self.window.len())
    }

    /// How many runs there may be at once, of so many that the plugin may have at best. A time of
    /// being left alone that is over ends here; tells whether it did.
    pub(super) fn width(&mut self, best: usize, now: Timestamp) -> (usize, Option<State>) {
        let wakes = self.state == State::Open && now >= self.until;
        let changed = wakes.then(|| self.become_state(State::HalfOpen, now));
        let width = match self.state {
            State::Closed => best,
            State::Restricted | State::HalfOpen => best.min(1),
            State::Open => 0,
        };
        (width, changed)
    }

    /// Notes how a run of a notification ended that began in a state; tells where that leads.
    pub(super) fn ended(
        &mut self,
        (notification, ended): (u64, Ended),
        begun: State,
        now: Timestamp,
    ) -> Option<State> {
        if ended == Ended::Neither {
            return None;
        }
        match self.state {
            // Stragglers from before it was left alone say nothing new.
            State::Open => None,
            State::HalfOpen if begun != State::HalfOpen => None,
            State::HalfOpen if ended == Ended::Fault => Some(self.open(now)),
            State::HalfOpen => {
                self.good = self.good.saturating_add(1);
                let well = self.good >= self.settings.probes;
                well.then(|| {
                    self.pauses = 0;
                    self.become_state(State::Closed, now)
                })
            }
            // What began before it was restricted was counted against it already.
            State::Restricted if begun == State::Closed && ended == Ended::Fault => None,
            State::Closed | State::Restricted => {
                self.note(notification, ended);
                self.judge(now)
            }
        }
    }

    fn note(&mut self, notification: u64, ended: Ended) {
        // One poisoned notification alone never stops a plugin, however often it is tried.
        self.window.retain(|(known, _)| *known != notification);
        self.window.push_back((notification, ended == Ended::Fault));
        while self.window.len() > self.settings.window {
            self.window.pop_front();
        }
    }

    fn judge(&mut self, now: Timestamp) -> Option<State> {
        let (faults, runs) = self.share();
        if runs < self.settings.runs_min {
            return None;
        }
        let reaches = |percent: u32| {
            let percent = usize::try_from(percent).unwrap_or(usize::MAX);
            faults.saturating_mul(100) >= runs.saturating_mul(percent)
        };
        match self.state {
            State::Closed if reaches(self.settings.restrict_percent) => {
                Some(self.become_state(State::Restricted, now))
            }
            State::Restricted if reaches(self.settings.open_percent) => Some(self.open(now)),
            State::Restricted if !reaches(self.settings.restrict_percent) => {
                Some(self.become_state(State::Closed, now))
            }
            State::Closed | State::Restricted | State::Open | State::HalfOpen => None,
        }
    }

    fn open(&mut self, now: Timestamp) -> State {
        self.pauses = self.pauses.saturating_add(1);
        let BreakerSettings { open_ms, open_max_ms, .. } = self.settings;
        let backoff = Backoff { first_ms: open_ms, max_ms: open_max_ms, attempts_max: u32::MAX };
        let seed = u64::try_from(now.as_ms()).unwrap_or(0).wrapping_mul(SPREAD);
        let longest = i64::from(open_max_ms);
        let pause = backoff.delay_ms(self.pauses, None, seed).unwrap_or(longest);
        self.until = now.plus_ms(pause);
        self.become_state(State::Open, now)
    }

    fn become_state(&mut self, state: State, now: Timestamp) -> State {
        self.state = state;
        self.since = now;
        self.good = 0;
        self.window.clear();
        state
    }
}

/// A large odd number: neighbouring moments get jitter that is far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;
    use proptest::prelude::*;

    use super::{Breaker, BreakerSettings, Ended, State};

    const SETTINGS: BreakerSettings = BreakerSettings {
        window: 10,
        runs_min: 4,
        restrict_percent: 25,
        open_percent: 50,
        open_ms: 100,
        open_max_ms: 400,
        probes: 2,
    };

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    /// Runs one notification in whatever state the breaker is.
    fn run(breaker: &mut Breaker, notification: u64, ended: Ended, now: i64) -> Option<State> {
        let begun = breaker.state();
        breaker.ended((notification, ended), begun, at(now))
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::new(SETTINGS, at(0));
        for notification in 0..8 {
            run(&mut breaker, notification, Ended::Fault, 0);
        }
        assert_eq!(breaker.state(), State::Open);
        breaker
    }

    #[test]
    fn faults_restrict_first_and_open_then() {
        let mut breaker = Breaker::new(SETTINGS, at(0));
        let changes: Vec<_> =
            (0..8).map(|number| run(&mut breaker, number, Ended::Fault, 0)).collect();
        let mut expected = [None; 8];
        expected[3] = Some(State::Restricted);
        expected[7] = Some(State::Open);
        assert_eq!(changes, expected);
        assert_eq!(breaker.width(16, at(99)).0, 0);
        assert_eq!(breaker.width(16, at(125)), (1, Some(State::HalfOpen)));
    }

    #[test]
    fn a_few_faults_among_many_runs_change_nothing() {
        let mut breaker = Breaker::new(SETTINGS, at(0));
        for number in 0..100 {
            let ended = if number % 5 == 4 { Ended::Fault } else { Ended::Good };
            assert_eq!(run(&mut breaker, number, ended, 0), None);
        }
        assert_eq!(breaker.width(16, at(0)), (16, None));
    }

    #[test]
    fn one_notification_that_fails_again_and_again_stops_nothing() {
        let mut breaker = Breaker::new(SETTINGS, at(0));
        assert!((0..50).all(|now| run(&mut breaker, 7, Ended::Fault, now).is_none()));
        assert_eq!(breaker.share(), (1, 1));
    }

    #[test]
    fn a_host_that_fails_says_nothing_of_the_plugin() {
        let mut breaker = Breaker::new(SETTINGS, at(0));
        assert!((0..50).all(|number| run(&mut breaker, number, Ended::Neither, 0).is_none()));
        assert_eq!(breaker.share(), (0, 0));
    }

    #[test]
    fn who_is_restricted_and_does_well_is_free_again() {
        let mut breaker = Breaker::new(SETTINGS, at(0));
        for number in 0..4 {
            run(&mut breaker, number, Ended::Fault, 0);
        }
        assert_eq!(breaker.width(16, at(0)).0, 1);
        // Those that were under way when it was restricted count no second time.
        assert_eq!(breaker.ended((90, Ended::Fault), State::Closed, at(0)), None);
        let changes: Vec<_> =
            (10..14).map(|number| run(&mut breaker, number, Ended::Good, 0)).collect();
        assert_eq!(changes, [None, None, None, Some(State::Closed)]);
    }

    #[test]
    fn trials_that_go_well_close_it_and_one_that_fails_opens_it_for_longer() {
        let mut breaker = open();
        let mut now = 0;
        for (least, most) in [(100, 125), (200, 250), (400, 500), (400, 500)] {
            let until = breaker.until().unwrap().as_ms();
            assert!((least..=most).contains(&(until - now)), "{until} at {now}");
            now = until;
            assert_eq!(breaker.width(16, at(now)), (1, Some(State::HalfOpen)));
            assert_eq!(run(&mut breaker, 1, Ended::Good, now), None);
            // A straggler from before decides nothing.
            assert_eq!(breaker.ended((2, Ended::Fault), State::Restricted, at(now)), None);
            assert_eq!(run(&mut breaker, 3, Ended::Fault, now), Some(State::Open));
        }
        let until = breaker.until().unwrap();
        breaker.width(16, until);
        assert_eq!(run(&mut breaker, 1, Ended::Good, until.as_ms()), None);
        assert_eq!(run(&mut breaker, 1, Ended::Good, until.as_ms()), Some(State::Closed));
        assert_eq!(breaker.width(16, until), (16, None));
    }

    proptest! {
        #[test]
        fn whatever_happens_it_can_be_run_again_in_time(
            ends in proptest::collection::vec((0u64..30, 0u8..3, 0i64..200), 1..400)
        ) {
            let mut breaker = Breaker::new(SETTINGS, at(0));
            let mut now = 0i64;
            for (number, ended, later) in ends {
                now = now.saturating_add(later);
                if breaker.width(4, at(now)).0 > 0 {
                    let ended = [Ended::Good, Ended::Fault, Ended::Neither][usize::from(ended)];
                    run(&mut breaker, number, ended, now);
                }
                let longest = i64::from(SETTINGS.open_max_ms).saturating_mul(5) / 4;
                prop_assert!(breaker.width(4, at(now.saturating_add(longest))).0 > 0);
                if breaker.state() == State::HalfOpen {
                    now = now.saturating_add(longest);
                }
            }
        }
    }
}
