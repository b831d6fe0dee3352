//! Between the words of the store and the words of the sandbox: the two do not know each other.

use std::fmt::Write as _;

use callgate_core::money::Money;
use callgate_core::order::{BadState, State, Table};
use callgate_core::outcome;
use callgate_core::time::Timestamp;
use callgate_sandbox::descriptor::Descriptor;
use callgate_sandbox::outside::{Document, DocumentRef};
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::run::{self, RunInput, RunMode};
use callgate_store::{DocumentRead, Job, RunRecord, StoredNotification};

use super::decide;

/// What a run of this job is given.
pub(super) fn run_input(job: &Job, now: Timestamp) -> RunInput {
    let stored = &job.stored;
    RunInput {
        notification: notification(stored),
        subject: job.subject.as_ref().map(document),
        mode: mode(stored),
        attempt: decide::attempts(job),
        now_ms: unsigned(now.as_ms()),
        scratch: stored.scratch.clone().unwrap_or_default(),
    }
}

/// Whether an operator has it run again.
pub(super) fn mode(stored: &StoredNotification) -> RunMode {
    if stored.replayed_at.is_some() { RunMode::Replay } else { RunMode::Live }
}

/// A notification as a guest sees it.
pub(super) fn notification(stored: &StoredNotification) -> run::Notification {
    let told = &stored.notification;
    run::Notification {
        id: stored.id.clone(),
        channel: stored.channel.clone(),
        business: stored.business.clone(),
        scene: stored.scene.clone(),
        event_type: told.event_type.as_str().to_owned(),
        delivery_key: stored.delivery_key.clone(),
        meaning_key: told.meaning_key.clone(),
        order_no: told.order_no.clone(),
        transaction_id: told.transaction_id.clone(),
        refund_id: told.refund_id.clone(),
        refund_no: told.refund_no.clone(),
        payer: told.payer.clone(),
        amount: told.amount.map(money),
        refunded_total: told.refunded_total.map(money),
        order_amount: told.order_amount.map(money),
        occurred_at: told.occurred_at.map(|at| unsigned(at.as_ms())),
        received_at: unsigned(stored.received_at.as_ms()),
        body: told.body.clone(),
    }
}

/// The order that a version of a plugin is chosen by: the subject under its own number, so that
/// all its names lead to one version.
pub(super) fn order_no(job: &Job) -> Option<&str> {
    let subject = job.subject.as_ref().map(|subject| subject.key.as_str());
    subject.or(job.stored.notification.order_no.as_deref())
}

/// A document as a guest sees it.
pub(super) fn document(stored: &callgate_store::Document) -> Document {
    Document {
        name: DocumentRef { collection: stored.collection.clone(), key: stored.key.clone() },
        version: unsigned(stored.version),
        state: stored.state.as_ref().map(ToString::to_string).unwrap_or_default(),
        body: stored.body.clone(),
        updated_at: unsigned(stored.updated_at.as_ms()),
    }
}

/// The name of a document, for the store.
pub(super) fn document_ref(name: &DocumentRef) -> callgate_store::DocumentRef {
    callgate_store::DocumentRef { collection: name.collection.clone(), key: name.key.clone() }
}

/// The steps that a processor declared. Their states were checked when it was loaded.
pub(super) fn table(descriptor: &Descriptor) -> Table {
    Table::new(
        descriptor.transitions.iter().filter_map(|edge| {
            Some((State::parse(&edge.from).ok()?, State::parse(&edge.to).ok()?))
        }),
    )
}

/// A draft in the words of the core.
pub(super) fn draft(draft: run::Draft) -> Result<outcome::Draft, BadState> {
    Ok(outcome::Draft {
        target: draft.target.as_deref().map(State::parse).transpose()?,
        writes: draft.writes.into_iter().map(write).collect(),
        events: draft.events.into_iter().map(event).collect(),
    })
}

fn write(write: run::Write) -> outcome::Write {
    outcome::Write {
        collection: write.name.collection,
        key: write.name.key,
        body: write.body,
        expect: match write.expect {
            run::Expect::Absent => outcome::Expect::Absent,
            run::Expect::Version(version) => outcome::Expect::Version(signed(version)),
            run::Expect::Any => outcome::Expect::Any,
        },
    }
}

/// An event in the words of the core.
pub(super) fn event(event: run::Event) -> outcome::Event {
    outcome::Event {
        id: event.id,
        topic: event.topic,
        key: event.key,
        payload: event.payload,
        headers: event.headers,
    }
}

/// What a run read, for the check at the commit.
pub(super) fn document_read(read: run::Read) -> DocumentRead {
    DocumentRead { document: document_ref(&read.name), version: read.version.map(signed) }
}

/// What the history row says of the run.
pub(super) fn record(plugin: &Plugin, fuel: u64) -> RunRecord {
    RunRecord {
        plugin: plugin.descriptor().name.clone(),
        plugin_version: plugin.descriptor().version.to_string(),
        component: plugin.sha256().to_owned(),
        fuel: signed(fuel),
    }
}

/// Fuel and time of each phase, as the attempt keeps them.
pub(super) fn phases(costs: &[run::Cost]) -> String {
    let mut text = String::with_capacity(costs.len().saturating_mul(PHASE_BYTES));
    for cost in costs {
        let separator = if text.is_empty() { '[' } else { ',' };
        let (phase, fuel, duration_us) = (cost.phase, cost.fuel, micros(cost.duration));
        // Names of phases need no escapes, and a `String` takes all that is written to it.
        let _ = write!(
            text,
            r#"{separator}{{"duration_us":{duration_us},"fuel":{fuel},"phase":"{phase}"}}"#
        );
    }
    text.push_str(if text.is_empty() { "[]" } else { "]" });
    text
}

/// What one phase takes there, about.
const PHASE_BYTES: usize = 64;

/// A duration in microseconds.
pub(super) fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn money(money: Money) -> run::Money {
    run::Money { minor: money.minor, currency: money.currency.as_str().to_owned() }
}

/// Versions and times are never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Attempts are few.
pub(super) fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use callgate_sandbox::fault::Phase;
    use callgate_sandbox::run::Cost;
    use serde_json::{Value, json};

    #[test]
    fn what_the_phases_took_is_a_json_text() {
        let cost = |phase, fuel| Cost { phase, fuel, duration: Duration::from_micros(7) };
        let text = super::phases(&[cost(Phase::Start, 0), cost(Phase::NextState, u64::MAX)]);
        let read: Value = serde_json::from_str(&text).unwrap();
        let told = |phase, fuel: u64| json!({ "phase": phase, "fuel": fuel, "duration_us": 7 });
        assert_eq!(read, json!([told("start", 0), told("next-state", u64::MAX)]));
        assert_eq!(super::phases(&[]), "[]");
    }
}
