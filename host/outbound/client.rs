//! The one HTTP client: no redirects, no proxies, a deadline, an answer of bounded length, and
//! only addresses that may be reached.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use reqwest::{Certificate, Url};

use super::address::Reach;
use super::resolve::{Checked, Names};

/// Calls one endpoint. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Caller {
    client: reqwest::Client,
    url: Url,
    checked: Checked,
    timeout_ms: u32,
}

/// One request with everything of its own.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Path and query, appended to the endpoint's URL; begins with `/` and is normalised.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// From the first byte sent to the answer read, in milliseconds.
    pub timeout_ms: u32,
    /// Bytes that the body of the answer may have.
    pub answer_bytes_max: usize,
}

/// What came of a request that was answered.
#[derive(Debug, Clone)]
pub enum Heard {
    /// An answer, whole.
    Whole(Answer),
    /// An answer whose body is longer than it may be; it was not read to its end.
    TooLarge(StatusCode),
}

/// Where a caller calls, and how long it waits.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address, `https`; `http` only where private addresses may be reached.
    pub url: Url,
    /// Which addresses it may lead to.
    pub reach: Reach,
    /// From the first byte sent to the answer read, in milliseconds.
    pub timeout_ms: u32,
}

/// What an endpoint answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status; a redirect is not followed.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, cut off after [`BODY_BYTES_MAX`].
    pub body: Vec<u8>,
}

/// Why there is no answer. Nobody knows whether the request was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It took too long.
    #[error("no answer within {ms} ms")]
    Timeout {
        /// The limit.
        ms: u32,
    },
    /// The address must not be reached.
    #[error(transparent)]
    Refused(NotReachable),
    /// No connection, or it broke.
    #[error("not reachable: {0}")]
    Unreachable(String),
}

