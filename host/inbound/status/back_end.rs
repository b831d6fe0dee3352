//! The same for back ends, on the private listener with a token of their business: where an order
//! stands, and tokens for their front ends.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use callgate_store::Standing;
use http::HeaderMap;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::Settings;
use super::front::Fronts;
use super::token::Named;
use super::told::{Known, Told, guard};
use crate::inbound::error::Problem;
use crate::inbound::orders::Orders;

/// What the calls need.
#[derive(Clone)]
pub struct BackEnd {
    /// Where orders are, and whom each business admits.
    pub orders: Orders,
    /// The keys of the businesses.
    pub fronts: Fronts,
    /// How long tokens live.
    pub settings: Arc<Settings>,
}

/// `GET /orders/{business}/{order_no}/status` and `POST /orders/{business}/{order_no}/status-token`.
pub fn router(back_end: BackEnd) -> Router {
    Router::new()
        .route("/orders/{business}/{order_no}/status", get(status))
        .route("/orders/{business}/{order_no}/status-token", post(token))
        .with_state(back_end)
}

/// What may be wished of a token.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    ttl_s: Option<u32>,
}

async fn status(
    State(back_end): State<BackEnd>,
    Path(name): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let standing = back_end.standing(&name, &headers).await?;
    Ok(Told::of(standing).answer(&Known::new(None, &headers)))
}

/// For the order as it is named in the address: an alias stays one.
async fn token(
    State(back_end): State<BackEnd>,
    Path(name): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    back_end.standing(&name, &headers).await?;
    let wish = if body.is_empty() {
        Wish::default()
    } else {
        let mut reader = serde_json::Deserializer::from_slice(&body);
        serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| Problem::field(error.path().to_string(), error.inner().to_string()))?
    };
    let most = back_end.settings.token_max_s;
    let ttl_s = wish.ttl_s.unwrap_or(back_end.settings.token_s);
    if !(1..=most).contains(&ttl_s) {
        return Err(Problem::field("ttl_s", format!("must be 1 to {most}")));
    }
    let ttl_ms = i64::from(ttl_s).saturating_mul(1000);
    let expires_at = back_end.orders.clock.now().plus_ms(ttl_ms);
    let named = Named { business: &name.0, order_no: &name.1 };
    let fronts = back_end.fronts.current();
    let signed = fronts.get(&name.0).and_then(|front| front.keys.sign(named, expires_at));
    let Some(token) = signed else { return Err(Problem::NoStatusKey) };
    // Tokens count in whole seconds.
    let expires_at_ms = expires_at.as_ms().div_euclid(1000).saturating_mul(1000);
    let mut response =
        Json(json!({ "token": token, "expires_at_ms": expires_at_ms })).into_response();
    guard(response.headers_mut());
    Ok(response)
}

impl BackEnd {
    async fn standing(
        &self,
        name: &(String, String),
        headers: &HeaderMap,
    ) -> Result<Standing, Problem> {
        self.orders.admit(&name.0, headers)?;
        let found = self.orders.store.standings(std::slice::from_ref(name)).await?;
        found.into_iter().flatten().next().ok_or(Problem::NotFound { what: "order" })
    }
}
