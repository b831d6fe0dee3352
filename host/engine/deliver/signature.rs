//! Signatures of Standard Webhooks, symmetric: HMAC-SHA256 over id, time and body.
//!
//! Source: Standard Webhooks specification 1.0.0, read 2026-11-20.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A secret that signs. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct SigningSecret(hmac::Key);

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

impl SigningSecret {
    /// Reads `whsec_` and 24 to 64 bytes in Base64.
    ///
    /// # Errors
    /// What was expected; nothing of what was found.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let coded = text.strip_prefix("whsec_").ok_or("expected a secret that begins `whsec_`")?;
        let bytes = STANDARD.decode(coded).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| "expected Base64 after `whsec_`")?;
        if !(24..=64).contains(&bytes.len()) {
            return Err("expected 24 to 64 bytes in Base64 after `whsec_`");
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

/// The value of `webhook-signature`: one signature for each secret, separated by spaces, so that
/// a consumer that knows only one of them finds it during a rotation.
pub(in crate::engine) fn sign(
    secrets: &[SigningSecret],
    (id, seconds): (&str, i64),
    body: &[u8],
) -> String {
    let start = format!("{id}.{seconds}.");
    let signatures: Vec<String> = secrets
        .iter()
        .map(|SigningSecret(key)| {
            let mut context = hmac::Context::with_key(key);
            context.update(start.as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        })
        .collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{SigningSecret, sign};

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("good");
        let body = br#"{"test": 2432232314}"#;
        let signed = sign(&[secret], ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330), body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_of_another_form_is_refused_without_showing_it() {
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!", "whsec_c2hvcnQ="] {
            let error = SigningSecret::parse(text).expect_err("not a secret");
            assert!(error.contains("expected") && (text.is_empty() || !error.contains(text)));
        }
    }
}
