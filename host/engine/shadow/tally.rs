//! What a shadow found on this host: counts, and the last differences. Bounded.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::engine::backtest::{Decision, Difference, Side};

/// Counts since the shadow began on this host.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Runs of the version beside it that were offered.
    offered: u64,
    /// Of those, left out because the host was busy or the shadow was.
    dropped: u64,
    same: u64,
    different: u64,
    /// Runs in which the host failed.
    failed: u64,
    kinds: BTreeMap<&'static str, u64>,
    /// Fuel of both sides, where both ran.
    fuel: (u64, u64),
    last: VecDeque<Value>,
    /// Whether there is something that was not reported yet.
    changed: bool,
}

/// One comparison.
pub(super) struct Compared<'a> {
    pub(super) notification: &'a str,
    pub(super) order_no: Option<&'a str>,
    pub(super) at_ms: i64,
    pub(super) a: &'a Decision,
    pub(super) b: &'a Decision,
    pub(super) differences: &'a [Difference],
}

impl Tally {
    pub(super) fn offered(&mut self) {
        bump(&mut self.offered);
        self.changed = true;
    }

    pub(super) fn dropped(&mut self) {
        bump(&mut self.dropped);
    }

    pub(super) fn failed(&mut self) {
        bump(&mut self.failed);
        self.changed = true;
    }

    pub(super) fn compared(&mut self, compared: &Compared<'_>) {
        self.changed = true;
        self.fuel.0 = self.fuel.0.saturating_add(compared.a.fuel);
        self.fuel.1 = self.fuel.1.saturating_add(compared.b.fuel);
        if compared.differences.is_empty() {
            return bump(&mut self.same);
        }
        bump(&mut self.different);
        let mut kinds: Vec<_> = compared.differences.iter().map(|one| one.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.into_iter().for_each(|kind| bump(self.kinds.entry(kind).or_default()));
        if self.last.len() >= LAST_MAX {
            self.last.pop_front();
        }
        let differences: Vec<_> = compared.differences.iter().take(DIFFERENCES_KEPT).collect();
        self.last.push_back(json!({
            "notification": compared.notification,
            "order_no": compared.order_no,
            "at_ms": compared.at_ms,
            "a": Side::of(compared.a).json(),
            "b": Side::of(compared.b).json(),
            "differences": differences,
        }));
    }

    /// What is to be reported, where something is new.
    pub(super) fn report(&mut self) -> Option<String> {
        std::mem::take(&mut self.changed).then(|| self.json().to_string())
    }

    fn json(&self) -> Value {
        json!({
            "offered": self.offered,
            "dropped": self.dropped,
            "same": self.same,
            "different": self.different,
            "failed": self.failed,
            "kinds": self.kinds,
            "fuel_a": self.fuel.0,
            "fuel_b": self.fuel.1,
            "last": self.last,
        })
    }
}

fn bump(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// Notifications whose differences are kept.
const LAST_MAX: usize = 20;

/// Differences that are kept of each.
const DIFFERENCES_KEPT: usize = 10;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Compared, LAST_MAX, Tally};
    use crate::engine::backtest::tests::{decision, draft, fault};
    use crate::engine::backtest::{Decision, compare};

    fn compared(tally: &mut Tally, (a, b): (&Decision, &Decision), notification: &str) {
        let differences = compare(a, b);
        let order_no = Some("o");
        let at_ms = 1;
        let differences = differences.as_slice();
        tally.compared(&Compared { notification, order_no, at_ms, a, b, differences });
    }

    #[test]
    fn the_last_differences_are_kept_and_all_are_counted() {
        let mut tally = Tally::default();
        let (good, bad) = (decision(Ok(draft())), decision(Err(fault())));
        compared(&mut tally, (&good, &good), "same");
        for number in 0..LAST_MAX + 5 {
            compared(&mut tally, (&good, &bad), &format!("n{number}"));
        }
        let report: Value = serde_json::from_str(&tally.report().unwrap()).unwrap();
        assert_eq!((report["same"].as_u64(), report["different"].as_u64()), (Some(1), Some(25)));
        assert_eq!(report["kinds"]["outcome"], 25);
        let last = report["last"].as_array().unwrap();
        assert_eq!(last.len(), LAST_MAX);
        assert_eq!(last[0]["notification"], "n5");
        assert_eq!(tally.report(), None, "nothing is new");
    }
}
