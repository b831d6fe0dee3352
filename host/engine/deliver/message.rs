//! What is sent: the same bytes on every attempt and to every sink.

use callgate_store::StoredEvent;
use serde::Serialize;
use serde_json::value::RawValue;

/// The body, as Standard Webhooks recommends it (type, timestamp, data), with what a consumer
/// needs to put events in order.
#[derive(Serialize)]
struct Body<'a> {
    /// The event's id, as in the headers: the body can be kept by itself.
    id: &'a str,
    /// The topic.
    r#type: &'a str,
    /// When it was committed, RFC 3339 in UTC.
    timestamp: String,
    business: &'a str,
    key: &'a str,
    /// Grows in the order of commits, with gaps.
    sequence: i64,
    data: &'a RawValue,
}

/// The body of an event, JSON.
///
/// # Errors
/// Where the payload is no JSON, which no sink will ever take.
pub(super) fn body(stored: &StoredEvent) -> Result<Vec<u8>, serde_json::Error> {
    let event = &stored.event;
    serde_json::to_vec(&Body {
        id: &event.id,
        r#type: &event.topic,
        timestamp: stored.created_at.to_string(),
        business: &stored.business,
        key: &event.key,
        sequence: stored.seq,
        data: serde_json::from_str(&event.payload)?,
    })
}
