//! Bearer tokens, known by their hash alone. Who holds some sees at once when others take their
//! place.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::Problem;

/// The SHA-256 hashes of the tokens that open a door. Clones are the same tokens.
#[derive(Debug, Clone, Default)]
pub struct TokenHashes(Arc<RwLock<Vec<TokenHash>>>);

/// As the configuration has them: one hash per token, so that a token can be changed with an
/// overlap.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    token_sha256: Vec<TokenHash>,
}

impl TokenHashes {
    /// Whether the token is one of these. Takes the same time for every wrong token.
    #[must_use]
    pub fn admit(&self, token: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let matches = known.iter().map(|known| known.0.ct_eq(&hash));
        matches.fold(subtle::Choice::from(0), |any, one| any | one).into()
    }

    /// From now on those of `other` are admitted, and no longer these.
    pub fn replace(&self, other: &Self) {
        let new = other.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

impl<'de> Deserialize<'de> for TokenHashes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Listed { token_sha256 } = Listed::deserialize(deserializer)?;
        Ok(Self(Arc::new(RwLock::new(token_sha256))))
    }
}

/// Operators and their tokens, by name: who acts stands in the audit table. Clones are the same
/// operators.
#[derive(Debug, Clone, Default)]
pub struct Operators(Arc<RwLock<BTreeMap<String, TokenHashes>>>);

impl Operators {
    /// Gathers operators by name.
    #[must_use]
    pub fn new(named: BTreeMap<String, TokenHashes>) -> Self {
        Self(Arc::new(RwLock::new(named)))
    }

    /// Whose token this is. Looks at all of them, whoever it is.
    #[must_use]
    pub fn who(&self, token: &str) -> Option<String> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().fold(
            None,
            |found, (name, tokens)| {
                if tokens.admit(token) { Some(name) } else { found }
            },
        );
        found.cloned()
    }

    /// The operator behind a request.
    ///
    /// # Errors
    /// [`Problem::Unauthorized`] where the token is nobody's.
    pub fn admit(&self, headers: &http::HeaderMap) -> Result<String, Problem> {
        bearer(headers).and_then(|token| self.who(token)).ok_or(Problem::Unauthorized)
    }

    /// From now on those of `other` are operators, and no longer these.
    pub fn replace(&self, other: &Self) {
        let new = other.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

#[derive(Clone)]
struct TokenHash([u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hash)")
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_hash(&text).map(Self).ok_or_else(|| {
            serde::de::Error::custom("expected the SHA-256 of a token, 64 hexadecimal digits")
        })
    }
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// The hash of a token in hexadecimal, as the configuration holds it.
#[must_use]
pub fn hash_text(token: &str) -> String {
    use std::fmt::Write as _;

    Sha256::digest(token.as_bytes()).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The token of an `Authorization: Bearer …` header, given exactly once.
#[must_use]
pub fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::{Operators, TokenHashes, hash_text};

    fn hashes(tokens: &[&str]) -> TokenHashes {
        let list: Vec<String> = tokens.iter().map(|token| hash_text(token)).collect();
        serde_json::from_value(serde_json::json!({ "token_sha256": list })).expect("hashes read")
    }

    #[test]
    fn each_configured_token_is_admitted_and_no_other() {
        let both = hashes(&["old", "new"]);
        assert!(both.admit("old") && both.admit("new"));
        assert!(!both.admit("") && !both.admit("older") && !hashes(&[]).admit(""));
    }

    #[test]
    fn an_operator_is_known_by_the_token() {
        let named = [("ada", hashes(&["a1", "a2"])), ("bob", hashes(&["b"]))];
        let named = named.into_iter().map(|(name, tokens)| (name.to_owned(), tokens));
        let operators = Operators::new(named.collect());
        let found = ["a1", "a2", "b", "c", ""].map(|token| operators.who(token));
        let found = found.each_ref().map(Option::as_deref);
        assert_eq!(found, [Some("ada"), Some("ada"), Some("bob"), None, None]);
    }

    #[test]
    fn who_holds_tokens_sees_others_take_their_place() {
        let held = hashes(&["old"]);
        let shared = held.clone();
        held.replace(&hashes(&["new"]));
        assert!(shared.admit("new") && !shared.admit("old"));
        let operators = Operators::new([("ada".to_owned(), held)].into());
        let shared = operators.clone();
        operators.replace(&Operators::new([("bob".to_owned(), hashes(&["b"]))].into()));
        assert_eq!((shared.who("b").as_deref(), shared.who("new")), (Some("bob"), None));
    }

    #[test]
    fn a_hash_of_another_length_is_a_mistake() {
        let read = serde_json::from_value::<TokenHashes>(serde_json::json!({
            "token_sha256": ["abc"]
        }));
        assert!(read.is_err());
    }
}
