//! Tokens of front ends: short-lived, for one order, signed with a key of its business.
//!
//! The form is `cgs1.KEY.PAYLOAD.SIGNATURE`: the name of the key; JSON with `business`,
//! `order_no` and `exp` (seconds since 1970) in Base64 for addresses without padding; and the
//! HMAC-SHA256 of everything before the last dot, in the same Base64.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use callgate_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// A key that signs tokens. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Key {
    id: String,
    secret: hmac::Key,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Key {
    /// A key by its name and secret; the bytes of the text are the secret.
    ///
    /// # Errors
    /// The field and what was expected; nothing of what was found.
    pub fn new(id: &str, secret: &str) -> Result<Self, (&'static str, String)> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=64).contains(&id.len()) || !id.bytes().all(fits) {
            return Err(("id", "expected 1 to 64 characters of A-Z a-z 0-9 _ -".to_owned()));
        }
        if !(SECRET_MIN..=SECRET_MAX).contains(&secret.len()) {
            let expected = format!("expected {SECRET_MIN} to {SECRET_MAX} bytes");
            return Err(("secret", expected));
        }
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Ok(Self { id: id.to_owned(), secret })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The keys of a business; tokens that this server makes are signed with the first.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Key>);

/// An order by its business and number, as a token and an address name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// Who owns it.
    pub business: &'a str,
    /// Its number or alias.
    pub order_no: &'a str,
}

/// What a good token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// When its time is over.
    pub expires_at: Timestamp,
    /// The same for the same token.
    pub mark: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    business: String,
    order_no: String,
    exp: i64,
}

impl Keys {
    /// Gathers keys.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// Makes a token; `None` where there is no key.
    #[must_use]
    pub fn sign(&self, named: Named<'_>, expires_at: Timestamp) -> Option<String> {
        let key = self.0.first()?;
        let payload = Payload {
            business: named.business.to_owned(),
            order_no: named.order_no.to_owned(),
            exp: expires_at.as_ms().div_euclid(1000),
        };
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&payload).ok()?);
        let signed = format!("{FORM}.{}.{payload}", key.id);
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key.secret, signed.as_bytes()));
        Some(format!("{signed}.{signature}"))
    }

    /// Checks a token for an order. The signature comes first: nothing else is told to who has
    /// none.
    ///
    /// # Errors
    /// Which check it failed.
    pub fn check(
        &self,
        token: &str,
        named: Named<'_>,
        (now, lifetime_max_s): (Timestamp, u32),
    ) -> Result<Pass, Refusal> {
        let mark = self.signed(token)?;
        let payload = payload(token).ok_or(Refusal::TokenMalformed)?;
        if payload.exp.saturating_mul(1000) <= now.as_ms() {
            return Err(Refusal::TokenExpired);
        }
        let expires_at = Timestamp::from_ms(payload.exp.saturating_mul(1000));
        if expires_at.ms_since(now) > i64::from(lifetime_max_s).saturating_mul(1000) {
            return Err(Refusal::TokenLifetime);
        }
        if payload.business != named.business || payload.order_no != named.order_no {
            return Err(Refusal::TokenOrder);
        }
        Ok(Pass { expires_at, mark })
    }

    /// The signature, where it holds. An unknown key takes as long as a wrong signature.
    fn signed(&self, token: &str) -> Result<[u8; 32], Refusal> {
        let (signed, signature) = parts(token).ok_or(Refusal::TokenMalformed)?;
        let id = signed.split('.').nth(1).unwrap_or_default();
        let known = self.0.iter().find(|key| key.id == id);
        let nobody;
        let secret = match known {
            Some(key) => &key.secret,
            None => {
                nobody = hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]);
                &nobody
            }
        };
        let holds = hmac::verify(secret, signed.as_bytes(), &signature).is_ok();
        if holds && known.is_some() { Ok(signature) } else { Err(Refusal::TokenSignature) }
    }
}

