//! Health and metrics. Health says only yes or no, to anybody; metrics want an operator's token.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use callgate_core::canary::Budget;
use callgate_store::Store;
use http::{HeaderMap, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;

use super::alerts::{self, SharedRobots};
use super::channel::Channels;
use super::error::Problem;
use super::plugins::{self, SharedPlugins};
use super::ready::{Readiness, Ready};
use super::reconcile::{self, SharedAsk};
use super::tokens::Operators;
use super::{operate, sinks, trials};
use crate::clock::Clock;

/// What the operator calls need.
#[derive(Clone)]
pub struct Operator {
    /// The store whose health is asked.
    pub store: Store,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Who may look and act.
    pub operators: Arc<Operators>,
    /// The time.
    pub clock: Clock,
    /// Whoever keeps processors in force.
    pub plugins: SharedPlugins,
    /// When a canary has failed too often, unless its start says otherwise.
    pub budget: Budget,
    /// Whether a callback could be stored.
    pub ready: Arc<Ready>,
    /// Reason codes that were shown: one that is gone is shown as zero, not as its last count.
    pub reviews: Arc<Mutex<BTreeSet<String>>>,
    /// Looks at the bulkheads of the plugins: `{"bulkheads": […]}`.
    pub bulkheads: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Whoever tells webhooks of alerts.
    pub robots: SharedRobots,
    /// The channels that bills are of.
    pub channels: Arc<Channels>,
    /// Whoever asks gateways about what a bill has and nobody heard of.
    pub ask: SharedAsk,
}

/// `GET /healthz`, `/readyz` and `/metrics`, and the calls of [`operate`],
/// [`plugins`] and [`trials`].
pub fn router(operator: Operator) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/operator/bulkheads", get(bulkheads))
        .merge(operate::routes())
        .merge(plugins::routes())
        .merge(trials::routes())
        .merge(sinks::routes())
        .merge(alerts::routes())
        .merge(reconcile::routes())
        .with_state(operator)
}

async fn ready(State(operator): State<Operator>) -> Response {
    match operator.ready.look().await {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::NotReady => {
            let words = "callbacks cannot be stored\n";
            (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
        }
    }
}

async fn metrics_text(
    State(operator): State<Operator>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let counts = operator.store.counts().await?;
    for (state, count) in [
        ("ready", counts.ready),
        ("parked", counts.parked),
        ("after", counts.after),
        ("review", counts.review),
    ] {
        metrics::gauge!("callgate_notifications", "state" => state).set(gauge_value(count));
    }
    let oldest_ms = operator.store.oldest_open_ms(operator.clock.now()).await?.unwrap_or(0);
    let oldest = std::time::Duration::from_millis(u64::try_from(oldest_ms).unwrap_or(0));
    metrics::gauge!("callgate_oldest_open_seconds").set(oldest.as_secs_f64());
    let reviews = operator.store.reviews().await?;
    show_reviews(&mut operator.reviews.lock().unwrap_or_else(PoisonError::into_inner), reviews);
    let text = operator.metrics.render();
    Ok(([(http::header::CONTENT_TYPE, METRICS_TYPE)], text).into_response())
}

/// How many runs of each plugin are under way, how many notifications are held, and whether it is
/// left alone: on this host.
async fn bulkheads(
    State(operator): State<Operator>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    Ok(axum::Json((operator.bulkheads)()).into_response())
}

fn show_reviews(shown: &mut BTreeSet<String>, reviews: Vec<(String, i64)>) {
    for code in shown.iter() {
        metrics::gauge!("callgate_review", "code" => code.clone()).set(0.0);
    }
    for (code, count) in reviews {
        metrics::gauge!("callgate_review", "code" => code.clone()).set(gauge_value(count));
        shown.insert(code);
    }
}

fn gauge_value(count: i64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4";
