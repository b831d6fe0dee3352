//! The phase after the commit: at least once, and never able to undo anything.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use callgate_core::outcome::{Outcome, Reason, Step};
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::run::{Commit, Stop};
use callgate_store::{AfterEnd, AfterSettlement, Job, Spent};
use futures_util::FutureExt as _;

use super::outside::Live;
use super::run::{Ran, complain};
use super::{Engine, convert, decide, report};
use crate::clock::Stopwatch;

/// What the commit made of a run: state, version, events, and the step that was taken.
pub(super) fn commit((state, version, events): (String, i64, usize), step: &Step) -> Commit {
    Commit {
        state,
        version: convert::unsigned(version),
        events: u32::try_from(events).unwrap_or(u32::MAX),
        target: step.transition().map(|transition| transition.to().as_str().to_owned()),
    }
}

/// Right after the commit, by the worker that made it.
pub(super) async fn first(engine: &Engine, job: &Job, commit: Commit, ran: Ran) {
    let mut job = job.clone();
    job.stored.scratch = Some(ran.scratch);
    run(engine, &job, commit, &ran.plugin).await;
}

/// Again, after a failure or a crash: what is known is what the store kept.
pub(super) async fn again(engine: &Engine, job: &Job) {
    let attempts = decide::attempts(job);
    if attempts > engine.settings.retry.attempts_max {
        let text = format!("{attempts} attempts were begun and none came to an end");
        let end = AfterEnd::Review(Reason::new("engine.attempts-used-up", text));
        return finish(engine, job, ended(job, end)).await;
    }
    let named = job.stored.plugin.as_deref();
    let plugins = engine.registry.plugins();
    let Some(plugin) = plugins.iter().find(|one| named == Some(one.descriptor().name.as_str()))
    else {
        let name = named.unwrap_or_default();
        let text = format!("plugin {name} asked to run after the commit and is gone");
        let end = AfterEnd::Review(Reason::new("after.plugin-gone", text));
        return finish(engine, job, ended(job, end)).await;
    };
    let subject = job.subject.as_ref();
    let state = subject.and_then(|subject| subject.state.as_ref()).map(ToString::to_string);
    let commit = Commit {
        state: state.clone().unwrap_or_default(),
        version: subject.map_or(0, |subject| convert::unsigned(subject.version)),
        events: 0,
        target: state,
    };
    run(engine, job, commit, plugin).await;
}

async fn run(engine: &Engine, job: &Job, commit: Commit, plugin: &Arc<Plugin>) {
    let outside = Live::new(engine.store.clone(), job.stored.business.clone());
    let input = convert::run_input(job, engine.clock.now());
    let watch = Stopwatch::start();
    // As before the commit: behind a wall.
    let running = AssertUnwindSafe(plugin.run_after(input, commit, Box::new(outside)));
    let Ok(report) = Box::pin(running.catch_unwind()).await else {
        tracing::error!(notification.id = %job.stored.id, "the host panicked during a run");
        return;
    };
    let fuel = report.costs.iter().fold(0u64, |sum, cost| sum.saturating_add(cost.fuel));
    let phases = convert::phases(&report.costs);
    let spent = Spent { duration_us: convert::micros(watch.elapsed()), phases };
    let (end, events) = match report.result {
        Ok(events) => (AfterEnd::Done, events.into_iter().map(convert::event).collect()),
        Err(stop) => {
            if let Stop::Fault(fault) = &stop {
                report::fault(job, plugin.descriptor(), fault);
            }
            (stopped(engine, job, stop), Vec::new())
        }
    };
    let run = Some(convert::record(plugin, fuel));
    finish(engine, job, AfterSettlement { events, run, spent, ..ended(job, end) }).await;
}

/// An end without a run.
fn ended(job: &Job, end: AfterEnd) -> AfterSettlement {
    AfterSettlement {
        lease: job.lease.clone(),
        end,
        events: Vec::new(),
        run: None,
        spent: Spent::default(),
    }
}

fn stopped(engine: &Engine, job: &Job, stop: Stop) -> AfterEnd {
    match decide::stopped(engine, job, stop) {
        (Outcome::Retry(reason) | Outcome::Defer(reason), due_in_ms) => {
            AfterEnd::Retry(reason, engine.clock.now().plus_ms(due_in_ms))
        }
        (Outcome::Review(reason), _) => AfterEnd::Review(reason),
        (Outcome::Keep(_) | Outcome::Advance(_) | Outcome::Park(_), _) => AfterEnd::Done,
    }
}

async fn finish(engine: &Engine, job: &Job, settlement: AfterSettlement) {
    let class = match &settlement.end {
        AfterEnd::Done => "done",
        AfterEnd::Retry(..) => "retry",
        AfterEnd::Review(_) => "review",
    };
    metrics::counter!("callgate_attempts_total", "step" => "after", "class" => class).increment(1);
    if let AfterEnd::Review(reason) = &settlement.end {
        tracing::warn!(notification.id = %job.stored.id, code = %reason.code,
            reason = %reason.text, "the phase after the commit needs a person");
    }
    if let Err(error) = engine.store.finish_after(settlement, engine.clock.now()).await {
        complain(job, &error);
    }
}