/// What is signed, and the signature; `None` where a token has another form.
fn parts(token: &str) -> Option<(&str, [u8; 32])> {
    if token.len() > TOKEN_BYTES_MAX || token.split('.').count() != 4 {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    signed.strip_prefix(FORM)?.strip_prefix('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    Some((signed, signature.try_into().ok()?))
}

fn payload(token: &str) -> Option<Payload> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(2)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// The first part of every token: another form will have another name.
const FORM: &str = "cgs1";

/// Longest token: two names of 256 bytes, escaped, fit.
const TOKEN_BYTES_MAX: usize = 2048;

/// Bytes of a secret: as many as the hash has, and what nobody needs to exceed.
const SECRET_MIN: usize = 32;
const SECRET_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;

    use super::{Key, Keys, Named};
    use crate::inbound::status::refusal::Refusal;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const ORDER: Named<'_> = Named { business: "SHOP", order_no: "N-1" };

    fn keys(named: &[(&str, &str)]) -> Keys {
        Keys::new(named.iter().map(|(id, secret)| Key::new(id, secret).expect("good")).collect())
    }

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_790_000_000)
    }

    fn check(token: &str, named: Named<'_>) -> Result<i64, Refusal> {
        let pass = keys(&[("k1", SECRET)]).check(token, named, (now(), 3600))?;
        Ok(pass.expires_at.ms_since(now()))
    }

    fn token(in_s: i64) -> String {
        keys(&[("k1", SECRET)])
            .sign(ORDER, now().plus_ms(in_s.saturating_mul(1000)))
            .expect("a key")
    }

    #[test]
    fn the_example_of_the_documentation_is_what_we_make_and_take() {
        // Made with Python's hmac and base64.
        let told = "cgs1.k1.eyJidXNpbmVzcyI6IlNIT1AiLCJvcmRlcl9ubyI6Ik4tMSIsImV4cCI6MTc5MDAwMDYwMH0\
                    .KjrU2wUV8xH_2qCYBn5vSMQRArKMh5f3kvBRU1qqiII";
        let made = token(600);
        assert_eq!(made, told);
        assert!(include_str!("../../../docs/status.md").contains(told), "as it is documented");
        assert_eq!(check(&made, ORDER), Ok(600_000));
    }

    #[test]
    fn each_wrong_token_has_a_refusal_of_its_own() {
        let other = Named { order_no: "N-2", ..ORDER };
        assert_eq!(check(&token(60), other), Err(Refusal::TokenOrder));
        let other = Named { business: "MALL", ..ORDER };
        assert_eq!(check(&token(60), other), Err(Refusal::TokenOrder));
        assert_eq!(check(&token(0), ORDER), Err(Refusal::TokenExpired));
        assert_eq!(check(&token(3601), ORDER), Err(Refusal::TokenLifetime));
        for malformed in ["", "a.b.c", "cgs2.k1.e30.AAAA", "cgs1.k1.e30", "cgs1.k1.e30.AAAA"] {
            assert_eq!(check(malformed, ORDER), Err(Refusal::TokenMalformed), "{malformed}");
        }
        assert_eq!(check(&"x".repeat(5000), ORDER), Err(Refusal::TokenMalformed));
        let forged = keys(&[("k1", &SECRET.replace('0', "1"))]).sign(ORDER, now().plus_ms(9000));
        assert_eq!(check(&forged.expect("a key"), ORDER), Err(Refusal::TokenSignature));
        let unknown = keys(&[("k2", SECRET)]).sign(ORDER, now().plus_ms(9000));
        assert_eq!(check(&unknown.expect("a key"), ORDER), Err(Refusal::TokenSignature));
        // Also where the key is the one that stands in for an unknown one.
        let zeros = keys(&[("k2", &"\0".repeat(32))]).sign(ORDER, now().plus_ms(9000));
        assert_eq!(check(&zeros.expect("a key"), ORDER), Err(Refusal::TokenSignature));
    }

    #[test]
    fn no_changed_character_is_taken() {
        let good = token(60);
        for place in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(check(&changed, ORDER).is_err(), "{changed}");
        }
        assert!(check(&format!("{good}="), ORDER).is_err());
    }

    #[test]
    fn of_two_keys_the_first_signs_and_both_are_taken() {
        let both = keys(&[("new", &SECRET.replace('0', "9")), ("k1", SECRET)]);
        let expires = now().plus_ms(60_000);
        let old = token(60);
        let new = both.sign(ORDER, expires).expect("a key");
        assert!(new.starts_with("cgs1.new."));
        for token in [old, new] {
            assert!(both.check(&token, ORDER, (now(), 3600)).is_ok());
        }
        assert_eq!(Keys::default().sign(ORDER, expires), None);
    }

    #[test]
    fn a_short_secret_and_a_strange_name_are_mistakes() {
        assert_eq!(Key::new("k1", "short").expect_err("short").0, "secret");
        for id in ["", "a.b", "a b", &"x".repeat(65)] {
            assert_eq!(Key::new(id, SECRET).expect_err("a name").0, "id");
        }
    }
}
