//! Canaries: which orders a new version gets, and when it has failed too often. Pure arithmetic.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// Which orders the canary of a plugin gets: a share of all, and those that are named.
///
/// An order stays with its version for as long as the share does not shrink: the choice rests on
/// the order's number alone, so that it is the same on every host and at every attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Hundredths of a percent of all orders: 10,000 is every order.
    #[serde(default)]
    pub parts: u32,
    /// Orders that it gets besides, by their numbers.
    #[serde(default)]
    pub orders: BTreeSet<String>,
}

impl Share {
    /// Whether an order of a plugin is the canary's.
    #[must_use]
    pub fn takes(&self, plugin: &str, order_no: &str) -> bool {
        place(plugin, order_no) < self.parts || self.orders.contains(order_no)
    }

    /// Holds the share against its bounds.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if self.parts > PARTS {
            let found = self.parts;
            return Err(format!("the share is {found} hundredths of a percent, limit is {PARTS}"));
        }
        if self.parts == 0 && self.orders.is_empty() {
            return Err("the share is empty: expected a percentage above 0 or orders".to_owned());
        }
        if self.orders.len() > ORDERS_MAX {
            return Err(format!("{} orders are named, limit is {ORDERS_MAX}", self.orders.len()));
        }
        let fits = |name: &String| (1..=256).contains(&name.len()) && !name.contains('\0');
        match self.orders.iter().all(fits) {
            true => Ok(()),
            false => Err("the number of an order has 1 to 256 bytes, without NUL".to_owned()),
        }
    }
}

/// Where an order stands between 0 and 9,999, evenly spread, and differently for each plugin.
fn place(plugin: &str, order_no: &str) -> u32 {
    let hash = digest(&SHA256, format!("{plugin}\0{order_no}").as_bytes());
    let head = hash.as_ref().iter().take(8);
    let number = head.fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
    u32::try_from(number.checked_rem(u64::from(PARTS)).unwrap_or(0)).unwrap_or(0)
}

/// When a canary has failed too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Before so many runs nothing is judged.
    pub runs: u32,
    /// Hundredths of a percent of its runs that may fail beyond what fails anyway.
    pub parts: u32,
}

impl Budget {
    /// Holds the budget against its bounds.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=1_000_000).contains(&self.runs) {
            return Err(format!("runs is {}, expected 1 to 1000000", self.runs));
        }
        if self.parts > PARTS {
            return Err(format!(
                "the budget is {} hundredths of a percent, limit is {PARTS}",
                self.parts
            ));
        }
        Ok(())
    }

    /// Why a canary is to be rolled back; `None` while it is within its budget.
    ///
    /// It is judged after enough runs, and held against what the active version did in the same
    /// time: trouble that both have, such as a gateway's, is not the canary's. An active version
    /// that has hardly run tells nothing.
    #[must_use]
    pub fn crossed(&self, canary: Runs, active: Runs) -> Option<String> {
        if canary.total < i64::from(self.runs) {
            return None;
        }
        let usual = if active.total >= ACTIVE_RUNS_MIN { active.failed_parts() } else { 0 };
        let allowed = usual.saturating_add(i64::from(self.parts));
        let found = canary.failed_parts();
        (found > allowed).then(|| {
            format!(
                "{} of {} runs of the canary failed ({}), of the active version {} of {} ({}); \
                 the budget is {} beyond that after {} runs",
                canary.failed,
                canary.total,
                percent(found),
                active.failed,
                active.total,
                percent(active.failed_parts()),
                percent(i64::from(self.parts)),
                self.runs,
            )
        })
    }
}

/// Runs of a version, and how many of them failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// All of them.
    pub total: i64,
    /// Those that ended in a fault, a rejection or a review.
    pub failed: i64,
}

impl Runs {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            total: self.total.saturating_add(other.total),
            failed: self.failed.saturating_add(other.failed),
        }
    }

    /// The share of those that failed, in hundredths of a percent, rounded up.
    #[must_use]
    pub fn failed_parts(self) -> i64 {
        let failed = self.failed.clamp(0, self.total.max(0));
        let parts = failed.saturating_mul(i64::from(PARTS));
        parts.saturating_add(self.total.saturating_sub(1)).checked_div(self.total).unwrap_or(0)
    }
}

/// Hundredths of a percent, for people.
#[must_use]
pub fn percent(parts: i64) -> String {
    let (whole, rest) = (parts.div_euclid(100), parts.rem_euclid(100));
    match rest {
        0 => format!("{whole}%"),
        rest => format!("{whole}.{rest:02}%").replace("0%", "%"),
    }
}

/// Reads a percentage with at most two digits behind the point, such as `5`, `5%` or `0.25%`.
#[must_use]
pub fn parts(text: &str) -> Option<u32> {
    let text = text.strip_suffix('%').unwrap_or(text);
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(rest) || rest.len() > 2 {
        return None;
    }
    let tens = if rest.len() == 1 { 10 } else { 1 };
    let whole = whole.parse::<u32>().ok()?.checked_mul(100)?;
    let parts = whole.checked_add(rest.parse::<u32>().ok()?.checked_mul(tens)?)?;
    (parts <= PARTS).then_some(parts)
}

