//! `http`: requests to named endpoints, in `action` and `after` alone.

use crate::bindings::callgate::processor::http::{
    Content, Host, HttpError, Method as WitMethod, Request, Response,
};
use crate::fault::{Halt, Phase};
use crate::http::{CallAnswer, CallError, CallName, CallRequest, Method};
use crate::imports::Refusal;
use crate::path;
use crate::state::RunState;
use crate::text;

impl Host for RunState {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, HttpError>> {
        let asked = match self.permitted(request) {
            Ok(asked) => asked,
            Err(refusal) => return self.answer(Err(refusal)),
        };
        let told = match self.call_out(&asked).await {
            None => Ok(Err(HttpError::Failed("the call was not recorded in time".to_owned()))),
            Some(Ok(answer)) => self.hand_out(answer_size(&answer)).map(|()| Ok(answer.into())),
            Some(Err(CallError::Timeout)) => Ok(Err(HttpError::Timeout)),
            Some(Err(CallError::Failed(text))) => Ok(Err(HttpError::Failed(text))),
            Some(Err(CallError::TooLarge)) => Ok(Err(HttpError::TooLarge)),
            Some(Err(CallError::Denied(text))) => Err(Refusal::Denied(text)),
            Some(Err(CallError::Quota(text))) => Err(Refusal::Quota(text)),
            Some(Err(CallError::Differs(text))) => Err(Halt::Differs(text).into()),
            Some(Err(CallError::Host(text))) => Err(Halt::Host(text).into()),
        };
        match told {
            Ok(told) => Ok(told),
            Err(refusal) => self.answer(Err(refusal)),
        }
    }
}

/// Bytes that a request takes over the border.
fn size(request: &Request) -> usize {
    let body = match &request.body {
        Content::Empty => 0,
        Content::Text(text) => text.len(),
        Content::Binary(bytes) => bytes.len(),
    };
    pairs(&request.headers)
        .saturating_add(request.endpoint.len())
        .saturating_add(request.path.len())
        .saturating_add(request.idempotency_key.as_ref().map_or(0, String::len))
        .saturating_add(body)
}

fn answer_size(answer: &CallAnswer) -> usize {
    pairs(&answer.headers).saturating_add(answer.body.len())
}

fn pairs(headers: &[(String, String)]) -> usize {
    let lengths = headers.iter().map(|(name, value)| name.len().saturating_add(value.len()));
    lengths.fold(0, usize::saturating_add)
}

impl RunState {
    /// Checks phase, syntax, grant and quota, and gives the call its name.
    fn permitted(&mut self, request: Request) -> Result<CallRequest, Refusal> {
        self.admit(size(&request))?;
        let phase = self.phase;
        match phase {
            Phase::Action | Phase::After => self.run("http.send")?,
            Phase::Start
            | Phase::Describe
            | Phase::Prepare
            | Phase::Check
            | Phase::NextState
            | Phase::Save => {
                return Err(Refusal::Denied(format!("{phase} may not call endpoints")));
            }
        };
        let path = path::normalised(&request.path);
        let path = path.map_err(|problem| Refusal::Invalid(problem.to_owned()))?;
        let headers = headers(request.headers)?;
        if request.idempotency_key.as_deref().is_some_and(|key| !is_own_key(key)) {
            let text = "an idempotency key is 1 to 128 visible ASCII characters";
            return Err(Refusal::Invalid(text.to_owned()));
        }
        if !text::is_collection(&request.endpoint) {
            let text = "an endpoint is a lower-case letter, then up to 63 of a-z 0-9 _ -";
            return Err(Refusal::Invalid(text.to_owned()));
        }
        if !self.terms.grants.calls(&request.endpoint) {
            let text = format!("endpoint `{}` is not granted", request.endpoint);
            return Err(Refusal::Denied(text));
        }
        self.count_request()?;
        let answer_bytes_max = self.terms.limits.http_response_bytes;
        let http_ms = self.terms.limits.http_ms;
        let run = self.run("http.send")?;
        let left_ms = run.http_left_ms();
        if left_ms == 0 {
            let text = format!("more than {http_ms} ms of waiting for endpoints in this run");
            return Err(Refusal::Quota(text));
        }
        // Counted even where the size is refused below: the same on each run.
        let name = match request.idempotency_key {
            Some(key) => CallName::Own(key),
            None => run.next_call_name(phase),
        };
        let call = CallRequest {
            endpoint: request.endpoint,
            method: method(request.method),
            path,
            headers,
            body: body(request.body),
            name,
            phase,
            mode: run.input.mode,
            timeout_ms: request.timeout_ms.map_or(left_ms, |wish| wish.clamp(1, left_ms)),
            answer_bytes_max,
        };
        let (bytes, limit) = (call.len(), self.terms.limits.http_request_bytes);
        if bytes > limit {
            return Err(Refusal::Quota(format!("request has {bytes} bytes, limit is {limit}")));
        }
        Ok(call)
    }

    fn count_request(&mut self) -> Result<(), Refusal> {
        let limit = self.terms.limits.http_requests;
        if self.meter.http_requests >= limit {
            return Err(Refusal::Quota(format!("more than {limit} requests in this run")));
        }
        self.meter.http_requests = self.meter.http_requests.saturating_add(1);
        Ok(())
    }
}

