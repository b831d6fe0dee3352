//! Callbacks that stay away: how many came, held against the same hour of the day before and of
//! the week before. Pure.

use callgate_core::time::Timestamp;
use callgate_store::{COUNT_SPAN_MS, CountedSpan};

use super::Away;

/// What is to be counted for a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    /// The last minutes that can have been counted.
    pub(super) recent: (Timestamp, Timestamp),
    /// The hour around the same time a day before.
    pub(super) day: (Timestamp, Timestamp),
    /// And a week before.
    pub(super) week: (Timestamp, Timestamp),
}

impl Windows {
    /// The windows of a moment. What is compared ends at the last span that is surely counted.
    pub(super) fn at(now: Timestamp, away: Away) -> Self {
        let floor = |ms: i64| ms.div_euclid(COUNT_SPAN_MS).saturating_mul(COUNT_SPAN_MS);
        let end = floor(now.as_ms().saturating_sub(SETTLED_MS));
        let length = floor(i64::from(away.window_ms)).max(COUNT_SPAN_MS);
        let recent = (end.saturating_sub(length), end);
        let before = |ms: i64| {
            let (from, to) = (recent.0.saturating_sub(ms), recent.1.saturating_sub(ms));
            let wider = |at: i64, by: i64| Timestamp::from_ms(at.saturating_add(by));
            (wider(from, SIDE_MS.saturating_neg()), wider(to, SIDE_MS))
        };
        Self {
            recent: (Timestamp::from_ms(recent.0), Timestamp::from_ms(recent.1)),
            day: before(DAY_MS),
            week: before(DAY_MS.saturating_mul(7)),
        }
    }
}

/// One channel's comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compared {
    /// The channel.
    pub(super) channel: String,
    /// How many came.
    pub(super) came: i64,
    /// How many were expected in as much time.
    pub(super) expected: i64,
    /// How many of those stay away, in percent; none where too few were expected.
    pub(super) away_percent: Option<i64>,
}

/// Compares; each count comes with its window. What was not counted whole says nothing, and where
/// both days say something, the lower one counts: a holiday is no fault.
pub(super) fn compare(
    windows: Windows,
    (recent, day, week): (&CountedSpan, &CountedSpan, &CountedSpan),
    away: Away,
) -> Vec<Compared> {
    let whole = |(from, to): (Timestamp, Timestamp), counted: &CountedSpan| {
        counted.spans >= to.ms_since(from).div_euclid(COUNT_SPAN_MS)
    };
    if !whole(windows.recent, recent) {
        return Vec::new();
    }
    let before: Vec<_> = [(windows.day, day), (windows.week, week)]
        .into_iter()
        .filter(|(window, counted)| whole(*window, counted))
        .collect();
    let length = windows.recent.1.ms_since(windows.recent.0);
    let scaled = |(from, to): (Timestamp, Timestamp), count: i64| {
        count.saturating_mul(length).checked_div(to.ms_since(from)).unwrap_or(0)
    };
    let channels: std::collections::BTreeSet<&String> =
        before.iter().flat_map(|(_, counted)| counted.by_channel.keys()).collect();
    let compared = |channel: &String| {
        let of = |counted: &CountedSpan| counted.by_channel.get(channel).copied().unwrap_or(0);
        let expected = before.iter().map(|(window, counted)| scaled(*window, of(counted)));
        let (came, expected) = (of(recent), expected.min().unwrap_or(0));
        let missing = expected.saturating_sub(came).max(0);
        let percent = missing.saturating_mul(100).checked_div(expected);
        let enough = expected >= i64::from(away.expected_min);
        let away_percent = percent.filter(|_| enough);
        Compared { channel: channel.clone(), came, expected, away_percent }
    };
    channels.into_iter().map(compared).collect()
}

const DAY_MS: i64 = 86_400_000;

/// What is before is looked at on both sides, so that a wave that comes a little later is none
/// that stays away.
const SIDE_MS: i64 = 900_000;

/// A span is counted within this time after its end.
const SETTLED_MS: i64 = 120_000;

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;
    use callgate_store::{COUNT_SPAN_MS, CountedSpan};

    use super::super::Away;
    use super::{Windows, compare};

    const AWAY: Away = Away { window_ms: 1_800_000, expected_min: 20 };

    fn counted(spans: i64, callbacks: i64) -> CountedSpan {
        let by_channel = [("a".to_owned(), callbacks)].into();
        CountedSpan { spans, by_channel }
    }

    /// Half an hour has 6 spans, an hour 12; so `before` is expected to come in half.
    fn check(came: i64, (day, week): (Option<i64>, Option<i64>), expected: Option<i64>) {
        let windows = Windows::at(Timestamp::from_ms(1_795_226_405_000), AWAY);
        let recent = CountedSpan { spans: 6, by_channel: [("a".to_owned(), came)].into() };
        let before =
            |count: Option<i64>| count.map_or_else(CountedSpan::default, |n| counted(12, n));
        let found = compare(windows, (&recent, &before(day), &before(week)), AWAY);
        assert_eq!(
            found.first().and_then(|one| one.away_percent),
            expected,
            "{came} {day:?} {week:?}"
        );
    }

    #[test]
    fn what_comes_is_held_against_the_lower_of_two_days() {
        check(100, (Some(200), Some(200)), Some(0));
        check(10, (Some(200), Some(400)), Some(90));
        check(10, (Some(400), Some(200)), Some(90));
        check(10, (Some(400), None), Some(95));
        check(10, (None, Some(200)), Some(90));
        check(500, (Some(200), Some(200)), Some(0));
    }

    #[test]
    fn where_little_or_nothing_is_expected_nothing_is_said() {
        check(0, (Some(38), Some(400)), None);
        check(0, (Some(40), Some(400)), Some(100));
        check(0, (None, None), None);
        check(0, (Some(0), Some(400)), None);
    }

    #[test]
    fn what_was_not_counted_whole_says_nothing() {
        let windows = Windows::at(Timestamp::from_ms(1_795_226_405_000), AWAY);
        let (day, week) = (counted(12, 400), counted(11, 1));
        let found = compare(windows, (&counted(6, 1), &day, &week), AWAY);
        assert_eq!(found.first().and_then(|one| one.away_percent), Some(99), "a gap a week ago");
        assert_eq!(compare(windows, (&counted(5, 1), &day, &week), AWAY), []);
    }

    #[test]
    fn windows_lie_on_whole_spans_that_are_counted() {
        for ms in [1_795_226_400_000, 1_795_226_405_000, 1_795_226_519_999, 1_795_226_699_999] {
            let windows = Windows::at(Timestamp::from_ms(ms), AWAY);
            let (from, to) = windows.recent;
            assert_eq!(to.ms_since(from), 1_800_000);
            assert_eq!(to.as_ms() % COUNT_SPAN_MS, 0);
            assert!((120_000..420_000 + 1).contains(&Timestamp::from_ms(ms).ms_since(to)));
            assert_eq!(to.ms_since(windows.day.1), 86_400_000 - 900_000);
            assert_eq!(from.ms_since(windows.week.0), 7 * 86_400_000 + 900_000);
        }
    }
}
