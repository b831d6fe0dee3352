//! Endpoints: what processors may call, by names that the configuration gives.
//!
//! An endpoint that is slow or down costs its callers little and others nothing: so many requests
//! at once, a short wait for a place among them, and peace after failures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use callgate_core::secret::Secret;
use futures_util::future::try_join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::{Certificate, Url};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::address::Reach;
use super::circuit::{Circuit, CircuitSettings, Probe};
use super::client::{CallError, Heard, Outgoing};
use crate::clock::{Clock, Stopwatch};

use self::access::{Access, Door};

mod access;

pub use self::access::Moves;

/// Settings of one endpoint.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// Its name, which processors say.
    pub name: String,
    /// The address that every path is appended to.
    pub base_url: Url,
    /// What may be done there.
    pub methods: BTreeSet<String>,
    /// Whose processors may call it; none for all.
    pub businesses: Option<BTreeSet<String>>,
    /// From the first byte sent to the answer read, in milliseconds.
    pub timeout_ms: u32,
    /// How long a call waits for one of the places, in milliseconds.
    pub wait_ms: u32,
    /// Bytes of path, headers and body of a request.
    pub request_bytes_max: usize,
    /// Bytes of the body of an answer.
    pub response_bytes_max: usize,
    /// Headers that the host adds, credentials among them.
    pub headers: BTreeMap<String, Secret>,
    /// Whether it may be a private address.
    pub reach: Reach,
    /// Certificates that sign the server's; empty for those of the machine.
    pub roots: Vec<Certificate>,
    /// Requests at once.
    pub in_flight_max: usize,
    /// When it is left in peace.
    pub circuit: CircuitSettings,
}

/// Every endpoint by its name.
#[derive(Debug, Default)]
pub struct Endpoints(BTreeMap<String, Endpoint>);

/// Why endpoints cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoints.{name}.{field}: {problem}")]
pub struct EndpointError {
    /// The endpoint.
    pub name: String,
    /// The setting.
    pub field: &'static str,
    /// What was found and what was expected.
    pub problem: String,
}

impl Endpoints {
    /// Opens endpoints. One that does not answer at the moment is no error: it may later.
    ///
    /// # Errors
    /// [`EndpointError`] where an address must not be reached or a setting cannot be used.
    pub async fn open(settings: Vec<EndpointSettings>) -> Result<Self, EndpointError> {
        let mut endpoints = BTreeMap::new();
        for one in settings {
            let endpoint = Endpoint::open(one).await?;
            endpoints.insert(endpoint.settings.name.clone(), endpoint);
        }
        Ok(Self(endpoints))
    }

    /// Makes ready what other settings say of where endpoints are and who we are there. Nothing
    /// changes before [`Moves::enforce`]; everything else of the settings waits for the next start.
    ///
    /// # Errors
    /// As for [`Endpoints::open`].
    pub async fn ready(&self, settings: &[EndpointSettings]) -> Result<Moves, EndpointError> {
        // One that is new waits for the next start.
        let known = settings.iter().filter_map(|one| Some((self.get(&one.name)?, one)));
        let moved = known.map(async |(endpoint, one)| {
            Ok((Arc::clone(&endpoint.access), Arc::new(endpoint.moved(one).await?)))
        });
        Ok(Moves(try_join_all(moved).await?))
    }

    /// The endpoint of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Endpoint> {
        self.0.get(name)
    }
}

/// One endpoint, ready to be called.
#[derive(Debug)]
pub struct Endpoint {
    settings: EndpointSettings,
    access: Door,
    places: Semaphore,
    circuit: Mutex<Circuit>,
}

/// One request of a processor.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: &'static str,
    /// Path and query, normalised.
    pub path: String,
    /// The processor's headers.
    pub headers: Vec<(String, String)>,
    /// What the endpoint knows a repeat by.
    pub key: String,
    /// The body.
    pub body: Vec<u8>,
    /// How long the processor waits, in milliseconds.
    pub timeout_ms: u32,
    /// Bytes that the body of the answer may have.
    pub answer_bytes_max: usize,
    /// Stands for the notification: failures of different ones open the circuit.
    pub seed: i64,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer, with the headers that are for processors.
    Answered {
        /// The status.
        status: u16,
        /// Names in lower case.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// An answer whose body or headers are too large.
    TooLarge {
        /// The status.
        status: u16,
    },
    /// No answer.
    Failed {
        /// A reason code.
        code: &'static str,
        /// For a person.
        text: String,
    },
}