/// Why an endpoint cannot be called at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReachable {
    /// A name leads into our own house.
    #[error("{host} leads to {address}, which is not a public address and not allowed")]
    Private {
        /// The name.
        host: String,
        /// The address.
        address: IpAddr,
    },
    /// The name is not known.
    #[error("{host} cannot be resolved: {error}")]
    Unknown {
        /// The name.
        host: String,
        /// The resolver's words.
        error: String,
    },
    /// The URL is none that is called.
    #[error("found {found}, expected {expected}")]
    Url {
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl Caller {
    /// Makes a caller; looks at the form of the URL, but reaches nobody.
    ///
    /// # Errors
    /// [`NotReachable::Url`] for a URL that is not called, [`NotReachable::Private`] where it holds
    /// a private address itself.
    pub fn new(endpoint: Endpoint) -> Result<Self, NotReachable> {
        Self::build(endpoint, Vec::new(), Names::default())
    }

    /// The same, for a server whose certificate is signed by one of `roots` and no other.
    ///
    /// # Errors
    /// As for [`Caller::new`].
    pub fn trusting(endpoint: Endpoint, roots: Vec<Certificate>) -> Result<Self, NotReachable> {
        Self::build(endpoint, roots, Names::default())
    }

    fn build(
        endpoint: Endpoint,
        roots: Vec<Certificate>,
        names: Names,
    ) -> Result<Self, NotReachable> {
        let Endpoint { url, reach, timeout_ms } = endpoint;
        check(&url, reach)?;
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        let checked = Checked { reach, names };
        let builder = reqwest::Client::builder();
        let builder = if roots.is_empty() { builder } else { builder.tls_certs_only(roots) };
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would connect for us, to an address that nobody here has checked.
            .no_proxy()
            .dns_resolver(Arc::new(checked.clone()))
            .timeout(timeout)
            .connect_timeout(timeout)
            .user_agent(concat!("callgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| NotReachable::Url {
                found: words(&error),
                expected: "a working TLS set-up",
            })?;
        Ok(Self { client, url, checked, timeout_ms })
    }

    /// Resolves the name once and judges what it leads to now; each call does so again.
    ///
    /// # Errors
    /// [`NotReachable::Private`] where it leads into the house, [`NotReachable::Unknown`] where
    /// the name cannot be resolved at the moment.
    pub async fn probe(&self) -> Result<(), NotReachable> {
        let port = self.url.port_or_known_default().unwrap_or(0);
        match self.url.host_str() {
            None => Ok(()),
            Some(host) => {
                let host = host.trim_matches(['[', ']']);
                self.checked.look_up(host, port).await.map(drop)
            }
        }
    }

    /// Posts a JSON text.
    ///
    /// # Errors
    /// [`CallError`]; the endpoint may have read the request nevertheless.
    pub async fn post(&self, headers: HeaderMap, json: Vec<u8>) -> Result<Answer, CallError> {
        self.post_with(&[], headers, json).await
    }

    /// Posts a JSON text, with more pairs in the query of the URL.
    ///
    /// # Errors
    /// As for [`Caller::post`].
    pub async fn post_with(
        &self,
        query: &[(&str, &str)],
        headers: HeaderMap,
        json: Vec<u8>,
    ) -> Result<Answer, CallError> {
        let mut url = self.url.clone();
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let request = self
            .client
            .post(url)
            .headers(headers)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(json);
        let explain = |error: reqwest::Error| explain(&error, self.timeout_ms);
        let mut response = request.send().await.map_err(explain)?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(explain)? {
            let room = BODY_BYTES_MAX.saturating_sub(body.len());
            body.extend(piece.iter().take(room));
            if piece.len() > room {
                break;
            }
        }
        Ok(Answer { status: response.status(), headers: response.headers().clone(), body })
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// [`CallError`]; but for [`CallError::Refused`] the endpoint may have read the request
    /// nevertheless.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Heard, CallError> {
        let Outgoing { method, path, headers, body, timeout_ms, answer_bytes_max } = outgoing;
        let url = self.below(&path).map_err(CallError::Refused)?;
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        let request = self.client.request(method.clone(), url).headers(headers).timeout(timeout);
        // Who hands something over says how long it is, though it be nothing.
        let bare = body.is_empty() && matches!(method, Method::GET | Method::DELETE);
        let request = if bare { request } else { request.body(body) };
        let explain = |error: reqwest::Error| explain(&error, timeout_ms);
        let mut response = request.send().await.map_err(explain)?;
        let status = response.status();
        let most = u64::try_from(answer_bytes_max).unwrap_or(u64::MAX);
        if response.content_length().is_some_and(|bytes| bytes > most) {
            return Ok(Heard::TooLarge(status));
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(explain)? {
            if piece.len() > answer_bytes_max.saturating_sub(body.len()) {
                return Ok(Heard::TooLarge(status));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Heard::Whole(Answer { status, headers: response.headers().clone(), body }))
    }

    /// The URL of a path below this endpoint's. The path was normalised by whoever asks; that it
    /// leads nowhere else is made sure here.
    fn below(&self, path: &str) -> Result<Url, NotReachable> {
        let wrong = || NotReachable::Url {
            found: "a path that leads elsewhere".to_owned(),
            expected: "a path below the base address",
        };
        let base = self.url.as_str().trim_end_matches('/');
        let url: Url = format!("{base}{path}").parse().map_err(|_| wrong())?;
        let stem = self.url.path().trim_end_matches('/');
        let inside = url.path().strip_prefix(stem).is_some_and(|rest| rest.starts_with('/'));
        if url.origin() == self.url.origin() && inside && path.starts_with('/') {
            Ok(url)
        } else {
            Err(wrong())
        }
    }
}

fn explain(error: &reqwest::Error, timeout_ms: u32) -> CallError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<NotReachable>() {
            return match refused {
                NotReachable::Unknown { .. } => CallError::Unreachable(refused.to_string()),
                NotReachable::Private { .. } | NotReachable::Url { .. } => {
                    CallError::Refused(refused.clone())
                }
            };
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        return CallError::Timeout { ms: timeout_ms };
    }
    CallError::Unreachable(words(error))
}

/// The form of a URL, and an address that stands in it: no resolver is asked for those.
fn check(url: &Url, reach: Reach) -> Result<(), NotReachable> {
    let wrong = |found: &str, expected| NotReachable::Url { found: found.to_owned(), expected };
    match (url.scheme(), reach) {
        ("https", _) | ("http", Reach::Anywhere) => {}
        ("http", Reach::Public) => {
            return Err(wrong("http", "https, or a private address that is allowed by name"));
        }
        (other, _) => return Err(wrong(other, "https")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a user name in the URL", "none: requests are signed"));
    }
    let host = url.host_str().ok_or_else(|| wrong("no host", "a host"))?;
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if !reach.admits(address) => {
            Err(NotReachable::Private { host: host.to_owned(), address })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// An error with its causes, without the URL: its path may be a secret.
fn words(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut last = None;
    while let Some(inner) = cause {
        last = Some(inner);
        cause = inner.source();
    }
    last.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

/// Bytes of an answer that are read; the rest is of no interest to anybody here.
pub const BODY_BYTES_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
