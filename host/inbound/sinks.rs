//! Sinks and their dead letters: operators see what was not taken, have it sent again, or give it
//! up. The same words as on the command line.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use callgate_core::time::Timestamp;
use callgate_store::{DEAD_LETTERS_MAX, DeadAct, DeadLetter, DeadLetters, SinkStanding};
use http::HeaderMap;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Problem;
use super::operate::{check_why, read};
use super::operate_query::{Asked, number};
use super::operator::Operator;

/// `/operator/sinks`.
pub(super) fn routes() -> Router<Operator> {
    Router::new()
        .route("/operator/sinks", get(sinks))
        .route("/operator/sinks/{sink}/dead-letters", get(dead_letters))
        .route("/operator/sinks/{sink}/redeliver", post(redeliver))
        .route("/operator/sinks/{sink}/discard", post(discard))
}

async fn sinks(State(operator): State<Operator>, headers: HeaderMap) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let found = operator.store.sinks().await?;
    let list: Vec<_> = found.iter().map(standing).collect();
    Ok(Json(json!({ "sinks": list })).into_response())
}

async fn dead_letters(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Path(sink): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let mut asked = Asked::new(pairs)?;
    let limit = number(&mut asked, "limit", 1..=DEAD_LETTERS_MAX)?.unwrap_or(LIMIT);
    let after_seq = number(&mut asked, "after", 0..=i64::MAX)?.unwrap_or(0);
    let (event_id, business) = (asked.take("event_id"), asked.take("business"));
    asked.end()?;
    known(&operator, &sink).await?;
    let which = DeadLetters { sink, event_id, business, after_seq, limit };
    let found = operator.store.dead_letters(&which).await?;
    let full = i64::try_from(found.len()).is_ok_and(|length| length == limit);
    let next = found.last().filter(|_| full).map(|last| last.event.seq);
    let list: Vec<_> = found.iter().map(letter).collect();
    Ok(Json(json!({ "dead_letters": list, "next_after": next })).into_response())
}

/// The body of an act on dead letters. One of the three must say which.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    why: String,
    #[serde(default)]
    event_id: Option<String>,
    #[serde(default)]
    business: Option<String>,
    #[serde(default)]
    all: bool,
}

async fn redeliver(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Path(sink): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    act(&operator, &headers, (sink, DeadAct::Redeliver), &body).await
}

async fn discard(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Path(sink): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    act(&operator, &headers, (sink, DeadAct::Discard), &body).await
}

async fn act(
    operator: &Operator,
    headers: &HeaderMap,
    (sink, act): (String, DeadAct),
    body: &[u8],
) -> Result<Response, Problem> {
    let who = operator.operators.admit(headers)?;
    let Wanted { why, event_id, business, all } = read(body)?;
    check_why(&why)?;
    if all == (event_id.is_some() || business.is_some()) {
        let rule = "say which: event_id, business (or both), or all";
        return Err(Problem::asked("event_id", rule));
    }
    for (name, text) in [("event_id", &event_id), ("business", &business)] {
        if text.as_ref().is_some_and(|text| text.is_empty() || text.contains('\0')) {
            return Err(Problem::asked(name, "must have a character at least, and no NUL"));
        }
    }
    known(operator, &sink).await?;
    let limit = DEAD_LETTERS_MAX;
    let which = DeadLetters { sink: sink.clone(), event_id, business, after_seq: 0, limit };
    let now = operator.clock.now();
    let changed = operator.store.dead_letter_act((which, act), (&who, &why), now).await?;
    let left = operator.store.dead_letter_count(&sink).await?;
    let told = json!({ "sink": sink, "act": act.as_str(), "changed": changed, "dead": left });
    Ok(Json(told).into_response())
}

/// A sink that nobody ever delivered to is a slip of the pen.
async fn known(operator: &Operator, sink: &str) -> Result<(), Problem> {
    let found = operator.store.sinks().await?;
    let named = found.iter().any(|one| one.name == sink);
    if named { Ok(()) } else { Err(Problem::NotFound { what: "sink" }) }
}

fn standing(sink: &SinkStanding) -> Value {
    json!({
        "sink": sink.name,
        "cursor": sink.cursor,
        "behind": sink.last_seq.saturating_sub(sink.cursor),
        "waiting": sink.waiting,
        "dead": sink.dead,
        "leased_until_ms": sink.leased_until.map(Timestamp::as_ms),
        "updated_at_ms": sink.updated_at.as_ms(),
    })
}

/// A dead letter without its payload, which may be personal.
fn letter(letter: &DeadLetter) -> Value {
    let (event, reason) = (&letter.event, letter.reason.as_ref());
    json!({
        "event_id": event.event.id,
        "sequence": event.seq,
        "topic": event.event.topic,
        "business": event.business,
        "key": event.event.key,
        "order_no": event.order_no,
        "notification_id": event.notification_id,
        "attempts": letter.attempts,
        "reason_code": reason.map(|reason| reason.code.as_ref()),
        "reason": reason.map(|reason| reason.text.as_str()),
        "created_at_ms": event.created_at.as_ms(),
        "first_failed_at_ms": letter.first_failed_at.map(Timestamp::as_ms),
        "dead_since_ms": letter.dead_since.as_ms(),
    })
}

/// What one look shows, unless more is asked for.
const LIMIT: i64 = 50;
