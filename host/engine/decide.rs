//! What to make of what a run says.

use callgate_core::order::Table;
use callgate_core::outcome::{self, Outcome, Reason};
use callgate_core::retry::Backoff;
use callgate_sandbox::descriptor::Descriptor;
use callgate_sandbox::fault::FaultKind;
use callgate_sandbox::run::{Draft, Stop};
use callgate_store::{HELD_FULL, HELD_OPEN, Job};

use super::bulkhead::{Held, Why};
use super::{Engine, convert};

/// Folds the result of a run into an outcome, and when to look again.
pub(super) fn outcome(
    engine: &Engine,
    job: &Job,
    result: Result<Draft, Stop>,
    table: &Table,
) -> (Outcome, i64) {
    match result {
        Ok(draft) => contended(engine, job, judge(job, draft, table)),
        Err(stop) => stopped(engine, job, stop),
    }
}

/// A decision, and when to look again should it lose a race at the commit. A processor that loses
/// every one, with an expectation that never holds, must not keep the house busy.
fn contended(engine: &Engine, job: &Job, outcome: Outcome) -> (Outcome, i64) {
    let lost = job.stored.races.saturating_add(1);
    let races = convert::count(lost).saturating_sub(RACES_FREE);
    if races == 0 || !matches!(outcome, Outcome::Advance(_)) {
        return (outcome, 0);
    }
    let backoff = Backoff { attempts_max: u32::MAX, ..engine.settings.retry.backoff() };
    let delay_ms = backoff.delay_ms(races, None, seed(&job.stored.id)).unwrap_or(0);
    // It may be the last chance, so only what is too old already is given up.
    match young_enough(engine, job, 0) {
        Ok(_) => (outcome, delay_ms),
        Err(_) => {
            let text = "what its processor expects of documents does not hold, again and again";
            (Outcome::Review(Reason::new("engine.races-lost", text)), 0)
        }
    }
}

fn judge(job: &Job, draft: Draft, table: &Table) -> Outcome {
    let current = job.subject.as_ref().and_then(|subject| subject.state.as_ref());
    let draft = match convert::draft(draft) {
        Ok(draft) => draft,
        Err(error) => return Outcome::Review(Reason::new("order.illegal-step", error.to_string())),
    };
    match outcome::judge(draft, current, table) {
        Ok(step) => Outcome::Advance(step),
        Err(illegal) => Outcome::Review(Reason::new("order.illegal-step", illegal.to_string())),
    }
}

/// Folds a run's own stop or fault into an outcome, and when to look again.
pub(super) fn stopped(engine: &Engine, job: &Job, stop: Stop) -> (Outcome, i64) {
    match stop {
        Stop::Ignore(text) => (Outcome::Keep(Reason::new("plugin.ignored", text)), 0),
        Stop::Reject { code, message } => {
            (Outcome::Review(Reason::new(format!("plugin.{code}"), message)), 0)
        }
        Stop::Retry { code, message, after_ms } => {
            let reason = Reason::new(format!("plugin.{code}"), message);
            match put_off(engine, job, after_ms) {
                Ok(delay_ms) => (Outcome::Defer(reason), delay_ms),
                Err(why) => (Outcome::Review(given_up(reason, &why)), 0),
            }
        }
        // Another try would ask the same again: a person must look.
        Stop::Fault(fault) if fault.kind == FaultKind::Differs => {
            (Outcome::Review(Reason::new(fault.kind.code(), fault.to_string())), 0)
        }
        Stop::Fault(fault) => {
            failed(engine, job, Reason::new(fault.kind.code(), fault.to_string()))
        }
    }
}

