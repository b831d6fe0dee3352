//! Merge patches of guests (RFC 7396).
//!
//! Merging works on the raw text of each member, so a number keeps its digits: a parse into a
//! float and back would change `1.10` and amounts above 2^53. It reads each text once: a guest
//! must not buy the host's time with brackets.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::json::BadJson;

/// Applies a merge patch (RFC 7396, section 2) to a document, or to nothing.
///
/// Both texts must have passed [`crate::json::check`]; the recursion is bounded by their nesting, and each text
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
    use serde_json::Value;

    use super::*;

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

    /// The algorithm of the standard, word for word, on values.
    fn standard(target: Option<Value>, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut merged = match target {
            Some(Value::Object(members)) => members,
            Some(_) | None => serde_json::Map::new(),
        };
        for (name, value) in patch {
            if value.is_null() {
                merged.remove(name);
            } else {
                let below = merged.remove(name);
                merged.insert(name.clone(), standard(below, value));
            }
        }
        Value::Object(merged)
    }

    /// A value drawn from a number: names and texts have what a reader can stumble over.
    fn drawn(dice: &mut u64, depth: u32) -> Value {
        *dice ^= *dice << 13;
        *dice ^= *dice >> 7;
        *dice ^= *dice << 17;
        let names = ["a", "b", "", "{", "\"", "\\", "订"];
        let pick = |dice: u64| names[usize::try_from(dice >> 32).unwrap().rem_euclid(names.len())];
        match dice.rem_euclid(if depth == 0 { 4 } else { 8 }) {
            0 => Value::Null,
            1 => Value::from(*dice),
            2 => Value::from(pick(*dice)),
            3 => Value::Array((0..2).map(|_| drawn(dice, depth.saturating_sub(1))).collect()),
            _ => {
                let members = (0..*dice % 5).map(|_| {
                    let value = drawn(dice, depth.saturating_sub(1));
                    (pick(*dice).to_owned(), value)
                });
                Value::Object(members.collect())
            }
        }
    }

    #[test]
    fn any_patch_on_any_document_is_what_the_standard_says() {
        let mut dice = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..3000 {
            let (target, patch) = (drawn(&mut dice, 5), drawn(&mut dice, 5));
            let expected = standard(Some(target.clone()), &patch);
            let (compact, pretty) = (target.to_string(), serde_json::to_string_pretty(&patch));
            let found = merge(Some(&compact), &pretty.unwrap()).unwrap();
            let found: Value = serde_json::from_str(&found).unwrap();
            assert_eq!(found, expected, "{target} + {patch}");
        }
    }
}
