//! A callback as it came: borrowed, undecoded, unbelieved.

use std::fmt;

use http::HeaderMap;

use crate::gateway::Refusal;

/// The HTTP request of a callback, exactly as received.
///
/// `Debug` shows where it went, the names of its headers and the length of its body.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method in upper case, such as `POST`.
    pub method: &'a str,
    /// The path without query, as sent.
    pub path: &'a str,
    /// The raw query without its question mark; empty where there is none.
    pub query: &'a str,
    /// All headers; names compare without case.
    pub headers: &'a HeaderMap,
    /// The whole raw body, already bounded by the listener.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads a header that must be there exactly once.
    ///
    /// A second copy is refused: two readers could believe two different values.
    ///
    /// # Errors
    /// [`Refusal::HeaderMissing`], [`Refusal::HeaderRepeated`], or
    /// [`Refusal::HeaderMalformed`] where the value is empty or not visible ASCII.
    pub fn header(&self, name: &'static str) -> Result<&'a str, Refusal> {
        self.header_if_any(name)?.ok_or(Refusal::HeaderMissing { name })
    }

    /// Reads a header that may be absent but not repeated.
    ///
    /// # Errors
    /// [`Refusal::HeaderRepeated`], or [`Refusal::HeaderMalformed`] where the value is empty or
    /// not visible ASCII.
    pub fn header_if_any(&self, name: &'static str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.headers.get_all(name).iter();
        let Some(first) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Refusal::HeaderRepeated { name });
        }
        match first.to_str() {
            Ok(text) if !text.is_empty() => Ok(Some(text)),
            Ok(_) | Err(_) => {
                Err(Refusal::HeaderMalformed { name, expected: "visible ASCII, not empty" })
            }
        }
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::Request;

    #[test]
    fn debug_shows_no_content() {
        let mut headers = HeaderMap::new();
        headers.insert("x-name", HeaderValue::from_static("value-of-it"));
        let body = b"contents";
        let request =
            Request { method: "POST", path: "/p", query: "who=me", headers: &headers, body };
        let text = format!("{request:?}");
        assert!(text.contains("/p") && text.contains("x-name"), "{text}");
        for content in ["contents", &format!("{body:?}"), "who=me", "value-of-it"] {
            assert!(!text.contains(content), "{text}");
        }
    }
}
