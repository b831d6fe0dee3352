//! `events`: the transactional outbox.

use crate::bindings::callgate::processor::events::{EventError, Host};
use crate::bindings::callgate::processor::types;
use crate::fault::Phase;
use crate::imports::Refusal;
use crate::json::{self, Bounds};
use crate::run::Event;
use crate::state::RunState;
use crate::text;

impl Host for RunState {
    fn emit(&mut self, event: types::Event) -> wasmtime::Result<Result<String, EventError>> {
        let outcome = self.emit_event(event);
        self.answer(outcome)
    }
}

impl RunState {
    fn emit_event(&mut self, event: types::Event) -> Result<String, Refusal> {
        self.admit(size(&event))?;
        let phase = self.phase;
        match phase {
            Phase::Action | Phase::Save | Phase::After => self.run("events.emit")?,
            Phase::Start | Phase::Describe | Phase::Prepare | Phase::Check | Phase::NextState => {
                return Err(Refusal::Denied(format!("{phase} may not emit events")));
            }
        };
        well_formed(&event)?;
        if !self.terms.grants.emits(&event.topic) {
            return Err(Refusal::Denied(format!("topic `{}` is not granted", event.topic)));
        }
        let limits = &self.terms.limits;
        let bounds = Bounds { bytes: limits.event_payload_bytes, depth: limits.json_depth };
        json::check(&event.payload, bounds)?;
        let (count_max, bytes_max) = (limits.events, limits.events_bytes);
        let bytes = self.meter.events_bytes.saturating_add(size(&event));
        if bytes > bytes_max {
            let text = format!("more than {bytes_max} bytes of events in this run");
            return Err(Refusal::Quota(text));
        }
        let run = self.run("events.emit")?;
        if run.staging.events.len() >= count_max {
            return Err(Refusal::Quota(format!("more than {count_max} events in this run")));
        }
        let id = run.next_event_id(phase);
        let types::Event { topic, key, payload, headers } = event;
        run.staging.events.push(Event { id: id.clone(), topic, key, payload, headers });
        self.meter.events_bytes = bytes;
        Ok(id)
    }
}

fn size(event: &types::Event) -> usize {
    let headers = event.headers.iter().map(|(name, value)| name.len().saturating_add(value.len()));
    [event.topic.len(), event.key.len(), event.payload.len()]
        .into_iter()
        .chain(headers)
        .fold(0, usize::saturating_add)
}

/// Checks the syntax of topic, key and headers.
fn well_formed(event: &types::Event) -> Result<(), Refusal> {
    let refuse = |text: &str| Err(Refusal::Invalid(text.to_owned()));
    if !text::is_topic(&event.topic) {
        return refuse("a topic is 1 to 128 of a-z 0-9 . _ -");
    }
    if !text::is_key(&event.key) {
        return refuse("an event key is 1 to 256 bytes without control characters");
    }
    if event.headers.len() > HEADERS_MAX {
        return refuse("an event has at most 32 headers");
    }
    let mut names: Vec<&str> = Vec::with_capacity(event.headers.len());
    for (name, value) in &event.headers {
        if !text::is_header_name(name) {
            return refuse("a header name is a lower-case letter, then up to 63 of a-z 0-9 _ -");
        }
        if names.contains(&name.as_str()) {
            return refuse("a header is named twice");
        }
        if is_reserved(name) {
            return Err(Refusal::Invalid(format!("header `{name}` is set by the host")));
        }
        if value.len() > HEADER_VALUE_BYTES || value.chars().any(char::is_control) {
            return refuse("a header value is at most 1024 bytes without control characters");
        }
        names.push(name);
    }
    Ok(())
}

/// Headers that frame, route or authenticate a message belong to the host.
fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const HEADERS_MAX: usize = 32;
const HEADER_VALUE_BYTES: usize = 1024;
const RESERVED: [&str; 14] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const RESERVED_PREFIXES: [&str; 4] = ["callgate-", "proxy-", "x-forwarded-", "webhook-"];

impl From<Refusal> for EventError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(text) | Refusal::Unavailable(text) => Self::Denied(text),
            Refusal::Quota(text) => Self::Quota(text),
            Refusal::Invalid(text) => Self::Invalid(text),
            Refusal::Halt(halt) => Self::Denied(halt.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(headers: &[(&str, &str)]) -> types::Event {
        types::Event {
            topic: "order.paid".to_owned(),
            key: "o-1".to_owned(),
            payload: "{}".to_owned(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn a_plain_event_is_well_formed() {
        assert_eq!(well_formed(&event(&[("trace", "a b"), ("x-shop", "订单")])), Ok(()));
    }

    #[test]
    fn headers_that_inject_or_belong_to_the_host_are_refused() {
        for bad in [
            ("Trace", "a"),
            ("tra ce", "a"),
            ("", "a"),
            ("trace\r\nhost", "a"),
            ("trace", "a\r\nhost: b"),
            ("host", "a"),
            ("content-length", "0"),
            ("callgate-signature", "a"),
        ] {
            assert!(well_formed(&event(&[bad])).is_err(), "{bad:?}");
        }
        assert!(well_formed(&event(&[("a", "1"), ("a", "2")])).is_err());
    }

    #[test]
    fn header_values_have_at_most_1024_bytes() {
        assert!(well_formed(&event(&[("a", &"v".repeat(1024))])).is_ok());
        assert!(well_formed(&event(&[("a", &"v".repeat(1025))])).is_err());
    }
}
