//! JSON texts of guests: checked for size, nesting and syntax.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadJson {
    #[error("text has {found} bytes, limit is {limit}")]
    TooLong { found: usize, limit: usize },
    #[error("nested {found} deep, limit is {limit}")]
    TooDeep { found: usize, limit: usize },
    #[error("not a JSON text: error at line {line} column {column}")]
    Syntax { line: usize, column: usize },
    #[error("half of a surrogate pair is escaped at byte {at}")]
    HalfPair { at: usize },
}

impl From<serde_json::Error> for BadJson {
    fn from(error: serde_json::Error) -> Self {
        // The parser's own message can quote the text; the place cannot.
        Self::Syntax { line: error.line(), column: error.column() }
    }
}

/// Bounds of a JSON text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes: usize,
    pub(crate) depth: usize,
}

/// Checks size, nesting and syntax.
pub(crate) fn check(text: &str, bounds: Bounds) -> Result<(), BadJson> {
    if text.len() > bounds.bytes {
        return Err(BadJson::TooLong { found: text.len(), limit: bounds.bytes });
    }
    // Most texts have too few brackets to be nested so deep, wherever these are.
    if brackets(text) > bounds.depth {
        let depth = depth(text);
        if depth > bounds.depth {
            return Err(BadJson::TooDeep { found: depth, limit: bounds.depth });
        }
    }
    if let Some(at) = half_pair(text) {
        return Err(BadJson::HalfPair { at });
    }
    serde_json::from_str::<Readable>(text)?;
    Ok(())
}

/// A value that every reader can read: the syntax allows numbers that no machine holds, and
/// whoever reads one later would fail on the whole text.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<IgnoredAny, Self>()?.is_some() {}
        Ok(self)
    }
}

/// Where an escaped UTF-16 surrogate stands alone: the syntax allows it, but no strict reader takes
/// it, such as a consumer of events.
fn half_pair(text: &str) -> Option<usize> {
    let escaped = |text: &str| {
        let unit = text.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(unit, 16).ok()
    };
    let mut at = 0usize;
    while let Some(found) = text.get(at..)?.find('\\') {
        at = at.saturating_add(found);
        let rest = text.get(at..)?;
        match escaped(rest) {
            Some(0xd800..=0xdbff) => match rest.get(6..).and_then(escaped) {
                Some(0xdc00..=0xdfff) => at = at.saturating_add(12),
                Some(_) | None => return Some(at),
            },
            Some(0xdc00..=0xdfff) => return Some(at),
            Some(_) => at = at.saturating_add(6),
            None => at = at.saturating_add(2),
        }
    }
    None
}

/// All opening brackets, those inside strings included.
fn brackets(text: &str) -> usize {
    text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count()
}

/// The deepest nesting of brackets outside strings.
fn depth(text: &str) -> usize {
    let (mut open, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                open = open.saturating_add(1);
                deepest = deepest.max(open);
            }
            b'}' | b']' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 32, depth: 3 };

    #[test]
    fn a_number_that_no_reader_holds_is_refused() {
        for text in ["1e999", "[-1e400]", r#"{"a":1e309}"#] {
            assert!(matches!(check(text, BOUNDS), Err(BadJson::Syntax { .. })), "{text}");
        }
        assert_eq!(check("[1e308,1e-999,0.1]", BOUNDS), Ok(()));
    }

    #[test]
    fn a_text_within_its_bounds_is_taken() {
        for text in ["null", " {\"a\":[{}]} ", r#""[[[[ \" {{{{""#, "[[[]]]", &"9".repeat(32)] {
            assert_eq!(check(text, BOUNDS), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_text_beyond_its_bounds_is_refused() {
        assert_eq!(check(&"9".repeat(33), BOUNDS), Err(BadJson::TooLong { found: 33, limit: 32 }));
        assert_eq!(check("[[[[]]]]", BOUNDS), Err(BadJson::TooDeep { found: 4, limit: 3 }));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "{} {}", "{'a':1}", "nul", "[1,]", "01"] {
            assert!(matches!(check(text, BOUNDS), Err(BadJson::Syntax { .. })), "{text}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_refused() {
        for text in [r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""\u0041\\\"""#, r#"["\uD7FF\uE000"]"#]
        {
            assert_eq!(check(text, BOUNDS), Ok(()), "{text}");
        }
        for (text, at) in [
            (r#""\ud83d""#, 1),
            (r#""a\ud83dxxxxxx""#, 2),
            (r#""\ud83d\u0041""#, 1),
            (r#""\ude00\ud83d""#, 1),
            (r#"{"\uDfFf":1}"#, 2),
        ] {
            assert_eq!(check(text, BOUNDS), Err(BadJson::HalfPair { at }), "{text}");
        }
    }
}
