//! Outgoing calls of a run: allowed, written down, sent, written down again, answered.
//!
//! What the guest sees stands in the store before it sees it. A call of an earlier run is answered
//! from there; the store decides which ones are, and the words are the same as they were then.

use callgate_sandbox::http::{CallAnswer, CallError, CallName, CallRequest};
use callgate_sandbox::run::RunMode;
use callgate_store::{CallBegun, CallEnd, CallKept, EndedCall, Job, Lease, NewCall};

use super::Engine;
use crate::clock::Stopwatch;
use crate::outbound::endpoints::{Asked, Endpoint, Outcome};

/// Calls in the name of one job.
pub(super) struct Calls {
    engine: Engine,
    lease: Lease,
    business: String,
    plugin: String,
}

impl Calls {
    pub(super) fn new(engine: &Engine, job: &Job, plugin: &str) -> Self {
        Self {
            engine: engine.clone(),
            lease: job.lease.clone(),
            business: job.stored.business.clone(),
            plugin: plugin.to_owned(),
        }
    }

    /// Answers one call of the guest.
    pub(super) async fn call(&self, request: &CallRequest) -> Result<CallAnswer, CallError> {
        if request.mode == RunMode::DryRun {
            return Err(CallError::Denied("a dry run calls nobody".to_owned()));
        }
        let name = &request.endpoint;
        let Some(endpoint) = self.engine.endpoints.get(name) else {
            return Err(CallError::Denied(format!("endpoint `{name}` is not configured")));
        };
        let asked = self.asked(request, endpoint);
        endpoint.admits(&self.business, &asked).map_err(CallError::Denied)?;
        let (bytes, most) = (request.len(), endpoint.request_bytes_max());
        if bytes > most {
            let text = format!("request has {bytes} bytes, endpoint `{name}` takes {most}");
            return Err(CallError::Quota(text));
        }
        let new = self.new_call(request, &asked, endpoint);
        let call_name = new.name.clone();
        match self.engine.store.begin_call(new, self.engine.clock.now()).await {
            Ok(CallBegun::Send { tries, key }) => {
                self.send(endpoint, Asked { key, ..asked }, (name, call_name, tries)).await
            }
            Ok(CallBegun::Known(end)) => {
                count(name, "recorded");
                answer(name, end)
            }
            Ok(CallBegun::Differs { was }) => {
                count(name, "differs");
                Err(CallError::Differs(differs(request, &call_name, &was)))
            }
            Ok(CallBegun::LostLease) => Err(CallError::Host(LOST.to_owned())),
            Err(error) => {
                tracing::warn!(%error, code = error.code(), "a call was not begun");
                Err(CallError::Failed("the call cannot be recorded now".to_owned()))
            }
        }
    }

    fn asked(&self, request: &CallRequest, endpoint: &Endpoint) -> Asked {
        // The random tail of the id stands for the notification.
        let seed = uuid::Uuid::parse_str(self.lease.id()).map_or(0, |id| id.as_u64_pair().1);
        Asked {
            method: request.method.as_str(),
            path: request.path.clone(),
            headers: request.headers.clone(),
            key: String::new(),
            body: request.body.clone(),
            timeout_ms: request.timeout_ms.min(endpoint.timeout_ms()),
            answer_bytes_max: request.answer_bytes_max.min(endpoint.response_bytes_max()),
            seed: i64::from_be_bytes(seed.to_be_bytes()),
        }
    }

    fn new_call(&self, request: &CallRequest, asked: &Asked, endpoint: &Endpoint) -> NewCall {
        let digest = request.digest();
        let id = self.lease.id();
        let (name, key, changed_key) = match &request.name {
            CallName::Made { phase, ordinal } => {
                let name = format!("{phase}.{ordinal}");
                let key = format!("{id}.{name}");
                // What is asked anew must not pass for a repeat of what was refused.
                let changed = format!("{key}.{}", digest.get(..8).unwrap_or_default());
                (name, key, changed)
            }
            CallName::Own(own) => (format!("{}:{own}", request.endpoint), own.clone(), own.clone()),
        };
        let lease_ms = i64::from(self.engine.settings.lease_ms);
        NewCall {
            lease: self.lease.clone(),
            name,
            phase: request.phase.as_str(),
            endpoint: request.endpoint.clone(),
            key,
            changed_key,
            plugin: self.plugin.clone(),
            method: request.method.as_str(),
            path: request.path.clone(),
            request_bytes: signed(request.len()),
            digest,
            answer_bytes_max: signed(asked.answer_bytes_max),
            // When the call is over, a whole lease is left for the rest of the run.
            lease_ms: lease_ms.saturating_add(i64::from(endpoint.timeout_ms())),
        }
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        asked: Asked,
        (name, call_name, tries): (&str, String, i64),
    ) -> Result<CallAnswer, CallError> {
        let (watch, method) = (Stopwatch::start(), asked.method);
        let end = match endpoint.call(asked, &self.engine.clock).await {
            Outcome::Answered { status, headers, body } => {
                tracing::debug!(notification.id = %self.lease.id(), endpoint = name, method,
                    call = call_name, status, duration_us = watch.elapsed_us(), "a call");
                CallEnd::Answered { status, headers, body }
            }
            Outcome::TooLarge { status } => {
                tracing::info!(notification.id = %self.lease.id(), endpoint = name, method,
                    call = call_name, status, "the answer of a call is too large");
                CallEnd::TooLarge { status }
            }
            Outcome::Failed { code, text } => {
                tracing::info!(notification.id = %self.lease.id(), endpoint = name, method,
                    call = call_name, code, reason = text, "a call failed");
                CallEnd::Failed(code.to_owned())
            }
        };
        let ended = EndedCall {
            notification_id: self.lease.id().to_owned(),
            name: call_name,
            tries,
            end: end.clone(),
            duration_us: i64::try_from(watch.elapsed().as_micros()).unwrap_or(i64::MAX),
        };
        match self.engine.store.end_call(ended, self.engine.clock.now()).await {
            Ok(CallKept::Kept) => answer(name, end),
            Ok(CallKept::Superseded) => Err(CallError::Host(LOST.to_owned())),
            Err(error) => {
                tracing::warn!(%error, code = error.code(), "the end of a call was not recorded");
                Err(CallError::Failed("the answer cannot be recorded now".to_owned()))
            }
        }
    }
}

/// What the guest is told, the same from the endpoint and from the record.
fn answer(endpoint: &str, end: CallEnd) -> Result<CallAnswer, CallError> {
    match end {
        CallEnd::Answered { status, headers, body } => Ok(CallAnswer { status, headers, body }),
        CallEnd::TooLarge { .. } => Err(CallError::TooLarge),
        CallEnd::Failed(code) if code == "calls.timeout" => Err(CallError::Timeout),
        CallEnd::Failed(code) => {
            Err(CallError::Failed(format!("no answer of endpoint `{endpoint}` ({code})")))
        }
    }
}

fn differs(request: &CallRequest, name: &str, was: &str) -> String {
    let (endpoint, method, path) = (&request.endpoint, request.method, &request.path);
    format!(
        "call {name} was `{was}` in an earlier run of this notification and is \
         `{endpoint} {method} {path}` now, or its headers or body are others"
    )
}

fn count(endpoint: &str, class: &'static str) {
    let endpoint = endpoint.to_owned();
    metrics::counter!("callgate_calls_total", "endpoint" => endpoint, "class" => class)
        .increment(1);
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

const LOST: &str = "this run lost its lease: another one has the notification";
