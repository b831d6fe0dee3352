//! A signed question on its way to a gateway: sent to the byte, its answer heard whole.

use callgate_core::gateway::inquiry::Outgoing;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::client::{self, Answer, CallError, Caller, Heard, NotReachable};

/// Sends what a gateway's rules have signed, and waits for the whole answer. An answer that is
/// longer than any gateway's is none.
///
/// # Errors
/// [`CallError`]; but for [`CallError::Refused`] the gateway may have read the question.
pub async fn send(
    caller: &Caller,
    outgoing: Outgoing,
    timeout_ms: u32,
) -> Result<Answer, CallError> {
    let wrong = |found: &str| {
        let found = found.to_owned();
        CallError::Refused(NotReachable::Url { found, expected: "a request of HTTP" })
    };
    let method = Method::from_bytes(outgoing.method.as_bytes()).map_err(|_| wrong("a method"))?;
    let mut headers = HeaderMap::with_capacity(outgoing.headers.len());
    for (name, value) in outgoing.headers {
        let value = HeaderValue::try_from(value).map_err(|_| wrong("a header's value"))?;
        let name = HeaderName::try_from(name).map_err(|_| wrong("a header's name"))?;
        headers.append(name, value);
    }
    let request = client::Outgoing {
        method,
        path: outgoing.target,
        headers,
        body: outgoing.body.into_bytes(),
        timeout_ms,
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    match caller.send(request).await? {
        Heard::Whole(answer) => Ok(answer),
        Heard::TooLarge(status) => {
            let bytes = ANSWER_BYTES_MAX;
            Err(CallError::Unreachable(format!("status {status} with over {bytes} bytes")))
        }
    }
}

/// Bytes of an answer. The longest is a list of a few certificates.
const ANSWER_BYTES_MAX: usize = 262_144;
