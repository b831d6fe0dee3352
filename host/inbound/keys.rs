//! Keys, for operators: which there are and when they end, and reading the configuration again.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::error::Problem;
use super::tokens::Operators;

/// What becomes of reading the configuration again; `None` while the server stops.
pub type Reloading = Pin<Box<dyn Future<Output = Option<Value>> + Send>>;

/// What the calls about keys need.
#[derive(Clone)]
pub struct Keys {
    /// Who may look and act.
    pub operators: Arc<Operators>,
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

async fn reload(State(keys): State<Keys>, headers: HeaderMap) -> Result<Response, Problem> {
    let who = keys.operators.admit(&headers)?;
    tracing::info!(who, "an operator has the configuration read again");
    let mut told = (keys.reload)().await.ok_or(Problem::Unavailable)?;
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
