//! Keys, for operators: which there are and when they end, and reading the configuration again.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use callgate_store::{Store, machine_name};
use http::{HeaderMap, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Problem;
use super::operate::{check_why, read};
use super::tokens::Operators;
use crate::clock::Clock;

/// What becomes of reading the configuration again; `None` while the server stops.
pub type Reloading = Pin<Box<dyn Future<Output = Option<Value>> + Send>>;

/// What the calls about keys need.
#[derive(Clone)]
pub struct Keys {
    /// Who may look and act.
    pub operators: Arc<Operators>,
    /// Where it stands who acted.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Every key.
    pub list: Arc<dyn Fn() -> Value + Send + Sync>,
    /// What became of the last reload.
    pub last: Arc<dyn Fn() -> Value + Send + Sync>,
    /// Reads the configuration again.
    pub reload: Arc<dyn Fn() -> Reloading + Send + Sync>,
}

/// `GET /operator/keys` and `POST /operator/reload`.
pub fn router(keys: Keys) -> Router {
    Router::new()
        .route("/operator/keys", get(list))
        .route("/operator/reload", post(reload))
        .with_state(keys)
}

async fn list(State(keys): State<Keys>, headers: HeaderMap) -> Result<Response, Problem> {
    keys.operators.admit(&headers)?;
    Ok(Json(json!({ "keys": (keys.list)(), "last_reload": (keys.last)() })).into_response())
}

/// What may be said of a wish to reload.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    why: Option<String>,
}

async fn reload(
    State(keys): State<Keys>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let who = keys.operators.admit(&headers)?;
    let wanted: Wanted = if body.is_empty() { Wanted::default() } else { read(&body)? };
    let why = wanted.why.unwrap_or_else(|| UNSAID.to_owned());
    check_why(&why)?;
    tracing::info!(who, "an operator has the configuration read again");
    let mut told = (keys.reload)().await.ok_or(Problem::Unavailable)?;
    keys.note((&who, &why), &told).await;
    let word = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if word("outcome") != "refused" {
        return Ok(Json(told).into_response());
    }
    let message = format!("{}: {}", word("key"), word("problem"));
    let error = json!({ "code": word("code"), "message": message });
    if let Some(told) = told.as_object_mut() {
        told.insert("error".to_owned(), error);
    }
    Ok((StatusCode::CONFLICT, Json(told)).into_response())
}

impl Keys {
    /// Writes the act down with what came of it. What is in force does not depend on that: where
    /// the database is away, the log alone has it.
    async fn note(&self, (who, why): (&str, &str), told: &Value) {
        let act = ("reload", "configuration", result(told));
        if let Err(error) = self.store.note_act(act, (who, why), self.clock.now()).await {
            tracing::error!(%error, code = error.code(), who,
                "a reload by an operator is not in the audit table");
        }
    }
}

/// What came of a reload, for the audit table: on which host, and what is wrong or has to wait.
fn result(told: &Value) -> String {
    let word = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
    let waiting = told.get("waits_for_restart").and_then(Value::as_array);
    let waiting: Vec<_> = waiting.into_iter().flatten().filter_map(Value::as_str).collect();
    let what = match (word("outcome"), waiting.is_empty()) {
        ("refused", _) => format!("refused: {} {}", word("code"), word("key")),
        (outcome, true) => outcome.to_owned(),
        (outcome, false) => format!("{outcome}, waits for a restart: {}", waiting.join(", ")),
    };
    let what: String = format!("{}: {what}", machine_name()).chars().take(RESULT_CHARS).collect();
    what
}

/// What stands in place of a reason that was not given.
const UNSAID: &str = "no reason given";

/// Characters of what came of it.
const RESULT_CHARS: usize = 2_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::result;

    #[test]
    fn the_audit_says_what_came_of_a_reload() {
        for (told, expected) in [
            (json!({ "outcome": "done", "waits_for_restart": [] }), ": done"),
            (
                json!({ "outcome": "done", "waits_for_restart": ["store.url", "log.format"] }),
                ": done, waits for a restart: store.url, log.format",
            ),
            (
                json!({ "outcome": "refused", "code": "config.key", "key": "channels.a.key",
                    "problem": "found a text" }),
                ": refused: config.key channels.a.key",
            ),
        ] {
            assert!(result(&told).ends_with(expected), "{told}: {}", result(&told));
        }
    }
}
