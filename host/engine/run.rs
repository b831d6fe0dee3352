//! One job from claim to settle.
//!
//! Every run may happen twice: a lost lease, a lost version race and a replay look the same here.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use callgate_core::order::{self, OrderTerms};
use callgate_core::outcome::{Outcome, Reason};
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::registry::RouteKey;
use callgate_sandbox::run::Stop;
use callgate_store::{
    AfterPhase, Document, InboxState, Job, MeaningUse, RunRecord, Settled, Settlement, Spent,
    StoreError, SubjectSeen,
};
use futures_util::FutureExt as _;

use super::outside::Live;
use super::{Engine, after, convert, decide, report};
use crate::clock::Stopwatch;
use crate::inbound::Finished;

/// Works on one job until its decision is stored.
pub(super) async fn job(engine: &Engine, job: Job) {
    match job.stored.state {
        InboxState::After => after::again(engine, &job).await,
        InboxState::Ready | InboxState::Parked => decision(engine, &job).await,
        InboxState::Done | InboxState::Review => {
            tracing::error!(notification.id = %job.stored.id, "a finished job was claimed");
        }
    }
}

async fn decision(engine: &Engine, job: &Job) {
    let watch = Stopwatch::start();
    let mut decided = decide_job(engine, job).await;
    decided.spent.duration_us = convert::micros(watch.elapsed());
    let settled = settle(engine, job, &decided).await;
    report::decision(job, &decided, settled.as_ref(), watch);
    if let (Some(Settled::Done { .. }), Outcome::Advance(_)) = (&settled, &decided.outcome) {
        report::effect(job, engine.clock.now());
    }
    if let Some(Settled::Done { .. } | Settled::Repeated) = &settled
        && !matches!(decided.outcome, Outcome::Retry(_) | Outcome::Defer(_) | Outcome::Park(_))
    {
        // Nobody waits, most of the time.
        let _ = engine.finished.send(Finished { notification: job.stored.id.clone() });
    }
    if let (Some(Settled::Done { state, version, events }), Some(ran)) = (settled, decided.run)
        && ran.after == AfterPhase::Wanted
        && let Outcome::Advance(step) = &decided.outcome
    {
        let commit = after::commit((state, version, events), step);
        after::first(engine, job, commit, ran).await;
    }
}

/// A decision and what the store needs to know beside it.
pub(super) struct Decided {
    pub(super) outcome: Outcome,
    /// Whether the decision rests on the order as it was.
    pub(super) subject: SubjectSeen,
    pub(super) run: Option<Ran>,
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
        Self { outcome, subject, run: None, spent: Spent::default(), due_in_ms: 0 }
    }
}

async fn decide_job(engine: &Engine, job: &Job) -> Decided {
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
        || engine.registry.serves(RouteKey { business, scene, event_type, state: None });
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
    Decided {
        outcome: Outcome::Park(Reason::new("order.not-registered", text)),
        subject: SubjectSeen::Absent,
        run: None,
        spent: Spent::default(),
        due_in_ms: park_ms.saturating_sub(waited_ms),
    }
}

/// Runs the processor that is for this notification, if there is one.
async fn routed(engine: &Engine, job: &Job, subject: Option<&Document>) -> Decided {
    let seen = subject.map_or(SubjectSeen::Unread, |subject| SubjectSeen::At(subject.version));
    let event_type = job.stored.notification.event_type.as_str();
    let state = subject.map(|subject| subject.state.as_ref().map_or("", |state| state.as_str()));
    let (business, scene) = (job.stored.business.as_str(), job.stored.scene.as_str());
    match engine.registry.pick(RouteKey { business, scene, event_type, state }) {
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
    let watch = Stopwatch::start();
    let outside = Live::new(engine.store.clone(), job.stored.business.clone());
    let input = convert::run_input(job, engine.clock.now());
    // Behind a wall: a panic would be our mistake, and must not take the job with it.
    let running = AssertUnwindSafe(plugin.run(input, Box::new(outside))).catch_unwind();
    let Ok(report) = Box::pin(running).await else { return broken(engine, job, subject) };
    let descriptor = plugin.descriptor();
    metrics::histogram!("callgate_run_seconds", "plugin" => descriptor.name.clone())
        .record(watch.elapsed().as_secs_f64());
    if let Err(Stop::Fault(fault)) = &report.result {
        report::fault(job, descriptor, fault);
    }
    let spent = Spent { phases: convert::phases(&report.costs), ..Spent::default() };
    let fuel = report.costs.iter().fold(0u64, |sum, cost| sum.saturating_add(cost.fuel));
    let (outcome, due_in_ms) =
        decide::outcome(engine, job, report.result, &convert::table(descriptor));
    let ran = Ran {
        record: convert::record(&plugin, fuel),
        reads: report.reads.into_iter().map(convert::document_read).collect(),
        scratch: report.scratch,
        after: if descriptor.after { AfterPhase::Wanted } else { AfterPhase::None },
        plugin,
    };
    Decided { outcome, subject, run: Some(ran), spent, due_in_ms }
}

/// A run that panicked is a mistake of ours: tried again, and at last a person must look.
fn broken(engine: &Engine, job: &Job, subject: SubjectSeen) -> Decided {
    tracing::error!(notification.id = %job.stored.id, "the host panicked during a run");
    let reason = Reason::new("sandbox.host", "the host failed while the processor ran");
    let (outcome, due_in_ms) = decide::failed(engine, job, reason);
    Decided { outcome, subject, run: None, due_in_ms, spent: Spent::default() }
}

/// Stores the decision; `None` where the store cannot, so that the lease lapses and the job is
/// taken again.
async fn settle(engine: &Engine, job: &Job, decided: &Decided) -> Option<Settled> {
    let now = engine.clock.now();
    let run = decided.run.as_ref();
    let advances = matches!(decided.outcome, Outcome::Advance(_));
    let settlement = Settlement {
        lease: job.lease.clone(),
        outcome: decided.outcome.clone(),
        subject: decided.subject,
        reads: run.map(|ran| ran.reads.clone()).unwrap_or_default(),
        // What a failed run left is dropped with it.
        scratch: run.filter(|_| advances).map(|ran| ran.scratch.clone()),
        after: run.map_or(AfterPhase::None, |ran| ran.after),
        run: run.map(|ran| ran.record.clone()),
        spent: decided.spent.clone(),
        due_at: now.plus_ms(decided.due_in_ms),
    };
    match engine.store.settle(settlement, now).await {
        Ok(settled) => Some(settled),
        Err(error) => {
            complain(job, &error);
            None
        }
    }
}

/// A store that fails a decision: nothing is lost, and the log says so once.
pub(super) fn complain(job: &Job, error: &StoreError) {
    tracing::error!(notification.id = %job.stored.id, attempt = job.lease.attempt(), %error,
        code = error.code(), "a decision could not be stored; the job will be taken again");
}
