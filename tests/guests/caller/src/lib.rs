//! A processor that sends what its configuration names, and notes in the order what that came to.
//!
//! `{order}` and `{attempt}` in paths, keys and bodies stand for the order's number and the number
//! of the attempt. An order whose body says `quiet` calls nobody.

use callgate_processor::{
    Commit, Config, Descriptor, Documents, Draft, Event, Events, Exchange, HttpError, PhaseResult,
    Processor, Request, Response, Route, State, Transition,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Sends requests.
#[derive(Debug)]
pub struct Caller;

callgate_processor::export!(Caller);

const TO_BE_PAID: State = State::named("TO_BE_PAID");
const TO_BE_DELIVERED: State = State::named("TO_BE_DELIVERED");

/// One request of the configuration.
#[derive(Deserialize)]
struct Wanted {
    endpoint: String,
    #[serde(default)]
    method: String,
    path: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    timeout_ms: Option<u32>,
    #[serde(default = "once")]
    times: u32,
}

fn once() -> u32 {
    1
}

impl Processor for Caller {
    fn describe(config: &Config) -> Descriptor {
        let descriptor = Descriptor::new("test/caller", "0.1.0")
            .route(Route::of("PRODUCT_ORDER").event("payment.succeeded").state(&TO_BE_PAID))
            .transition(TO_BE_PAID, TO_BE_DELIVERED);
        match config.get::<Value>("after") {
            Ok(Some(_)) => descriptor.with_after(),
            Ok(None) | Err(_) => descriptor,
        }
    }

    fn check(_exchange: &Exchange, _documents: &Documents) -> PhaseResult {
        Ok(())
    }

    fn next_state(_exchange: &Exchange, _documents: &Documents) -> PhaseResult<Transition> {
        Ok(Transition::MoveTo(TO_BE_DELIVERED))
    }

    fn action(exchange: &Exchange, _documents: &Documents, draft: &Draft) -> PhaseResult {
        let notes = send_all(exchange, "requests", |request| draft.send(request))?;
        exchange.set_scratch(&notes)
    }

    fn save(exchange: &Exchange, _documents: &Documents, draft: &Draft) -> PhaseResult {
        let notes: Option<Vec<String>> = exchange.scratch()?;
        draft.merge(&exchange.order()?.place, &json!({ "calls": notes }))
    }

    fn after(
        exchange: &Exchange,
        _documents: &Documents,
        events: &Events,
        _commit: &Commit,
    ) -> PhaseResult {
        let notes = send_all(exchange, "after", |request| events.send(request))?;
        let key = exchange.order()?.place.key;
        events.emit(&Event::new("order.called", key, &notes)?).map(drop)
    }
}

/// Sends what a list of the configuration names; what each request came to.
fn send_all(
    exchange: &Exchange,
    list: &str,
    send: impl Fn(&Request) -> Result<Response, HttpError>,
) -> PhaseResult<Vec<String>> {
    let config = exchange.config();
    let order = exchange.order()?;
    let body: Value = order.body()?;
    let mut notes = Vec::new();
    if body.get("quiet").is_some() {
        return Ok(notes);
    }
    let tolerant = config.get::<bool>("tolerant")?.unwrap_or_default();
    let wanted: Vec<Wanted> = config.get(list)?.unwrap_or_default();
    for one in wanted {
        let request = request(&one, &order.place.key, exchange.attempt());
        for _ in 0..one.times {
            let answer = send(&request);
            if !tolerant {
                answer.clone()?.success()?;
            }
            notes.push(match answer {
                Ok(answer) => format!("{} {}", answer.status, answer.text().unwrap_or("bytes")),
                Err(error) => error.to_string(),
            });
        }
    }
    Ok(notes)
}

fn request(one: &Wanted, order: &str, attempt: u32) -> Request {
    let fill =
        |text: &str| text.replace("{order}", order).replace("{attempt}", &attempt.to_string());
    let path = fill(&one.path);
    let mut request = match one.method.as_str() {
        "GET" => Request::get(&one.endpoint, path),
        "PUT" => Request::put(&one.endpoint, path),
        "PATCH" => Request::patch(&one.endpoint, path),
        "DELETE" => Request::delete(&one.endpoint, path),
        _ => Request::post(&one.endpoint, path),
    };
    for (name, value) in &one.headers {
        request = request.header(name, value);
    }
    if let Some(body) = &one.body {
        request = request.text(fill(body));
    }
    if let Some(key) = &one.key {
        request = request.idempotency_key(fill(key));
    }
    match one.timeout_ms {
        Some(timeout_ms) => request.timeout_ms(timeout_ms),
        None => request,
    }
}
