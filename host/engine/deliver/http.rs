//! A sink that takes HTTP: one signed request for each attempt, and what its answers mean.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use callgate_store::StoredEvent;
use reqwest::Url;

use super::signature::{SigningSecret, sign};
use super::{Attempt, Blame, Failure, SinkSettings, message};
use crate::clock::Clock;
use crate::outbound::address::Reach;
use crate::outbound::client::{self, Answer, CallError, Caller, NotReachable};

/// Where to post, and what signs.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    caller: Caller,
    secrets: Vec<SigningSecret>,
}

impl Endpoint {
    pub(super) fn new(
        (url, reach, roots): (Url, Reach, Vec<reqwest::Certificate>),
        secrets: &[SigningSecret],
        settings: &SinkSettings,
    ) -> Result<Self, NotReachable> {
        let timeout_ms = settings.timeout_ms;
        let caller = Caller::trusting(client::Endpoint { url, reach, timeout_ms }, roots)?;
        Ok(Self { caller, secrets: secrets.to_vec() })
    }

    pub(super) async fn probe(&self) -> Result<(), NotReachable> {
        self.caller.probe().await
    }

    pub(super) async fn deliver(&self, event: &StoredEvent, clock: &Clock) -> Attempt {
        let body = match message::body(event) {
            Ok(body) => body,
            Err(error) => return Attempt::Failed(unsendable(error.to_string())),
        };
        let seconds = clock.now().as_ms().div_euclid(1000);
        let signature = sign(&self.secrets, (&event.event.id, seconds), &body);
        let Some(headers) = headers(event, seconds, &signature) else {
            return Attempt::Failed(unsendable("a header cannot be sent".to_owned()));
        };
        match self.caller.post(headers, body).await {
            Ok(answer) => judge(&answer),
            Err(error) => Attempt::Failed(unanswered(&error)),
        }
    }
}

/// The processor's own headers first: those of the host have the last word.
fn headers(event: &StoredEvent, seconds: i64, signature: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &event.event.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    headers.insert("webhook-id", HeaderValue::from_str(&event.event.id).ok()?);
    headers.insert("webhook-timestamp", HeaderValue::from(seconds));
    headers.insert("webhook-signature", HeaderValue::from_str(signature).ok()?);
    Some(headers)
}

/// 2xx: taken. 410: never again. Everything else is tried again; with 429 and 503, and wherever
/// else it stands, `Retry-After` in seconds is heard.
fn judge(answer: &Answer) -> Attempt {
    let status = answer.status;
    if status.is_success() {
        return Attempt::Delivered;
    }
    if status == ::http::StatusCode::GONE {
        return Attempt::Gone;
    }
    let (code, text) = if status.is_redirection() {
        ("sink.redirect", format!("status {}, redirects are not followed", status.as_u16()))
    } else {
        ("sink.status", format!("status {}, expected 2xx", status.as_u16()))
    };
    let busy = matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error();
    let blame = if busy { Blame::Sink } else { Blame::Event };
    Attempt::Failed(Failure { code, text, wait_ms: retry_after_ms(&answer.headers), blame })
}

/// The form with a date is rare and would need a clock to be read; it counts as no wish.
fn retry_after_ms(headers: &HeaderMap) -> Option<u32> {
    let text = headers.get(::http::header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    Some(u32::try_from(seconds.saturating_mul(1000)).unwrap_or(u32::MAX))
}

fn unanswered(error: &CallError) -> Failure {
    let code = match error {
        CallError::Timeout { .. } => "sink.timeout",
        CallError::Refused(_) => "sink.address",
        CallError::Unreachable(_) => "sink.unreachable",
    };
    Failure { code, text: error.to_string(), wait_ms: None, blame: Blame::Sink }
}

fn unsendable(text: String) -> Failure {
    Failure { code: "sink.unsendable", text, wait_ms: None, blame: Blame::Event }
}

#[cfg(test)]
mod tests {
    use ::http::{HeaderMap, StatusCode};

    use super::super::{Attempt, Blame, Failure};
    use super::{Answer, judge};

    fn check(status: u16, retry_after: Option<&str>, expected: Result<Attempt, Failure>) {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert("retry-after", text.parse().expect("a value"));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        let found = match judge(&Answer { status, headers, body: Vec::new() }) {
            Attempt::Failed(failure) => Err(Failure { text: String::new(), ..failure }),
            good @ (Attempt::Delivered | Attempt::Gone) => Ok(good),
        };
        assert_eq!(found, expected, "{status}");
    }

    fn failure(code: &'static str, wait_ms: Option<u32>, blame: Blame) -> Result<Attempt, Failure> {
        Err(Failure { code, text: String::new(), wait_ms, blame })
    }

    #[test]
    fn answers_mean_what_the_documentation_says() {
        check(200, None, Ok(Attempt::Delivered));
        check(204, None, Ok(Attempt::Delivered));
        check(410, None, Ok(Attempt::Gone));
        check(302, None, failure("sink.redirect", None, Blame::Event));
        check(404, None, failure("sink.status", None, Blame::Event));
        check(429, Some("7"), failure("sink.status", Some(7_000), Blame::Sink));
        check(503, Some("99999999999"), failure("sink.status", Some(u32::MAX), Blame::Sink));
        check(503, Some("tomorrow"), failure("sink.status", None, Blame::Sink));
        check(500, None, failure("sink.status", None, Blame::Sink));
    }
}