fn method(method: WitMethod) -> Method {
    match method {
        WitMethod::Get => Method::Get,
        WitMethod::Post => Method::Post,
        WitMethod::Put => Method::Put,
        WitMethod::Patch => Method::Patch,
        WitMethod::Delete => Method::Delete,
    }
}

fn body(content: Content) -> Vec<u8> {
    match content {
        Content::Empty => Vec::new(),
        Content::Text(text) => text.into_bytes(),
        Content::Binary(bytes) => bytes,
    }
}

impl From<CallAnswer> for Response {
    fn from(answer: CallAnswer) -> Self {
        let CallAnswer { status, headers, body } = answer;
        let body = match String::from_utf8(body) {
            Ok(text) if text.is_empty() => Content::Empty,
            Ok(text) => Content::Text(text),
            Err(error) => Content::Binary(error.into_bytes()),
        };
        Self { status, headers, body }
    }
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(text) => Self::Denied(text),
            Refusal::Quota(text) => Self::Quota(text),
            Refusal::Invalid(text) => Self::Invalid(text),
            Refusal::Unavailable(text) => Self::Failed(text),
            Refusal::Halt(halt) => Self::Denied(halt.to_string()),
        }
    }
}

/// Checks headers and puts their names into lower case.
fn headers(headers: Vec<(String, String)>) -> Result<Vec<(String, String)>, Refusal> {
    let refuse = |text: &str| Err(Refusal::Invalid(text.to_owned()));
    if headers.len() > HEADERS_MAX {
        return refuse("a request has at most 32 headers");
    }
    let mut kept: Vec<(String, String)> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        if !is_token(&name) {
            return refuse("a header name is 1 to 64 of A-Z a-z 0-9 _ -");
        }
        let name = name.to_ascii_lowercase();
        if is_reserved(&name) {
            return Err(Refusal::Denied(format!("header `{name}` belongs to the host")));
        }
        if value.len() > HEADER_VALUE_BYTES
            || !value.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        {
            return refuse("a header value is at most 4096 visible ASCII characters and spaces");
        }
        if kept.iter().any(|(known, _)| *known == name) {
            return refuse("a header is named twice");
        }
        kept.push((name, value));
    }
    Ok(kept)
}

fn is_token(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_own_key(key: &str) -> bool {
    (1..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
}

/// Headers that frame, route or authenticate a request, with an underscore for a dash too: some
/// servers take them for the same.
fn is_reserved(name: &str) -> bool {
    let name = name.replace('_', "-");
    RESERVED.contains(&name.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const HEADERS_MAX: usize = 32;
const HEADER_VALUE_BYTES: usize = 4096;
const RESERVED: [&str; 20] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-http-method-override",
    "x-original-url",
];
const RESERVED_PREFIXES: [&str; 6] =
    ["callgate-", "proxy-", "sec-", "x-forwarded-", "x-real-", "x-rewrite-"];

#[cfg(test)]
mod tests {
    use super::{Refusal, headers, is_own_key};

    fn one(name: &str, value: &str) -> Result<Vec<(String, String)>, Refusal> {
        headers(vec![(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn plain_headers_are_taken_in_lower_case() {
        let kept = one("Content-Type", "application/json; charset=utf-8").unwrap();
        assert_eq!(
            kept,
            [("content-type".to_owned(), "application/json; charset=utf-8".to_owned())]
        );
    }

    #[test]
    fn headers_that_inject_are_refused() {
        for (name, value) in [
            ("", "a"),
            ("a b", "a"),
            ("a:b", "a"),
            ("a\r\nhost", "a"),
            ("订单", "a"),
            ("a", "b\r\nhost: c"),
            ("a", "b\nc"),
            ("a", "b\0"),
            ("a", "b\u{7f}"),
            ("a", "b\tc"),
            ("a", "订单"),
        ] {
            assert!(matches!(one(name, value), Err(Refusal::Invalid(_))), "{name:?}: {value:?}");
        }
        let twice = vec![("a".to_owned(), String::new()), ("A".to_owned(), String::new())];
        assert!(matches!(headers(twice), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn headers_of_the_host_are_denied_however_they_are_spelled() {
        for name in [
            "Host",
            "AUTHORIZATION",
            "content-length",
            "Content_Length",
            "connection",
            "transfer-encoding",
            "cookie",
            "idempotency-key",
            "proxy-authorization",
            "x-forwarded-for",
            "X_Forwarded_Host",
            "upgrade",
            "te",
            "via",
        ] {
            assert!(matches!(one(name, "a"), Err(Refusal::Denied(_))), "{name}");
        }
    }

    #[test]
    fn the_bounds_of_headers_are_kept() {
        assert!(one("a", &"v".repeat(4096)).is_ok());
        assert!(one("a", &"v".repeat(4097)).is_err());
        assert!(one(&"a".repeat(64), "").is_ok());
        assert!(one(&"a".repeat(65), "").is_err());
        let many = |count: usize| (0..count).map(|n| (format!("h{n}"), String::new())).collect();
        assert!(headers(many(32)).is_ok());
        assert!(headers(many(33)).is_err());
    }

    #[test]
    fn keys_of_ones_own_have_between_1_and_128_visible_characters() {
        assert!(is_own_key(&"k".repeat(128)));
        for bad in ["", "a b", "a\n", "订", &"k".repeat(129)] {
            assert!(!is_own_key(bad), "{bad:?}");
        }
    }
}
