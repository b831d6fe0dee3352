//! Texts of guests: cut to a length and made safe to print; names checked by their syntax.

/// Cuts a text to at most `bytes_max` bytes at a character and escapes what could forge a line or
/// steer a terminal. Escapes may make it longer than `bytes_max`, by a factor of at most nine.
#[must_use]
pub fn printable(text: &str, bytes_max: usize) -> String {
    let cut = cut(text, bytes_max);
    let mut out = String::with_capacity(cut.len());
    for c in cut.chars() {
        if steers(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The longest start of a text that has at most `bytes_max` bytes and ends at a character.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// Control characters, line separators, and marks that turn the direction of writing.
#[must_use]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}')
}

/// A state, business or scene: 1 to 64 of `A-Z a-z 0-9 _ -`.
#[must_use]
pub fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// The code of a rejection: `^[a-z][a-z0-9-]{0,62}$`.
pub(crate) fn is_reason_code(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| is_lower_token_byte(b) && b != b'_')
}

/// A collection: a lower-case letter, then up to 63 of `a-z 0-9 _ -`.
#[must_use]
pub fn is_collection(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(is_lower_token_byte)
}

/// The name of a header: a lower-case letter, then up to 63 of `a-z 0-9 _ -`.
pub(crate) fn is_header_name(text: &str) -> bool {
    is_collection(text)
}

/// A topic or event type: 1 to 128 of `a-z 0-9 . _ -`.
#[must_use]
pub fn is_topic(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| is_lower_token_byte(b) || b == b'.')
}

/// A key: 1 to 256 bytes without control characters.
pub(crate) fn is_key(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_lower_token_byte(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(printable("a\x1b[2J\nb\u{202e}c", 100), "a\\u{1b}[2J\\nb\\u{202e}c");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(printable("订单", 5), "订");
        assert_eq!(printable("订单", 6), "订单");
    }

    #[test]
    fn codes_have_between_1_and_64_characters() {
        assert!(is_code("TO_BE-PAID9"));
        assert!(is_code(&"A".repeat(64)));
        assert!(!is_code(&"A".repeat(65)));
        assert!(!is_code(""));
        assert!(!is_code("A B"));
    }

    #[test]
    fn reason_codes_keep_to_the_contract() {
        assert!(is_reason_code("amount-mismatch"));
        assert!(is_reason_code(&"a".repeat(63)));
        for bad in ["", "Amount", "9a", "-a", "a_b", "a b", &"a".repeat(64)] {
            assert!(!is_reason_code(bad), "{bad}");
        }
    }

    #[test]
    fn keys_have_between_1_and_256_bytes() {
        assert!(is_key(&"k".repeat(256)));
        assert!(!is_key(&"k".repeat(257)));
        assert!(!is_key(""));
        assert!(!is_key("a\nb"));
    }
}
