//! What operators and their machines see of the bulkheads.

use serde_json::{Value, json};

use super::breaker::State;
use super::gate::{Change, Gate};
use super::{Bulkhead, Waiter};

/// Tells of a change, once.
pub(super) fn tell(plugin: &str, change: Option<Change>) {
    let Some(Change { version, state, until, faults, runs }) = change else { return };
    let words = state.as_str();
    metrics::counter!("callgate_plugin_circuit_changes_total", "plugin" => plugin.to_owned(),
        "state" => words)
    .increment(1);
    show_state(plugin, state);
    let until_ms = until.map(callgate_core::time::Timestamp::as_ms);
    match state {
        State::Open => tracing::warn!(
            plugin,
            version,
            state = words,
            until_ms,
            faults,
            runs,
            code = "plugin.circuit-open",
            "a plugin keeps failing and is left alone; its notifications wait"
        ),
        State::Restricted => tracing::warn!(
            plugin,
            version,
            state = words,
            faults,
            runs,
            "a plugin keeps failing and is held to one run at a time"
        ),
        State::HalfOpen => {
            tracing::info!(plugin, version, state = words, "a plugin that failed is tried again")
        }
        State::Closed => {
            tracing::info!(plugin, version, state = words, "a plugin that failed works again")
        }
    }
}

/// One of the states is 1, the others are 0.
fn show_state(plugin: &str, state: State) {
    for one in State::ALL {
        metrics::gauge!("callgate_plugin_circuit", "plugin" => plugin.to_owned(),
            "state" => one.as_str())
        .set(u32::from(one == state));
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Bulkhead {
    /// Shows the gates to machines.
    pub(super) fn show(&self) {
        for (plugin, gate) in &*self.gates() {
            show_state(plugin, gate.state());
            let held = u32::try_from(gate.held()).unwrap_or(u32::MAX);
            metrics::gauge!("callgate_plugin_held", "plugin" => plugin.to_string()).set(held);
            metrics::gauge!("callgate_plugin_running", "plugin" => plugin.to_string())
                .set(count(gate.running()));
        }
    }

    /// The gates as operators see them, by plugin.
    #[must_use]
    pub fn view(&self) -> Value {
        let gates = self.gates();
        let list: Vec<_> = gates.iter().map(|(plugin, gate)| one(plugin, gate)).collect();
        json!({ "bulkheads": list })
    }
}

fn one(plugin: &str, gate: &Gate<Waiter>) -> Value {
    let versions: Vec<_> = gate
        .versions()
        .map(|(version, lock)| {
            let breaker = &lock.breaker;
            let (faults, runs) = breaker.share();
            let component = version.split('.').next().unwrap_or_default();
            json!({
                "version": lock.label,
                "component": component,
                "state": breaker.state().as_str(),
                "since_ms": breaker.since().as_ms(),
                "until_ms": breaker.until().map(callgate_core::time::Timestamp::as_ms),
                "faults": faults,
                "runs": runs,
                "running": lock.running,
            })
        })
        .collect();
    json!({
        "plugin": plugin,
        "state": gate.state().as_str(),
        "concurrency": gate.concurrency(),
        "running": gate.running(),
        "waiting": gate.waiting(),
        "held": gate.held(),
        "versions": versions,
    })
}
