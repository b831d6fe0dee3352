//! Calls of a business's back end that have its gateways asked, and show what was asked.

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use callgate_core::time::Timestamp;
use callgate_store::StoredInquiry;
use http::{HeaderMap, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asking::{About, Answered, SharedAsks};
use super::error::Problem;
use super::orders::Orders;

/// What these calls need.
#[derive(Clone)]
pub struct Inquiries {
    /// Orders, and who may ask about them.
    pub orders: Orders,
    /// Whoever asks gateways.
    pub asks: SharedAsks,
}

/// `POST` and `GET /orders/{business}/{order_no}/inquiries`.
pub fn router(inquiries: Inquiries) -> Router {
    Router::new()
        .route("/orders/{business}/{order_no}/inquiries", post(ask).get(show))
        .with_state(inquiries)
}

/// The body of a question; it may be absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(default)]
    refund_no: Option<String>,
}

async fn ask(
    State(inquiries): State<Inquiries>,
    Path((business, order)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    inquiries.orders.admit(&business, &headers)?;
    let wait = wait(query.as_deref().unwrap_or_default())?;
    let Question { refund_no } = question(&body)?;
    let about = About { business, order, refund_no };
    let Some(wait) = wait else {
        let put = inquiries.asks.put_on_schedule(about).await?;
        let put = put.ok_or(Problem::NotFound { what: "order" })?;
        return match put.code.as_deref() {
            Some(NOT_POSSIBLE) => {
                Err(Problem::Refused { code: NOT_POSSIBLE, text: RULE.to_owned() })
            }
            Some(_) => Ok((StatusCode::ACCEPTED, Json(answer_json(&put))).into_response()),
            // It was told already.
            None => Ok(Json(answer_json(&put)).into_response()),
        };
    };
    match tokio::time::timeout(wait, inquiries.asks.ask_now(about)).await {
        Ok(answered) => {
            let answered = answered?.ok_or(Problem::NotFound { what: "order" })?;
            Ok(Json(answer_json(&answered)).into_response())
        }
        // The question goes on; what it comes to is stored whoever waits for it.
        Err(_) => Ok(Json(json!({
            "told": "no-answer", "asked": true, "notification": null, "code": "inquiry.wait-over",
        }))
        .into_response()),
    }
}

async fn show(
    State(inquiries): State<Inquiries>,
    Path((business, order)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    inquiries.orders.admit(&business, &headers)?;
    let store = &inquiries.orders.store;
    let Some(view) = store.order(&business, &order).await? else {
        return Err(Problem::NotFound { what: "order" });
    };
    let found = store.inquiries_of(&business, &view.document.key).await?;
    let list: Vec<Value> = found.iter().map(inquiry_json).collect();
    Ok(Json(json!({ "inquiries": list })).into_response())
}

fn answer_json(answered: &Answered) -> Value {
    json!({
        "told": answered.told.as_str(),
        "asked": answered.asked,
        "notification": answered.notification,
        "code": answered.code,
    })
}

fn inquiry_json(stored: &StoredInquiry) -> Value {
    json!({
        "channel": stored.key.channel,
        "number": stored.key.number,
        "refund_no": stored.key.refund_no,
        "asked": stored.asked,
        "asked_at_ms": stored.asked_at.map(Timestamp::as_ms),
        "code": stored.code,
        "next_at_ms": stored.due_at.map(Timestamp::as_ms),
        "closed_at_ms": stored.closed_at.map(Timestamp::as_ms),
    })
}

fn question(body: &[u8]) -> Result<Question, Problem> {
    if body.is_empty() {
        return Ok(Question::default());
    }
    let object: serde_json::Map<String, Value> = serde_json::from_slice(body)
        .map_err(|_| Problem::field("body", "must be a JSON object or nothing"))?;
    let sent: Question = serde_path_to_error::deserialize(Value::Object(object))
        .map_err(|error| Problem::field(error.path().to_string(), error.inner().to_string()))?;
    let fits = |text: &String| {
        (1..=REFUND_NO_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if sent.refund_no.as_ref().is_some_and(|text| !fits(text)) {
        let rule = format!("must be 1 to {REFUND_NO_MAX} visible ASCII characters without blanks");
        return Err(Problem::field("refund_no", rule));
    }
    Ok(sent)
}

/// The `wait` of a query, such as `10s` or `1500ms`; `None` where nobody waits.
fn wait(query: &str) -> Result<Option<Duration>, Problem> {
    let mut found = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let rule = "must be `wait=` and a time from 1ms to 30s, such as 10s";
        let text = pair.strip_prefix("wait=").ok_or_else(|| Problem::field("query", rule))?;
        let ms = match text.strip_suffix("ms") {
            Some(number) => number.parse::<u64>().ok(),
            None => text
                .strip_suffix('s')
                .and_then(|number| number.parse::<u64>().ok())
                .and_then(|seconds| seconds.checked_mul(1000)),
        };
        match ms {
            Some(ms @ 1..=WAIT_MAX_MS) if found.is_none() => {
                found = Some(Duration::from_millis(ms))
            }
            _ => return Err(Problem::field("wait", rule)),
        }
    }
    Ok(found)
}

const NOT_POSSIBLE: &str = "inquiry.not-possible";

const RULE: &str = "no channel of this order can be asked: expected one with [channels.X.inquiry]";

/// Longest number of a refund in bytes, as gateways take it.
const REFUND_NO_MAX: usize = 64;

/// Longest time that a call waits, in milliseconds.
const WAIT_MAX_MS: u64 = 30_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{question, wait};

    #[test]
    fn a_wait_has_a_unit_and_a_bound() {
        assert_eq!(wait("").unwrap(), None);
        assert_eq!(wait("wait=10s").unwrap(), Some(Duration::from_secs(10)));
        assert_eq!(wait("wait=30000ms").unwrap(), Some(Duration::from_secs(30)));
        for query in [
            "wait=",
            "wait=10",
            "wait=0s",
            "wait=31s",
            "wait=-1s",
            "wait=1m",
            "x=1",
            "wait=1s&wait=2s",
            "wait=99999999999999999999s",
        ] {
            assert!(wait(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_body_may_be_absent_and_holds_nothing_else() {
        assert!(question(b"").unwrap().refund_no.is_none());
        assert_eq!(question(br#"{"refund_no":"R1"}"#).unwrap().refund_no.as_deref(), Some("R1"));
        let long = format!(r#"{{"refund_no":"{}"}}"#, "r".repeat(65));
        for body in [
            "{",
            "[]",
            r#"{"refund":"R1"}"#,
            r#"{"refund_no":"a b"}"#,
            r#"{"refund_no":""}"#,
            &long,
        ] {
            assert!(question(body.as_bytes()).is_err(), "{body}");
        }
    }
}
