//! When a gateway is asked about an order that heard nothing, and how often: growing gaps with an
//! end, and a bucket of questions that fills with time.

use serde::Deserialize;

use crate::time::Timestamp;

/// The gaps between the questions about one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// From the registration to the first question, in milliseconds.
    pub first_ms: u32,
    /// Each gap is so many percent of the one before it.
    pub growth_percent: u32,
    /// No gap is longer, jitter apart, in milliseconds.
    pub max_ms: u32,
    /// The last question is asked so long after the registration, in milliseconds.
    pub give_up_ms: u32,
}

impl Schedule {
    /// When the next question is due, where `rounds` were asked since `begun`; `None` where the
    /// time for questions is over. The last one falls on the end, so that nothing that happened
    /// before it is missed. `seed` spreads what began together: up to a quarter of the gap is
    /// added.
    #[must_use]
    pub fn next(
        &self,
        begun: Timestamp,
        rounds: i64,
        now: Timestamp,
        seed: u64,
    ) -> Option<Timestamp> {
        let end = begun.plus_ms(i64::from(self.give_up_ms));
        if now >= end {
            return None;
        }
        let gap = self.gap_ms(rounds);
        let jitter = seed.checked_rem((gap / 4).saturating_add(1)).unwrap_or(0);
        let gap = i64::try_from(gap.saturating_add(jitter)).unwrap_or(i64::MAX);
        Some(now.plus_ms(gap).min(end).max(now.plus_ms(1)))
    }

    /// When a question that got no answer is put again: as [`Self::next`] says, and where that says
    /// no more, as long again after the end.
    #[must_use]
    pub fn again(
        &self,
        begun: Timestamp,
        rounds: i64,
        now: Timestamp,
        seed: u64,
    ) -> Option<Timestamp> {
        self.next(begun, rounds, now, seed).or_else(|| {
            let grace = begun.plus_ms(i64::from(self.give_up_ms).saturating_mul(2));
            (now < grace).then(|| now.plus_ms(i64::from(self.max_ms.max(1))))
        })
    }

    /// The gap after so many questions, in milliseconds.
    fn gap_ms(&self, rounds: i64) -> u64 {
        let (mut gap, max) = (u64::from(self.first_ms), u64::from(self.max_ms));
        for _ in 0..rounds.clamp(0, GROWTHS_MAX) {
            if gap >= max {
                break;
            }
            gap = gap.saturating_mul(u64::from(self.growth_percent)) / 100;
        }
        gap.min(max).max(1)
    }

    /// How many questions an order costs that never hears anything, each of them answered.
    #[must_use]
    pub fn questions_max(&self) -> u32 {
        let (begun, mut now, mut count) = (Timestamp::default(), Timestamp::default(), 0_u32);
        while let Some(next) = self.next(begun, i64::from(count), now, 0) {
            (now, count) = (next, count.saturating_add(1));
        }
        count
    }
}

/// How many questions a merchant may put, on all its channels and all hosts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Questions a minute.
    pub per_minute: u32,
    /// Questions at once after a rest.
    pub burst: u32,
}

/// A bucket at one moment: what may be taken from it, in parts of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Parts, of which [`PARTS`] are one question.
    pub level: i64,
    /// When it had them.
    pub at: Timestamp,
}

impl Rate {
    /// What is allowed by both.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        let per_minute = self.per_minute.min(other.per_minute);
        Self { per_minute, burst: self.burst.min(other.burst) }
    }

    /// From one question to the next, once the bucket is empty, in milliseconds.
    #[must_use]
    pub fn gap_ms(&self) -> u32 {
        60_000_u32.div_ceil(self.per_minute.max(1))
    }

    /// A bucket that nobody has taken from.
    #[must_use]
    pub fn full(&self, now: Timestamp) -> Bucket {
        Bucket { level: self.capacity(), at: now }
    }

    /// The bucket now. A clock that goes back fills nothing.
    #[must_use]
    pub fn filled(&self, bucket: Bucket, now: Timestamp) -> Bucket {
        let passed = now.ms_since(bucket.at).max(0);
        let more = passed.saturating_mul(i64::from(self.per_minute));
        let level = bucket.level.saturating_add(more).min(self.capacity());
        Bucket { level, at: now.max(bucket.at) }
    }

    /// When one question may be put from a bucket.
    #[must_use]
    pub fn ready_at(&self, bucket: Bucket) -> Timestamp {
        let missing = PARTS.saturating_sub(bucket.level).max(0);
        let rate = i64::from(self.per_minute.max(1));
        let wait = missing.saturating_add(rate).saturating_sub(1).checked_div(rate).unwrap_or(0);
        bucket.at.plus_ms(wait)
    }

    fn capacity(&self) -> i64 {
        i64::from(self.burst.max(1)).saturating_mul(PARTS)
    }
}

