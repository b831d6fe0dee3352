//! Endpoints: what processors may call, by names that the configuration gives.
//!
//! An endpoint that is slow or down costs its callers little and others nothing: so many requests
//! at once, a short wait for a place among them, and peace after failures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use callgate_core::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::{Certificate, Url};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::address::Reach;
use super::circuit::{Circuit, CircuitSettings, Probe};
use super::client::{self, CallError, Caller, Heard, NotReachable, Outgoing};
use crate::clock::{Clock, Stopwatch};

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
    /// Certificates that sign the server's, as PEM; empty for those of the machine.
    pub roots: Vec<String>,
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
            let endpoint = Endpoint::open(one)?;
            match endpoint.caller.probe().await {
                Ok(()) => {}
                Err(error @ NotReachable::Unknown { .. }) => {
                    tracing::warn!(endpoint = %endpoint.settings.name, %error,
                        "an endpoint's name cannot be resolved now");
                }
                Err(error) => return Err(endpoint.settings.wrong("base_url", error.to_string())),
            }
            endpoints.insert(endpoint.settings.name.clone(), endpoint);
        }
        Ok(Self(endpoints))
    }

    /// The endpoint of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Endpoint> {
        self.0.get(name)
    }
}

impl EndpointSettings {
    fn wrong(&self, field: &'static str, problem: String) -> EndpointError {
        EndpointError { name: self.name.clone(), field, problem }
    }

    /// The headers that the host adds. Their values show in no log.
    fn own_headers(&self) -> Result<HeaderMap, EndpointError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let bad = || {
                let problem = format!("`{name}` is no header that can be sent");
                self.wrong("headers", problem)
            };
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(headers)
    }

    fn certificates(&self) -> Result<Vec<Certificate>, EndpointError> {
        let mut found = Vec::new();
        for pem in &self.roots {
            let bundle = Certificate::from_pem_bundle(pem.as_bytes());
            let bundle = bundle.ok().filter(|bundle| !bundle.is_empty());
            let wrong = || self.wrong("ca", "expected certificates in PEM".to_owned());
            found.extend(bundle.ok_or_else(wrong)?);
        }
        Ok(found)
    }
}

/// One endpoint, ready to be called.
#[derive(Debug)]
pub struct Endpoint {
    settings: EndpointSettings,
    caller: Caller,
    headers: HeaderMap,
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
    fn open(settings: EndpointSettings) -> Result<Self, EndpointError> {
        let endpoint = client::Endpoint {
            url: settings.base_url.clone(),
            reach: settings.reach,
            timeout_ms: settings.timeout_ms,
        };
        let caller = Caller::trusting(endpoint, settings.certificates()?)
            .map_err(|error| settings.wrong("base_url", error.to_string()))?;
        Ok(Self {
            headers: settings.own_headers()?,
            places: Semaphore::new(settings.in_flight_max.clamp(1, Semaphore::MAX_PERMITS)),
            circuit: Mutex::new(Circuit::new(settings.circuit)),
            caller,
            settings,
        })
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
        match asked.headers.iter().find(|(name, _)| self.headers.contains_key(name)) {
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
        let seed = asked.seed;
        let outcome = match self.outgoing(asked, timeout_ms) {
            None => failed("calls.unsendable", "a header cannot be sent".to_owned()),
            Some(outgoing) => outcome(self.caller.send(outgoing).await),
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

    fn outgoing(&self, asked: Asked, timeout_ms: u32) -> Option<Outgoing> {
        let mut headers = HeaderMap::new();
        for (name, value) in &asked.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.insert(name, HeaderValue::from_str(value).ok()?);
        }
        headers.insert("idempotency-key", HeaderValue::from_str(&asked.key).ok()?);
        headers.extend(self.headers.clone());
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
