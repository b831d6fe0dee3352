//! The one HTTP client: no redirects, no proxies, a deadline, an answer of bounded length, and
//! only addresses that may be reached.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
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
        let request = self
            .client
            .post(self.url.clone())
            .headers(headers)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(json);
        let mut response = request.send().await.map_err(|error| self.explain(&error))?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.explain(&error))? {
            let room = BODY_BYTES_MAX.saturating_sub(body.len());
            body.extend(piece.iter().take(room));
            if piece.len() > room {
                break;
            }
        }
        Ok(Answer { status: response.status(), headers: response.headers().clone(), body })
    }

    fn explain(&self, error: &reqwest::Error) -> CallError {
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
            return CallError::Timeout { ms: self.timeout_ms };
        }
        CallError::Unreachable(words(error))
    }
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
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::{CallError, Caller, Endpoint, NotReachable};
    use crate::outbound::address::Reach;
    use crate::outbound::resolve::Names;

    fn caller(url: &str, reach: Reach) -> Result<Caller, NotReachable> {
        Caller::new(Endpoint { url: url.parse().expect("a URL"), reach, timeout_ms: 1000 })
    }

    #[test]
    fn addresses_of_the_house_are_refused_unless_allowed() {
        for url in [
            "https://127.0.0.1/hook",
            "https://[::1]/hook",
            "https://[::ffff:10.0.0.1]/hook",
            "https://169.254.169.254/latest",
            // Other spellings of 127.0.0.1, which a URL reads as such.
            "https://2130706433/",
            "https://0x7f.1/",
        ] {
            let refused = caller(url, Reach::Public).expect_err(url);
            assert!(matches!(refused, NotReachable::Private { .. }), "{url}: {refused}");
            assert!(caller(url, Reach::Anywhere).is_ok(), "{url}");
        }
    }

    #[test]
    fn other_schemes_and_passwords_are_refused() {
        for url in ["http://example.com/", "ftp://example.com/", "https://u:p@example.com/"] {
            let refused = caller(url, Reach::Public).expect_err(url);
            assert!(matches!(refused, NotReachable::Url { .. }), "{url}: {refused}");
        }
        assert!(caller("https://example.com/hook", Reach::Public).is_ok());
    }

    /// A name that has another address each time it is looked up, as who rebinds names does: first
    /// one of the internet, then one of this machine.
    fn rebound(port: u16) -> (Caller, Arc<AtomicU32>) {
        let looks = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&looks);
        let names = Names::Told(Arc::new(move |_| {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            let address = if first { "8.8.8.8:0" } else { "127.0.0.1:0" };
            vec![address.parse().expect("an address")]
        }));
        let url = format!("https://rebound.example:{port}/").parse().expect("a URL");
        let endpoint = Endpoint { url, reach: Reach::Public, timeout_ms: 1000 };
        (Caller::build(endpoint, Vec::new(), names).expect("a caller"), looks)
    }

    #[tokio::test]
    async fn a_name_that_was_public_and_is_private_when_it_is_connected_to_is_refused() {
        let house = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (caller, looks) = rebound(house.local_addr().expect("an address").port());
        caller.probe().await.expect("the first look finds a public address");
        let refused = caller.post(http::HeaderMap::new(), Vec::new()).await;
        let refused = refused.expect_err("the second finds a private one");
        assert!(matches!(refused, CallError::Refused(NotReachable::Private { .. })), "{refused}");
        assert_eq!(looks.load(Ordering::SeqCst), 2, "no look that nobody checks");
        let knock = tokio::time::timeout(Duration::from_millis(50), house.accept()).await;
        assert!(knock.is_err(), "nobody connected");
    }

    #[tokio::test]
    async fn a_name_that_leads_into_the_house_is_refused_when_it_is_connected_to() {
        let caller =
            caller("https://localhost:1/hook", Reach::Public).expect("a name is no address");
        let refused = caller.probe().await.expect_err("localhost is private");
        assert!(matches!(refused, NotReachable::Private { .. }), "{refused}");
        let error = caller.post(http::HeaderMap::new(), Vec::new()).await.expect_err("refused");
        assert!(matches!(error, CallError::Refused(_)), "{error}");
    }
}
