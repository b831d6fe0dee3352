//! Orders and what is known about them, as JSON for their business.

use callgate_store::{Document, HistoryEntry, OrderView, StoredEvent, StoredNotification};
use serde_json::{Value, json};

/// An order alone.
pub(super) fn document_json(document: &Document) -> Value {
    json!({
        "order_no": document.key,
        "state": document.state.as_ref().map(ToString::to_string),
        "version": document.version,
        "amount_minor": document.amount.map(|amount| amount.minor),
        "currency": document.amount.map(|amount| amount.currency),
        "channel": document.channel,
        "body": json_of(&document.body),
        "updated_at_ms": document.updated_at.as_ms(),
    })
}

/// An order with its aliases, history, notifications and events.
pub(super) fn view_json(view: &OrderView) -> Value {
    let mut shown = document_json(&view.document);
    if let Some(object) = shown.as_object_mut() {
        object.insert("aliases".to_owned(), json!(view.aliases));
        object.insert("history".to_owned(), view.history.iter().map(history_json).collect());
        let notifications = view.notifications.iter().map(notification_json).collect();
        object.insert("notifications".to_owned(), notifications);
        object.insert("events".to_owned(), view.events.iter().map(event_json).collect());
    }
    shown
}

fn history_json(entry: &HistoryEntry) -> Value {
    let run = entry.run.as_ref();
    json!({
        "notification_id": entry.notification_id,
        "meaning_key": entry.meaning_key,
        "event_type": entry.event_type,
        "channel": entry.channel,
        "from_state": entry.from_state,
        "to_state": entry.to_state,
        "version": entry.version,
        "attempt": entry.attempt,
        "plugin": run.map(|run| &run.plugin),
        "plugin_version": run.map(|run| &run.plugin_version),
        "component": run.map(|run| &run.component),
        "fuel": run.map(|run| run.fuel),
        "at_ms": entry.at.as_ms(),
    })
}

/// Without the body: who pays is nobody's business but the processor's.
fn notification_json(stored: &StoredNotification) -> Value {
    let told = &stored.notification;
    let reason = stored.reason.as_ref();
    json!({
        "id": stored.id,
        "channel": stored.channel,
        "source": source(stored),
        "event_type": told.event_type.as_str(),
        "meaning_key": told.meaning_key,
        "transaction_id": told.transaction_id,
        "refund_id": told.refund_id,
        "amount_minor": told.amount.map(|amount| amount.minor),
        "state": stored.state.as_str(),
        "outcome": stored.outcome,
        "reason_code": reason.map(|reason| reason.code.as_ref()),
        "reason": reason.map(|reason| reason.text.as_str()),
        "attempts": stored.attempts,
        "seen": stored.seen,
        "received_at_ms": stored.received_at.as_ms(),
    })
}

/// Whether the gateway told it by itself or on being asked.
pub(super) fn source(stored: &StoredNotification) -> &'static str {
    if stored.is_answer() { "inquiry" } else { "callback" }
}

fn event_json(stored: &StoredEvent) -> Value {
    json!({
        "id": stored.event.id,
        "topic": stored.event.topic,
        "key": stored.event.key,
        "payload": json_of(&stored.event.payload),
        "created_at_ms": stored.created_at.as_ms(),
    })
}

/// JSON is checked when it is stored; a text that does not read back is shown as text.
fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