impl Endpoint {
    async fn open(settings: EndpointSettings) -> Result<Self, EndpointError> {
        let access = Arc::new(Access::open(&settings).await?);
        Ok(Self {
            access: Arc::new(RwLock::new(access)),
            places: Semaphore::new(settings.in_flight_max.clamp(1, Semaphore::MAX_PERMITS)),
            circuit: Mutex::new(Circuit::new(settings.circuit)),
            settings,
        })
    }

    /// The way in as other settings have it.
    async fn moved(&self, new: &EndpointSettings) -> Result<Access, EndpointError> {
        let timeout_ms = self.settings.timeout_ms;
        Access::open(&EndpointSettings { timeout_ms, ..new.clone() }).await
    }

    /// The way in as it is now: a call goes its way to the end.
    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a processor of this business may ask this; if not, why.
    ///
    /// # Errors
    /// The rule that is broken, for the author of the processor.
    pub fn admits(&self, business: &str, asked: &Asked) -> Result<(), String> {
        let EndpointSettings { name, methods, businesses, .. } = &self.settings;
        if businesses.as_ref().is_some_and(|names| !names.contains(business)) {
            return Err(format!("endpoint `{name}` is not for business `{business}`"));
        }
        if !methods.contains(asked.method) {
            return Err(format!("endpoint `{name}` does not take {}", asked.method));
        }
        let ours = self.access();
        match asked.headers.iter().find(|(name, _)| ours.headers.contains_key(name)) {
            Some((header, _)) => {
                Err(format!("header `{header}` of endpoint `{name}` is the host's"))
            }
            None => Ok(()),
        }
    }

    /// Bytes of path, headers and body that a request may have.
    #[must_use]
    pub fn request_bytes_max(&self) -> usize {
        self.settings.request_bytes_max
    }

    /// Bytes that the body of an answer may have.
    #[must_use]
    pub fn response_bytes_max(&self) -> usize {
        self.settings.response_bytes_max
    }

    /// How long a call may take in all, in milliseconds.
    #[must_use]
    pub fn timeout_ms(&self) -> u32 {
        self.settings.timeout_ms
    }

    /// Sends a request, unless the endpoint is busy or left in peace, and waits for the answer.
    pub async fn call(&self, asked: Asked, clock: &Clock) -> Outcome {
        let watch = Stopwatch::start();
        let budget_ms = asked.timeout_ms.min(self.settings.timeout_ms);
        let (probe, place) = match self.place(budget_ms, clock).await {
            Ok(found) => found,
            Err(refused) => return self.told(refused, watch),
        };
        let waited_ms = u32::try_from(watch.elapsed().as_millis()).unwrap_or(u32::MAX);
        let timeout_ms = budget_ms.saturating_sub(waited_ms).max(1);
        let (seed, access) = (asked.seed, self.access());
        let outcome = match self.outgoing(asked, timeout_ms, &access) {
            None => failed("calls.unsendable", "a header cannot be sent".to_owned()),
            Some(outgoing) => outcome(access.caller.send(outgoing).await),
        };
        drop(place);
        self.learn(&outcome, (seed, probe), clock);
        self.told(outcome, watch)
    }

    /// Waits a moment for a place, then asks the circuit.
    async fn place(
        &self,
        budget_ms: u32,
        clock: &Clock,
    ) -> Result<(Probe, SemaphorePermit<'_>), Outcome> {
        let name = &self.settings.name;
        let wait = Duration::from_millis(self.settings.wait_ms.min(budget_ms).into());
        let Ok(Ok(place)) = tokio::time::timeout(wait, self.places.acquire()).await else {
            let many = self.settings.in_flight_max;
            let text = format!("endpoint `{name}` has {many} requests on their way already");
            return Err(failed("calls.busy", text));
        };
        let circuit = self.circuit.lock().unwrap_or_else(PoisonError::into_inner);
        let max = self.settings.in_flight_max;
        // This call's own place is not yet used.
        let others = max.saturating_sub(self.places.available_permits()).saturating_sub(1);
        if circuit.room(clock.now(), others, max) == 0 {
            let text = format!("endpoint `{name}` failed and is left in peace for a while");
            return Err(failed("calls.circuit", text));
        }
        Ok((if circuit.is_open() { Probe::Yes } else { Probe::No }, place))
    }

