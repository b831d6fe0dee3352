//! The phase after the commit: at least once, and never able to undo anything.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use callgate_core::outcome::{Outcome, Reason, Step};
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::run::{Commit, Stop};
use callgate_store::{AfterEnd, AfterSettlement, Committed, Document, Job, Spent};
use futures_util::FutureExt as _;

use super::fleet::Ended;
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
    let name = job.stored.plugin.as_deref().unwrap_or_default();
    let Some(plugin) = committed_by(engine, job, name) else {
        let text = format!("plugin {name} asked to run after the commit and is gone");
        let end = AfterEnd::Review(Reason::new("after.plugin-gone", text));
        return finish(engine, job, ended(job, end)).await;
    };
    let commit = facts(job.committed.as_ref(), job.subject.as_ref());
    run(engine, job, commit, &plugin).await;
}

/// What the commit made of the run, as its history entry keeps it: the order may have gone on
/// since. Where an older program committed and kept no entry by name, the order as it is.
fn facts(committed: Option<&Committed>, order: Option<&Document>) -> Commit {
    if let Some(Committed { state, version, events, target, component: _ }) = committed {
        return Commit {
            state: state.clone(),
            version: convert::unsigned(*version),
            events: convert::count(*events),
            target: target.clone(),
        };
    }
    let state = order.and_then(|order| order.state.as_ref()).map(ToString::to_string);
    Commit {
        state: state.clone().unwrap_or_default(),
        version: order.map_or(0, |order| convert::unsigned(order.version)),
        events: 0,
        target: state,
    }
}

/// The processor that led to the commit, to the byte, where this host still has it; else the
/// version that is in force.
fn committed_by(engine: &Engine, job: &Job, name: &str) -> Option<Arc<Plugin>> {
    let registry = engine.registry.current();
    let component = job.committed.as_ref().and_then(|commit| commit.component.as_deref());
    let committed = component.and_then(|component| registry.of_component(component));
    committed.or_else(|| registry.named(name, convert::order_no(job)))
}

async fn run(engine: &Engine, job: &Job, commit: Commit, plugin: &Arc<Plugin>) {
    let pass = match engine.bulkhead.enter(plugin, &job.stored.id).await {
        Ok(pass) => pass,
        Err(held) => {
            let held = decide::held(engine, job, plugin.descriptor(), held);
            let end = ended(job, end(engine, held));
            return finish(engine, job, end).await;
        }
    };
    let outside = Live::new(engine, job, plugin);
    let input = convert::run_input(job, engine.clock.now());
    let watch = Stopwatch::start();
    // As before the commit: behind a wall.
    let running = AssertUnwindSafe(plugin.run_after(input, commit, Box::new(outside)));
    let Ok(report) = Box::pin(running.catch_unwind()).await else {
        tracing::error!(notification.id = %job.stored.id, "the host panicked during a run");
        return;
    };
    pass.end(&report.result);
    let fuel = report.costs.iter().fold(0u64, |sum, cost| sum.saturating_add(cost.fuel));
    let phases = convert::phases(&report.costs);
    let spent = Spent { duration_us: convert::micros(watch.elapsed()), phases, inputs: None };
    let (end, events) = match report.result {
        Ok(events) => (AfterEnd::Done, events.into_iter().map(convert::event).collect()),
        Err(stop) => {
            if let Stop::Fault(fault) = &stop {
                report::fault(job, plugin.descriptor(), fault);
                if decide::attempts(job) <= 1 {
                    engine.trials.note(plugin, Ended::FailedAfter);
                }
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
    end(engine, decide::stopped(engine, job, stop))
}

/// What a decision means for this phase.
fn end(engine: &Engine, decided: (Outcome, i64)) -> AfterEnd {
    match decided {
        (Outcome::Retry(reason) | Outcome::Defer(reason), due_in_ms) => {
            AfterEnd::Retry(reason, engine.clock.now().plus_ms(due_in_ms))
        }
        (Outcome::Review(reason), _) => AfterEnd::Review(reason),
        (Outcome::Hold { reason, .. }, due_in_ms) => {
            AfterEnd::Hold(reason, engine.clock.now().plus_ms(due_in_ms))
        }
        (Outcome::Keep(_) | Outcome::Advance(_) | Outcome::Park(_), _) => AfterEnd::Done,
    }
}

async fn finish(engine: &Engine, job: &Job, settlement: AfterSettlement) {
    let class = match &settlement.end {
        AfterEnd::Done => "done",
        AfterEnd::Retry(..) => "retry",
        AfterEnd::Review(_) => "review",
        AfterEnd::Hold(..) => "held",
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

#[cfg(test)]
mod tests {
    use callgate_core::order::State;
    use callgate_core::time::Timestamp;
    use callgate_store::{Committed, Document};

    use super::facts;

    fn order(state: &str, version: i64) -> Document {
        Document {
            business: "SHOP".to_owned(),
            collection: "orders".to_owned(),
            key: "o1".to_owned(),
            version,
            state: State::parse(state).ok(),
            body: "{}".to_owned(),
            amount: None,
            channel: None,
            created_at: Timestamp::from_ms(0),
            updated_at: Timestamp::from_ms(0),
        }
    }

    #[test]
    fn a_last_phase_that_runs_again_hears_of_its_commit_and_not_of_the_order_since() {
        let committed = Committed {
            state: "TO_BE_DELIVERED".to_owned(),
            version: 2,
            events: 3,
            target: Some("TO_BE_DELIVERED".to_owned()),
            component: None,
        };
        let since = order("REFUNDING", 5);
        let told = facts(Some(&committed), Some(&since));
        assert_eq!((told.state.as_str(), told.version, told.events), ("TO_BE_DELIVERED", 2, 3));
        assert_eq!(told.target.as_deref(), Some("TO_BE_DELIVERED"));
        let stayed = facts(Some(&Committed { target: None, ..committed }), Some(&since));
        assert_eq!(stayed.target, None);
    }

    #[test]
    fn where_no_entry_is_known_the_order_speaks() {
        let told = facts(None, Some(&order("PAID", 2)));
        assert_eq!((told.state.as_str(), told.version, told.events), ("PAID", 2, 0));
        assert_eq!(facts(None, None).state, "");
    }
}
