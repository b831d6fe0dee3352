//! Which keys a configuration sets to what, so that two can be held against each other.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

/// Every key with the hash of its value. A value can be a secret, so it is not kept itself, and
/// `Debug` shows no hash either.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Shape(BTreeMap<String, [u8; 32]>);

impl Shape {
    pub(super) fn of(table: &toml::Table) -> Self {
        let mut shape = Self::default();
        shape.add("", table);
        shape
    }

    /// The keys that have another value in `other`, or one in only one of the two.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let keys = self.0.keys().chain(other.0.keys().filter(|key| !self.0.contains_key(*key)));
        let differs = |key: &&String| self.0.get(*key) != other.0.get(*key);
        let mut differing: Vec<_> = keys.filter(differs).cloned().collect();
        differing.sort();
        differing
    }

    fn add(&mut self, prefix: &str, table: &toml::Table) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            if let toml::Value::Table(inner) = value {
                self.add(&key, inner);
            } else {
                self.0.insert(key, Sha256::digest(value.to_string().as_bytes()).into());
            }
        }
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shape({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;

    fn shape(text: &str) -> Shape {
        Shape::of(&text.parse().expect("TOML"))
    }

    #[test]
    fn keys_that_differ_are_named_and_no_other() {
        let old = shape("[a]\nsame = 1\nother = [1, 2]\ngone = 'x'\n[b.c]\nd = 1");
        let new = shape("[a]\nsame = 1\nother = [2, 1]\n[b.c]\nd = 1\ne = true");
        assert_eq!(old.differing(&new), ["a.gone", "a.other", "b.c.e"]);
        assert_eq!(new.differing(&new), Vec::<String>::new());
        assert!(!format!("{old:?}").contains("same"));
    }
}
