//! A stored range, page by page: what each notification's last run decided, and what another
//! version decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::registry::{Registry, RouteKey};
use callgate_store::{ReadOnly, RecordedQuery, RecordedRun, StoreError};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::decision::Decision;
use super::difference::{Difference, Kind, compare};
use super::inputs::Inputs;
use super::trial;

/// What is looked at, and how fast.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) query: RecordedQuery,
    /// Notifications a second at most.
    pub(crate) rate_per_s: u32,
    /// Notifications in all, where that is bounded.
    pub(crate) limit: Option<u64>,
    /// Runs at once.
    pub(crate) at_once: usize,
    /// Where guests run.
    pub(crate) guests: Handle,
    /// The version in question.
    pub(crate) b: Arc<Plugin>,
}

/// What was found out about one notification.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) run: RecordedRun,
    pub(crate) verdict: Verdict,
    /// How A and B decided, where both ran.
    pub(crate) sides: Option<(Side, Side)>,
    /// Whether A decided as recorded and burned other fuel than recorded.
    pub(crate) other_fuel: bool,
}

/// How one version decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Side {
    /// The class of its decision, with the code of the reason where there is one.
    pub(crate) outcome: String,
    pub(crate) fuel: u64,
}

/// What became of a comparison.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Both decide alike.
    Same,
    /// B decides otherwise.
    Different(Vec<Difference>),
    /// A decides otherwise than was recorded: nothing can be said of B.
    NotRepeatable(String),
    /// What the run was told was not recorded.
    NotRecorded,
    /// The notification's content is in an archive.
    Archived,
    /// The component that ran, which is not at hand.
    NoComponent(String),
    /// The record cannot be read, or the host failed.
    Failed(String),
}

/// Goes through everything that was recorded. `component` hands out the version A that a run is
/// held against, by the SHA-256 of the component that ran; `each` hears of every notification, in
/// order of arrival.
///
/// # Errors
/// As the database or `component` fails.
pub(crate) async fn walk<E: From<StoreError>>(
    store: &ReadOnly,
    plan: &Plan,
    mut component: impl AsyncFnMut(&str) -> Result<Option<Arc<Plugin>>, E>,
    mut each: impl FnMut(&Finding),
) -> Result<(), E> {
    let routes = Registry::build(vec![Arc::clone(&plan.b)]).unwrap_or_default();
    let begun = Instant::now();
    let mut versions: BTreeMap<String, Option<Arc<Plugin>>> = BTreeMap::new();
    let mut after: Option<String> = None;
    let mut looked_at = 0u64;
    loop {
        let left = plan.limit.map_or(u64::MAX, |limit| limit.saturating_sub(looked_at));
        let wanted = PAGE.min(u64::from(plan.rate_per_s.max(1))).min(left);
        if wanted == 0 {
            return Ok(());
        }
        let size = i64::try_from(wanted).unwrap_or(i64::MAX);
        let page = store.recorded(&plan.query, after.as_deref(), size).await?;
        for run in &page.runs {
            let sha256 = ran(run);
            if !versions.contains_key(sha256) {
                let plugin = component(sha256).await?;
                versions.insert(sha256.to_owned(), plugin);
            }
        }
        let jobs = page.runs.into_iter().map(|run| {
            let a = versions.get(ran(&run)).cloned().flatten();
            finding(plan, &routes, run, a)
        });
        let mut findings = stream::iter(jobs).buffered(plan.at_once.max(1));
        while let Some(finding) = findings.next().await {
            looked_at = looked_at.saturating_add(1);
            each(&finding);
        }
        let Some(next) = page.next else { return Ok(()) };
        after = Some(next);
        tokio::time::sleep_until(due(begun, looked_at, plan.rate_per_s)).await;
    }
}

/// When so many may be done at this rate.
fn due(begun: Instant, done: u64, rate_per_s: u32) -> Instant {
    let ms = done.saturating_mul(1000).checked_div(rate_per_s.into()).unwrap_or(0);
    begun.checked_add(Duration::from_millis(ms)).unwrap_or(begun)
}

/// The component that ran.
fn ran(run: &RecordedRun) -> &str {
    run.attempt.run.as_ref().map_or("", |run| run.component.as_str())
}