impl Bucket {
    /// Whole questions that may be put.
    #[must_use]
    pub fn questions(&self) -> u32 {
        u32::try_from(self.level.max(0).checked_div(PARTS).unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// The bucket after so many questions.
    #[must_use]
    pub fn taken(self, questions: u32) -> Self {
        let parts = i64::from(questions).saturating_mul(PARTS);
        Self { level: self.level.saturating_sub(parts), ..self }
    }
}

/// Parts of one question: with so many questions a minute, so many parts come a millisecond.
pub const PARTS: i64 = 60_000;

/// By then every gap is as long as it becomes.
const GROWTHS_MAX: i64 = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Bucket, Rate, Schedule};
    use crate::time::Timestamp;

    const SCHEDULE: Schedule = Schedule {
        first_ms: 60_000,
        growth_percent: 300,
        max_ms: 14_400_000,
        give_up_ms: 86_400_000,
    };

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    /// The minutes after registration at which an order that hears nothing is asked about.
    fn minutes(schedule: Schedule) -> Vec<i64> {
        let (mut now, mut found) = (at(0), Vec::new());
        while let Some(next) = schedule.next(at(0), i64::try_from(found.len()).unwrap(), now, 0) {
            found.push(next.as_ms() / 60_000);
            now = next;
        }
        found
    }

    #[test]
    fn gaps_grow_up_to_the_longest_and_the_last_question_falls_on_the_end() {
        assert_eq!(minutes(SCHEDULE), [1, 4, 13, 40, 121, 361, 601, 841, 1081, 1321, 1440]);
        assert_eq!(SCHEDULE.questions_max(), 11);
    }

    #[test]
    fn what_was_not_answered_is_asked_for_as_long_again() {
        let end = at(86_400_000);
        assert_eq!(SCHEDULE.next(at(0), 9, end, 0), None);
        assert_eq!(SCHEDULE.again(at(0), 9, end, 0), Some(end.plus_ms(14_400_000)));
        assert_eq!(SCHEDULE.again(at(0), 9, end.plus_ms(86_400_000), 0), None);
    }

    #[test]
    fn of_two_rates_the_smaller_numbers_hold() {
        let (fast, slow) = (Rate { per_minute: 600, burst: 2 }, Rate { per_minute: 90, burst: 10 });
        let both = Rate { per_minute: 90, burst: 2 };
        assert_eq!((fast.least(slow), slow.least(fast)), (both, both));
        assert_eq!((fast.gap_ms(), both.gap_ms()), (100, 667));
    }

    #[test]
    fn a_bucket_fills_with_time_and_not_beyond_its_brim() {
        let rate = Rate { per_minute: 60, burst: 5 };
        let empty = rate.full(at(0)).taken(5);
        assert_eq!((empty.questions(), rate.ready_at(empty)), (0, at(1_000)));
        assert_eq!(rate.filled(empty, at(999)).questions(), 0);
        assert_eq!(rate.filled(empty, at(1_000)).questions(), 1);
        assert_eq!(rate.filled(empty, at(3_600_000)).questions(), 5);
        let back = rate.filled(Bucket { level: 0, at: at(500) }, at(0));
        assert_eq!((back.level, back.at), (0, at(500)));
    }

    proptest! {
        #[test]
        fn the_number_of_questions_never_passes_the_schedules(
            first_ms in 1_u32..10_000_000, growth_percent in 100_u32..1_000,
            max_ms in 60_000_u32..100_000_000, give_up_ms in 1_u32..200_000_000,
            seeds in proptest::collection::vec(any::<u64>(), 64),
        ) {
            let schedule = Schedule { first_ms, growth_percent, max_ms, give_up_ms };
            let (mut now, mut count) = (at(0), 0_usize);
            while let Some(next) =
                schedule.next(at(0), i64::try_from(count).unwrap(), now, seeds[count % 64])
            {
                prop_assert!(next > now && next.as_ms() <= i64::from(give_up_ms).max(1));
                (now, count) = (next, count.saturating_add(1));
                if count > 20_000 {
                    break;
                }
            }
            prop_assert!(count <= usize::try_from(schedule.questions_max()).unwrap());
        }

        #[test]
        fn a_bucket_gives_no_more_than_its_rate(
            per_minute in 1_u32..100_000, burst in 1_u32..100,
            steps in proptest::collection::vec((0_i64..10_000, 0_u32..50), 1..50),
        ) {
            let rate = Rate { per_minute, burst };
            let (mut bucket, mut now, mut taken) = (rate.full(at(0)), at(0), 0_u64);
            for (ms, wish) in steps {
                now = now.plus_ms(ms);
                bucket = rate.filled(bucket, now);
                let some = wish.min(bucket.questions());
                bucket = bucket.taken(some);
                taken = taken.saturating_add(u64::from(some));
            }
            let passed = u64::try_from(now.as_ms()).unwrap();
            let came = passed.saturating_mul(u64::from(per_minute)) / 60_000;
            let most = came.saturating_add(u64::from(burst)).saturating_add(1);
            prop_assert!(taken <= most);
        }
    }
}
