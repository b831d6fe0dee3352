//! Outgoing calls: requests to endpoints by name, and what comes back.
//!
//! Addresses and credentials belong to the host. Every call is recorded, and a run that is made
//! again is answered from the record: make requests of what is the same on each run, and not of
//! the clock or the attempt.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{PhaseError, PhaseResult};
use crate::json;

/// What to do with what is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read it.
    Get,
    /// Hand something over.
    Post,
    /// Replace it.
    Put,
    /// Change it.
    Patch,
    /// Remove it.
    Delete,
}

/// The body of a request or of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// None.
    Empty,
    /// A text.
    Text(String),
    /// Anything else.
    Binary(Vec<u8>),
}

impl Content {
    /// The bytes of it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// One request. Sent by [`Draft::send`](crate::Draft::send) in `action` and by
/// [`Events::send`](crate::Events::send) in `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The name of an endpoint that the host's configuration grants the plugin.
    pub endpoint: String,
    /// What to do.
    pub method: Method,
    /// Path and query, beginning with `/`; the host puts the endpoint's address before it.
    pub path: String,
    /// Headers, each named once.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Content,
    /// How long to wait at most; none for as long as the host allows.
    pub timeout_ms: Option<u32>,
    /// How the call is known again; none for its place in the phase.
    pub idempotency_key: Option<String>,
}

impl Request {
    /// Asks for what is at a path.
    #[must_use]
    pub fn get(endpoint: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(Method::Get, endpoint.into(), path.into())
    }

    /// Hands something over.
    #[must_use]
    pub fn post(endpoint: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(Method::Post, endpoint.into(), path.into())
    }

    /// Replaces what is at a path.
    #[must_use]
    pub fn put(endpoint: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(Method::Put, endpoint.into(), path.into())
    }

    /// Changes what is at a path.
    #[must_use]
    pub fn patch(endpoint: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(Method::Patch, endpoint.into(), path.into())
    }

    /// Removes what is at a path.
    #[must_use]
    pub fn delete(endpoint: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(Method::Delete, endpoint.into(), path.into())
    }

    fn new(method: Method, endpoint: String, path: String) -> Self {
        Self {
            endpoint,
            method,
            path,
            headers: Vec::new(),
            body: Content::Empty,
            timeout_ms: None,
            idempotency_key: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Gives it a JSON body, and says so in a header.
    ///
    /// # Errors
    /// Rejects with `request-unwritable` where the value has no form in JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> PhaseResult<Self> {
        self.body = Content::Text(json::write("request-unwritable", value)?);
        Ok(self.header("content-type", "application/json"))
    }

    /// Gives it a text as body.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.body = Content::Text(text.into());
        self
    }

    /// Gives it bytes as body.
    #[must_use]
    pub fn bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Content::Binary(bytes.into());
        self
    }

    /// Waits at most so long.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u32) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// Gives the call a name of its own, 1 to 128 visible ASCII characters: right for calls that
    /// another run may make in another order.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

/// What an endpoint answered, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status; redirects are not followed.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Content,
}

