//! What the signature needs of the request's head, and how old it may be.

use crate::gateway::Refusal;
use crate::request::Request;
use crate::time::Timestamp;

/// The headers of a callback, each there exactly once and of the right form.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// Unix seconds as received: this text is signed.
    pub(super) timestamp: &'a str,
    pub(super) nonce: &'a str,
    pub(super) serial: &'a str,
    /// Base64, not decoded.
    pub(super) signature: &'a str,
    seconds: i64,
}

impl<'a> Head<'a> {
    /// Reads the head and sorts out what needs no key to be refused.
    pub(super) fn read(request: &Request<'a>) -> Result<Self, Refusal> {
        if request.method != "POST" {
            return Err(Refusal::NotItsRequest { expected: "POST" });
        }
        Self::signed(request)
    }

    /// The same for whatever is signed like a callback: the gateway's answers are.
    pub(super) fn signed(request: &Request<'a>) -> Result<Self, Refusal> {
        let timestamp = request.header(TIMESTAMP)?;
        let nonce = request.header("Wechatpay-Nonce")?;
        let serial = request.header("Wechatpay-Serial")?;
        let signature = request.header("Wechatpay-Signature")?;
        // The official SDKs read a missing type as this one.
        let kind = request.header_if_any("Wechatpay-Signature-Type")?.unwrap_or(SIGNATURE_TYPE);
        if kind != SIGNATURE_TYPE {
            return Err(Refusal::Algorithm { expected: SIGNATURE_TYPE });
        }
        let seconds = parse_seconds(timestamp).ok_or(Refusal::HeaderMalformed {
            name: TIMESTAMP,
            expected: "unix seconds in plain digits",
        })?;
        // A probe would decode as base64, and must fail before anything is looked up for it.
        if signature.starts_with(PROBE_PREFIX) {
            return Err(Refusal::Probe);
        }
        Ok(Self { timestamp, nonce, serial, signature, seconds })
    }

    /// The text that is signed, in parts: timestamp, nonce and body, each ended by a line feed.
    pub(super) fn signed_parts<'b>(&self, body: &'b [u8]) -> [&'b [u8]; 6]
    where
        'a: 'b,
    {
        [self.timestamp.as_bytes(), b"\n", self.nonce.as_bytes(), b"\n", body, b"\n"]
    }

    /// When the gateway signed.
    pub(super) fn signed_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.seconds)
    }

    /// Refuses what is further than the tolerance from now; exactly the tolerance passes.
    pub(super) fn check_fresh(&self, now: Timestamp, tolerance_ms: i64) -> Result<(), Refusal> {
        let age_ms = now.ms_since(Timestamp::from_seconds(self.seconds));
        let limit_s = seconds_of(tolerance_ms);
        if age_ms > tolerance_ms {
            return Err(Refusal::Stale { age_s: seconds_of(age_ms), limit_s });
        }
        if age_ms < tolerance_ms.saturating_neg() {
            return Err(Refusal::Ahead { ahead_s: seconds_of(age_ms.saturating_neg()), limit_s });
        }
        Ok(())
    }
}

/// Whole seconds of a positive span, rounded up: 300001 ms are told as 301 s.
fn seconds_of(ms: i64) -> i64 {
    ms.saturating_add(999) / 1000
}

/// One text for one number: SDKs that print the number again would sign another text.
fn parse_seconds(text: &str) -> Option<i64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = text.len() > 1 && text.starts_with('0');
    if !is_plain || is_padded || text.len() > SECONDS_DIGITS_MAX {
        return None;
    }
    text.parse().ok()
}

const TIMESTAMP: &str = "Wechatpay-Timestamp";

/// The one signature type that is verified; the others of the family use SM2 or brand keys.
const SIGNATURE_TYPE: &str = "WECHATPAY2-SHA256-RSA2048";

/// How a deliberately wrong signature begins (page on probe traffic, read 2026-11).
const PROBE_PREFIX: &str = "WECHATPAY/SIGNTEST/";

/// Twelve digits reach past the year 33000.
const SECONDS_DIGITS_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::parse_seconds;

    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(parse_seconds(text), expected, "{text:?}");
    }

    #[test]
    fn plain_digits_are_seconds() {
        check("0", Some(0));
        check("1795226406", Some(1_795_226_406));
        check("999999999999", Some(999_999_999_999));
    }

    #[test]
    fn other_texts_are_no_seconds() {
        for text in
            ["", "00", "01", "+1", "-1", "1 ", " 1", "1.0", "1e3", "0x1", "१", "1000000000000"]
        {
            check(text, None);
        }
    }
}
