//! One job from claim to settle.
//!
//! Every run may happen twice: a lost lease, a lost version race and a replay look the same here.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use callgate_core::order::{self, OrderTerms};
use callgate_core::outcome::{Outcome, Reason};
use callgate_core::time::Timestamp;
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::registry::RouteKey;
use callgate_sandbox::run::Stop;
use callgate_store::{
    AfterPhase, Document, InboxState, Job, MeaningUse, RunRecord, Settled, Settlement, Spent,
    StoreError, SubjectSeen,
};
use futures_util::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;

use super::backtest::{Decision, Inputs};
use super::fleet::Ended;
use super::outside::Live;
use super::shadow::Beside;
use super::{Engine, after, convert, decide, report};
use crate::clock::Stopwatch;
use crate::inbound::Finished;

/// Works on one job until its decision is stored. `worker` is the right to be at work.
pub(super) async fn job(engine: &Engine, job: Job, worker: OwnedSemaphorePermit) {
    match job.stored.state {
        InboxState::After => after::again(engine, &job).await,
        InboxState::Ready | InboxState::Parked => decision(engine, &job, worker).await,
        InboxState::Done | InboxState::Review => {
            tracing::error!(notification.id = %job.stored.id, "a finished job was claimed");
        }
    }
}

async fn decision(engine: &Engine, job: &Job, worker: OwnedSemaphorePermit) {
    let watch = Stopwatch::start();
    let mut decided = decide_job(engine, job).await;
    // What is only put back keeps no worker from others while it is written.
    let held = matches!(decided.outcome, Outcome::Hold { .. });
    let _worker = (!held).then_some(worker);
    decided.spent.duration_us = convert::micros(watch.elapsed());
    finish(engine, job, decided, watch).await;
}

/// Settles a decision, with all that follows.
pub(super) async fn finish(engine: &Engine, job: &Job, mut decided: Decided, watch: Stopwatch) {
    let settled = settle(engine, job, &mut decided).await;
    conclude(engine, job, decided, (settled, watch)).await;
}

/// What follows a settlement: people and machines hear of it, and the last phase runs.
pub(super) async fn conclude(
    engine: &Engine,
    job: &Job,
    mut decided: Decided,
    (settled, watch): (Option<Settled>, Stopwatch),
) {
    let held = matches!(decided.outcome, Outcome::Hold { .. });
    report::decision(job, &decided, settled.as_ref(), watch);
    note_trial(engine, job, &decided, settled.as_ref());
    if let (Some(Settled::Done { .. }), Outcome::Advance(_)) = (&settled, &decided.outcome) {
        report::effect(job, engine.clock.now());
    }
    if let Some(Settled::Done { .. } | Settled::Repeated) = &settled
        && !held
        && !matches!(decided.outcome, Outcome::Retry(_) | Outcome::Defer(_) | Outcome::Park(_))
    {
        // Nobody waits, most of the time.
        let order = job.subject.as_ref();
        let order = order.map(|order| Arc::new((order.business.clone(), order.key.clone())));
        let _ = engine.finished.send(Finished { notification: job.stored.id.clone(), order });
    }
    if let (Some(Settled::Done { .. }), Some(beside)) = (&settled, decided.beside.take()) {
        engine.shadows.offer(engine, job, *beside);
    }
    if let (Some(Settled::Done { state, version, events }), Some(ran)) = (settled, decided.run)
        && ran.after == AfterPhase::Wanted
        && let Outcome::Advance(step) = &decided.outcome
    {
        let commit = after::commit((state, version, events), step);
        after::first(engine, job, commit, ran).await;
    }
}

/// Counts the first run of a notification that led to something, for the budget of a canary:
/// further tries at the same one would count one trouble many times.
fn note_trial(engine: &Engine, job: &Job, decided: &Decided, settled: Option<&Settled>) {
    let Some(ran) = decided.run.as_ref().filter(|_| decide::attempts(job) <= 1) else { return };
    let Some(Settled::Done { .. }) = settled else { return };
    let ended = match decided.outcome {
        Outcome::Advance(_) | Outcome::Keep(_) => Ended::Well,
        Outcome::Retry(_) | Outcome::Review(_) => Ended::Failed,
        Outcome::Defer(_) | Outcome::Park(_) | Outcome::Hold { .. } => return,
    };
    engine.trials.note(&ran.plugin, ended);
}

/// A decision and what the store needs to know beside it.
pub(super) struct Decided {
    pub(super) outcome: Outcome,
    /// Whether the decision rests on the order as it was.
    pub(super) subject: SubjectSeen,
    pub(super) run: Option<Ran>,
    /// The shadow that is to run too.
    pub(super) beside: Option<Box<Beside>>,
    /// What the attempt took.
    pub(super) spent: Spent,
    /// When a parked or failed job is looked at again.
    pub(super) due_in_ms: i64,
}

