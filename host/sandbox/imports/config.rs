//! `config`: the plugin's configuration, frozen for the length of a run.

use serde_json::Value;

use crate::bindings::callgate::processor::config::Host;
use crate::state::RunState;

impl Host for RunState {
    fn get(&mut self, path: String) -> wasmtime::Result<Option<String>> {
        let found = find(&self.terms.config, &path).map(Value::to_string);
        self.note(path.len(), found.as_ref().map_or(0, String::len))?;
        Ok(found)
    }

    fn revision(&mut self) -> wasmtime::Result<String> {
        self.note(0, self.terms.revision.len())?;
        Ok(self.terms.revision.clone())
    }
}

/// The value at a dotted path.
fn find<'a>(config: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(config, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::find;

    #[test]
    fn a_dotted_path_walks_the_tables() {
        let config = json!({"limits": {"max-amount": 5}, "on": true});
        assert_eq!(find(&config, "limits.max-amount"), Some(&json!(5)));
        assert_eq!(find(&config, "on"), Some(&json!(true)));
        for unset in ["", "limits.min", "limits.max-amount.x", "on.x", ".on", "limits."] {
            assert_eq!(find(&config, unset), None, "{unset}");
        }
    }
}
