//! What operators see, as JSON. The body, the payer and the raw callback are personal data: they
//! are shown where they are asked for by name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_core::time::Timestamp;
use callgate_store::{
    Attempt, AuditEntry, BulkReplay, CallEnd, Found, Inspection, StoredCall, StoredNotification,
    Unreadable,
};
use serde_json::{Value, json};

use super::view::source;

/// One line of a search.
pub(super) fn line(found: &Found) -> Value {
    match found {
        Found::Read(stored) => summary(stored),
        Found::Unreadable(found) => unreadable(found),
    }
}

/// What can be told of a notification that cannot be read: its columns as they are, but for those
/// that are personal, and what is wrong.
fn unreadable(found: &Unreadable) -> Value {
    let told = |name: &&String| !PERSONAL.contains(&name.as_str());
    let mut shown: serde_json::Map<String, Value> = found
        .row
        .iter()
        .filter(|(name, _)| told(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let reason = shown.remove("reason_text").unwrap_or_default();
    shown.insert("reason".to_owned(), reason);
    shown.insert("unreadable".to_owned(), json!(found.problem));
    Value::Object(shown)
}

/// Columns that are personal, or hold what is.
const PERSONAL: [&str; 4] = ["payer", "body", "headers", "scratch"];

fn summary(stored: &StoredNotification) -> Value {
    let told = &stored.notification;
    let reason = stored.reason.as_ref();
    json!({
        "id": stored.id,
        "channel": stored.channel,
        "business": stored.business,
        "scene": stored.scene,
        "source": source(stored),
        "event_type": told.event_type.as_str(),
        "order_no": told.order_no,
        "subject": stored.subject,
        "amount_minor": told.amount.map(|amount| amount.minor),
        "currency": told.amount.map(|amount| amount.currency.as_str().to_owned()),
        "state": stored.state,
        "outcome": stored.outcome,
        "reason_code": reason.map(|reason| reason.code.as_ref()),
        "reason": reason.map(|reason| reason.text.as_str()),
        "plugin": stored.plugin,
        "attempts": stored.attempts,
        "seen": stored.seen,
        "received_at_ms": stored.received_at.as_ms(),
        "due_at_ms": stored.due_at.map(Timestamp::as_ms),
        "finished_at_ms": stored.finished_at.map(Timestamp::as_ms),
    })
}

/// Everything about one notification but what is personal.
pub(super) fn inspection(found: &Inspection) -> Value {
    let mut shown = match &found.found {
        Found::Read(stored) => whole(stored),
        Found::Unreadable(found) => unreadable(found),
    };
    let more = json!({
        "attempts_ended": found.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "calls": found.calls.iter().map(call).collect::<Vec<_>>(),
        "audit": found.audit.iter().map(entry).collect::<Vec<_>>(),
    });
    extend(&mut shown, more);
    shown
}

fn whole(stored: &StoredNotification) -> Value {
    let told = &stored.notification;
    let mut shown = summary(stored);
    let more = json!({
        "delivery_key": stored.delivery_key,
        "part": stored.part,
        "meaning_key": told.meaning_key,
        "transaction_id": told.transaction_id,
        "refund_id": told.refund_id,
        "refund_no": told.refund_no,
        "refunded_total_minor": told.refunded_total.map(|amount| amount.minor),
        "order_amount_minor": told.order_amount.map(|amount| amount.minor),
        "occurred_at_ms": told.occurred_at.map(Timestamp::as_ms),
        "last_seen_at_ms": stored.last_seen_at.as_ms(),
        "leased_until_ms": stored.leased_until.map(Timestamp::as_ms),
        "attempts_before_replay": stored.attempts_before,
        "replayed_at_ms": stored.replayed_at.map(Timestamp::as_ms),
        "archived_at_ms": stored.archived_at.map(Timestamp::as_ms),
    });
    extend(&mut shown, more);
    shown
}

fn extend(shown: &mut Value, more: Value) {
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
}

/// Adds what is personal: who paid, what was said, the callback as it came, and what endpoints
/// answered.
pub(super) fn add_raw(shown: &mut Value, inspection: &Inspection, callback: Option<&[u8]>) {
    let calls = shown.get_mut("calls").and_then(Value::as_array_mut);
    for (shown, call) in calls.into_iter().flatten().zip(&inspection.calls) {
        if let Some(CallEnd::Answered { headers, body, .. }) = &call.end {
            let text = std::str::from_utf8(body);
            let coded = text.is_err().then(|| STANDARD.encode(body));
            let more = json!({
                "answer_headers": headers,
                "answer": text.ok(),
                "answer_base64": coded,
            });
            extend(shown, more);
        }
    }
    let more = match &inspection.found {
        Found::Read(stored) => json!({
            "payer": stored.notification.payer,
            "body": json_of(&stored.notification.body),
            "headers": json_of(&stored.headers),
        }),
        Found::Unreadable(found) => {
            let told = |name: &&str| Some(((*name).to_owned(), found.row.get(*name)?.clone()));
            PERSONAL.iter().filter_map(told).collect()
        }
    };
    extend(shown, more);
    extend(shown, json!({ "raw_base64": callback.map(|bytes| STANDARD.encode(bytes)) }));
}

/// A call without what was answered: that may be personal.
fn call(call: &StoredCall) -> Value {
    let (status, bytes, error) = match &call.end {
        None => (None, None, None),
        Some(CallEnd::Answered { status, body, .. }) => (Some(*status), Some(body.len()), None),
        Some(CallEnd::TooLarge { status }) => (Some(*status), None, Some("calls.too-large")),
        Some(CallEnd::Failed(code)) => (None, None, Some(code.as_str())),
    };
    json!({
        "name": call.name,
        "phase": call.phase,
        "endpoint": call.endpoint,
        "method": call.method,
        "path": call.path,
        "idempotency_key": call.key,
        "plugin": call.plugin,
        "attempt": call.attempt,
        "tries": call.tries,
        "request_bytes": call.request_bytes,
        "request_sha256": call.digest,
        "begun_at_ms": call.begun_at.as_ms(),
        "ended_at_ms": call.ended_at.map(Timestamp::as_ms),
        "duration_us": call.duration_us,
        "status": status,
        "error": error,
        "answer_bytes": bytes,
    })
}

fn attempt(attempt: &Attempt) -> Value {
    let (run, reason) = (attempt.run.as_ref(), attempt.reason.as_ref());
    json!({
        "attempt": attempt.attempt,
        "step": attempt.step,
        "mode": attempt.mode,
        "at_ms": attempt.at.as_ms(),
        "duration_us": attempt.spent.duration_us,
        "outcome": attempt.outcome,
        "reason_code": reason.map(|reason| reason.code.as_ref()),
        "reason": reason.map(|reason| reason.text.as_str()),
        "plugin": run.map(|run| &run.plugin),
        "plugin_version": run.map(|run| &run.plugin_version),
        "component": run.map(|run| &run.component),
        "fuel": run.map(|run| run.fuel),
        "phases": json_of(&attempt.spent.phases),
    })
}

/// One act of an operator.
pub(super) fn entry(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id,
        "at_ms": entry.at.as_ms(),
        "who": entry.who,
        "act": entry.act,
        "target": entry.target,
        "why": entry.why,
        "result": entry.result,
    })
}

/// A replay of many and its progress.
pub(super) fn replay(replay: &BulkReplay) -> Value {
    json!({
        "id": replay.id,
        "filter": replay.filter,
        "who": replay.who,
        "why": replay.why,
        "rate_per_s": replay.rate_per_s,
        "total": replay.total,
        "done": replay.done,
        "skipped": replay.skipped,
        "state": replay.state,
        "created_at_ms": replay.created_at.as_ms(),
        "finished_at_ms": replay.finished_at.map(Timestamp::as_ms),
    })
}

/// JSON is checked when it is stored; a text that does not read back is shown as text.
fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
