//! A mistake in the configuration, in words that show no secret.

use callgate_core::gateway::SettingsError;

use super::Files;

/// A mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration: {key}: {problem} ({code})")]
pub struct ConfigError {
    /// The key, with dots; or the file.
    pub key: String,
    /// What was found and what was expected.
    pub problem: String,
    /// The stable code.
    pub code: &'static str,
}

impl ConfigError {
    /// A value breaks a rule.
    pub const INVALID: &'static str = SettingsError::INVALID;
    /// A file holds no key or certificate, or one that is not taken.
    pub const KEY: &'static str = SettingsError::KEY;
    /// A file cannot be read.
    pub const FILE: &'static str = "config.file";
    /// A file is not TOML.
    pub const SYNTAX: &'static str = "config.syntax";
    /// A secret stands on the command line.
    pub const EXPOSED: &'static str = "config.exposed";

    pub(crate) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into(), code: Self::INVALID }
    }

    /// The same mistake with the file that a key or certificate came from, where one is known and not
    /// named yet.
    pub(super) fn found_in(self, files: &Files) -> Self {
        let about_files =
            [Self::KEY, SettingsError::CHAIN, SettingsError::SERIAL, SettingsError::PAIR];
        if !about_files.contains(&self.code) {
            return self;
        }
        let file = files.of(&self.key).map(|path| path.display().to_string());
        match file.filter(|file| !self.problem.contains(file)) {
            Some(file) => Self { problem: format!("{} in {file}", self.problem), ..self },
            None => self,
        }
    }

    /// The same mistake under a code of its own.
    pub(crate) fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }
}

/// What the library says, without texts that could be a secret in the wrong place: it repeats the
/// values that it does not like.
pub(super) fn discreet(words: &str) -> String {
    let mut shown = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(place) = rest.find(['"', '`']) {
        let (before, quoted) = rest.split_at(place);
        let mark = if quoted.starts_with('"') { '"' } else { '`' };
        let inside = quoted.get(1..).unwrap_or_default();
        // Of a text in quotes that holds a quote itself everything up to the last one.
        let end = if mark == '"' { inside.rfind(mark) } else { inside.find(mark) };
        let (text, after) = inside.split_at(end.unwrap_or(inside.len()));
        shown.push_str(before);
        if is_word(text) {
            shown.extend([mark.to_string(), text.to_owned(), mark.to_string()]);
        } else {
            shown.push_str(&format!("(a text of {} characters)", text.chars().count()));
        }
        rest = after.get(1..).unwrap_or_default();
    }
    shown.push_str(rest);
    shown
}

/// Whether a text is short enough, or of the form of a name, to be no key.
fn is_word(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '.' | '-');
    text.len() < SECRET_BYTES || (text.len() < 64 && text.chars().all(is_name))
}

/// The shortest keys have 32; whoever chose a shorter one has chosen badly.
const SECRET_BYTES: usize = 20;

#[cfg(test)]
mod tests {
    use super::discreet;

    #[test]
    fn what_the_library_repeats_is_left_out_where_it_could_be_a_secret() {
        for words in [
            "unknown variant `xml`, expected `text` or `json`",
            "unknown field `platform_certificate_filess`, expected `a`",
            "invalid type: string \"many\", expected usize",
        ] {
            assert_eq!(discreet(words), words);
        }
        let secret = "9b4bc895aafbc4583fecf0398f8f6e9a";
        for words in [
            format!("invalid type: string \"{secret}\", expected u64"),
            format!("invalid type: string \"a\\\"{secret}\", expected u64"),
            format!("unknown field `{secret}`, expected `a`"),
            format!("unknown variant `{secret}"),
        ] {
            let shown = discreet(&words);
            assert!(!shown.contains(secret) && shown.contains("characters"), "{shown}");
        }
    }
}
