//! JSON texts of guests: checked for syntax and nesting, merged by RFC 7396.
//!
//! Merging works on the raw text of each member, so a number keeps its digits: a parse into a
//! float and back would change `1.10` and amounts above 2^53.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadJson {
    #[error("text has {found} bytes, limit is {limit}")]
    TooLong { found: usize, limit: usize },
    #[error("nested {found} deep, limit is {limit}")]
    TooDeep { found: usize, limit: usize },
    #[error("not a JSON text: error at line {line} column {column}")]
    Syntax { line: usize, column: usize },
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
    let depth = depth(text);
    if depth > bounds.depth {
        return Err(BadJson::TooDeep { found: depth, limit: bounds.depth });
    }
    serde_json::from_str::<IgnoredAny>(text)?;
    Ok(())
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

/// Applies a merge patch (RFC 7396, section 2) to a document, or to nothing.
///
/// Both texts must have passed [`check`]; the recursion is bounded by its nesting. Members of
/// objects that the patch touches come out sorted by name.
pub(crate) fn merge(target: Option<&str>, patch: &str) -> Result<String, BadJson> {
    let Some(patch) = members(patch)? else { return Ok(patch.trim().to_owned()) };
    let mut merged = match target {
        Some(text) => members(text)?.unwrap_or_default(),
        None => BTreeMap::new(),
    };
    for (name, value) in patch {
        if value.get() == "null" {
            merged.remove(&name);
            continue;
        }
        let below = merged.get(&name).map(|raw| raw.get());
        let value = RawValue::from_string(merge(below, value.get())?)?;
        merged.insert(name, value);
    }
    Ok(serde_json::to_string(&merged)?)
}

type Members = BTreeMap<String, Box<RawValue>>;

/// The members of an object; `None` for any other value.
fn members(text: &str) -> Result<Option<Members>, BadJson> {
    if text.trim_start().starts_with('{') {
        Ok(Some(serde_json::from_str(text)?))
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 32, depth: 3 };

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

    fn merged(target: &str, patch: &str, expected: &str) {
        assert_eq!(merge(Some(target), patch).as_deref(), Ok(expected), "{target} + {patch}");
    }

    /// Source: RFC 7396, appendix A, read 2026-11-21.
    #[test]
    fn the_examples_of_the_standard_come_out() {
        merged(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        merged(r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#);
        merged(r#"{"a":"b"}"#, r#"{"a":null}"#, "{}");
        merged(r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#);
        merged(r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        merged(r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#);
        merged(r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#);
        merged(r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#);
        merged(r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#);
        merged(r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#);
        merged(r#"{"a":"foo"}"#, "null", "null");
        merged(r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#);
        merged(r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#);
        merged("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#);
        merged("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#);
    }

    #[test]
    fn a_patch_on_nothing_is_the_patch_without_its_nulls() {
        assert_eq!(merge(None, r#"{"a":1,"b":null}"#).as_deref(), Ok(r#"{"a":1}"#));
    }

    #[test]
    fn numbers_keep_their_digits() {
        merged(
            r#"{"big":123456789012345678901234567890,"n":1.10}"#,
            r#"{"m":2.00}"#,
            r#"{"big":123456789012345678901234567890,"m":2.00,"n":1.10}"#,
        );
    }
}
