//! Alerts: operators see what is raised and how it stands with those who are told, and try whether
//! they can be. The same words as on the command line.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use callgate_core::outcome::Reason;
use callgate_core::time::Timestamp;
use callgate_store::{OpenAlert, WebhookStanding};
use http::HeaderMap;
use serde_json::{Value, json};

use super::error::Problem;
use super::operator::Operator;

/// Whoever tells webhooks.
pub trait AskRobots: Send + Sync {
    /// The webhooks that are told.
    fn names(&self) -> Vec<String>;

    /// Sends a test message with an id at a moment; `None` where there is no such webhook.
    fn test<'a>(&'a self, name: &'a str, at: (&'a str, Timestamp)) -> Telling<'a>;
}

/// A message on its way; `None` where there is no such webhook.
pub type Telling<'a> = Pin<Box<dyn Future<Output = Option<Result<(), Reason>>> + Send + 'a>>;

/// Whoever tells webhooks, for many calls at once.
pub type SharedRobots = Arc<dyn AskRobots>;

/// `/operator/alerts`.
pub(super) fn routes() -> Router<Operator> {
    Router::new()
        .route("/operator/alerts", get(alerts))
        .route("/operator/alerts/{webhook}/test", post(test))
}

async fn alerts(State(operator): State<Operator>, headers: HeaderMap) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let raised = operator.store.open_alerts().await?;
    let webhooks = operator.store.webhooks(&operator.robots.names()).await?;
    let raised: Vec<_> = raised.iter().map(alert).collect();
    let webhooks: Vec<_> = webhooks.iter().map(webhook).collect();
    Ok(Json(json!({ "alerts": raised, "webhooks": webhooks })).into_response())
}

async fn test(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let who = operator.operators.admit(&headers)?;
    let id = uuid::Uuid::now_v7().to_string();
    let told = operator.robots.test(&name, (&id, operator.clock.now())).await;
    let told = told.ok_or(Problem::NotFound { what: "webhook" })?;
    tracing::info!(
        who,
        webhook = name.as_str(),
        good = told.is_ok(),
        "an operator tries a webhook"
    );
    match told {
        Ok(()) => Ok(Json(json!({ "webhook": name, "told": true })).into_response()),
        Err(reason) => {
            Err(Problem::State { rule: format!("not told: {} ({})", reason.text, reason.code) })
        }
    }
}

fn alert(open: &OpenAlert) -> Value {
    json!({
        "condition": open.condition,
        "severity": open.severity,
        "summary": open.summary,
        "since_ms": open.since.as_ms(),
        "raised_at_ms": open.raised_at.as_ms(),
        "told_at_ms": open.told_at.as_ms(),
        "told": open.told,
        "held_until_ms": open.held_until.as_ms(),
    })
}

fn webhook(standing: &WebhookStanding) -> Value {
    let failed = standing.failed.as_ref();
    json!({
        "webhook": standing.webhook,
        "waiting": standing.waiting,
        "sent_at_ms": standing.sent_at.map(Timestamp::as_ms),
        "failed_code": failed.map(|reason| reason.code.as_ref()),
        "failed": failed.map(|reason| reason.text.as_str()),
    })
}
