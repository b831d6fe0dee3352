//! Codes as labels of metrics: each new one is a series that stays for as long as the process lives,
//! and a processor makes up its own. So only the first few of each plugin count by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// Codes that were counted, for each plugin.
#[derive(Debug, Default)]
pub(super) struct Labels(Mutex<BTreeMap<String, BTreeSet<String>>>);

/// Those of this process.
pub(super) static LABELS: Labels = Labels(Mutex::new(BTreeMap::new()));

impl Labels {
    /// The label for a code; [`OTHER`] for a plugin's own once it has made up too many.
    pub(super) fn of<'a>(&self, plugin: &str, code: &'a str) -> &'a str {
        if !code.starts_with("plugin.") {
            return code;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(plugin) {
            known.insert(plugin.to_owned(), BTreeSet::new());
        }
        let Some(codes) = known.get_mut(plugin) else { return OTHER };
        if codes.contains(code) {
            return code;
        }
        if codes.len() >= CODES_MAX {
            return OTHER;
        }
        codes.insert(code.to_owned());
        code
    }
}

/// Codes of one plugin that are counted by name.
const CODES_MAX: usize = 32;

/// What counts the rest.
const OTHER: &str = "plugin.other";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_has_a_few_labels_and_does_not_use_up_those_of_another() {
        let labels = Labels::default();
        for number in 0..CODES_MAX {
            let code = format!("plugin.c{number}");
            assert_eq!(labels.of("evil", &code), code);
        }
        assert_eq!(labels.of("evil", "plugin.one-more"), OTHER);
        assert_eq!(labels.of("evil", "plugin.c0"), "plugin.c0");
        assert_eq!(labels.of("good", "plugin.one-more"), "plugin.one-more");
        assert_eq!(labels.of("evil", "sandbox.fuel"), "sandbox.fuel");
    }
}