async fn finding(
    plan: &Plan,
    routes: &Registry,
    run: RecordedRun,
    a: Option<Arc<Plugin>>,
) -> Finding {
    let mut finding = Finding { run, verdict: Verdict::Same, sides: None, other_fuel: false };
    finding.verdict = match judge(plan, routes, &mut finding, a).await {
        Ok(verdict) => verdict,
        Err(failed) => Verdict::Failed(failed),
    };
    finding
}

async fn judge(
    plan: &Plan,
    routes: &Registry,
    finding: &mut Finding,
    a: Option<Arc<Plugin>>,
) -> Result<Verdict, String> {
    let stored = &finding.run.stored;
    if stored.archived_at.is_some() {
        return Ok(Verdict::Archived);
    }
    let Some(text) = finding.run.inputs.take() else { return Ok(Verdict::NotRecorded) };
    let inputs = Arc::new(Inputs::read(&text)?);
    let Some(a) = a else { return Ok(Verdict::NoComponent(ran(&finding.run).to_owned())) };
    let first = trial::run(&plan.guests, &a, stored, &inputs).await?;
    if a.sha256() == ran(&finding.run) {
        if first.proposed != inputs.proposed() {
            return Ok(Verdict::NotRepeatable(unlike(&finding.run, &inputs, &a)));
        }
        let burned = finding.run.attempt.run.as_ref().and_then(|run| u64::try_from(run.fuel).ok());
        finding.other_fuel = burned != Some(first.decision.fuel);
    }
    let key = RouteKey {
        business: &stored.business,
        scene: &stored.scene,
        event_type: stored.notification.event_type.as_str(),
        state: inputs.state(),
    };
    if routes.pick(key, None).is_none() {
        let place = format!("{} in scene {}", key.event_type, key.scene);
        return Ok(Verdict::Different(vec![Difference::new(Kind::Route, place)]));
    }
    let second = trial::run(&plan.guests, &plan.b, stored, &inputs).await?;
    let (one, two) = (first.decision, second.decision);
    let differences = compare(&one, &two);
    finding.sides = Some((Side::of(&one), Side::of(&two)));
    Ok(if differences.is_empty() { Verdict::Same } else { Verdict::Different(differences) })
}

/// Why A may decide otherwise than it did.
fn unlike(run: &RecordedRun, inputs: &Inputs, a: &Plugin) -> String {
    let outcome = &run.attempt.outcome;
    if inputs.config() == a.config_revision() {
        return format!("recorded as {outcome}, decides otherwise on the same inputs");
    }
    let (was, is) = (inputs.config(), a.config_revision());
    format!("recorded as {outcome} with configuration {was}, which is {is} now")
}

impl Side {
    pub(crate) fn of(decision: &Decision) -> Self {
        let (class, code) = (decision.class.as_str(), decision.code.as_str());
        let outcome = if code.is_empty() { class.to_owned() } else { format!("{class} {code}") };
        Self { outcome, fuel: decision.fuel }
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "outcome": self.outcome, "fuel": self.fuel })
    }
}

impl Finding {
    /// For machines: one that differs or could not be compared.
    pub(crate) fn json(&self) -> Value {
        let stored = &self.run.stored;
        let (word, more) = match &self.verdict {
            Verdict::Same => ("same", Value::Null),
            Verdict::Different(differences) => ("different", json!(differences)),
            Verdict::NotRepeatable(why) => ("not-repeatable", json!(why)),
            Verdict::NotRecorded => ("not-recorded", Value::Null),
            Verdict::Archived => ("archived", Value::Null),
            Verdict::NoComponent(component) => ("no-component", json!(component)),
            Verdict::Failed(why) => ("failed", json!(why)),
        };
        json!({
            "notification": stored.id,
            "order_no": stored.subject,
            "business": stored.business,
            "event_type": stored.notification.event_type.as_str(),
            "received_at_ms": stored.received_at.as_ms(),
            "attempt": self.run.attempt.attempt,
            "component": ran(&self.run),
            "recorded": self.run.attempt.outcome,
            "verdict": word,
            "a": self.sides.as_ref().map(|(a, _)| a.json()),
            "b": self.sides.as_ref().map(|(_, b)| b.json()),
            "what": more,
        })
    }
}

/// Notifications of one page: each may carry its inputs.
const PAGE: u64 = 64;
