//! Paths of outgoing calls: what a guest asks for stays below the base address, however the
//! servers and proxies in between may read it.
//!
//! Syntax: RFC 3986, sections 3.3 and 3.4, without the fragment. What remains is normalised as its
//! section 6.2.2 says, so that one path has one spelling.

/// Checks and normalises a path with its query.
///
/// # Errors
/// What is wrong with it, for the author of the processor.
pub(crate) fn normalised(text: &str) -> Result<String, &'static str> {
    if text.len() > PATH_BYTES {
        return Err("a path has at most 2048 bytes");
    }
    if !text.starts_with('/') {
        return Err("a path begins with `/`; the address belongs to the host's configuration");
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let mut out = String::with_capacity(text.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // The last one may be empty: a folder.
        if segment.is_empty() && segments.peek().is_some() {
            return Err("a path has no `//`");
        }
        out.push('/');
        push(&mut out, segment, "")?;
        check_segment(segment)?;
    }
    if let Some(query) = query {
        out.push('?');
        push(&mut out, query, "/?")?;
    }
    Ok(out)
}

/// Appends a piece in its one spelling: unreserved characters plain, the rest in capitals.
fn push(out: &mut String, piece: &str, more: &str) -> Result<(), &'static str> {
    let mut rest = piece.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let plain = char::from(*first);
        if *first == b'%' {
            let [high, low, tail @ ..] = rest else { return Err(ESCAPE) };
            let byte = hex(*high, *low).ok_or(ESCAPE)?;
            rest = tail;
            if byte.is_ascii_control() {
                return Err("a path has no control characters, encoded or not");
            }
            if is_unreserved(byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else if is_unreserved(*first) || SUB_DELIMS.contains(plain) || more.contains(plain) {
            out.push(plain);
        } else {
            return Err("a path has only characters of RFC 3986; others are percent-encoded");
        }
    }
    Ok(())
}

/// Refuses what some server would read as a step upwards, or as more than one segment.
fn check_segment(segment: &str) -> Result<(), &'static str> {
    let decoded = decoded(segment);
    let Ok(text) = std::str::from_utf8(&decoded) else {
        return Err("an encoded segment of a path is UTF-8");
    };
    if text.contains(['/', '\\']) {
        return Err("a segment of a path has no encoded `/` or `\\`");
    }
    // Whoever decodes twice must not find something else.
    if text
        .as_bytes()
        .windows(3)
        .any(|three| matches!(three, [b'%', high, low] if hex(*high, *low).is_some()))
    {
        return Err("a path is encoded once, not twice");
    }
    // Some servers cut parameters off before they look for dots, some drop spaces after them.
    let name = text.split(';').next().unwrap_or_default();
    if !name.is_empty() && name.chars().all(|c| matches!(c, '.' | ' ' | '\u{2024}' | '\u{ff0e}')) {
        return Err("a path has no `.` or `..`, encoded or not");
    }
    if name.is_empty() && !text.is_empty() {
        return Err("a segment of a path does not begin with `;`");
    }
    Ok(())
}

/// Decodes what was found to be well formed.
fn decoded(segment: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if let (b'%', [high, low, tail @ ..]) = (first, rest)
            && let Some(byte) = hex(*high, *low)
        {
            rest = tail;
            out.push(byte);
        } else {
            out.push(*first);
        }
    }
    out
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const PATH_BYTES: usize = 2048;
const ESCAPE: &str = "`%` is followed by two hexadecimal digits";
const SUB_DELIMS: &str = "!$&'()*+,;=:@";

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn a_path_of_rfc_3986_is_taken() {
        for (text, expected) in [
            ("/", "/"),
            ("/orders", "/orders"),
            ("/orders/", "/orders/"),
            ("/orders/A-7_x~1.json", "/orders/A-7_x~1.json"),
            ("/a;v=1/b:c@d", "/a;v=1/b:c@d"),
            ("/orders?no=1&x=%20%2F/?", "/orders?no=1&x=%20%2F/?"),
            ("/%e8%ae%a2", "/%E8%AE%A2"),
            ("/%41%7e", "/A~"),
            ("/100%25", "/100%25"),
            ("/a..b/...c", "/a..b/...c"),
            ("/x?next=../../y", "/x?next=../../y"),
        ] {
            assert_eq!(normalised(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn tricks_are_refused() {
        for text in [
            "",
            "orders",
            "https://evil.example/",
            "//evil.example/",
            "/a//b",
            "/\\evil",
            "/a/../b",
            "/..",
            "/.",
            "/./a",
            "/%2e%2e/a",
            "/%2E./a",
            "/..;/a",
            "/..;x=1/a",
            "/..%3bx/a",
            "/.. /a",
            "/..%20/a",
            "/.../a",
            "/;/a",
            "/%3b/a",
            "/a%2fb",
            "/a%2F..%2Fb",
            "/a%5c..%5cb",
            "/%252e%252e/a",
            "/%25%32%65/a",
            "/%c0%ae%c0%ae/a",
            "/%ff",
            "/%EF%BC%8E%EF%BC%8E/a",
            "/a%00",
            "/a\0",
            "/a%0d%0aHost:%20x",
            "/a\r\nHost: x",
            "/a?b=%0a",
            "/a?b=%7f",
            "/a b",
            "/a#b",
            "/a?b#c",
            "/%",
            "/%4",
            "/%zz",
            "/a?%4",
            "/订单",
            "/a?x=[1]",
            "/a?x=\"",
        ] {
            assert!(normalised(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_path_has_at_most_2048_bytes() {
        let path = |len: usize| format!("/{}", "a".repeat(len - 1));
        assert!(normalised(&path(2048)).is_ok());
        assert!(normalised(&path(2049)).is_err());
    }

    #[test]
    fn what_was_normalised_stays_as_it_is() {
        for text in ["/%41%e8%ae%a2/b%3Bc?d=%7E%2f", "/100%25/x"] {
            let once = normalised(text).unwrap();
            assert_eq!(normalised(&once), Ok(once.clone()));
        }
    }
}
