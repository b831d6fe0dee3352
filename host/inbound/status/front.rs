//! What a business allows its front ends: keys of tokens, and the origins of its pages.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::token::Keys;

/// One business for its front ends.
#[derive(Debug, Clone, Default)]
pub struct Front {
    /// Keys that sign tokens.
    pub keys: Keys,
    /// Origins whose pages may read the answers, as browsers send them.
    pub origins: Vec<Origin>,
}

/// Every business for its front ends, by name. Clones are the same, and change together.
#[derive(Debug, Clone, Default)]
pub struct Fronts(Arc<RwLock<Arc<BTreeMap<String, Front>>>>);

impl Fronts {
    /// Begins with these.
    #[must_use]
    pub fn new(named: BTreeMap<String, Front>) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(named))))
    }

    /// As they are now.
    #[must_use]
    pub fn current(&self) -> Arc<BTreeMap<String, Front>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in their place; what is under way keeps what it has.
    pub fn replace(&self, named: Arc<BTreeMap<String, Front>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = named;
    }
}

/// An origin, such as `https://shop.example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl Origin {
    /// Reads an origin as browsers send it.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "`{text}` is no origin, expected scheme and host as browsers send them, such as \
                 https://shop.example.com: lower case, no path, no port that is the scheme's own"
            )
        };
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(expected());
        };
        let own = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(expected()),
        };
        let rebuilt = match uri.port_u16() {
            Some(port) if port == own => return Err(expected()),
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        };
        if rebuilt != text || text != text.to_ascii_lowercase() || host.contains('*') {
            return Err(expected());
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| expected())
    }
}

/// The origin of a request, where its business allows it.
#[derive(Debug, Clone)]
pub(super) struct Allowed(Option<HeaderValue>);

impl Allowed {
    pub(super) fn of(front: Option<&Front>, headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (sent.next(), sent.next()) else { return Self(None) };
        let known = front.is_some_and(|front| front.origins.iter().any(|one| one.0 == *origin));
        Self(known.then(|| origin.clone()))
    }

    /// Lets a page of that origin read the answer. Never together with cookies: a token is all
    /// that counts.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = &self.0 else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed = HeaderValue::from_static("etag, retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    /// Answers what a browser asks before it asks.
    pub(super) fn preflight(&self, headers: &mut HeaderMap) {
        self.mark(headers);
        if self.0.is_none() {
            return;
        }
        for (name, value) in PREFLIGHT {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// What pages of an allowed origin may send; good for ten minutes.
const PREFLIGHT: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET"),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, cache-control, if-none-match, last-event-id",
    ),
    (header::ACCESS_CONTROL_MAX_AGE, "600"),
];

#[cfg(test)]
mod tests {
    use super::Origin;

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for good in [
            "https://shop.example.com",
            "http://127.0.0.1:8000",
            "https://shop.example.com:8443",
            "http://[::1]:9000",
        ] {
            assert!(Origin::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "",
            "shop.example.com",
            "https://",
            "https://shop.example.com/",
            "https://shop.example.com/path",
            "https://Shop.example.com",
            "https://shop.example.com:443",
            "http://shop.example.com:80",
            "https://*.example.com",
            "https://user@shop.example.com",
            "ftp://shop.example.com",
            "https://a.example.com, https://b.example.com",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }
}