    fn outgoing(&self, asked: Asked, timeout_ms: u32, access: &Access) -> Option<Outgoing> {
        let mut headers = HeaderMap::new();
        for (name, value) in &asked.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.insert(name, HeaderValue::from_str(value).ok()?);
        }
        headers.insert("idempotency-key", HeaderValue::from_str(&asked.key).ok()?);
        headers.extend(access.headers.clone());
        let most = asked.answer_bytes_max.min(self.settings.response_bytes_max);
        Some(Outgoing {
            method: Method::from_bytes(asked.method.as_bytes()).ok()?,
            path: asked.path,
            headers,
            body: asked.body,
            timeout_ms,
            answer_bytes_max: most,
        })
    }

    /// The circuit hears of failures that are the endpoint's.
    fn learn(&self, outcome: &Outcome, (seed, probe): (i64, Probe), clock: &Clock) {
        let mut circuit = self.circuit.lock().unwrap_or_else(PoisonError::into_inner);
        let ill = match outcome {
            Outcome::Answered { status, .. } | Outcome::TooLarge { status } => {
                matches!(status, 408 | 425 | 429 | 500..)
            }
            Outcome::Failed { code, .. } => *code != "calls.unsendable",
        };
        if !ill {
            circuit.success();
        } else if circuit.failure(seed, probe, clock.now()) {
            tracing::warn!(endpoint = %self.settings.name, "an endpoint fails and is left in peace");
        }
        let open = if circuit.is_open() { 1.0 } else { 0.0 };
        drop(circuit);
        let name = self.settings.name.clone();
        metrics::gauge!("callgate_endpoint_circuit_open", "endpoint" => name).set(open);
    }

    fn told(&self, outcome: Outcome, watch: Stopwatch) -> Outcome {
        let class = match &outcome {
            Outcome::Answered { status, .. } => match status {
                ..=299 => "2xx",
                300..=399 => "3xx",
                400..=499 => "4xx",
                500.. => "5xx",
            },
            Outcome::TooLarge { .. } => "too-large",
            Outcome::Failed { code, .. } => code.strip_prefix("calls.").unwrap_or(code),
        };
        let endpoint = self.settings.name.clone();
        metrics::histogram!("callgate_call_seconds", "endpoint" => endpoint.clone())
            .record(watch.elapsed().as_secs_f64());
        metrics::counter!("callgate_calls_total", "endpoint" => endpoint, "class" => class)
            .increment(1);
        outcome
    }
}

fn failed(code: &'static str, text: String) -> Outcome {
    Outcome::Failed { code, text }
}

fn outcome(heard: Result<Heard, CallError>) -> Outcome {
    match heard {
        Ok(Heard::Whole(answer)) => {
            let status = answer.status.as_u16();
            match kept(&answer.headers) {
                Some(headers) => Outcome::Answered { status, headers, body: answer.body },
                None => Outcome::TooLarge { status },
            }
        }
        Ok(Heard::TooLarge(status)) => Outcome::TooLarge { status: status.as_u16() },
        Err(error @ CallError::Timeout { .. }) => failed("calls.timeout", error.to_string()),
        Err(error @ CallError::Refused(_)) => failed("calls.address", error.to_string()),
        Err(error @ CallError::Unreachable(_)) => failed("calls.unreachable", error.to_string()),
    }
}

/// The headers that are for processors: none that belongs to the connection or signs somebody in.
/// `None` where they are too large.
fn kept(headers: &HeaderMap) -> Option<Vec<(String, String)>> {
    let mut kept = Vec::new();
    let mut bytes = 0usize;
    for (name, value) in headers {
        let Ok(value) = value.to_str() else { continue };
        if DROPPED.contains(&name.as_str()) {
            continue;
        }
        bytes = bytes.saturating_add(name.as_str().len()).saturating_add(value.len());
        kept.push((name.as_str().to_owned(), value.to_owned()));
    }
    (bytes <= HEADER_BYTES && kept.len() <= HEADERS_MAX).then_some(kept)
}

const DROPPED: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "alt-svc",
];

/// Headers of an answer, and bytes of their names and values.
const HEADERS_MAX: usize = 100;
const HEADER_BYTES: usize = 32 << 10;
