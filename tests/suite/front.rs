//! A front end that the tests own: tokens by a computation of its own, looks, and event streams.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate_trigger::channel::Channel;
use callgate_trigger::message::{Message, Sending};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::house::{House, keys, now, stage};

/// The secret of the key `k1` of every house that has front ends.
pub(crate) const SECRET: &str = "a-secret-of-the-shop-that-nobody-knows";

/// The secret of the key `k2`.
pub(crate) const SECOND_SECRET: &str = "the-secret-that-came-after-the-first-one";

/// The origin of the shop's pages.
pub(crate) const ORIGIN: &str = "https://shop.example.com";

/// The configuration of the listener for front ends; `more` are keys of `[status]`.
pub(crate) fn status_toml(listen: &str, origin: &str, more: &str) -> String {
    format!(
        "[status]\nenabled = true\n{more}\n[status.listener]\nlisten = \"{listen}\"\n\
         [businesses.PRODUCT_ORDER.status]\norigins = [\"{origin}\"]\n\
         [[businesses.PRODUCT_ORDER.status.keys]]\nid = \"k1\"\nsecret = \"{SECRET}\"\n\
         [[businesses.PRODUCT_ORDER.status.keys]]\nid = \"k2\"\nsecret = \"{SECOND_SECRET}\"\n"
    )
}

/// A server that answers front ends.
pub(crate) fn house(more: &str) -> Option<House> {
    House::start_with(&status_toml("127.0.0.1:0", ORIGIN, more))
}

/// Signs a payload with a key.
pub(crate) fn signed((id, secret): (&str, &str), payload: &Value) -> String {
    let signed = format!("cgs1.{id}.{}", URL_SAFE_NO_PAD.encode(payload.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// What a token for an order says.
pub(crate) fn claims(order_no: &str, in_s: i64) -> Value {
    let seconds = now().as_ms().div_euclid(1000).saturating_add(in_s);
    json!({ "business": "PRODUCT_ORDER", "order_no": order_no, "exp": seconds })
}

/// A good token for an order.
pub(crate) fn token(order_no: &str) -> String {
    signed(("k1", SECRET), &claims(order_no, 600))
}

/// The path of an order's status.
pub(crate) fn path(order_no: &str) -> String {
    format!("/orders/PRODUCT_ORDER/{order_no}/status")
}

/// An order that is registered and will be paid.
pub(crate) struct Paid {
    pub(crate) order_no: String,
    pub(crate) registration: Value,
    /// The callback that pays it.
    pub(crate) message: Message,
    /// The callback that refunds it.
    pub(crate) refund: Message,
}

/// An order and its callbacks, not registered yet.
pub(crate) fn purchase() -> Paid {
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    let order = stage.order(&purchase);
    let registration = json!({ "amount_minor": order.amount.minor,
        "currency": order.amount.currency, "state": order.state });
    let payment = stage.payment(&purchase, &mut draw);
    let refund = purchase.full_refund(&mut draw);
    let refund = stage.refund(&purchase, &refund, &mut draw);
    let [message, refund] = [payment, refund]
        .map(|notice| notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("signed"));
    Paid { order_no: order.order_no, registration, message, refund }
}

/// Registers a new order.
pub(crate) async fn register(house: &House) -> Paid {
    let paid = purchase();
    assert_eq!(house.put_order(&paid.order_no, &paid.registration).await.0, 201);
    paid
}

/// Looks at an order with its token; `query` begins with `?`, or is empty.
pub(crate) fn look(house: &House, order_no: &str, query: &str) -> RequestBuilder {
    let url = format!("{}{}{query}", house.status, path(order_no));
    house.http.get(url).bearer_auth(token(order_no))
}

/// Sends a look, and reads status, tag and JSON (null where there is none).
pub(crate) async fn answer(request: RequestBuilder) -> (u16, String, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok());
    let tag = tag.unwrap_or_default().to_owned();
    let text = response.text().await.expect("a body");
    (status, tag, serde_json::from_str(&text).unwrap_or_default())
}

/// Waits until so many front ends wait.
pub(crate) async fn waiting(house: &House, count: u64) {
    let looking = async {
        while house.metric("callgate_status_waiting").await != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("so many wait");
}

/// An event of a stream, or what else it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Retry(u64),
    Beat,
    Status { id: i64, state: String },
    Expired,
}

/// An open event stream.
pub(crate) struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    /// Opens a stream, which must be granted.
    pub(crate) async fn open(request: RequestBuilder) -> Self {
        let response = request.header("accept", "text/event-stream").send().await.expect("sent");
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self::of(response)
    }

    /// A stream that was granted.
    pub(crate) fn of(response: Response) -> Self {
        Self { response, text: String::new() }
    }

    /// What it says next; `None` at its end, also where the server has gone.
    pub(crate) async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (said, rest) = (said(block), rest.to_owned());
                self.text = rest;
                return Some(said);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("it says something").ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// The next that is no sign of life.
    pub(crate) async fn event(&mut self) -> Option<Said> {
        loop {
            match self.next().await {
                Some(Said::Beat | Said::Retry(_)) => {}
                other => return other,
            }
        }
    }
}

fn said(block: &str) -> Said {
    let field = |name: &str| {
        let mut lines = block.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    if let Some(retry) = field("retry") {
        return Said::Retry(retry.parse().expect("milliseconds"));
    }
    match field("event").as_deref() {
        None => Said::Beat,
        Some("expired") => Said::Expired,
        Some(_) => {
            let data: Value =
                serde_json::from_str(&field("data").expect("data")).expect("JSON in an event");
            let id = field("id").expect("an id").parse().expect("a number");
            assert_eq!(data["version"], id);
            Said::Status { id, state: data["state"].as_str().expect("a state").to_owned() }
        }
    }
}

/// How long a story waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
