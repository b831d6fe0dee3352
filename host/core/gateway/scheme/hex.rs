//! Hexadecimal text.

/// Reads pairs of hex digits in either case; `None` for an odd length or any other character.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect()
}

/// Writes two lower-case digits a byte, leading zeros too.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(character).collect()
}

/// The value of a hex digit in either case.
#[must_use]
pub fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn character(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode, encode};

    fn check(text: &str, expected: Option<&[u8]>) {
        assert_eq!(decode(text).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn both_cases_are_read() {
        check("00aBFf", Some(&[0x00, 0xAB, 0xFF]));
        check("", Some(&[]));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["0", "0g", "000", "+1", " 0", "0x", "人"] {
            check(text, None);
        }
    }

    #[test]
    fn leading_zeros_are_written() {
        assert_eq!(encode(&[0x00, 0x0A, 0xFF]), "000aff");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
