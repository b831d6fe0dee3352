//! What operators see, as JSON. The body, the payer and the raw callback are personal data: they
//! are shown where they are asked for by name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_core::time::Timestamp;
use callgate_store::{
    Attempt, AuditEntry, BulkReplay, CallEnd, Inspection, StoredCall, StoredNotification,
};
use serde_json::{Value, json};

/// One line of a search.
pub(super) fn summary(stored: &StoredNotification) -> Value {
    let told = &stored.notification;
    let reason = stored.reason.as_ref();
    json!({
        "id": stored.id,
        "channel": stored.channel,
        "business": stored.business,
        "scene": stored.scene,
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
    let (stored, told) = (&found.stored, &found.stored.notification);
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
        "attempts_ended": found.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "calls": found.calls.iter().map(call).collect::<Vec<_>>(),
        "audit": found.audit.iter().map(entry).collect::<Vec<_>>(),
    });
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
    shown
}

/// Adds what is personal: who paid, what was said, the callback as it came, and what endpoints
/// answered.
pub(super) fn add_raw(shown: &mut Value, found: &Inspection, callback: Option<&[u8]>) {
    let Some(shown) = shown.as_object_mut() else { return };
    let stored = &found.stored;
    let calls = shown.get_mut("calls").and_then(Value::as_array_mut);
    for (shown, call) in calls.into_iter().flatten().zip(&found.calls) {
        if let (Some(CallEnd::Answered { headers, body, .. }), Some(shown)) =
            (&call.end, shown.as_object_mut())
        {
            shown.insert("answer_headers".to_owned(), json!(headers));
            let text = std::str::from_utf8(body);
            shown.insert("answer".to_owned(), json!(text.ok()));
            let coded = text.is_err().then(|| STANDARD.encode(body));
            shown.insert("answer_base64".to_owned(), json!(coded));
        }
    }
    shown.insert("payer".to_owned(), json!(stored.notification.payer));
    shown.insert("body".to_owned(), json_of(&stored.notification.body));
    shown.insert("headers".to_owned(), json_of(&stored.headers));
    shown.insert("raw_base64".to_owned(), json!(callback.map(|bytes| STANDARD.encode(bytes))));
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
