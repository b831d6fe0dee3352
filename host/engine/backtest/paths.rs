//! Where two JSON texts differ, by path. Numbers are compared by their digits: 1.10 is not 1.1,
//! and a number that no machine type holds is still itself.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// One path at which two texts differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// As a JSON Pointer (RFC 6901); empty for the whole.
    pub(super) path: String,
    pub(super) a: Option<String>,
    pub(super) b: Option<String>,
}

/// The first [`STEPS_MAX`] paths at which two JSON texts differ. A text that is no JSON is compared
/// as a whole.
pub(super) fn differences(a: &str, b: &str) -> Vec<Step> {
    let mut found = Vec::new();
    if a != b {
        walk(String::new(), (a.trim(), b.trim()), &mut found);
    }
    found
}

/// A value for people: at most [`SHOWN_MAX`] characters.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn walk(path: String, (a, b): (&str, &str), found: &mut Vec<Step>) {
    if a == b || found.len() >= STEPS_MAX {
        return;
    }
    if let (Some(one), Some(two)) = (members(a), members(b)) {
        for (name, value) in &one {
            let place = format!("{path}/{}", pointer(name));
            match two.get(name) {
                Some(other) => walk(place, (value.get(), other.get()), found),
                None => push(found, place, Some(value.get()), None),
            }
        }
        for (name, value) in two.iter().filter(|(name, _)| !one.contains_key(*name)) {
            push(found, format!("{path}/{}", pointer(name)), None, Some(value.get()));
        }
    } else if let (Some(one), Some(two)) = (elements(a), elements(b)) {
        for place in 0..one.len().max(two.len()) {
            let (one, two) = (one.get(place), two.get(place));
            let place = format!("{path}/{place}");
            match (one, two) {
                (Some(one), Some(two)) => walk(place, (one.get(), two.get()), found),
                (one, two) => {
                    push(found, place, one.map(|one| one.get()), two.map(|two| two.get()))
                }
            }
        }
    } else if string(a).is_none() || string(a) != string(b) {
        push(found, path, Some(a), Some(b));
    }
}

fn push(found: &mut Vec<Step>, path: String, a: Option<&str>, b: Option<&str>) {
    if found.len() < STEPS_MAX {
        found.push(Step { path, a: a.map(cut), b: b.map(cut) });
    }
}

fn members(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    text.starts_with('{').then(|| serde_json::from_str(text).ok())?
}

fn elements(text: &str) -> Option<Vec<&RawValue>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

fn string(text: &str) -> Option<String> {
    text.starts_with('"').then(|| serde_json::from_str(text).ok())?
}

fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Paths of one pair of texts.
pub(super) const STEPS_MAX: usize = 20;

/// Characters of one value.
const SHOWN_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::{STEPS_MAX, cut, differences};

    fn paths(a: &str, b: &str) -> Vec<String> {
        differences(a, b).into_iter().map(|step| step.path).collect()
    }

    #[test]
    fn paths_lead_to_what_differs() {
        assert_eq!(paths(r#"{"a":{"b":[1,{"c":1}]}}"#, r#"{"a":{"b":[1,{"c":2}]}}"#), ["/a/b/1/c"]);
        assert_eq!(paths(r#"{"a/b":1,"~":1}"#, r#"{"a/b":2,"~":2}"#), ["/a~1b", "/~0"]);
        assert_eq!(paths("[1]", r#"{"a":1}"#), [""]);
        assert_eq!(paths("[1,2]", "[1]"), ["/1"]);
        assert_eq!(paths("null", "0"), [""]);
    }

    #[test]
    fn numbers_are_compared_by_their_digits() {
        let (one, two) = ("123456789012345678901234567890", "123456789012345678901234567891");
        assert_eq!(paths(one, two), [""]);
        assert_eq!(paths("1.10", "1.1"), [""]);
    }

    #[test]
    fn strings_are_compared_by_what_they_say() {
        assert_eq!(paths(r#""\u0061""#, r#""a""#), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_json_is_compared_as_a_whole() {
        assert_eq!(paths("{", "{}"), [""]);
        assert_eq!(paths("{oops", "{oops"), Vec::<String>::new());
    }

    #[test]
    fn so_many_paths_are_told_and_no_more() {
        let list = |number: u32| serde_json::to_string(&vec![number; 1000]).unwrap();
        assert_eq!(differences(&list(1), &list(2)).len(), STEPS_MAX);
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        assert_eq!(cut(&"é".repeat(120)), "é".repeat(120));
        assert_eq!(cut(&"é".repeat(121)), format!("{}…", "é".repeat(120)));
    }
}