/// Every order.
pub const PARTS: u32 = 10_000;

/// Orders that one canary may name.
pub const ORDERS_MAX: usize = 1_000;

/// Fewer runs of the active version say nothing about what fails anyway.
const ACTIVE_RUNS_MIN: i64 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Budget, Runs, Share, parts, percent, place};

    fn share(parts: u32) -> Share {
        Share { parts, ..Share::default() }
    }

    #[test]
    fn the_place_of_an_order_never_changes() {
        let places = ["o-1", "o-2", "o-3"].map(|order| place("shop/order-payment", order));
        assert_eq!(places, PLACES);
        assert_ne!(place("shop/order-refund", "o-1"), PLACES[0]);
    }

    /// What this program has always answered: a host of another version must agree.
    const PLACES: [u32; 3] = [262, 7567, 4703];

    #[test]
    fn a_share_gets_about_its_part_of_all_orders() {
        let orders: Vec<_> = (0..20_000).map(|number| format!("20261122{number}")).collect();
        for wanted in [100, 500, 5_000, 10_000] {
            let share = share(wanted);
            let taken = orders.iter().filter(|order| share.takes("p", order)).count();
            let expected = 2 * usize::try_from(wanted).unwrap();
            let off = taken.abs_diff(expected);
            assert!(off <= expected / 5, "{taken} of 20000, expected about {expected}");
        }
    }

    #[test]
    fn named_orders_are_taken_whatever_the_share() {
        let orders = ["a".to_owned()].into();
        let share = Share { parts: 0, orders };
        assert!(share.takes("p", "a") && !share.takes("p", "b"));
        assert!(share.check().is_ok());
    }

    #[test]
    fn shares_out_of_bounds_are_refused() {
        assert!(share(10_000).check().is_ok());
        assert!(share(10_001).check().is_err());
        assert!(share(0).check().is_err());
        let many = |count: usize| Share {
            parts: 0,
            orders: (0..count).map(|number| number.to_string()).collect(),
        };
        assert!(many(1_000).check().is_ok());
        assert!(many(1_001).check().is_err());
        let nul = Share { parts: 0, orders: ["a\0".to_owned()].into() };
        assert!(nul.check().is_err());
    }

    fn runs(failed: i64, total: i64) -> Runs {
        Runs { total, failed }
    }

    const BUDGET: Budget = Budget { runs: 20, parts: 500 };

    #[test]
    fn nothing_is_judged_before_enough_runs() {
        assert_eq!(BUDGET.crossed(runs(19, 19), runs(0, 1_000)), None);
        assert!(BUDGET.crossed(runs(20, 20), runs(0, 1_000)).is_some());
    }

    #[test]
    fn a_budget_may_be_used_up_and_not_crossed() {
        assert_eq!(BUDGET.crossed(runs(5, 100), runs(0, 1_000)), None);
        let text = BUDGET.crossed(runs(6, 100), runs(0, 1_000)).unwrap();
        assert!(text.contains("6 of 100 runs of the canary failed (6%)"), "{text}");
    }

    #[test]
    fn trouble_that_both_have_is_not_the_canarys() {
        assert_eq!(BUDGET.crossed(runs(60, 100), runs(58, 100)), None);
        assert!(BUDGET.crossed(runs(60, 100), runs(50, 100)).is_some());
        // An active version that ran a few times says nothing.
        assert!(BUDGET.crossed(runs(60, 100), runs(4, 4)).is_some());
        assert_eq!(BUDGET.crossed(runs(60, 100), runs(5, 5)), None);
    }

    #[test]
    fn percentages_read_and_write() {
        for (text, expected) in [
            ("5", Some(500)),
            ("5%", Some(500)),
            ("0.25%", Some(25)),
            ("0.5", Some(50)),
            ("100%", Some(10_000)),
            ("100.01", None),
            ("-1", None),
            ("1.234", None),
            ("5.", None),
            ("", None),
            ("%", None),
            ("99999999999", None),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
        let written = [500, 25, 50, 10_000, 0].map(percent);
        assert_eq!(written, ["5%", "0.25%", "0.5%", "100%", "0%"]);
    }

    proptest! {
        #[test]
        fn an_order_of_a_small_share_is_in_every_larger_one(
            order in ".{0,20}", less in 0u32..=10_000, more in 0u32..=10_000,
        ) {
            let (less, more) = (less.min(more), less.max(more));
            prop_assert!(!share(less).takes("p", &order) || share(more).takes("p", &order));
        }

        #[test]
        fn no_counts_make_a_budget_panic(
            a in any::<i64>(), b in any::<i64>(), c in any::<i64>(), d in any::<i64>(),
        ) {
            let _ = BUDGET.crossed(runs(a, b), runs(c, d));
        }
    }
}
