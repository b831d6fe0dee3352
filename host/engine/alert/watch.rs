//! The loop: reads every value, moves every condition, and has the store raise and clear.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use callgate_core::time::Timestamp;
use callgate_store::{AlertStep, OpenAlert, Raised, SeenAlert, Severity, Store, StoreError};
use tokio::sync::watch;

use super::condition::Reading;
use super::machine::Machine;
use super::send::Robots;
use super::{Settings, readings};
use crate::clock::Clock;
use crate::telemetry::pulse::Pulse;

/// What the loop needs.
#[derive(Clone)]
pub struct Watched {
    /// Where values and alerts are.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Names this host.
    pub owner: String,
    /// Limits and delays.
    pub settings: Settings,
    /// Who is told.
    pub robots: Robots,
    /// What callbacks came to on this host.
    pub pulse: Pulse,
    /// Renders the metrics, for what others measure.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Tells the configured channels, which may change.
    pub channels: Arc<dyn Fn() -> BTreeSet<String> + Send + Sync>,
    /// The configured businesses.
    pub businesses: BTreeSet<String>,
    /// The configured sinks.
    pub sinks: BTreeSet<String>,
}

/// Looks until `shutdown` says so.
pub async fn watch(watched: Watched, mut shutdown: watch::Receiver<bool>) {
    let mut conditions = Conditions::default();
    while !*shutdown.borrow() {
        let now = watched.clock.now();
        if let Err(error) = conditions.look(&watched, now).await {
            metrics::counter!("callgate_alert_faults_total", "what" => "alerts").increment(1);
            tracing::warn!(%error, code = error.code(), "alerts cannot be raised or cleared now");
        }
        count(&watched, now).await;
        let next = now.plus_ms(i64::from(watched.settings.look_ms));
        tokio::select! {
            () = watched.clock.wait_until(next) => {}
            _ = shutdown.wait_for(|stop| *stop) => break,
        }
    }
}

/// Counts the callbacks that are past; after a long rest a few spans at each look.
async fn count(watched: &Watched, now: Timestamp) {
    for _ in 0..SPANS_A_LOOK {
        match watched.store.count_callbacks(now).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                metrics::counter!("callgate_alert_faults_total", "what" => "counts").increment(1);
                tracing::warn!(%error, code = error.code(), "callbacks cannot be counted now");
                return;
            }
        }
    }
}

/// Every condition that this host knows.
#[derive(Debug, Default)]
struct Conditions(BTreeMap<String, Condition>);

#[derive(Debug)]
struct Condition {
    machine: Machine,
    severity: Severity,
    summary: String,
    /// When its value was read last.
    read_at: Timestamp,
}

impl Conditions {
    async fn look(&mut self, watched: &Watched, now: Timestamp) -> Result<(), StoreError> {
        let open = watched.store.open_alerts().await?;
        let readings = readings::read(watched, now).await;
        self.step(watched, (&readings, &open), now);
        let said = self.said(watched, &open, now);
        if !said.seen.is_empty() || !said.over.is_empty() {
            let stepped = watched.store.step_alerts(said.clone(), now).await?;
            for (seen, raised) in said.seen.iter().zip(&stepped.raised) {
                self.heard(seen, *raised, now);
            }
            for condition in &stepped.cleared {
                tracing::info!(condition = condition.as_str(), "alert: over");
            }
        }
        self.show();
        Ok(())
    }

    /// Moves every condition by what was read. One that another host raised before this one began
    /// to look is raised here, too, so that it is over only when it is well here as well.
    fn step(&mut self, watched: &Watched, found: (&[Reading], &[OpenAlert]), now: Timestamp) {
        let (readings, open) = found;
        for reading in readings {
            let (name, rule) = (reading.condition(), watched.settings.rule(reading.kind));
            let level = Some(reading.kind.level(reading.value, rule));
            let known = open.iter().find(|open| open.condition == name);
            let begin = || match known {
                Some(open) => Machine::Raised { since: open.since },
                None => Machine::Calm,
            };
            let before = self.0.get(&name).map_or_else(begin, |condition| condition.machine);
            let condition = Condition {
                machine: before.step(level, rule.pace(watched.settings.clear_ms), now),
                severity: rule.severity,
                summary: reading.summary(rule),
                read_at: now,
            };
            self.0.insert(name, condition);
        }
        self.0.retain(|name, condition| {
            let known = now.ms_since(condition.read_at) < FORGOTTEN_MS;
            if !known {
                gauge(name, condition.severity, 0);
            }
            known
        });
    }

    /// What is to be said of it to the store: what is raised here and held by nobody else, and what
    /// is over.
    fn said(&self, watched: &Watched, open: &[OpenAlert], now: Timestamp) -> AlertStep {
        let find = |name: &str| open.iter().find(|open| open.condition == name);
        let ours = |open: &OpenAlert| open.owner == watched.owner || open.held_until <= now;
        let wanted = |name: &str, machine: Machine| match find(name) {
            Some(open) => ours(open),
            None => matches!(machine, Machine::Raised { .. }),
        };
        let seen = self.0.iter().filter_map(|(name, condition)| {
            let since = condition.machine.raised_since()?;
            wanted(name, condition.machine).then(|| SeenAlert {
                condition: name.clone(),
                severity: condition.severity,
                summary: condition.summary.clone(),
                since,
            })
        });
        let over = open.iter().filter(|open| {
            let here = self.0.get(&open.condition);
            match here {
                Some(condition) => condition.machine.raised_since().is_none() && ours(open),
                // Nobody watches it any more, for a good while.
                None => now.ms_since(open.held_until) >= FORGOTTEN_MS,
            }
        });
        AlertStep {
            owner: watched.owner.clone(),
            lease_ms: watched.settings.lease_ms(),
            repeat_ms: i64::from(watched.settings.repeat_ms),
            webhooks: watched.robots.listeners(),
            seen: seen.collect(),
            over: over.map(|open| open.condition.clone()).collect(),
        }
    }

    fn heard(&mut self, seen: &SeenAlert, raised: Raised, now: Timestamp) {
        match raised {
            Raised::New => tracing::warn!(
                condition = seen.condition.as_str(),
                severity = seen.severity.as_str(),
                summary = seen.summary.as_str(),
                "alert: raised"
            ),
            Raised::Held | Raised::Elsewhere => {}
            Raised::Cleared => {
                if let Some(condition) = self.0.get_mut(&seen.condition) {
                    condition.machine = condition.machine.anew(now);
                }
            }
        }
    }

    fn show(&self) {
        for (name, condition) in &self.0 {
            let raised = u32::from(condition.machine.raised_since().is_some());
            gauge(name, condition.severity, raised);
        }
    }
}

fn gauge(condition: &str, severity: Severity, raised: u32) {
    metrics::gauge!("callgate_alert_raised", "condition" => condition.to_owned(),
        "severity" => severity.as_str())
    .set(raised);
}

/// A condition that nothing was read of for so long is none any more: its sink or channel is gone.
const FORGOTTEN_MS: i64 = 600_000;

/// Spans of callbacks that one look counts at most.
const SPANS_A_LOOK: usize = 12;

#[cfg(test)]
mod tests;
