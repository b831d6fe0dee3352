//! Counters and histograms that are kept: to look one up by its labels anew for every run costs
//! more than to count. Where they are rendered is settled before the first run: a server is given
//! the handle of it when it starts.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use metrics::{Counter, Histogram};

/// What counts the same thing under several labels, by the text of these. Labels are few: see
/// `labels`.
#[derive(Debug)]
pub(super) struct Meters<T>(RwLock<BTreeMap<String, T>>);

/// Runs, by plugin.
pub(super) static RUNS: Meters<Histogram> = Meters::new();
/// Callbacks that had their effect, by business.
pub(super) static EFFECTS: Meters<Histogram> = Meters::new();
/// Decisions, by business, outcome and code.
pub(super) static OUTCOMES: Meters<Counter> = Meters::new();
/// Attempts, by class.
pub(super) static ATTEMPTS: Meters<Counter> = Meters::new();

impl<T> Meters<T> {
    const fn new() -> Self {
        Self(RwLock::new(BTreeMap::new()))
    }

    /// Counts with the one of this name, which is made where it is not known.
    pub(super) fn with(&self, name: &str, make: impl FnOnce() -> T, count: impl FnOnce(&T)) {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return count(known);
        }
        let mut meters = self.0.write().unwrap_or_else(PoisonError::into_inner);
        count(meters.entry(name.to_owned()).or_insert_with(make));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::Meters;

    #[test]
    fn a_meter_is_made_once_for_each_name() {
        let meters: Meters<Cell<u32>> = Meters::new();
        let count = |name| {
            let mut made = false;
            let make = || {
                made = true;
                Cell::new(0)
            };
            meters.with(name, make, |meter| meter.set(meter.get() + 1));
            let mut counted = 0;
            meters.with(name, || Cell::new(0), |meter| counted = meter.get());
            (made, counted)
        };
        assert_eq!([count("a"), count("a"), count("b")], [(true, 1), (false, 2), (true, 1)]);
    }
}
