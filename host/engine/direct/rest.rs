//! How long the callbacks of a business are stored first after one waited for its processor in vain.

use callgate_core::time::Timestamp;

/// How long rests are, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    /// The first one: as long as it is waited for a processor.
    pub(super) first_ms: u32,
    /// None is longer.
    pub(super) most_ms: u32,
}

/// A time in which callbacks are stored first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    until: Timestamp,
    length_ms: u32,
}

impl Rest {
    /// After one that came at one moment and has waited in vain at another: twice as long as before
    /// where it came no later after the last rest than that had lasted. Those that came before it
    /// ended were under way together with the one that it began with, and tell nothing new.
    pub(super) fn after(
        before: Option<Self>,
        (came, now): (Timestamp, Timestamp),
        length: Length,
    ) -> Self {
        let Length { first_ms, most_ms } = length;
        let length_ms = match before {
            Some(rest) if rest.holds(came) => return rest,
            Some(Self { until, length_ms }) if came <= until.plus_ms(length_ms.into()) => {
                length_ms.saturating_mul(2)
            }
            Some(_) | None => first_ms,
        };
        let length_ms = length_ms.min(most_ms);
        Self { until: now.plus_ms(length_ms.into()), length_ms }
    }

    /// Whether it is not over yet.
    pub(super) fn holds(self, now: Timestamp) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;

    use super::{Length, Rest};

    const LENGTH: Length = Length { first_ms: 100, most_ms: 1_000 };

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn rest(until_ms: i64, length_ms: u32) -> Rest {
        Rest { until: at(until_ms), length_ms }
    }

    /// After one that waited for a tenth of a second.
    fn after(before: Option<Rest>, came_ms: i64) -> Rest {
        Rest::after(before, (at(came_ms), at(came_ms).plus_ms(100)), LENGTH)
    }

    #[test]
    fn who_waits_in_vain_again_and_again_rests_longer_and_longer_up_to_a_bound() {
        let (mut last, mut came, mut lengths) = (None, 0, Vec::new());
        for _ in 0..6 {
            let next = after(last, came);
            lengths.push(next.length_ms);
            came = next.until.as_ms();
            last = Some(next);
        }
        assert_eq!(lengths, [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn those_that_were_under_way_together_are_one_reason() {
        let first = after(None, 0);
        assert_eq!(first, rest(200, 100));
        // However late they hear that it was in vain.
        assert_eq!(after(Some(first), 199), first);
        assert_eq!(after(Some(first), 200), rest(500, 200));
    }

    #[test]
    fn what_went_well_for_a_while_begins_anew() {
        assert_eq!(after(Some(rest(1_000, 400)), 1_400), rest(2_300, 800));
        assert_eq!(after(Some(rest(1_000, 400)), 1_401), rest(1_601, 100));
    }

    #[test]
    fn nobody_rests_where_rests_are_none() {
        let none = Length { most_ms: 0, ..LENGTH };
        let over = Rest::after(None, (at(1), at(5)), none);
        assert_eq!((over, over.holds(at(5))), (rest(5, 0), false));
    }
}
