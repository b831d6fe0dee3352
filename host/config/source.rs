//! The layers of the configuration, and how a later one covers an earlier one.

use std::path::{Path, PathBuf};

use super::{ConfigError, files};

/// Where the configuration comes from, besides the compiled-in defaults.
#[derive(Clone, Default)]
pub struct Layers {
    /// The file; none means defaults alone.
    pub file: Option<PathBuf>,
    /// Environment variables by name; those that start with `CALLGATE_` and name a room and a key
    /// with two underscores between count.
    pub environment: Vec<(String, String)>,
    /// `key=value` of the command line.
    pub flags: Vec<String>,
}

impl Layers {
    /// The layers of this process: its environment, and what the command line says.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<String>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, environment, flags }
    }
}

impl std::fmt::Debug for Layers {
    /// Names the file alone: variables and flags can hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers").field("file", &self.file).finish_non_exhaustive()
    }
}

/// The commented defaults.
#[must_use]
pub fn default_text() -> &'static str {
    include_str!("../default.toml")
}

/// Merges all layers; also tells the folder that relative paths start from.
pub(super) fn merge(layers: &Layers) -> Result<(toml::Table, PathBuf), ConfigError> {
    let mut table = parse("the compiled-in defaults", default_text())?;
    let mut folder = PathBuf::new();
    if let Some(file) = &layers.file {
        let text = files::read("", file).map_err(|error| {
            ConfigError::new(show(file), format!("cannot be read: {error}"))
                .coded(ConfigError::FILE)
        })?;
        cover(&mut table, parse(&show(file), &text)?);
        folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    }
    for (name, value) in &layers.environment {
        if let Some(rest) = name.strip_prefix("CALLGATE_") {
            // A key always has a room, so it has two underscores; others are the program's own.
            if !rest.contains("__") {
                continue;
            }
            let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
            set(&mut table, &path, value).map_err(|problem| ConfigError::new(name, problem))?;
        }
    }
    for flag in &layers.flags {
        let Some((key, value)) = flag.split_once('=') else {
            return Err(ConfigError::new(flag, "expected key=value, such as store.url=sqlite://x"));
        };
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        not_a_secret(key, value)?;
        set(&mut table, &path, value).map_err(|problem| ConfigError::new(key, problem))?;
    }
    Ok((table, folder))
}

/// Whoever is on the machine can read command lines, so no secret may stand there.
fn not_a_secret(key: &str, value: &str) -> Result<(), ConfigError> {
    let last = key.rsplit('.').next().unwrap_or_default();
    let by_name = SECRETS.iter().any(|word| last.ends_with(word));
    let inside = value.contains("PRIVATE KEY-----");
    let in_url = value.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next());
    let password = in_url
        .and_then(|authority| authority.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':'));
    if by_name || inside || password {
        let problem = "a secret must not stand on a command line, where everybody on the machine \
                       can read it: give it in a file (`..._file`) or in the environment";
        return Err(ConfigError::new(key, problem).coded(ConfigError::EXPOSED));
    }
    Ok(())
}

/// How the names of keys end that hold a secret themselves.
const SECRETS: [&str; 5] = ["api_v3_key", "api_key", "private_key", "secret", "password"];

fn parse(name: &str, text: &str) -> Result<toml::Table, ConfigError> {
    text.parse::<toml::Table>().map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.matches('\n').count().saturating_add(1));
        ConfigError::new(format!("{name}, line {line}"), error.message().replace('\n', " "))
            .coded(ConfigError::SYNTAX)
    })
}

