//! One callback over HTTP, and what the gateway would make of the answer.

use std::time::Duration;

use anyhow::Context;
use callgate_trigger::answer::{self, Answer, Verdict};
use callgate_trigger::cases::{Expected, Order};
use callgate_trigger::channel::BUSINESS;
use callgate_trigger::message::Message;
use serde_json::{Value, json};

use crate::cli::trust::Trust;

/// Speaks to the server: callbacks to its public listener, orders to its private one.
#[derive(Debug, Clone)]
pub(super) struct Post {
    http: reqwest::Client,
    url: String,
    orders: Option<Orders>,
}

#[derive(Debug, Clone)]
struct Orders {
    url: String,
    token: String,
}

/// What came back for one callback.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    /// Status and first words, for the table.
    pub(super) shown: String,
    /// What the gateway concludes.
    pub(super) verdict: Verdict,
    /// What is wrong with the answer, if anything.
    pub(super) wrong: Option<String>,
}

impl Post {
    pub(super) fn new(
        (url, trust): (&str, &Trust),
        orders_url: Option<&str>,
        token: Option<&str>,
    ) -> anyhow::Result<Self> {
        let http = trust.client(PATIENCE)?;
        let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
        let orders = match (orders_url, token) {
            (None, _) => None,
            (Some(url), Some(token)) => Some(Orders { url: trimmed(url), token: token.to_owned() }),
            (Some(_), None) => {
                anyhow::bail!("--orders-url needs --token-file or the variable CALLGATE_TOKEN");
            }
        };
        Ok(Self { http, url: trimmed(url), orders })
    }

    /// Posts a callback and judges the answer.
    pub(super) async fn callback(&self, message: Message) -> anyhow::Result<Reply> {
        let mut request = self.http.post(format!("{}{}", self.url, message.path));
        for (name, value) in &message.headers {
            request = request.header(name, value);
        }
        let response = request.body(message.body).send().await.context("the callback's post")?;
        let status = response.status().as_u16();
        let content_type = response
            .headers()
            .get(reqwest::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = response.bytes().await.context("the callback's answer")?;
        let gateway = message.channel.gateway();
        let heard = Answer { status, content_type: content_type.as_deref(), body: &body };
        let verdict = answer::accepts(gateway, heard);
        let wrong = answer::meets(message.expect, gateway, heard).err();
        Ok(Reply { shown: show(status, &body), verdict, wrong })
    }

    /// Whether orders can be registered and looked at.
    pub(super) fn knows_orders(&self) -> bool {
        self.orders.is_some()
    }

    /// Registers an order; without an order URL nothing happens.
    pub(super) async fn register(&self, order: &Order) -> anyhow::Result<()> {
        let Some(orders) = &self.orders else { return Ok(()) };
        let body = json!({
            "amount_minor": order.amount.minor,
            "currency": order.amount.currency,
            "channel": order.channel.name(),
            "state": order.state,
        });
        let request = self.http.put(orders.address(&order.order_no)).json(&body);
        let response = request.bearer_auth(&orders.token).send().await.context("registering")?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let text = response.text().await.unwrap_or_default();
        anyhow::bail!("registering {} was answered with {status}: {text}", order.order_no)
    }

    /// Looks at an order; `None` where it is not registered.
    pub(super) async fn order(&self, order_no: &str) -> anyhow::Result<Option<Value>> {
        let Some(orders) = &self.orders else { return Ok(None) };
        let request = self.http.get(orders.address(order_no)).bearer_auth(&orders.token);
        let response = request.send().await.context("looking at an order")?;
        match response.status() {
            reqwest::StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                Ok(Some(response.json().await.context("an order's JSON")?))
            }
            status => anyhow::bail!("looking at {order_no} was answered with {status}"),
        }
    }
}

impl Orders {
    fn address(&self, order_no: &str) -> String {
        format!("{}/orders/{BUSINESS}/{order_no}", self.url)
    }
}

/// An order as the table shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: Option<String>,
    pub(super) events: Vec<String>,
    /// State of each notification about it, with the reason where there is one.
    pub(super) stored: Vec<String>,
    reviews: Vec<String>,
    open: bool,
}

impl Seen {
    pub(super) fn of(order: Option<&Value>) -> Self {
        let Some(order) = order else { return Self::default() };
        let texts = |list: &str, field: &str| -> Vec<String> {
            let items = order[list].as_array().into_iter().flatten();
            items.filter_map(|item| item[field].as_str()).map(str::to_owned).collect()
        };
        let mut seen = Self {
            state: order["state"].as_str().map(str::to_owned),
            events: texts("events", "topic"),
            ..Self::default()
        };
        for told in order["notifications"].as_array().into_iter().flatten() {
            let state = told["state"].as_str().unwrap_or("?");
            let code = told["reason_code"].as_str().unwrap_or_default();
            // What waits for its order or for another notification is not at work.
            let waits = matches!(told["outcome"].as_str(), Some("defer" | "park"));
            seen.open |= !waits && !matches!(state, "done" | "review");
            if state == "review" {
                seen.reviews.push(code.to_owned());
            }
            let told = told["event_type"].as_str().unwrap_or("?");
            let blank = if code.is_empty() { "" } else { " " };
            seen.stored.push(format!("{told} {state}{blank}{code}"));
        }
        seen
    }

    /// What differs from what was expected; empty where nothing does.
    pub(super) fn differs(&self, expected: &Expected) -> Option<String> {
        if self.state.as_deref() != expected.state {
            return Some(format!("state is {:?}, expected {:?}", self.state, expected.state));
        }
        if self.events != expected.events {
            return Some(format!("events are {:?}, expected {:?}", self.events, expected.events));
        }
        let review = self.reviews.first().map(String::as_str);
        if review != expected.review {
            return Some(format!("in review: {review:?}, expected {:?}", expected.review));
        }
        self.open.then(|| "work on it is still under way".to_owned())
    }
}

fn show(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let short: String = text.chars().take(200).collect();
    let word = ["CDATA[SUCCESS]", "CDATA[FAIL]"]
        .into_iter()
        .find(|mark| short.contains(mark))
        .map(|mark| mark.trim_start_matches("CDATA[").trim_end_matches(']').to_owned());
    let code = short
        .split(['"', '[', ']', '<', '>'])
        .find(|part| part.starts_with("gateway.") || part.starts_with("unavailable"));
    let words = match (word, code) {
        (Some(word), Some(code)) => format!("{word} {code}"),
        (Some(word), None) => word,
        (None, Some(code)) => format!("FAIL {code}"),
        (None, None) => short,
    };
    format!("{status} {words}").trim_end().to_owned()
}

/// Twice what a gateway waits.
const PATIENCE: Duration = Duration::from_secs(10);
