//! Outgoing calls as they are kept with a run: what was asked, by its hash, and what the guest was
//! told. Nobody is called from here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_sandbox::http::{CallAnswer, CallError, CallName, CallRequest, Heard};
use serde::{Deserialize, Serialize};

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    name: String,
    digest: String,
    end: End,
}

/// What the guest was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum End {
    Answered {
        status: u16,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, String)>,
        /// Base64: bodies need not be texts.
        body: String,
    },
    Denied(String),
    Quota(String),
    Timeout,
    Failed(String),
    TooLarge,
    Differs(String),
    Host(String),
}

impl Kept {
    pub(super) fn of(heard: Heard) -> Self {
        let end = match heard.answer {
            Ok(CallAnswer { status, headers, body }) => {
                End::Answered { status, headers, body: STANDARD.encode(body) }
            }
            Err(CallError::Denied(text)) => End::Denied(text),
            Err(CallError::Quota(text)) => End::Quota(text),
            Err(CallError::Timeout) => End::Timeout,
            Err(CallError::Failed(text)) => End::Failed(text),
            Err(CallError::TooLarge) => End::TooLarge,
            Err(CallError::Differs(text)) => End::Differs(text),
            Err(CallError::Host(text)) => End::Host(text),
        };
        Self { name: name(&heard.name, &heard.endpoint), digest: heard.digest, end }
    }

    /// Whether this is what is asked: the same request under the same name.
    pub(super) fn fits(&self, request: &CallRequest) -> bool {
        self.name == name(&request.name, &request.endpoint) && self.digest == request.digest()
    }

    /// What the guest was told.
    pub(super) fn answer(&self) -> Result<CallAnswer, CallError> {
        Err(match &self.end {
            End::Answered { status, headers, body } => {
                let body = STANDARD.decode(body);
                let body = body.map_err(|error| CallError::Host(format!("its record: {error}")))?;
                return Ok(CallAnswer { status: *status, headers: headers.clone(), body });
            }
            End::Denied(text) => CallError::Denied(text.clone()),
            End::Quota(text) => CallError::Quota(text.clone()),
            End::Timeout => CallError::Timeout,
            End::Failed(text) => CallError::Failed(text.clone()),
            End::TooLarge => CallError::TooLarge,
            End::Differs(text) => CallError::Differs(text.clone()),
            End::Host(text) => CallError::Host(text.clone()),
        })
    }
}

/// How a call is known again.
fn name(name: &CallName, endpoint: &str) -> String {
    match name {
        CallName::Made { phase, ordinal } => format!("{phase}.{ordinal}"),
        CallName::Own(own) => format!("{endpoint}:{own}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use callgate_sandbox::fault::Phase;
    use callgate_sandbox::http::{CallAnswer, CallError, CallName, CallRequest, Heard, Method};
    use callgate_sandbox::run::RunMode;

    use super::Kept;

    pub(crate) fn request(path: &str) -> CallRequest {
        CallRequest {
            endpoint: "erp".to_owned(),
            method: Method::Post,
            path: path.to_owned(),
            headers: Vec::new(),
            body: b"{}".to_vec(),
            name: CallName::Made { phase: Phase::Action, ordinal: 1 },
            phase: Phase::Action,
            mode: RunMode::Live,
            timeout_ms: 5,
            answer_bytes_max: 7,
        }
    }

    pub(crate) fn kept(path: &str, answer: Result<CallAnswer, CallError>) -> Kept {
        let CallRequest { name, endpoint, .. } = request(path);
        Kept::of(Heard { name, endpoint, digest: request(path).digest(), answer })
    }

    #[test]
    fn every_end_of_a_call_reads_back() {
        let text = || "why".to_owned();
        let answered = CallAnswer {
            status: 201,
            headers: vec![("etag".to_owned(), "1".to_owned())],
            body: vec![0, 255, 7],
        };
        for answer in [
            Ok(answered),
            Err(CallError::Denied(text())),
            Err(CallError::Quota(text())),
            Err(CallError::Timeout),
            Err(CallError::Failed(text())),
            Err(CallError::TooLarge),
            Err(CallError::Differs(text())),
            Err(CallError::Host(text())),
        ] {
            let json = serde_json::to_string(&kept("/a", answer.clone())).unwrap();
            let read: Kept = serde_json::from_str(&json).unwrap();
            assert_eq!(read.answer(), answer, "{json}");
        }
    }

    #[test]
    fn another_request_under_the_same_name_is_another_one() {
        let kept = kept("/a", Err(CallError::Timeout));
        assert!(kept.fits(&request("/a")));
        assert!(!kept.fits(&request("/b")));
        let renamed = CallRequest { name: CallName::Own("x".to_owned()), ..request("/a") };
        assert!(!kept.fits(&renamed));
    }
}
