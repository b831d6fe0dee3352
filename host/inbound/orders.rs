//! Orders: registered by the business's back end, and looked at by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{Json, Router};
use callgate_core::money::{Currency, Money};
use callgate_core::order;
use callgate_store::{NewOrder, Registered, Store};
use http::{HeaderMap, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::asking::first_questions;
use super::channel::Channels;
use super::error::Problem;
use super::tokens::{TokenHashes, bearer};
use super::view::{document_json, view_json};
use crate::clock::Clock;

/// What the order calls need.
#[derive(Clone)]
pub struct Orders {
    /// Where orders are.
    pub store: Store,
    /// Whom each business admits.
    pub businesses: Arc<BTreeMap<String, TokenHashes>>,
    /// The channels that an order may name.
    pub channels: Arc<Channels>,
    /// The time.
    pub clock: Clock,
}

/// `PUT` and `GET /orders/{business}/{order_no}`.
pub fn router(orders: Orders) -> Router {
    Router::new().route("/orders/{business}/{order_no}", put(register).get(show)).with_state(orders)
}

/// The body of a registration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    amount_minor: i64,
    currency: String,
    state: String,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    body: Option<Box<RawValue>>,
}

async fn register(
    State(orders): State<Orders>,
    Path((business, order_no)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    orders.admit(&business, &headers)?;
    let order = orders.read(business, order_no, &body)?;
    let now = orders.clock.now();
    let (named, only) =
        ((order.business.as_str(), order.order_no.as_str()), order.channel.as_deref());
    let questions = first_questions(orders.channels.current().values(), named, only, now);
    let registered = orders.store.register_asking(order, questions, now).await?;
    match registered {
        Registered::Created(document) => {
            Ok((StatusCode::CREATED, Json(document_json(&document))).into_response())
        }
        Registered::Same(document) => Ok(Json(document_json(&document)).into_response()),
        Registered::Differs { field } => Err(Problem::Conflict {
            field: field.to_owned(),
            rule: "the order is registered with another value, which stays".to_owned(),
        }),
        Registered::AliasTaken { alias } => Err(Problem::Conflict {
            field: "aliases".to_owned(),
            rule: format!("`{alias}` belongs to another order of this business"),
        }),
    }
}

async fn show(
    State(orders): State<Orders>,
    Path((business, order_no)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    orders.admit(&business, &headers)?;
    match orders.store.order(&business, &order_no).await? {
        Some(view) => Ok(Json(view_json(&view)).into_response()),
        None => Err(Problem::NotFound { what: "order" }),
    }
}

impl Orders {
    /// An unknown business and a wrong token are told apart by nobody.
    pub(super) fn admit(&self, business: &str, headers: &HeaderMap) -> Result<(), Problem> {
        let tokens = self.businesses.get(business).ok_or(Problem::Unauthorized)?;
        match bearer(headers) {
            Some(token) if tokens.admit(token) => Ok(()),
            Some(_) | None => Err(Problem::Unauthorized),
        }
    }

    fn read(&self, business: String, order_no: String, body: &[u8]) -> Result<NewOrder, Problem> {
        check_number("order_no", &order_no)?;
        let mut reader = serde_json::Deserializer::from_slice(body);
        let sent: Registration = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| Problem::field(error.path().to_string(), error.inner().to_string()))?;
        if sent.amount_minor < 0 {
            return Err(Problem::field("amount_minor", "must not be negative"));
        }
        let currency = Currency::parse(&sent.currency)
            .map_err(|error| Problem::field("currency", error.to_string()))?;
        let state = order::State::parse(&sent.state)
            .map_err(|error| Problem::field("state", error.to_string()))?;
        if let Some(channel) = &sent.channel
            && self.channels.get(channel).is_none_or(|found| found.business != business)
        {
            let rule = format!("`{channel}` is no channel of this business");
            return Err(Problem::field("channel", rule));
        }
        Ok(NewOrder {
            business,
            aliases: check_aliases(sent.aliases, &order_no)?,
            order_no,
            amount: Money { minor: sent.amount_minor, currency },
            channel: sent.channel,
            state,
            body: check_body(sent.body)?,
        })
    }
}

fn check_number(field: &str, text: &str) -> Result<(), Problem> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if (1..=ORDER_NO_MAX).contains(&text.len()) && visible {
        Ok(())
    } else {
        let rule = format!("must be 1 to {ORDER_NO_MAX} visible ASCII characters without blanks");
        Err(Problem::field(field, rule))
    }
}

fn check_aliases(mut aliases: Vec<String>, order_no: &str) -> Result<Vec<String>, Problem> {
    if aliases.len() > ALIASES_MAX {
        return Err(Problem::field("aliases", format!("must be at most {ALIASES_MAX}")));
    }
    for (position, alias) in aliases.iter().enumerate() {
        check_number(&format!("aliases[{position}]"), alias)?;
    }
    aliases.sort_unstable();
    aliases.dedup();
    aliases.retain(|alias| alias != order_no);
    Ok(aliases)
}

fn check_body(body: Option<Box<RawValue>>) -> Result<String, Problem> {
    let Some(body) = body else { return Ok("{}".to_owned()) };
    if body.get().len() > ORDER_BODY_BYTES_MAX {
        return Err(Problem::field(
            "body",
            format!("must be at most {ORDER_BODY_BYTES_MAX} bytes"),
        ));
    }
    match serde_json::from_str::<serde_json::Map<String, Value>>(body.get()) {
        Ok(object) => Ok(Value::Object(object).to_string()),
        Err(_) => Err(Problem::field("body", "must be a JSON object")),
    }
}

/// Longest order number or alias in bytes; Alipay's longest is 64.
const ORDER_NO_MAX: usize = 128;

/// Most aliases of one order: one per payment attempt, and then some.
const ALIASES_MAX: usize = 32;

/// Longest free body of an order in bytes; a processor reads it whole.
const ORDER_BODY_BYTES_MAX: usize = 65_536;
