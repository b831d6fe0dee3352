//! Bearer tokens, known by their hash alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::Problem;

/// The SHA-256 hashes of the tokens that open a door.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenHashes {
    /// One hash per token, so that a token can be changed with an overlap.
    token_sha256: Vec<TokenHash>,
}

impl TokenHashes {
    /// Whether the token is one of these. Takes the same time for every wrong token.
    #[must_use]
    pub fn admit(&self, token: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let matches = self.token_sha256.iter().map(|known| known.0.ct_eq(&hash));
        matches.fold(subtle::Choice::from(0), |any, one| any | one).into()
    }
}

/// Operators and their tokens, by name: who acts stands in the audit table.
#[derive(Debug, Clone, Default)]
pub struct Operators(BTreeMap<String, TokenHashes>);

impl Operators {
    /// Gathers operators by name.
    #[must_use]
    pub fn new(named: BTreeMap<String, TokenHashes>) -> Self {
        Self(named)
    }

    /// Whose token this is. Looks at all of them, whoever it is.
    #[must_use]
    pub fn who(&self, token: &str) -> Option<&str> {
        self.0.iter().fold(
            None,
            |found, (name, tokens)| {
                if tokens.admit(token) { Some(name.as_str()) } else { found }
            },
        )
    }

    /// The operator behind a request.
    ///
    /// # Errors
    /// [`Problem::Unauthorized`] where the token is nobody's.
    pub fn admit(&self, headers: &http::HeaderMap) -> Result<&str, Problem> {
        bearer(headers).and_then(|token| self.who(token)).ok_or(Problem::Unauthorized)
    }
}

#[derive(Debug, Clone)]
struct TokenHash([u8; 32]);

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
        assert_eq!(found, [Some("ada"), Some("ada"), Some("bob"), None, None]);
    }

    #[test]
    fn a_hash_of_another_length_is_a_mistake() {
        let read = serde_json::from_value::<TokenHashes>(serde_json::json!({
            "token_sha256": ["abc"]
        }));
        assert!(read.is_err());
    }
}