/// Puts back what cannot be run now. It is given up only where it is too old.
pub(super) fn held(engine: &Engine, job: &Job, plugin: &Descriptor, held: Held) -> (Outcome, i64) {
    let (code, words) = match held.why {
        Why::Full => (HELD_FULL, "has enough runs under way"),
        Why::Open(_) => (HELD_OPEN, "failed too often and is left alone"),
    };
    let text = format!("plugin {} {words}", plugin.name);
    let left_ms = i64::from(engine.settings.retry.age_max_ms).saturating_sub(age_ms(engine, job));
    if left_ms <= 0 {
        let why = format!("it is older than {} ms", engine.settings.retry.age_max_ms);
        let reason = Reason::new("plugin.circuit-open", text);
        return (Outcome::Review(given_up(reason, &why)), 0);
    }
    let (reason, plugin) = (Reason::new(code, text), plugin.name.clone());
    (Outcome::Hold { reason, plugin }, held.delay_ms.min(left_ms))
}

/// Tries again what failed, or gives up where attempts are used up.
pub(super) fn failed(engine: &Engine, job: &Job, reason: Reason) -> (Outcome, i64) {
    match delay(engine, job) {
        Ok(delay_ms) => (Outcome::Retry(reason), delay_ms),
        Err(why) => (Outcome::Review(given_up(reason, &why)), 0),
    }
}

/// When to try again; else why not: attempts are used up, or the notification would be too old,
/// and a person must look.
fn delay(engine: &Engine, job: &Job) -> Result<i64, String> {
    let attempts = attempts(job);
    let backoff = engine.settings.retry.backoff();
    match backoff.delay_ms(attempts, None, seed(&job.stored.id)) {
        Some(delay_ms) => young_enough(engine, job, delay_ms),
        None => Err(format!("{attempts} attempts are used up")),
    }
}

/// When to look again at what its processor put off. It waits for something else, so attempts do
/// not count; only its age does.
fn put_off(engine: &Engine, job: &Job, wish_ms: Option<u32>) -> Result<i64, String> {
    let backoff = Backoff { attempts_max: u32::MAX, ..engine.settings.retry.backoff() };
    let attempt = convert::count(job.lease.attempt());
    let delay_ms = backoff.delay_ms(attempt, wish_ms, seed(&job.stored.id)).unwrap_or(0);
    young_enough(engine, job, delay_ms)
}

fn young_enough(engine: &Engine, job: &Job, delay_ms: i64) -> Result<i64, String> {
    let retry = &engine.settings.retry;
    if age_ms(engine, job).saturating_add(delay_ms) > i64::from(retry.age_max_ms) {
        let age_max_ms = retry.age_max_ms;
        return Err(format!("at its next attempt it would be older than {age_max_ms} ms"));
    }
    Ok(delay_ms)
}

/// Since it came, or since an operator last replayed it.
fn age_ms(engine: &Engine, job: &Job) -> i64 {
    let begun = job.stored.replayed_at.unwrap_or(job.stored.received_at);
    engine.clock.now().ms_since(begun)
}

/// The last error stays the reason; the text says that there is no next try.
fn given_up(reason: Reason, why: &str) -> Reason {
    Reason { text: format!("{}; given up: {why}", reason.text), code: reason.code }
}

/// Which attempt this is of those that count: since the notification came or an operator last
/// replayed it, without those in which it waited for something else.
pub(super) fn attempts(job: &Job) -> u32 {
    convert::count(job.lease.attempt().saturating_sub(job.stored.attempts_before))
}

/// Spreads what failed together: the random tail of the id.
fn seed(id: &str) -> u64 {
    id.bytes().rev().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(byte))
}

/// An outcome's name and reason, for logs and metrics.
pub(super) fn words(outcome: &Outcome) -> (&'static str, Option<&Reason>) {
    match outcome {
        Outcome::Advance(_) => ("advance", None),
        Outcome::Keep(reason) => ("keep", Some(reason)),
        Outcome::Park(reason) => ("park", Some(reason)),
        Outcome::Retry(reason) => ("retry", Some(reason)),
        Outcome::Defer(reason) => ("defer", Some(reason)),
        Outcome::Review(reason) => ("review", Some(reason)),
        Outcome::Hold { reason, .. } => ("held", Some(reason)),
    }
}

/// Races that are run again at once.
const RACES_FREE: u32 = 8;
