//! When to try again: attempt and seed to delay, and when to give up. Jitter only adds.

use serde::Deserialize;

/// The back-off of one kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// Delay after the first failed attempt, in milliseconds.
    pub first_ms: u32,
    /// No delay is longer, jitter apart, in milliseconds.
    pub max_ms: u32,
    /// Attempts after which work is given up and goes to review.
    pub attempts_max: u32,
}

impl Backoff {
    /// The delay before the next attempt, or `None` where attempts are used up.
    ///
    /// Doubles with each attempt up to `max_ms`. A wish of the processor can lengthen it up to
    /// `max_ms`, never shorten it. `seed` spreads what failed together: up to a quarter is added.
    #[must_use]
    pub fn delay_ms(&self, attempts: u32, wish_ms: Option<u32>, seed: u64) -> Option<i64> {
        if attempts >= self.attempts_max {
            return None;
        }
        let doublings = attempts.saturating_sub(1).min(31);
        let grown = u64::from(self.first_ms).saturating_mul(1 << doublings);
        let wished = grown.max(u64::from(wish_ms.unwrap_or(0)));
        let delay = wished.min(u64::from(self.max_ms));
        let jitter = seed.checked_rem((delay / 4).saturating_add(1)).unwrap_or(0);
        i64::try_from(delay.saturating_add(jitter)).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Backoff;

    const BACKOFF: Backoff = Backoff { first_ms: 1000, max_ms: 60_000, attempts_max: 10 };

    #[test]
    fn delays_double_up_to_the_maximum() {
        let delays: Vec<_> = (1..=10).map(|n| BACKOFF.delay_ms(n, None, 0)).collect();
        let expected =
            [1, 2, 4, 8, 16, 32, 60, 60, 60].map(|s| Some(s * 1000)).into_iter().chain([None]);
        assert_eq!(delays, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_wish_lengthens_but_never_passes_the_maximum() {
        assert_eq!(BACKOFF.delay_ms(1, Some(5000), 0), Some(5000));
        assert_eq!(BACKOFF.delay_ms(3, Some(5), 0), Some(4000));
        assert_eq!(BACKOFF.delay_ms(1, Some(u32::MAX), 0), Some(60_000));
    }

    proptest! {
        #[test]
        fn jitter_only_adds_and_adds_at_most_a_quarter(attempts in 1u32..10, seed: u64) {
            let plain = BACKOFF.delay_ms(attempts, None, 0).unwrap_or(0);
            let spread = BACKOFF.delay_ms(attempts, None, seed).unwrap_or(0);
            prop_assert!(spread >= plain && spread <= plain.saturating_add(plain / 4));
        }
    }
}