/// What is kept of a run.
pub(super) struct Ran {
    pub(super) plugin: Arc<Plugin>,
    pub(super) record: RunRecord,
    pub(super) reads: Vec<callgate_store::DocumentRead>,
    pub(super) scratch: String,
    pub(super) after: AfterPhase,
}

impl Decided {
    fn plain(outcome: Outcome, subject: SubjectSeen) -> Self {
        Self { outcome, subject, run: None, beside: None, spent: Spent::default(), due_in_ms: 0 }
    }
}

pub(super) async fn decide_job(engine: &Engine, job: &Job) -> Decided {
    let attempts = decide::attempts(job);
    if attempts > engine.settings.retry.attempts_max {
        let text = format!("{attempts} attempts were begun and none came to an end");
        let reason = Reason::new("engine.attempts-used-up", text);
        return Decided::plain(Outcome::Review(reason), SubjectSeen::Unread);
    }
    // Before anything else, with an order or without: another account's money is not ours.
    if let Err(reason) = order::is_ours(&job.stored.notification) {
        return Decided::plain(Outcome::Review(reason), SubjectSeen::Unread);
    }
    match (&job.subject, &job.stored.notification.order_no) {
        (Some(subject), _) => with_subject(engine, job, subject).await,
        (None, Some(order_no)) => not_registered(engine, job, order_no),
        (None, None) => routed(engine, job, None).await,
    }
}

async fn with_subject(engine: &Engine, job: &Job, subject: &Document) -> Decided {
    let seen = SubjectSeen::At(subject.version);
    let notification = &job.stored.notification;
    if job.meaning == MeaningUse::Used {
        let text = format!("{} has had its effect on this order", notification.meaning_key);
        let reason = Reason::new("order.meaning-repeated", text);
        return Decided::plain(Outcome::Keep(reason), SubjectSeen::Unread);
    }
    let Some(amount) = subject.amount else {
        let reason = Reason::new("order.amount-missing", "the order has no registered amount");
        return Decided::plain(Outcome::Review(reason), seen);
    };
    let terms = OrderTerms { amount, channel: subject.channel.as_deref() };
    if let Err(reason) = order::agree(notification, &job.stored.channel, terms) {
        return Decided::plain(Outcome::Review(reason), seen);
    }
    routed(engine, job, Some(subject)).await
}

/// Waits for the order, or gives up waiting.
fn not_registered(engine: &Engine, job: &Job, order_no: &str) -> Decided {
    let (business, scene) = (job.stored.business.as_str(), job.stored.scene.as_str());
    let event_type = job.stored.notification.event_type.as_str();
    let waited_for = order::moves_money(&job.stored.notification.event_type)
        || engine.registry.current().serves(RouteKey { business, scene, event_type, state: None });
    if !waited_for {
        let text = format!("no processor is routed for {event_type} in any state");
        let reason = Reason::new("route.none", text);
        return Decided::plain(Outcome::Keep(reason), SubjectSeen::Unread);
    }
    let park_ms = i64::from(engine.settings.park_ms);
    let begun = job.stored.replayed_at.unwrap_or(job.stored.received_at);
    let waited_ms = engine.clock.now().ms_since(begun);
    if waited_ms >= park_ms {
        let text = format!("order {order_no} was not registered within {park_ms} ms");
        let reason = Reason::new("order.unknown", text);
        return Decided::plain(Outcome::Review(reason), SubjectSeen::Absent);
    }
    let text = format!("order {order_no} is not registered yet");
    let outcome = Outcome::Park(Reason::new("order.not-registered", text));
    let due_in_ms = park_ms.saturating_sub(waited_ms);
    Decided { due_in_ms, ..Decided::plain(outcome, SubjectSeen::Absent) }
}

/// Runs the processor that is for this notification, if there is one.
async fn routed(engine: &Engine, job: &Job, subject: Option<&Document>) -> Decided {
    let seen = subject.map_or(SubjectSeen::Unread, |subject| SubjectSeen::At(subject.version));
    let event_type = job.stored.notification.event_type.as_str();
    let state = subject.map(|subject| subject.state.as_ref().map_or("", |state| state.as_str()));
    let (business, scene) = (job.stored.business.as_str(), job.stored.scene.as_str());
    let key = RouteKey { business, scene, event_type, state };
    match engine.registry.current().pick(key, convert::order_no(job)) {
        Some(plugin) => run(engine, job, plugin, seen).await,
        None if order::moves_money(&job.stored.notification.event_type) => {
            let text = format!("no processor is routed for {event_type}, which moves money");
            Decided::plain(Outcome::Review(Reason::new("route.none", text)), seen)
        }
        None => {
            let place = match state {
                Some(state) => format!("in state {state}"),
                None => "without an order".to_owned(),
            };
            let text = format!("no processor is routed for {event_type} {place}");
            Decided::plain(Outcome::Keep(Reason::new("route.none", text)), seen)
        }
    }
}

