//! Tests of [`Machine`]: what lasts is raised once, what flaps is not, what is over is over once.

use callgate_core::time::Timestamp;
use proptest::prelude::*;

use super::Level::{Between, Over, Under};
use super::{Level, Machine, Pace};

const PACE: Pace = Pace { for_ms: 60_000, clear_ms: 120_000 };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

/// Walks through values, each with its second; tells when it was raised and when it was over.
fn walk(values: &[(i64, Option<Level>)]) -> Vec<(i64, &'static str)> {
    let (mut machine, mut told) = (Machine::Calm, Vec::new());
    for (second, level) in values {
        let next = machine.step(*level, PACE, at(*second));
        match (machine.raised_since(), next.raised_since()) {
            (None, Some(_)) => told.push((*second, "raised")),
            (Some(_), None) => told.push((*second, "over")),
            (None, None) | (Some(_), Some(_)) => {}
        }
        machine = next;
    }
    told
}

#[test]
fn what_lasts_long_enough_is_raised_and_not_a_moment_sooner() {
    let over = |second| (second, Some(Over));
    assert_eq!(walk(&[over(0), over(59)]), []);
    assert_eq!(walk(&[over(0), over(60), over(61), over(600)]), [(60, "raised")]);
}

#[test]
fn what_goes_away_in_time_is_never_raised() {
    let values = [(0, Some(Over)), (59, Some(Between)), (60, Some(Over)), (119, Some(Over))];
    assert_eq!(walk(&values), []);
}

#[test]
fn it_is_over_only_when_it_has_been_well_for_its_time() {
    let values = [
        (0, Some(Over)),
        (60, Some(Over)),
        (70, Some(Under)),
        (189, Some(Under)),
        (190, Some(Under)),
        (200, Some(Under)),
    ];
    assert_eq!(walk(&values), [(60, "raised"), (190, "over")]);
}

#[test]
fn between_the_limits_nothing_changes() {
    let values = [
        (0, Some(Over)),
        (60, Some(Over)),
        (70, Some(Under)),
        (100, Some(Between)),
        (110, Some(Under)),
        (229, Some(Under)),
        (230, Some(Under)),
    ];
    assert_eq!(walk(&values), [(60, "raised"), (230, "over")]);
}

#[test]
fn what_flaps_is_told_once() {
    let mut values = vec![(0, Some(Over)), (60, Some(Over))];
    values.extend(
        (61..1000).map(|second| (second, Some(if second % 2 == 0 { Over } else { Under }))),
    );
    assert_eq!(walk(&values), [(60, "raised")]);
}

#[test]
fn a_value_that_cannot_be_read_changes_nothing() {
    let values = [(0, Some(Over)), (30, None), (60, Some(Over)), (61, None), (9_999, None)];
    assert_eq!(walk(&values), [(60, "raised")]);
}

#[test]
fn without_a_time_it_is_raised_at_once() {
    let pace = Pace { for_ms: 0, clear_ms: 0 };
    let raised = Machine::Calm.step(Some(Over), pace, at(5));
    assert_eq!(raised, Machine::Raised { since: at(5) });
    assert_eq!(raised.step(Some(Under), pace, at(6)), Machine::Calm);
}

#[test]
fn what_was_cleared_elsewhere_must_last_anew() {
    let raised = Machine::Raised { since: at(0) };
    let anew = raised.anew(at(100));
    assert_eq!(anew, Machine::Rising { since: at(100) });
    assert_eq!(anew.step(Some(Over), PACE, at(159)).raised_since(), None);
    assert_eq!(anew.step(Some(Over), PACE, at(160)).raised_since(), Some(at(100)));
    assert_eq!(Machine::Falling { since: at(0), well: at(50) }.anew(at(100)), Machine::Calm);
}

#[test]
fn a_clock_that_was_set_back_raises_nothing() {
    assert_eq!(walk(&[(1_000, Some(Over)), (10, Some(Over)), (1_059, Some(Over))]), []);
}

fn level() -> impl Strategy<Value = Option<Level>> {
    prop_oneof![Just(None), Just(Some(Over)), Just(Some(Between)), Just(Some(Under))]
}

proptest! {
    /// However values come: between two tellings lies the time that the pace names, and what is
    /// told first is that it was raised.
    #[test]
    fn tellings_alternate_and_keep_their_distance(
        steps in prop::collection::vec((1i64..90, level()), 0..200)
    ) {
        let mut second = 0i64;
        let values: Vec<_> = steps.into_iter().map(|(gap, level)| {
            second = second.saturating_add(gap);
            (second, level)
        }).collect();
        let told = walk(&values);
        for (place, (second, word)) in told.iter().enumerate() {
            prop_assert_eq!(*word, if place % 2 == 0 { "raised" } else { "over" });
            let Some((before, _)) = place.checked_sub(1).and_then(|place| told.get(place)) else {
                continue;
            };
            let least = if *word == "over" { 120 } else { 60 };
            prop_assert!(second.saturating_sub(*before) >= least, "{:?}", told);
        }
    }

    /// A condition that is over its limit from some moment on is raised at last.
    #[test]
    fn what_stays_is_raised(steps in prop::collection::vec(level(), 0..50)) {
        let mut values: Vec<_> = (0i64..).zip(steps).collect();
        values.extend([(100, Some(Over)), (130, Some(Over)), (160, Some(Over))]);
        let mut machine = Machine::Calm;
        for (second, level) in values {
            machine = machine.step(level, PACE, at(second));
        }
        prop_assert!(machine.raised_since().is_some());
    }
}
