//! The straight line from bytes to ack.
//!
//! Nothing is parsed, stored or asked for before the signature holds, and nothing is answered
//! with success before the callback is on disk.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use callgate_core::gateway::{Ack, Answer, Refusal};
use callgate_core::notification::Verified;
use callgate_core::request::Request;
use callgate_store::{Callback, Receipt};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio::sync::{Semaphore, broadcast};

use super::channel::{AnswerWhen, Channel, Channels};
use super::listener::{BodyFault, Peer, read_body};
use super::networks::Proxies;
use super::taking::Taking;
use super::{Finished, ListenerSettings, listener};
use crate::clock::{Clock, Stopwatch};
use crate::telemetry::LineBudget;
use crate::telemetry::pulse::Pulse;

/// Everything that a callback meets on its way.
#[derive(Debug)]
pub struct Intake {
    channels: Arc<Channels>,
    taking: Arc<dyn Taking>,
    finished: broadcast::Sender<Finished>,
    clock: Clock,
    settings: ListenerSettings,
    proxies: Proxies,
    requests: Semaphore,
    refused_lines: LineBudget,
    pulse: Pulse,
}

impl Intake {
    /// Puts the line together.
    #[must_use]
    pub fn new(
        channels: Arc<Channels>,
        taking: Arc<dyn Taking>,
        finished: broadcast::Sender<Finished>,
        place: Place,
    ) -> Self {
        let Place { clock, settings, refused_lines, pulse } = place;
        let requests = Semaphore::new(settings.requests_max);
        let (trusted, header) = (settings.trusted_proxies.clone(), settings.forwarded_by);
        let proxies = Proxies { trusted, header };
        Self {
            channels,
            taking,
            finished,
            clock,
            settings,
            proxies,
            requests,
            refused_lines,
            pulse,
        }
    }

    /// Answers one request on the public listener.
    pub async fn answer(
        self: Arc<Self>,
        Peer(peer): Peer,
        request: hyper::Request<Incoming>,
    ) -> listener::Answer {
        let watch = Stopwatch::start();
        let name = request.uri().path().strip_prefix("/callback/").unwrap_or_default();
        let Some(channel) = self.channels.get(name) else {
            metrics::counter!("callgate_callbacks_total",
                "channel" => "", "outcome" => "refused", "code" => "inbound.no-channel")
            .increment(1);
            return empty(http::StatusCode::NOT_FOUND);
        };
        let client = self.proxies.client(peer, request.headers());
        let end = if channel.networks.is_empty() || channel.networks.contains(client) {
            self.follow(&channel, request, watch).await
        } else {
            End::Foreign
        };
        if matches!(end, End::Refused(Refusal::KeyUnknown)) {
            self.channels.miss(&channel);
        }
        let ack = end.ack(&channel);
        self.report((&channel, client), &end, ack.status, watch);
        into_answer(ack)
    }

    async fn follow(
        &self,
        channel: &Channel,
        request: hyper::Request<Incoming>,
        watch: Stopwatch,
    ) -> End {
        let Ok(_permit) = self.requests.try_acquire() else {
            return End::Unavailable("inbound.busy");
        };
        let (head, body) = request.into_parts();
        if head.headers.contains_key(http::header::CONTENT_ENCODING) {
            return End::Refused(Refusal::Encoded);
        }
        let patience = Duration::from_millis(self.settings.read_timeout_ms).min(left(watch));
        let body = match read_body(body, self.settings.body_bytes_max, patience).await {
            Ok(body) => body,
            Err(BodyFault::TooLarge) => {
                let limit_bytes = self.settings.body_bytes_max;
                return End::Refused(Refusal::TooLarge { limit_bytes });
            }
            Err(BodyFault::Incomplete) => return End::Refused(Refusal::Incomplete),
        };
        match self.verify(channel, &head, &body) {
            Ok(verified) => self.keep(channel, verified, (&head, body), watch).await,
            Err(end) => end,
        }
    }

    /// Verifies behind a wall: a panic would be our mistake, and the gateway should come again.
    fn verify(
        &self,
        channel: &Channel,
        head: &http::request::Parts,
        body: &[u8],
    ) -> Result<Verified, End> {
        let request = Request {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            body,
        };
        let now = self.clock.now();
        match catch_unwind(AssertUnwindSafe(|| channel.gateway.verify(&request, now))) {
            Ok(Ok(verified)) => Ok(verified),
            Ok(Err(refusal)) => Err(End::Refused(refusal)),
            Err(_) => Err(End::Unavailable("inbound.panic")),
        }
    }

    async fn keep(
        &self,
        channel: &Channel,
        verified: Verified,
        (head, raw): (&http::request::Parts, Bytes),
        watch: Stopwatch,
    ) -> End {
        // Listening begins before the callback is stored, so that no decision is missed.
        let finished = match channel.answer {
            AnswerWhen::Stored => None,
            AnswerWhen::Processed => Some(self.finished.subscribe()),
        };
        let callback = Callback {
            channel: channel.name.clone(),
            business: channel.business.clone(),
            scene: channel.scene.clone(),
            verified,
            headers: headers_text(&head.headers),
            raw: raw.into(),
        };
        let (signed_at, now) = (callback.verified.signed_at(), self.clock.now());
        let storing = self.taking.take(callback, now);
        match tokio::time::timeout(left(watch), storing).await {
            Ok(Ok(Receipt::New(ids))) => {
                // A repeat may have the time of the first.
                if let Some(signed_at) = signed_at {
                    self.pulse.verified(&channel.name, signed_at, now);
                }
                if let Some(finished) = finished {
                    let budget = Duration::from_millis(u64::from(channel.answer_within_ms));
                    let budget = budget.min(left(watch));
                    // Over budget the work goes on; the answer is the same either way.
                    let _ = tokio::time::timeout(budget, all_finished(finished, &ids)).await;
                }
                End::New(ids)
            }
            Ok(Ok(Receipt::Seen)) => End::Seen,
            Ok(Err(error)) => {
                tracing::error!(%error, code = error.code(), channel = %channel.name,
                    "a verified callback could not be stored; the gateway will send it again");
                End::Unavailable("store.unavailable")
            }
            Err(_) => {
                tracing::error!(channel = %channel.name,
                    "a verified callback was not stored in time; the gateway will send it again");
                End::Unavailable("store.timeout")
            }
        }
    }

