//! What people and their machines hear of a decision.

use std::time::Duration;

use callgate_core::outcome::Outcome;
use callgate_core::time::Timestamp;
use callgate_sandbox::descriptor::Descriptor;
use callgate_sandbox::fault::Fault;
use callgate_store::{Job, Settled};

use super::decide;
use super::labels::LABELS;
use super::meters::{ATTEMPTS, EFFECTS, OUTCOMES, RUNS};
use super::run::Decided;
use crate::clock::Stopwatch;

/// One line and one count for one decision.
pub(super) fn decision(job: &Job, decided: &Decided, settled: Option<&Settled>, watch: Stopwatch) {
    let (name, reason) = decide::words(&decided.outcome);
    let (outcome, state) = match settled {
        None => ("unsettled", ""),
        Some(Settled::Conflict) => ("conflict", ""),
        Some(Settled::LostLease) => ("lost-lease", ""),
        Some(Settled::Repeated) => ("repeated", ""),
        Some(Settled::Released) => ("released", ""),
        Some(Settled::Done { state, .. }) => (name, state.as_str()),
    };
    let code = reason.map_or("", |reason| &*reason.code);
    let text = reason.map_or("", |reason| reason.text.as_str());
    let plugin = decided.run.as_ref().map_or("", |ran| ran.record.plugin.as_str());
    count(&job.stored.business, outcome, LABELS.of(plugin, code));
    let class = class(decided, outcome);
    ATTEMPTS.with(
        class,
        || metrics::counter!("callgate_attempts_total", "step" => "run", "class" => class),
        |attempts| attempts.increment(1),
    );
    let duration_us = watch.elapsed_us();
    let attempt = job.lease.attempt();
    if let Outcome::Hold { .. } = decided.outcome {
        // Thousands, again and again: the change of the breaker made a line of its own.
        tracing::debug!(notification.id = %job.stored.id, code, "a notification is held");
    } else if let Outcome::Review(_) = decided.outcome {
        tracing::warn!(notification.id = %job.stored.id, channel = %job.stored.channel, attempt,
            outcome, code, plugin, state, duration_us, reason = text,
            "notification needs a person");
    } else {
        tracing::info!(notification.id = %job.stored.id, channel = %job.stored.channel, attempt,
            outcome, code, plugin, state, duration_us, reason = text, "notification decided");
    }
}

/// How long a callback waited for its step, from its receipt to the commit.
pub(super) fn effect(job: &Job, now: Timestamp) {
    let waited_ms = u64::try_from(now.ms_since(job.stored.received_at)).unwrap_or(0);
    let waited = Duration::from_millis(waited_ms);
    let business = &job.stored.business;
    EFFECTS.with(
        business,
        || metrics::histogram!("callgate_effect_seconds", "business" => business.clone()),
        |effects| effects.record(waited.as_secs_f64()),
    );
}

/// How long a processor took.
pub(super) fn run(plugin: &Descriptor, took: Duration) {
    RUNS.with(
        &plugin.name,
        || metrics::histogram!("callgate_run_seconds", "plugin" => plugin.name.clone()),
        |runs| runs.record(took.as_secs_f64()),
    );
}

fn count(business: &str, outcome: &'static str, code: &str) {
    OUTCOMES.with(
        &[business, outcome, code].join("\n"),
        || {
            metrics::counter!("callgate_outcomes_total", "business" => business.to_owned(),
                "outcome" => outcome, "code" => code.to_owned())
        },
        |outcomes| outcomes.increment(1),
    );
}

/// What an attempt came to, in the few words that alerts are made of: why a try did not end well
/// is told apart, whether the processor said so or failed.
fn class(decided: &Decided, outcome: &'static str) -> &'static str {
    match (&decided.outcome, outcome) {
        (Outcome::Retry(_), "retry") => "fault",
        (Outcome::Defer(_), "defer") => "retry",
        (Outcome::Review(reason), "review") if reason.code.starts_with("plugin.") => "reject",
        (Outcome::Keep(reason), "keep") if reason.code == "plugin.ignored" => "ignore",
        (_, outcome) => outcome,
    }
}

/// A guest that failed: a warning, for the host coped.
pub(super) fn fault(job: &Job, plugin: &Descriptor, fault: &Fault) {
    metrics::counter!("callgate_faults_total", "plugin" => plugin.name.clone(),
        "kind" => fault.kind.code(), "phase" => fault.phase.as_str())
    .increment(1);
    tracing::warn!(notification.id = %job.stored.id, plugin = %plugin.name,
        version = %plugin.version, phase = %fault.phase, attempt = job.lease.attempt(),
        fault = %fault, "a run failed");
}
