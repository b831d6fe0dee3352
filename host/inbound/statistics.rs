//! What runs of a plugin cost, by version and phase, from the attempts that are kept. In memory
//! that does not grow with their number.

use std::collections::BTreeMap;

use callgate_core::quantiles::Quantiles;
use callgate_sandbox::limits::Limits;
use callgate_store::Measured;
use serde::Deserialize;
use serde_json::{Value, json};

/// Costs by version.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    versions: BTreeMap<(String, String), Version>,
    /// Attempts of versions beyond the first [`VERSIONS_MAX`].
    others: u64,
    attempts: u64,
}

/// What one component cost.
#[derive(Debug, Default)]
struct Version {
    runs: u64,
    afters: u64,
    outcomes: BTreeMap<String, u64>,
    faults: BTreeMap<String, u64>,
    /// All phases of one run together.
    fuel: Quantiles,
    /// From the claim to the decision, in microseconds.
    duration_us: Quantiles,
    phases: BTreeMap<String, Phase>,
}

#[derive(Debug, Default)]
struct Phase {
    fuel: Quantiles,
    duration_us: Quantiles,
}

/// One phase as an attempt keeps it.
#[derive(Debug, Deserialize)]
struct Cost {
    phase: String,
    fuel: u64,
    duration_us: u64,
}

impl Statistics {
    /// Counts an attempt. One whose phases cannot be read counts without them.
    pub(super) fn add(&mut self, measured: &Measured) {
        let attempt = &measured.attempt;
        let Some(run) = &attempt.run else { return };
        bump(&mut self.attempts);
        let key = (run.plugin_version.clone(), run.component.clone());
        if !self.versions.contains_key(&key) && self.versions.len() >= VERSIONS_MAX {
            return bump(&mut self.others);
        }
        let version = self.versions.entry(key).or_default();
        bump(if attempt.step == "after" { &mut version.afters } else { &mut version.runs });
        bump(version.outcomes.entry(attempt.outcome.clone()).or_default());
        let code = attempt.reason.as_ref().map_or("", |reason| reason.code.as_ref());
        if code.starts_with("sandbox.") {
            bump(version.faults.entry(code.to_owned()).or_default());
        }
        version.fuel.add(u64::try_from(run.fuel).unwrap_or(0));
        version.duration_us.add(u64::try_from(attempt.spent.duration_us).unwrap_or(0));
        let costs: Vec<Cost> = serde_json::from_str(&attempt.spent.phases).unwrap_or_default();
        for cost in costs.into_iter().take(PHASES_MAX) {
            let phase = version.phases.entry(cost.phase).or_default();
            phase.fuel.add(cost.fuel);
            phase.duration_us.add(cost.duration_us);
        }
    }

    pub(super) fn attempts(&self) -> u64 {
        self.attempts
    }

    /// The answer; `limits` are those of a component, where this host has it.
    pub(super) fn json(&self, limits: impl Fn(&str) -> Option<Limits>) -> Value {
        let versions = self.versions.iter().map(|((number, component), version)| {
            let limits = limits(component);
            version.json((number, component), limits.as_ref())
        });
        json!({ "attempts": self.attempts, "other_versions": self.others,
            "versions": versions.collect::<Vec<_>>() })
    }
}

impl Version {
    fn json(&self, (number, component): (&str, &str), limits: Option<&Limits>) -> Value {
        let phases = ORDER.into_iter().filter_map(|name| {
            let phase = self.phases.get(name)?;
            let fuel_limit = limits.map(|limits| limits.fuel);
            let wall_limit = limits.and_then(|limits| wall_us(limits, name));
            Some(json!({
                "phase": name,
                "runs": phase.fuel.count(),
                "fuel": told(&phase.fuel, fuel_limit),
                "duration_us": told(&phase.duration_us, wall_limit),
            }))
        });
        json!({
            "version": number,
            "component": component,
            "runs": self.runs,
            "after_runs": self.afters,
            "outcomes": self.outcomes,
            "faults": self.faults,
            "fuel": told(&self.fuel, None),
            "duration_us": told(&self.duration_us, None),
            "phases": phases.collect::<Vec<_>>(),
        })
    }
}

