//! Outgoing calls, in plain types: what a guest asks of an endpoint, and what it is answered.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::fault::Phase;
use crate::run::RunMode;

/// What to do with what is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl Method {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The name in HTTP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a call is known again when its notification is run again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CallName {
    /// The guest gave no key: its place among those calls of the phase that have none, from 1.
    Made {
        /// The phase.
        phase: Phase,
        /// The place.
        ordinal: u32,
    },
    /// The guest's own idempotency key: 1 to 128 visible ASCII characters.
    Own(String),
}

/// One call, checked: phase, grant, syntax and quota are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRequest {
    /// The name of the endpoint.
    pub endpoint: String,
    /// What to do.
    pub method: Method,
    /// Path and query, normalised, beginning with `/`.
    pub path: String,
    /// Headers, each named once, in lower case; none that belongs to the host.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// How it is known again.
    pub name: CallName,
    /// Where the guest is.
    pub phase: Phase,
    /// Whether the run is the real thing; a dry run calls nobody.
    pub mode: RunMode,
    /// The guest's wish, bounded by what is left of the run's allowance.
    pub timeout_ms: u32,
    /// Bytes that the body of the answer may have.
    pub answer_bytes_max: usize,
}

impl CallRequest {
    /// SHA-256, in hexadecimal, of everything that the endpoint is asked: endpoint, method, path,
    /// headers and body. Each part goes in with its length, so that none can pass for another.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut sha = Sha256::new();
        let mut add = |part: &[u8]| {
            sha.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            sha.update(part);
        };
        add(self.endpoint.as_bytes());
        add(self.method.as_str().as_bytes());
        add(self.path.as_bytes());
        let mut headers: Vec<_> = self.headers.iter().collect();
        headers.sort();
        for (name, value) in headers {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        // Apart from the headers, of which there may be any number.
        add(b"body");
        add(&self.body);
        sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes of path, headers and body.
    #[must_use]
    pub fn len(&self) -> usize {
        let headers =
            self.headers.iter().map(|(name, value)| name.len().saturating_add(value.len()));
        [self.path.len(), self.body.len()].into_iter().chain(headers).fold(0, usize::saturating_add)
    }

    /// Whether it has no bytes at all, which no call that was checked has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an endpoint answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallAnswer {
    /// The status.
    pub status: u16,
    /// Headers that are for the guest, in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A call that a run made, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// How it is known again.
    pub name: CallName,
    /// The endpoint.
    pub endpoint: String,
    /// SHA-256 of what was asked: [`CallRequest::digest`].
    pub digest: String,
    /// The answer, or why there is none.
    pub answer: Result<CallAnswer, CallError>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The configuration does not allow it; the guest is told `denied`.
    #[error("denied: {0}")]
    Denied(String),
    /// It is larger than the endpoint takes; the guest is told `quota`.
    #[error("quota: {0}")]
    Quota(String),
    /// No answer in time; the guest is told `timeout`.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or the endpoint is left in peace; the guest is told `failed`.
    #[error("failed: {0}")]
    Failed(String),
    /// The answer has more bytes than it may have; the guest is told `too-large`.
    #[error("the answer is too large")]
    TooLarge,
    /// An earlier run asked something else under this name. The guest is stopped.
    #[error("{0}")]
    Differs(String),
    /// The host cannot go on with this run, such as one that lost its lease. The guest is stopped.
    #[error("{0}")]
    Host(String),
}

#[cfg(test)]
mod tests {
    use super::{CallName, CallRequest, Method};
    use crate::fault::Phase;
    use crate::run::RunMode;

    fn request() -> CallRequest {
        CallRequest {
            endpoint: "erp".to_owned(),
            method: Method::Post,
            path: "/orders".to_owned(),
            headers: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())],
            body: b"{}".to_vec(),
            name: CallName::Made { phase: Phase::Action, ordinal: 1 },
            phase: Phase::Action,
            mode: RunMode::Live,
            timeout_ms: 5,
            answer_bytes_max: 7,
        }
    }

    #[test]
    fn what_the_endpoint_sees_changes_the_digest_and_nothing_else_does() {
        let digest = request().digest();
        let changed = |change: fn(&mut CallRequest)| {
            let mut request = request();
            change(&mut request);
            request.digest() != digest
        };
        assert!(changed(|one| one.endpoint.push('x')));
        assert!(changed(|one| one.method = Method::Put));
        assert!(changed(|one| one.path.push('x')));
        assert!(changed(|one| one.headers.truncate(1)));
        assert!(changed(|one| one.headers[0].1.push('x')));
        assert!(changed(|one| one.body.push(b'x')));
        assert!(!changed(|one| one.headers.reverse()));
        assert!(!changed(|one| one.timeout_ms = 6));
        assert!(!changed(|one| one.name = CallName::Own("k".to_owned())));
    }

    #[test]
    fn no_part_can_pass_for_another() {
        let mut other = request();
        other.path = "/orde".to_owned();
        other.headers = vec![("rsa".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
        assert_ne!(other.digest(), request().digest());
    }
}
