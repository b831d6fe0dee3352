//! What a back-test came to, in counts.

use std::collections::BTreeMap;

use callgate_core::quantiles::Quantiles;
use serde::Serialize;
use serde_json::{Value, json};

use super::difference::Kind;
use super::walk::{Finding, Verdict};

/// Counts of findings; a notification is counted once in each line that fits it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Notifications with a run in the window.
    pub(crate) notifications: u64,
    /// Decided alike by both versions.
    pub(crate) same: u64,
    /// Decided otherwise by B.
    pub(crate) different: u64,
    /// Of those, with a difference of each kind.
    pub(crate) kinds: BTreeMap<Kind, u64>,
    /// Not compared: why, and how often.
    pub(crate) left_out: BTreeMap<LeftOut, u64>,
    /// Components that ran and are not at hand, and how often.
    pub(crate) components: BTreeMap<String, u64>,
    /// Decided as recorded when A ran again, with other fuel.
    pub(crate) other_fuel: u64,
    /// Fuel of A and of B, where they were compared.
    pub(crate) fuel: (Quantiles, Quantiles),
}

/// Why a notification is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LeftOut {
    /// A itself decides otherwise than it did.
    NotRepeatable,
    /// What the run was told was not recorded.
    NotRecorded,
    /// Retention archived its content.
    Archived,
    /// The component that ran is not at hand.
    NoComponent,
    /// The record cannot be read, or the host failed.
    Failed,
}

impl LeftOut {
    /// In words for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::NotRepeatable => "not repeatable: A does not decide again as was recorded",
            Self::NotRecorded => "not recorded: off, or longer than engine.record_inputs_bytes",
            Self::Archived => "archived: retention took their content",
            Self::NoComponent => "the component that ran is not at hand (--against)",
            Self::Failed => "failed: an unreadable record, or a fault of the host",
        }
    }
}

impl Summary {
    /// Counts a finding.
    pub(crate) fn add(&mut self, finding: &Finding) {
        bump(&mut self.notifications);
        if finding.other_fuel {
            bump(&mut self.other_fuel);
        }
        let left_out = match &finding.verdict {
            Verdict::Same => {
                bump(&mut self.same);
                return self.compared(finding);
            }
            Verdict::Different(differences) => {
                bump(&mut self.different);
                let mut kinds: Vec<Kind> = differences.iter().map(|one| one.kind).collect();
                kinds.sort_unstable();
                kinds.dedup();
                kinds.into_iter().for_each(|kind| bump(self.kinds.entry(kind).or_default()));
                return self.compared(finding);
            }
            Verdict::NotRepeatable(_) => LeftOut::NotRepeatable,
            Verdict::NotRecorded => LeftOut::NotRecorded,
            Verdict::Archived => LeftOut::Archived,
            Verdict::NoComponent(component) => {
                bump(self.components.entry(component.clone()).or_default());
                LeftOut::NoComponent
            }
            Verdict::Failed(_) => LeftOut::Failed,
        };
        bump(self.left_out.entry(left_out).or_default());
    }

    fn compared(&mut self, finding: &Finding) {
        if let Some((a, b)) = &finding.sides {
            self.fuel.0.add(a.fuel);
            self.fuel.1.add(b.fuel);
        }
    }

    /// Notifications that were compared.
    pub(crate) fn compared_total(&self) -> u64 {
        self.same.saturating_add(self.different)
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let fuel = |fuel: &Quantiles| {
            json!({ "p50": fuel.percentile(50), "p90": fuel.percentile(90),
                "p99": fuel.percentile(99), "max": fuel.max() })
        };
        json!({
            "notifications": self.notifications,
            "compared": self.compared_total(),
            "same": self.same,
            "different": self.different,
            "kinds": self.kinds,
            "left_out": self.left_out,
            "components_missing": self.components,
            "other_fuel": self.other_fuel,
            "fuel": { "a": fuel(&self.fuel.0), "b": fuel(&self.fuel.1) },
        })
    }
}

fn bump(count: &mut u64) {
    *count = count.saturating_add(1);
}