/// Percentiles, and which part of the limit they are, in hundredths of a percent.
fn told(numbers: &Quantiles, limit: Option<u64>) -> Value {
    let part = |number: u64| {
        let limit = u128::from(limit?);
        u128::from(number).saturating_mul(PARTS).checked_div(limit).map(u64::try_from)?.ok()
    };
    let nearly = numbers.percentile(99);
    json!({
        "p50": numbers.percentile(50),
        "p90": numbers.percentile(90),
        "p99": nearly,
        "max": numbers.max(),
        "limit": limit,
        "p99_of_limit_parts": part(nearly),
        "max_of_limit_parts": part(numbers.max()),
    })
}

fn wall_us(limits: &Limits, phase: &str) -> Option<u64> {
    let ms = match phase {
        "start" => limits.start_ms,
        "prepare" => limits.prepare_ms,
        "check" => limits.check_ms,
        "next-state" => limits.next_state_ms,
        "action" => limits.action_ms,
        "save" => limits.save_ms,
        "after" => limits.after_ms,
        _ => return None,
    };
    Some(u64::from(ms).saturating_mul(1_000))
}

fn bump(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// The phases of the contract, in their order.
const ORDER: [&str; 7] = ["start", "prepare", "check", "next-state", "action", "save", "after"];

/// Versions that are told apart.
const VERSIONS_MAX: usize = 20;

/// Phases of one attempt that are looked at.
const PHASES_MAX: usize = 16;

/// Hundredths of a percent.
const PARTS: u128 = 10_000;

#[cfg(test)]
mod tests {
    use callgate_core::outcome::Reason;
    use callgate_core::time::Timestamp;
    use callgate_sandbox::limits::Limits;
    use callgate_store::{Attempt, Measured, RunRecord, Spent};

    use super::{Statistics, VERSIONS_MAX};

    fn measured(
        version: &str,
        (fuel, outcome): (i64, &str),
        code: Option<&'static str>,
    ) -> Measured {
        let phases = format!(r#"[{{"phase":"check","fuel":{fuel},"duration_us":7}}]"#);
        Measured {
            notification: "n".to_owned(),
            attempt: Attempt {
                attempt: 1,
                step: "run".to_owned(),
                at: Timestamp::from_ms(0),
                spent: Spent { duration_us: 9, phases, inputs: None },
                outcome: outcome.to_owned(),
                reason: code.map(|code| Reason::new(code, "")),
                mode: "live".to_owned(),
                run: Some(RunRecord {
                    plugin: "p".to_owned(),
                    plugin_version: version.to_owned(),
                    component: "c".to_owned(),
                    fuel,
                }),
            },
        }
    }

    #[test]
    fn costs_are_told_by_version_and_phase_with_their_part_of_the_limit() {
        let mut statistics = Statistics::default();
        (1..=100).for_each(|fuel| statistics.add(&measured("1.0.0", (fuel, "advance"), None)));
        statistics.add(&measured("1.1.0", (5, "retry"), Some("sandbox.fuel")));
        let limits = || Limits { fuel: 1_000, check_ms: 7, ..Limits::default() };
        let told = statistics.json(|_| Some(limits()));
        let first = &told["versions"][0];
        assert_eq!((&first["version"], &first["runs"]), (&"1.0.0".into(), &100.into()));
        let check = &first["phases"][0];
        assert_eq!(check["fuel"]["p50"], 50);
        assert_eq!(check["fuel"]["p99"], 99);
        assert_eq!(check["fuel"]["p99_of_limit_parts"], 990);
        assert_eq!(check["duration_us"]["max_of_limit_parts"], 10);
        let second = &told["versions"][1];
        assert_eq!(second["faults"]["sandbox.fuel"], 1);
        assert_eq!(second["outcomes"]["retry"], 1);
    }

    #[test]
    fn more_versions_than_are_told_apart_are_counted() {
        let mut statistics = Statistics::default();
        for number in 0..VERSIONS_MAX + 3 {
            statistics.add(&measured(&format!("{number}"), (1, "advance"), None));
        }
        assert_eq!(statistics.json(|_| None)["other_versions"], 3);
    }
}
