//! `application/x-www-form-urlencoded`, decoded exactly once, to raw bytes.
//!
//! Values are bytes, not text: a signature covers the bytes of the sender's charset, and turning
//! them into text comes after it. What two readers could read differently is refused.

use std::fmt;

use crate::gateway::scheme::hex;

/// The fields of a form in the order of the body: distinct names, values decoded once.
///
/// `Debug` shows the number of fields only.
#[derive(Clone, PartialEq, Eq)]
pub struct Form {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Form {
    /// Reads a form: pairs cut at `&`, name and value at the first `=`, then `+` is a space and
    /// `%XX` a byte. An empty body is an empty form. At most [`FIELDS_MAX`] fields.
    ///
    /// # Errors
    /// [`FormError`] where a percent sign is not followed by two hex digits, a pair has no name
    /// or no `=`, a name is repeated, or there are too many fields.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        if body.is_empty() {
            return Ok(Self { fields });
        }
        for pair in body.split(|byte| *byte == b'&') {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
                return Err(FormError::Pair);
            };
            let (name, value) = (decode(name)?, decode(value)?);
            if name.is_empty() {
                return Err(FormError::Pair);
            }
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Repeated);
            }
            if fields.len() >= FIELDS_MAX {
                return Err(FormError::TooMany);
            }
            fields.push((name, value));
        }
        Ok(Self { fields })
    }

    /// The decoded value of a field, empty or not; `None` where there is no such field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    /// Names and values in the order of the body.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Form({} fields)", self.fields.len())
    }
}

/// Why a body is no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A percent sign without two hex digits behind it.
    #[error("a percent sign is not followed by two hex digits")]
    Percent,
    /// A pair without name or without `=`.
    #[error("a pair has no name or no equals sign")]
    Pair,
    /// Two fields with one name.
    #[error("a field stands there more than once")]
    Repeated,
    /// More than [`FIELDS_MAX`] fields.
    #[error("more than {FIELDS_MAX} fields")]
    TooMany,
}

fn decode(text: &[u8]) -> Result<Vec<u8>, FormError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = rest.next().and_then(hex::digit).ok_or(FormError::Percent)?;
                let low = rest.next().and_then(hex::digit).ok_or(FormError::Percent)?;
                (high << 4) | low
            }
            byte => byte,
        });
    }
    Ok(decoded)
}

/// The most fields: gateways send about thirty.
pub const FIELDS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FIELDS_MAX, Form, FormError};

    type Pairs<'a> = &'a [(&'a [u8], &'a [u8])];

    fn check(body: &[u8], expected: Result<Pairs<'_>, FormError>) {
        let read = Form::parse(body);
        let read = read.as_ref().map(|form| form.iter().collect::<Vec<_>>());
        assert_eq!(read.map_err(|error| *error), expected.map(<[_]>::to_vec));
    }

    fn body(count: usize) -> String {
        (0..count).map(|at| format!("f{at}=1")).collect::<Vec<_>>().join("&")
    }

    #[test]
    fn plus_and_percent_are_decoded_once() {
        check(b"a=1+2%2B%25&b=%2525", Ok(&[(b"a", b"1 2+%"), (b"b", b"%25")]));
        check(b"%61+b=%B2%e2", Ok(&[(b"a b", b"\xB2\xE2")]));
        check(b"a=%00%26%3D", Ok(&[(b"a", b"\0&=")]));
    }

    #[test]
    fn empty_values_stay_and_further_equals_signs_belong_to_the_value() {
        check(b"", Ok(&[]));
        check(b"a=&b=x==", Ok(&[(b"a", b""), (b"b", b"x==")]));
    }

    #[test]
    fn bad_percent_sequences_are_refused() {
        for text in ["a=%", "a=100%", "a=%4", "a=%zz", "a=%+1", "%4=1", "a=%%41", "a=%-1"] {
            check(text.as_bytes(), Err(FormError::Percent));
        }
    }

    #[test]
    fn pairs_without_name_or_equals_sign_are_refused() {
        for text in ["a", "a=1&", "&a=1", "a=1&&b=2", "=1", "a=1&b"] {
            check(text.as_bytes(), Err(FormError::Pair));
        }
    }

    #[test]
    fn repeated_names_are_refused_however_they_are_written() {
        check(b"a=1&b=2&a=1", Err(FormError::Repeated));
        check(b"a=1&%61=2", Err(FormError::Repeated));
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        assert!(Form::parse(body(FIELDS_MAX).as_bytes()).is_ok());
        check(body(FIELDS_MAX + 1).as_bytes(), Err(FormError::TooMany));
    }

    #[test]
    fn debug_shows_no_values() {
        let form = Form::parse(b"buyer_id=2088").unwrap();
        assert_eq!(format!("{form:?}"), "Form(1 fields)");
        assert_eq!((form.get("buyer_id"), form.get("sign")), (Some(b"2088".as_slice()), None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..256)
        ) {
            let _ = Form::parse(&bytes);
        }

        #[test]
        fn what_is_encoded_reads_back(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let encoded: String = value.iter().map(|byte| format!("%{byte:02x}")).collect();
            let form = Form::parse(format!("a={encoded}").as_bytes()).unwrap();
            prop_assert_eq!(form.get("a"), Some(value.as_slice()));
        }
    }
}