    fn report(
        &self,
        (channel, client): (&Channel, IpAddr),
        end: &End,
        status: u16,
        watch: Stopwatch,
    ) {
        let (outcome, code, now) = (end.outcome(), end.code(), self.clock.now());
        let elapsed = watch.elapsed();
        metrics::counter!("callgate_callbacks_total",
            "channel" => channel.name.clone(), "outcome" => outcome, "code" => code)
        .increment(1);
        metrics::histogram!("callgate_answer_seconds", "channel" => channel.name.clone())
            .record(elapsed.as_secs_f64());
        let duration_us = watch.elapsed_us();
        let channel = channel.name.as_str();
        match end {
            End::New(ids) => tracing::info!(
                channel,
                outcome,
                status,
                duration_us,
                notification.id = ids.first().map(String::as_str),
                parts = ids.len(),
                "callback stored"
            ),
            End::Seen => {
                tracing::info!(channel, outcome, status, duration_us, "callback seen before");
            }
            End::Unavailable(code) => {
                // It takes no signature to come here, so these lines have a budget, too.
                if let Some(suppressed) = self.refused_lines.take(client, now) {
                    tracing::warn!(
                        channel,
                        outcome,
                        code,
                        status,
                        duration_us,
                        suppressed,
                        %client,
                        "callback not stored"
                    );
                }
            }
            End::Refused(refusal) => {
                self.pulse.refused(channel, refusal, now);
                if let Some(suppressed) = self.refused_lines.take(client, now) {
                    tracing::info!(channel, outcome, code, status, duration_us, suppressed,
                        %client, reason = %refusal, "callback refused");
                }
            }
            End::Foreign => {
                if let Some(suppressed) = self.refused_lines.take(client, now) {
                    tracing::info!(channel, outcome, code, status, duration_us, suppressed,
                        %client, "callback refused: not from a network of its channel");
                }
            }
        }
    }
}

/// Where and how an intake stands.
#[derive(Debug)]
pub struct Place {
    /// The time.
    pub clock: Clock,
    /// The listener's limits.
    pub settings: ListenerSettings,
    /// How many lines refusals may write.
    pub refused_lines: LineBudget,
    /// Where it is counted what becomes of callbacks.
    pub pulse: Pulse,
}

/// What became of a callback.
#[derive(Debug)]
enum End {
    New(Vec<String>),
    Seen,
    Refused(Refusal),
    /// Not from where the gateway is: it hears nothing that a gateway would.
    Foreign,
    Unavailable(&'static str),
}

impl End {
    fn ack(&self, channel: &Channel) -> Ack {
        channel.gateway.reply(match self {
            Self::New(_) | Self::Seen => Answer::Accepted,
            Self::Refused(refusal) => Answer::Refused(refusal),
            Self::Unavailable(_) => Answer::Unavailable,
            Self::Foreign => return Ack { status: 403, content_type: None, body: "".into() },
        })
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::New(_) => "new",
            Self::Seen => "seen",
            Self::Refused(_) | Self::Foreign => "refused",
            Self::Unavailable(_) => "unavailable",
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::New(_) | Self::Seen => "",
            Self::Refused(refusal) => refusal.code(),
            Self::Foreign => "inbound.network",
            Self::Unavailable(code) => code,
        }
    }
}

/// Waits until every notification of the list is decided.
async fn all_finished(mut finished: broadcast::Receiver<Finished>, ids: &[String]) {
    let mut open: Vec<&String> = ids.iter().collect();
    while !open.is_empty() {
        match finished.recv().await {
            Ok(one) => open.retain(|id| **id != one.notification),
            // Too much went by unheard: the budget ends the wait.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// The headers as a JSON object of lists, for the record. What is not UTF-8 is left out.
pub(crate) fn headers_text(headers: &http::HeaderMap) -> String {
    let mut object = serde_json::Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let texts: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
        object.insert(name.as_str().to_owned(), texts.into());
    }
    serde_json::Value::Object(object).to_string()
}

fn into_answer(ack: Ack) -> listener::Answer {
    let body = match ack.body {
        std::borrow::Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        std::borrow::Cow::Owned(text) => Bytes::from(text),
    };
    let mut answer = hyper::Response::new(Full::new(body));
    *answer.status_mut() =
        http::StatusCode::from_u16(ack.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(content_type) = ack.content_type {
        let value = http::HeaderValue::from_static(content_type);
        answer.headers_mut().insert(http::header::CONTENT_TYPE, value);
    }
    answer
}

fn empty(status: http::StatusCode) -> listener::Answer {
    let mut answer = hyper::Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// What is left of the time for an answer, however it was spent so far.
fn left(watch: Stopwatch) -> Duration {
    ANSWER_WITHIN.saturating_sub(watch.elapsed())
}

/// From the head of the request to the answer: inside a gateway's five seconds, with room for the
/// way there and back.
const ANSWER_WITHIN: Duration = Duration::from_millis(4500);
