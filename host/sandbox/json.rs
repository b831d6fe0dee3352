//! JSON texts of guests: checked for syntax and nesting, merged by RFC 7396.
//!
//! Merging works on the raw text of each member, so a number keeps its digits: a parse into a
//! float and back would change `1.10` and amounts above 2^53. It reads each text once: a guest
//! must not buy the host's time with brackets.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;

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
    let depth = depth(text);
    if depth > bounds.depth {
        return Err(BadJson::TooDeep { found: depth, limit: bounds.depth });
    }
    serde_json::from_str::<IgnoredAny>(text)?;
    match half_pair(text) {
        Some(at) => Err(BadJson::HalfPair { at }),
        None => Ok(()),
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
/// Both texts must have passed [`check`]; the recursion is bounded by their nesting, and each text
/// is read once, whatever its nesting. Members of objects that the patch touches come out sorted by
/// name.
pub(crate) fn merge(target: Option<&str>, patch: &str) -> Result<String, BadJson> {
    let patch = Reader::of(patch).tree(Split::All)?;
    let target = target.map(|text| Reader::of(text).tree(Split::As(&patch))).transpose()?;
    let mut out = String::new();
    patched(target, patch).write(&mut out)?;
    Ok(out)
}

fn patched<'a>(target: Option<Tree<'a>>, patch: Tree<'a>) -> Tree<'a> {
    let Tree::Object(members) = patch else { return patch };
    let mut merged = match target {
        Some(Tree::Object(members)) => members,
        Some(Tree::Leaf(_)) | None => BTreeMap::new(),
    };
    for (name, value) in members {
        let below = merged.remove(&name);
        if !matches!(value, Tree::Leaf("null")) {
            merged.insert(name, patched(below, value));
        }
    }
    Tree::Object(merged)
}

/// A value: an object taken apart, or anything as its text.
enum Tree<'a> {
    Leaf(&'a str),
    Object(BTreeMap<Cow<'a, str>, Tree<'a>>),
}

/// Which objects are taken apart.
#[derive(Clone, Copy)]
enum Split<'a> {
    /// All that are not inside an array.
    All,
    /// Those which are objects in another tree, too.
    As(&'a Tree<'a>),
    /// None.
    Nothing,
}

impl<'a> Split<'a> {
    fn here(self) -> bool {
        match self {
            Self::All => true,
            Self::As(tree) => matches!(tree, Tree::Object(_)),
            Self::Nothing => false,
        }
    }

    fn below(self, name: &str) -> Self {
        match self {
            Self::As(Tree::Object(members)) => members.get(name).map_or(Self::Nothing, Self::As),
            Self::As(Tree::Leaf(_)) | Self::Nothing => Self::Nothing,
            Self::All => Self::All,
        }
    }
}

impl Tree<'_> {
    fn write(&self, out: &mut String) -> Result<(), BadJson> {
        let members = match self {
            Tree::Leaf(text) => {
                out.push_str(text);
                return Ok(());
            }
            Tree::Object(members) => members,
        };
        out.push('{');
        for (position, (name, value)) in members.iter().enumerate() {
            if position > 0 {
                out.push(',');
            }
            out.push_str(&serde_json::to_string(name)?);
            out.push(':');
            value.write(out)?;
        }
        out.push('}');
        Ok(())
    }
}

/// Reads a text that is known to be JSON, each byte once.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn tree<'b>(&mut self, split: Split<'b>) -> Result<Tree<'a>, BadJson> {
        if self.next() != Some(b'{') || !split.here() {
            return self.leaf().map(Tree::Leaf);
        }
        let mut members = BTreeMap::new();
        self.step();
        while self.next() != Some(b'}') {
            if self.next() == Some(b',') {
                self.step();
                self.next();
            }
            let name = name(self.string()?)?;
            if self.next() != Some(b':') {
                return Err(NOT_JSON);
            }
            self.step();
            let value = self.tree(split.below(&name))?;
            members.insert(name, value);
        }
        self.step();
        Ok(Tree::Object(members))
    }

    /// The text of the value that begins here.
    fn leaf(&mut self) -> Result<&'a str, BadJson> {
        match self.next() {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => self.nested(),
            Some(_) => Ok(self.scalar()),
            None => Err(NOT_JSON),
        }
    }

    fn scalar(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let ends = |c: char| matches!(c, ',' | '}' | ']') || c.is_ascii_whitespace();
        let text = rest.get(..rest.find(ends).unwrap_or(rest.len())).unwrap_or_default();
        self.at = self.at.saturating_add(text.len());
        text
    }

    fn string(&mut self) -> Result<&'a str, BadJson> {
        let from = self.at;
        self.step();
        loop {
            match self.peek() {
                None => return Err(NOT_JSON),
                Some(b'\\') => self.step(),
                Some(b'"') => break,
                Some(_) => {}
            }
            self.step();
        }
        self.step();
        self.text.get(from..self.at).ok_or(NOT_JSON)
    }

    fn nested(&mut self) -> Result<&'a str, BadJson> {
        let from = self.at;
        let mut open = 0usize;
        loop {
            match self.peek() {
                None => return Err(NOT_JSON),
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => open = open.saturating_add(1),
                Some(b'}' | b']') => open = open.saturating_sub(1),
                Some(_) => {}
            }
            self.step();
            if open == 0 {
                return self.text.get(from..self.at).ok_or(NOT_JSON);
            }
        }
    }

    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.step();
        }
        self.peek()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }
}

/// The name of a member, from its text with quotes.
fn name(text: &str) -> Result<Cow<'_, str>, BadJson> {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        Some(_) | None => Ok(Cow::Owned(serde_json::from_str(text)?)),
    }
}

/// Never told: what is read here was checked.
const NOT_JSON: BadJson = BadJson::Syntax { line: 0, column: 0 };

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

    #[test]
    fn a_deep_patch_costs_no_more_than_a_flat_one() {
        // Each level that is read again would cost the whole text again: at this depth hours.
        let leaf = format!("\"{}\"", "x".repeat(200_000));
        let nest = |inside: &str| {
            let open = "{\"a\":".repeat(100);
            format!("{open}{inside}{}", "}".repeat(100))
        };
        let wide = format!("{{{}\"z\":1}}", "\"a\":{},".repeat(30_000));
        for _ in 0..20 {
            assert_eq!(merge(Some(&nest("{}")), &nest(&leaf)).as_deref(), Ok(&*nest(&leaf)));
            assert_eq!(merge(Some(&wide), "{\"z\":2}").as_deref(), Ok("{\"a\":{},\"z\":2}"));
        }
    }

    #[test]
    fn names_are_compared_as_they_read_and_the_last_of_one_name_counts() {
        merged(r#"{"a":1,"\u0061":{"b":1}}"#, r#"{"\u0061":{"c":2}}"#, r#"{"a":{"b":1,"c":2}}"#);
        merged(
            r#"{"a":"{\"}"}"#,
            r#" { "b" : [ "]" , 1 ] , "c" : -1.50e3 } "#,
            r#"{"a":"{\"}","b":[ "]" , 1 ],"c":-1.50e3}"#,
        );
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