impl Response {
    /// An answer with a status and nothing else, for tests.
    #[must_use]
    pub fn of(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Content::Empty }
    }

    /// The same with a text as body.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.body = Content::Text(text.into());
        self
    }

    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the endpoint did what it was asked: 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Goes on with 2xx alone.
    ///
    /// # Errors
    /// A retry with `endpoint-busy` for 408, 425, 429 and 5xx, after the time that the endpoint
    /// asks for; a rejection with `endpoint-refused` for everything else.
    pub fn success(self) -> PhaseResult<Self> {
        if self.is_success() {
            return Ok(self);
        }
        let text = format!("the endpoint answered with status {}", self.status);
        if !matches!(self.status, 408 | 425 | 429 | 500..) {
            return Err(PhaseError::reject("endpoint-refused", text));
        }
        let seconds = self.header("retry-after").and_then(|text| text.trim().parse::<u32>().ok());
        Err(match seconds {
            Some(s) => PhaseError::retry_after_ms("endpoint-busy", text, s.saturating_mul(1000)),
            None => PhaseError::retry("endpoint-busy", text),
        })
    }

    /// The body as a text; none where it is not one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.body {
            Content::Empty => Some(""),
            Content::Text(text) => Some(text),
            Content::Binary(_) => None,
        }
    }

    /// Reads a JSON body.
    ///
    /// # Errors
    /// Rejects with `answer-unreadable` where it is another one.
    pub fn json<T: DeserializeOwned>(&self) -> PhaseResult<T> {
        json::read("answer-unreadable", self.text().unwrap_or_default())
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// Endpoint, method or header not allowed, or not in this phase.
    Denied(String),
    /// More requests, bytes or waiting than one run may have.
    Quota(String),
    /// A path, header or key that is none.
    Invalid(String),
    /// No answer in time. The request may or may not have arrived.
    Timeout,
    /// No connection, or the endpoint is busy. The request may or may not have arrived.
    Failed(String),
    /// The answer is larger than it may be. The request did arrive.
    TooLarge,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "denied: {text}"),
            Self::Quota(text) => write!(f, "over quota: {text}"),
            Self::Invalid(text) => write!(f, "invalid: {text}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Failed(text) => write!(f, "failed: {text}"),
            Self::TooLarge => f.write_str("the answer is too large"),
        }
    }
}

impl std::error::Error for HttpError {}

/// What may pass is tried again; the rest are mistakes that a person must see.
impl From<HttpError> for PhaseError {
    fn from(error: HttpError) -> Self {
        let text = error.to_string();
        match error {
            HttpError::Denied(_) => Self::reject("call-denied", text),
            HttpError::Quota(_) => Self::reject("call-quota", text),
            HttpError::Invalid(_) => Self::reject("call-invalid", text),
            HttpError::TooLarge => Self::reject("answer-too-large", text),
            HttpError::Timeout => Self::retry("endpoint-timeout", text),
            HttpError::Failed(_) => Self::retry("endpoint-failed", text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HttpError, Request, Response};
    use crate::error::PhaseError;

    #[test]
    fn a_status_decides_what_follows() {
        let code = |response: Response| match response.success() {
            Ok(_) => ("ok", None),
            Err(PhaseError::Reject { code, .. }) => (code, None),
            Err(PhaseError::Retry { code, after_ms, .. }) => (code, after_ms),
            Err(PhaseError::Ignore(_)) => ("ignored", None),
        };
        for status in [200, 201, 204, 299] {
            assert_eq!(code(Response::of(status)), ("ok", None), "{status}");
        }
        for status in [301, 400, 401, 404, 409, 410] {
            assert_eq!(code(Response::of(status)), ("endpoint-refused", None), "{status}");
        }
        for status in [408, 425, 429, 500, 503, 599] {
            assert_eq!(code(Response::of(status)), ("endpoint-busy", None), "{status}");
        }
        let mut later = Response::of(503);
        later.headers.push(("retry-after".to_owned(), "7".to_owned()));
        assert_eq!(code(later), ("endpoint-busy", Some(7_000)));
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let retries = |error| matches!(PhaseError::from(error), PhaseError::Retry { .. });
        assert!(retries(HttpError::Timeout));
        assert!(retries(HttpError::Failed(String::new())));
        assert!(!retries(HttpError::Denied(String::new())));
        assert!(!retries(HttpError::TooLarge));
    }

    #[test]
    fn a_json_body_says_so() {
        let request = Request::post("erp", "/orders").json(&[1, 2]).unwrap();
        assert_eq!(request.body.as_bytes(), b"[1,2]");
        assert_eq!(request.headers, [("content-type".to_owned(), "application/json".to_owned())]);
        let answer: Vec<u8> = Response::of(200).with_text("[1,2]").json().unwrap();
        assert_eq!(answer, [1, 2]);
    }
}
