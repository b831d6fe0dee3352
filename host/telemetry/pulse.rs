//! The pulse of each channel: what alerts want to know of callbacks and no database holds.
//!
//! Forged callbacks are never stored, so this host counts them, for the last minutes. The memory
//! is bounded: channels come from the configuration, and each keeps a fixed number of values.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use callgate_core::gateway::Refusal;
use callgate_core::time::Timestamp;

/// Counts what becomes of callbacks, by channel. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<BTreeMap<String, Beats>>>);

/// One channel in the last minutes.
#[derive(Debug, Default)]
struct Beats {
    failures: Recent,
    untimely: Recent,
    /// When each of the last verified callbacks came, and the gateway's time minus ours.
    offsets: VecDeque<(Timestamp, i64)>,
}

/// How a channel is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The channel.
    pub channel: String,
    /// Callbacks of the last [`RECENT_MS`] whose signature, key or encryption was wrong.
    pub failures: i64,
    /// Callbacks of the same time that were refused for their signed time.
    pub untimely: i64,
    /// Median of the gateway's signed time minus our clock, in milliseconds; none where too few
    /// were verified lately.
    pub offset_ms: Option<i64>,
}

impl Pulse {
    /// A pulse that knows its channels, so that each has its counts from the start.
    #[must_use]
    pub fn of<'a>(channels: impl IntoIterator<Item = &'a str>) -> Self {
        let pulse = Self::default();
        pulse.know(channels);
        pulse
    }

    /// These are the channels from now on: those that are new have their counts from the start,
    /// and nothing more is told of those that are gone.
    pub fn know<'a>(&self, channels: impl IntoIterator<Item = &'a str>) {
        let mut all = self.lock();
        let mut before = std::mem::take(&mut *all);
        for channel in channels {
            let beats = before.remove(channel).unwrap_or_else(|| {
                for name in [FAILURES, PROBES, UNTIMELY] {
                    metrics::counter!(name, "channel" => channel.to_owned()).increment(0);
                }
                Beats::default()
            });
            all.insert(channel.to_owned(), beats);
        }
        for channel in before.into_keys() {
            metrics::gauge!(CLOCK_OFFSET, "channel" => channel).set(f64::NAN);
        }
    }

    /// A callback was refused. Only what a wrong key, a forger or a wrong clock would cause counts.
    pub fn refused(&self, channel: &str, refusal: &Refusal, now: Timestamp) {
        let name = match refusal {
            Refusal::Signature
            | Refusal::KeyUnknown
            | Refusal::Algorithm { .. }
            | Refusal::Decrypt => FAILURES,
            Refusal::Stale { .. } | Refusal::Ahead { .. } => UNTIMELY,
            Refusal::Probe => PROBES,
            Refusal::HeaderMissing { .. }
            | Refusal::HeaderRepeated { .. }
            | Refusal::HeaderMalformed { .. }
            | Refusal::TooLarge { .. }
            | Refusal::Incomplete
            | Refusal::Encoded
            | Refusal::NotItsRequest { .. }
            | Refusal::Malformed { .. }
            | Refusal::NotANotification { .. } => return,
        };
        metrics::counter!(name, "channel" => channel.to_owned()).increment(1);
        let mut all = self.lock();
        let beats = all.entry(channel.to_owned()).or_default();
        match name {
            FAILURES => beats.failures.add(now),
            UNTIMELY => beats.untimely.add(now),
            _ => {}
        }
    }

    /// A new callback was verified whose gateway signed its own time.
    pub fn verified(&self, channel: &str, signed_at: Timestamp, now: Timestamp) {
        let mut all = self.lock();
        // A name is copied once for each channel, not once for each callback.
        let beats = match all.get_mut(channel) {
            Some(beats) => beats,
            None => all.entry(channel.to_owned()).or_default(),
        };
        if beats.offsets.len() >= OFFSETS_KEPT {
            beats.offsets.pop_front();
        }
        beats.offsets.push_back((now, signed_at.ms_since(now)));
    }

    /// How each channel is doing.
    #[must_use]
    pub fn look(&self, now: Timestamp) -> Vec<Beat> {
        let mut all = self.lock();
        let look = |(channel, beats): (&String, &mut Beats)| Beat {
            channel: channel.clone(),
            failures: beats.failures.sum(now),
            untimely: beats.untimely.sum(now),
            offset_ms: beats.median(now),
        };
        all.iter_mut().map(look).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Beats>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beats {
    fn median(&mut self, now: Timestamp) -> Option<i64> {
        self.offsets.retain(|(at, _)| now.ms_since(*at) < OFFSET_AGE_MS);
        if self.offsets.len() < OFFSETS_MIN {
            return None;
        }
        let mut values: Vec<i64> = self.offsets.iter().map(|(_, offset)| *offset).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied()
    }
}

/// Counts of the last minutes, in steps of ten seconds.
#[derive(Debug, Default)]
struct Recent(VecDeque<(i64, i64)>);

impl Recent {
    fn add(&mut self, now: Timestamp) {
        let step = now.as_ms().div_euclid(STEP_MS);
        match self.0.back_mut() {
            // A clock that was set back counts on where it was.
            Some((last, count)) if *last >= step => *count = count.saturating_add(1),
            _ => self.0.push_back((step, 1)),
        }
        self.forget(now);
    }

    fn sum(&mut self, now: Timestamp) -> i64 {
        self.forget(now);
        self.0.iter().map(|(_, count)| *count).fold(0, i64::saturating_add)
    }

    fn forget(&mut self, now: Timestamp) {
        let first = now.plus_ms(RECENT_MS.saturating_neg()).as_ms().div_euclid(STEP_MS);
        while self.0.front().is_some_and(|(step, _)| *step <= first) {
            self.0.pop_front();
        }
    }
}

const FAILURES: &str = "callgate_signature_failures_total";
const PROBES: &str = "callgate_signature_probes_total";
const UNTIMELY: &str = "callgate_untimely_total";

/// Seconds that a gateway's clock is apart from ours; no number where nothing is known.
pub const CLOCK_OFFSET: &str = "callgate_clock_offset_seconds";

/// How long failures are counted.
pub const RECENT_MS: i64 = 300_000;

const STEP_MS: i64 = 10_000;

/// Verified callbacks whose times are kept.
const OFFSETS_KEPT: usize = 31;

/// Fewer say nothing: one callback may have travelled long.
const OFFSETS_MIN: usize = 3;

/// Older ones say nothing of the clock now.
const OFFSET_AGE_MS: i64 = 1_800_000;

#[cfg(test)]
mod tests {
    use callgate_core::gateway::Refusal;
    use callgate_core::time::Timestamp;

    use super::{OFFSET_AGE_MS, Pulse, RECENT_MS};

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[test]
    fn forgeries_count_for_some_minutes_and_probes_never() {
        let pulse = Pulse::default();
        for ms in [0, 1_000, 200_000] {
            pulse.refused("a", &Refusal::Signature, at(ms));
            pulse.refused("a", &Refusal::Probe, at(ms));
            pulse.refused("a", &Refusal::Incomplete, at(ms));
        }
        pulse.refused("b", &Refusal::Stale { age_s: 400, limit_s: 300 }, at(0));
        let found = |ms| {
            let look = pulse.look(at(ms)).into_iter();
            look.map(|beat| (beat.failures, beat.untimely)).collect::<Vec<_>>()
        };
        assert_eq!(found(200_000), [(3, 0), (0, 1)]);
        assert_eq!(found(RECENT_MS + 20_000), [(1, 0), (0, 0)]);
        assert_eq!(found(RECENT_MS + 210_000), [(0, 0), (0, 0)]);
    }

    #[test]
    fn the_offset_is_the_median_of_what_came_lately() {
        let pulse = Pulse::default();
        let offset = |ms| pulse.look(at(ms)).first().and_then(|beat| beat.offset_ms);
        pulse.verified("a", at(100_000 - 90_000), at(100_000));
        pulse.verified("a", at(101_000 - 400), at(101_000));
        assert_eq!(offset(101_000), None, "two are too few");
        pulse.verified("a", at(102_000 - 300), at(102_000));
        assert_eq!(offset(102_000), Some(-400), "one that travelled long counts for nothing");
        assert_eq!(offset(102_000 + OFFSET_AGE_MS), None);
    }

    #[test]
    fn channels_come_and_go_and_those_that_stay_keep_their_counts() {
        let pulse = Pulse::of(["a", "b"]);
        pulse.refused("a", &Refusal::Signature, at(0));
        pulse.refused("b", &Refusal::Signature, at(0));
        pulse.know(["b", "c"]);
        let look = pulse.look(at(0)).into_iter();
        let found: Vec<_> = look.map(|beat| (beat.channel, beat.failures)).collect();
        assert_eq!(found, [("b".to_owned(), 1), ("c".to_owned(), 0)]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pulse = Pulse::default();
        for ms in 0..10_000 {
            pulse.refused("a", &Refusal::Decrypt, at(ms * 1_000));
            pulse.verified("a", at(ms), at(ms));
        }
        let all = pulse.lock();
        let beats = all.get("a").expect("a channel");
        assert!(beats.failures.0.len() <= 31 && beats.offsets.len() == super::OFFSETS_KEPT);
    }
}