fn cover(below: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => cover(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// Sets one value by path. The text is read as TOML where it is TOML, else taken as text.
fn set(table: &mut toml::Table, path: &[String], text: &str) -> Result<(), String> {
    match path {
        [] => Err("expected the name of a key".to_owned()),
        [last] => {
            table.insert(last.clone(), value_of(text));
            Ok(())
        }
        [first, rest @ ..] => {
            let inner = table
                .entry(first.clone())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let found = inner.type_str();
            match inner.as_table_mut() {
                Some(inner) => set(inner, rest, text),
                None => Err(format!("`{first}` is {found}, not a table")),
            }
        }
    }
}

fn value_of(text: &str) -> toml::Value {
    let parsed = format!("value = {text}").parse::<toml::Table>();
    parsed
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn show(file: &Path) -> String {
    file.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::{Layers, default_text, merge};

    fn value(layers: &Layers, key: &str) -> Option<String> {
        let (table, _) = merge(layers).expect("layers merge");
        let (room, name) = key.split_once('.').expect("two parts");
        table.get(room)?.get(name).map(ToString::to_string)
    }

    #[test]
    fn later_layers_win() {
        let mut layers = Layers::default();
        assert_eq!(value(&layers, "store.group_max").as_deref(), Some("256"));
        layers.environment.push(("CALLGATE_STORE__GROUP_MAX".into(), "16".into()));
        assert_eq!(value(&layers, "store.group_max").as_deref(), Some("16"));
        layers.flags.push("store.group_max=8".into());
        assert_eq!(value(&layers, "store.group_max").as_deref(), Some("8"));
    }

    #[test]
    fn a_text_that_is_no_toml_is_taken_as_text() {
        let flags = vec!["store.url=sqlite:///var/lib/callgate.db".to_owned()];
        let layers = Layers { flags, ..Layers::default() };
        assert_eq!(
            value(&layers, "store.url").as_deref(),
            Some("\"sqlite:///var/lib/callgate.db\"")
        );
    }

    #[test]
    fn a_flag_without_a_value_says_what_was_expected() {
        let layers = Layers { flags: vec!["store.url".into()], ..Layers::default() };
        let error = merge(&layers).expect_err("no value");
        assert!(error.to_string().contains("key=value"), "{error}");
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        for flag in [
            "channels.a.api_v3_key=sesame",
            "channels.a.previous_api_v3_key=sesame",
            "channels.a.inquiry.merchant_private_key=sesame",
            "sinks.erp.secret=sesame",
            "store.url=postgres://callgate:sesame@db/callgate",
        ] {
            let layers = Layers { flags: vec![flag.to_owned()], ..Layers::default() };
            let error = merge(&layers).expect_err(flag);
            assert_eq!(error.code, "config.exposed");
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
        for flag in ["store.url=postgres://callgate@db/x", "channels.a.api_key_file=keys/a.key"] {
            let layers = Layers { flags: vec![flag.to_owned()], ..Layers::default() };
            merge(&layers).expect(flag);
        }
        let layers = Layers { flags: vec!["sesame".to_owned()], ..Layers::default() };
        assert!(!format!("{layers:?}").contains("sesame"));
    }

    /// Every field of a room's settings stands in the file, with its default.
    fn check(defaults: &str, comment: &str) {
        let fields = defaults.split(['{', ',', '}']).filter_map(|piece| piece.split_once(": "));
        for (name, value) in fields {
            let value = if value == "None" { "\"\"" } else { value };
            let line = format!("\n{comment}{} = {}\n", name.trim(), value.trim());
            assert!(default_text().contains(&line), "host/default.toml has no line {line:?}");
        }
    }

    #[test]
    fn the_default_file_documents_every_limit_of_the_sandbox() {
        check(&format!("{:?}", callgate_sandbox::limits::Limits::default()), "# ");
        check(&format!("{:?}", callgate_sandbox::engine::SandboxSettings::default()), "");
    }

    #[test]
    fn the_commented_examples_are_a_configuration_too() {
        let (_, examples) = default_text().split_once("# A business, named").expect("examples");
        let lines = examples.lines().filter_map(|line| line.strip_prefix("# "));
        let looks_like_toml = |line: &&str| {
            let line = line.trim_start_matches("# ");
            line.starts_with('[')
                || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
        };
        let text: Vec<&str> = lines.filter(looks_like_toml).collect();
        let table: toml::Table = text.join("\n").parse().expect("the examples are TOML");
        for name in ["order-payment", "unsigned"] {
            let plugin = table["plugins"][name].clone();
            let read: Result<crate::config::plugins::PluginSettings, _> = plugin.try_into();
            read.expect("the example of a plugin");
        }
        let policy = table["businesses"]["PRODUCT_ORDER"]["policy"].clone();
        let read: Result<callgate_package::policy::Rules, _> = policy.try_into();
        read.expect("the example of a policy");
        assert_eq!(table["channels"].as_table().map(toml::Table::len), Some(3));
    }
}