async fn run(engine: &Engine, job: &Job, plugin: Arc<Plugin>, subject: SubjectSeen) -> Decided {
    let pass = match engine.bulkhead.enter(&plugin, &job.stored.id).await {
        Ok(pass) => pass,
        Err(held) => {
            let (outcome, due_in_ms) = decide::held(engine, job, plugin.descriptor(), held);
            return Decided { due_in_ms, ..Decided::plain(outcome, subject) };
        }
    };
    let watch = Stopwatch::start();
    let outside = Live::new(engine, job, &plugin);
    let now = engine.clock.now();
    let input = convert::run_input(job, now);
    // Behind a wall: a panic would be our mistake, and must not take the job with it.
    let running = AssertUnwindSafe(plugin.run(input, Box::new(outside))).catch_unwind();
    let Ok(mut report) = Box::pin(running).await else { return broken(engine, job, subject) };
    pass.end(&report.result);
    let shadow = engine.shadows.beside(&plugin, job);
    let wanted = shadow.is_some() || engine.settings.record_inputs;
    let inputs = wanted.then(|| Inputs::of(job, now, &plugin, &mut report));
    let descriptor = plugin.descriptor();
    report::run(descriptor, watch.elapsed());
    if let Err(Stop::Fault(fault)) = &report.result {
        report::fault(job, descriptor, fault);
    }
    let kept = inputs.as_ref().and_then(|inputs| recorded(engine, inputs));
    let spent = Spent { phases: convert::phases(&report.costs), inputs: kept, ..Spent::default() };
    let fuel = report.costs.iter().fold(0u64, |sum, cost| sum.saturating_add(cost.fuel));
    let table = convert::table(descriptor);
    let beside = shadow.zip(inputs).map(|(shadow, inputs)| {
        let decision = Decision::of(report.result.clone(), &table, inputs.state());
        Box::new(Beside::new(shadow, Arc::new(inputs), Decision { fuel, ..decision }))
    });
    let (outcome, due_in_ms) = decide::outcome(engine, job, report.result, &table);
    let ran = Ran {
        record: convert::record(&plugin, fuel),
        reads: report.reads.into_iter().map(convert::document_read).collect(),
        scratch: report.scratch,
        after: if descriptor.after { AfterPhase::Wanted } else { AfterPhase::None },
        plugin,
    };
    Decided { outcome, subject, run: Some(ran), beside, spent, due_in_ms }
}

/// What the run was told and read, as it is kept with its attempt.
fn recorded(engine: &Engine, inputs: &Inputs) -> Option<String> {
    let settings = &engine.settings;
    let text = settings.record_inputs.then(|| inputs.text(settings.record_inputs_bytes))?;
    if text.is_none() {
        metrics::counter!("callgate_inputs_not_recorded_total").increment(1);
    }
    text
}

/// A run that panicked is a mistake of ours: tried again, and at last a person must look.
fn broken(engine: &Engine, job: &Job, subject: SubjectSeen) -> Decided {
    tracing::error!(notification.id = %job.stored.id, "the host panicked during a run");
    let reason = Reason::new("sandbox.host", "the host failed while the processor ran");
    let (outcome, due_in_ms) = decide::failed(engine, job, reason);
    Decided { due_in_ms, ..Decided::plain(outcome, subject) }
}

/// Stores the decision; `None` where the store cannot, so that the lease lapses and the job is
/// taken again.
async fn settle(engine: &Engine, job: &Job, decided: &mut Decided) -> Option<Settled> {
    let now = engine.clock.now();
    match engine.store.settle(settlement(job, decided, now), now).await {
        Ok(settled) => Some(settled),
        Err(error) => {
            complain(job, &error);
            None
        }
    }
}

/// What the store is told of a decision. Takes out of it what only the store wants.
pub(super) fn settlement(job: &Job, decided: &mut Decided, now: Timestamp) -> Settlement {
    let spent = std::mem::take(&mut decided.spent);
    let reads = decided.run.as_mut().map(|ran| std::mem::take(&mut ran.reads));
    let run = decided.run.as_ref();
    let advances = matches!(decided.outcome, Outcome::Advance(_));
    Settlement {
        lease: job.lease.clone(),
        outcome: decided.outcome.clone(),
        subject: decided.subject,
        reads: reads.unwrap_or_default(),
        // What a failed run left is dropped with it; of the others only `after` asks for it.
        scratch: run
            .filter(|ran| advances && ran.after == AfterPhase::Wanted)
            .map(|ran| ran.scratch.clone()),
        after: run.map_or(AfterPhase::None, |ran| ran.after),
        run: run.map(|ran| ran.record.clone()),
        spent,
        due_at: now.plus_ms(decided.due_in_ms),
    }
}

/// A store that fails a decision: nothing is lost, and the log says so once.
pub(super) fn complain(job: &Job, error: &StoreError) {
    tracing::error!(notification.id = %job.stored.id, attempt = job.lease.attempt(), %error,
        code = error.code(), "a decision could not be stored; the job will be taken again");
}
