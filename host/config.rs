//! Configuration: one TOML file, then the environment, then flags; later wins.
//!
//! Each room owns its settings; this file only gathers them. The commented defaults are compiled
//! in, so what the documentation says is what the program does.
//!
//! Reading order: this file, `source` (layers and merging), `secrets` (`x_file`, `x_env`),
//! `listeners`, `channels`, `fronts`, `plugins`, `packages` (whose keys sign plugins, and for
//! what), `endpoints`, `sinks`, `alerts`; `files` (which files it was read from), `shape` (what
//! differs between two), `reload`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callgate_package::Policies;
use callgate_sandbox::compile::Compiler;
use callgate_sandbox::engine::SandboxSettings;
use serde::Deserialize;

use crate::engine;
use crate::inbound::channel::Channel;
use crate::inbound::status::front::Fronts;
use crate::inbound::{ListenerSettings, status, tokens::Operators, tokens::TokenHashes};
use crate::outbound::endpoints::EndpointSettings;
use crate::telemetry;

pub mod channels;

pub mod plugins;

mod packages;

mod fronts;

mod endpoints;

mod sinks;

mod alerts;
mod listeners;

mod secrets;

mod error;

pub mod files;

mod shape;

pub mod reload;

mod source;

pub use error::ConfigError;
pub use files::Files;
pub use shape::Shape;
pub use source::{Layers, default_text};

/// The whole configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// Where it was read, to read it again.
    pub layers: Layers,
    /// The files that it was read from.
    pub files: Files,
    /// What was set to what.
    pub shape: Shape,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// The listener for gateways.
    pub public: ListenerSettings,
    /// The listener for orders, health and metrics.
    pub private: ListenerSettings,
    /// The listener for front ends.
    pub status: status::Settings,
    /// What businesses allow their front ends.
    pub fronts: Fronts,
    /// Operators and their tokens, by name.
    pub operators: Operators,
    /// The database.
    pub store: callgate_store::Settings,
    /// What becomes of old notifications.
    pub retention: callgate_store::RetentionSettings,
    /// Work.
    pub engine: engine::Settings,
    /// The sandbox as a whole.
    pub sandbox: SandboxSettings,
    /// What is in force.
    pub fleet: engine::fleet::Settings,
    /// The log.
    pub log: telemetry::Settings,
    /// When all this is read again.
    pub reload: reload::Settings,
    /// Keys that the gateways hand out, and when keys end.
    pub keys: engine::certificates::Settings,
    /// Tokens by business.
    pub businesses: BTreeMap<String, TokenHashes>,
    /// Who signs plugins for which business, and what they may ask for.
    pub policies: Policies,
    /// Channels by name.
    pub channels: BTreeMap<String, Arc<Channel>>,
    /// Plugins by name.
    pub plugins: BTreeMap<String, plugins::PluginSettings>,
    /// What processors may call.
    pub endpoints: Vec<EndpointSettings>,
    /// Where events go.
    pub sinks: Vec<engine::deliver::SinkSettings>,
    /// What is told to people, and when.
    pub alerts: engine::alert::Settings,
    /// Who is told.
    pub webhooks: Vec<engine::alert::robot::WebhookSettings>,
    /// Where components are compiled: no key, the program that runs says.
    pub compiler: Compiler,
}

impl Config {
    /// Reads and checks the configuration, every key file included.
    ///
    /// # Errors
    /// The first mistake, with its key, what was found and what was expected.
    pub fn load(layers: &Layers) -> Result<Self, ConfigError> {
        Self::load_watched(layers).0
    }

    /// The same; tells also which files were read, up to the mistake if there is one.
    pub fn load_watched(layers: &Layers) -> (Result<Self, ConfigError>, Files) {
        let (loaded, files) = files::gather(|| Self::read(layers));
        let loaded = loaded.map_err(|error| error.found_in(&files));
        (loaded.map(|config| Self { files: files.clone(), ..config }), files)
    }

    fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let (mut table, folder) = source::merge(layers)?;
        let shape = Shape::of(&table);
        let (businesses, policies, fronts) = businesses(take(&mut table, "businesses")?, &folder)?;
        let names: Vec<&str> = businesses.keys().map(String::as_str).collect();
        let channels = channels::open(take(&mut table, "channels")?, &names, &folder)?;
        let plugins = plugins::read(take(&mut table, "plugins")?, &names, &folder)?;
        let endpoints = endpoints::open(take(&mut table, "endpoints")?, &names, &folder)?;
        endpoints::check_grants(&plugins, &endpoints)?;
        let sinks = sinks::open(take(&mut table, "sinks")?, &names, &folder)?;
        let (alerts, webhooks) = alerts::open(take(&mut table, "alerts")?, &folder)?;
        let named = named_operators(take(&mut table, "operators")?)?;
        let mut rooms: Rooms = read(toml::Value::Table(table), "")?;
        rooms.check(&folder)?;
        let plugins = plugins::check(plugins, rooms.engine.breaker)?;
        let config = Self {
            layers: layers.clone(),
            files: Files::default(),
            shape,
            reload: rooms.reload,
            keys: rooms.keys,
            public: rooms.public,
            private: rooms.private,
            status: rooms.status,
            fronts,
            operators: operators(named, rooms.operator),
            retention: retention_beside(rooms.retention, &folder),
            engine: rooms.engine,
            sandbox: sandbox_beside(rooms.sandbox, &rooms.store.url, &folder),
            fleet: fleet(rooms.fleet)?,
            store: store_beside(rooms.store, &folder),
            log: rooms.log,
            businesses,
            policies,
            channels,
            plugins,
            endpoints,
            sinks,
            alerts,
            webhooks,
            folder,
            compiler: Compiler::Here,
        };
        Ok(config)
    }
}

/// The parts that are read in one go; the others need the folder or each other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rooms {
    public: ListenerSettings,
    private: ListenerSettings,
    status: status::Settings,
    operator: TokenHashes,
    store: callgate_store::Settings,
    retention: callgate_store::RetentionSettings,
    engine: engine::Settings,
    sandbox: SandboxSettings,
    fleet: engine::fleet::Settings,
    log: telemetry::Settings,
    reload: reload::Settings,
    keys: engine::certificates::Settings,
}

impl Rooms {
    /// Holds every number against its bounds, and reads what listeners present.
    fn check(&mut self, folder: &Path) -> Result<(), ConfigError> {
        for (room, listener) in [
            ("public", &mut self.public),
            ("private", &mut self.private),
            ("status.listener", &mut self.status.listener),
        ] {
            listeners::check(room, listener, folder)?;
        }
        let owned = |(field, problem): (&str, String)| (field.to_owned(), problem);
        for (room, checked) in [
            ("status", self.status.check()),
            ("engine", self.engine.check()),
            ("reload", self.reload.check().map_err(owned)),
            ("keys", self.keys.check().map_err(owned)),
        ] {
            checked
                .map_err(|(field, problem)| ConfigError::new(format!("{room}.{field}"), problem))?;
        }
        Ok(())
    }
}

fn businesses(
    table: toml::Table,
    folder: &Path,
) -> Result<(BTreeMap<String, TokenHashes>, Policies, Fronts), ConfigError> {
    let (mut tokens, mut policies) = (BTreeMap::new(), BTreeMap::new());
    let mut fronts = BTreeMap::new();
    for (name, mut value) in table {
        let key = format!("businesses.{name}");
        check_name(&key, &name, NAME_OF_BUSINESS)?;
        if let Some(fields) = value.as_table_mut() {
            policies.insert(name.clone(), packages::take_policy(fields, &key, folder)?);
            fronts.insert(name.clone(), fronts::take_front(fields, &key, folder)?);
        }
        tokens.insert(name, read(value, &key)?);
    }
    Ok((tokens, Policies::new(policies), Fronts::new(fronts)))
}

/// Operators with names of their own. `operator` is the name of who has none.
fn named_operators(table: toml::Table) -> Result<BTreeMap<String, TokenHashes>, ConfigError> {
    table
        .into_iter()
        .map(|(name, value)| {
            let key = format!("operators.{name}");
            check_name(&key, &name, NAME_OF_BUSINESS)?;
            if name == UNNAMED {
                let problem = "this is the name of who comes with a token of [operator]";
                return Err(ConfigError::new(key, problem));
            }
            Ok((name, read(value, &key)?))
        })
        .collect()
}

fn operators(mut named: BTreeMap<String, TokenHashes>, unnamed: TokenHashes) -> Operators {
    named.insert(UNNAMED.to_owned(), unnamed);
    Operators::new(named)
}

/// Who comes with a token of `[operator]`.
const UNNAMED: &str = "operator";

/// A database file stands relative to the configuration file, as every path does.
fn store_beside(mut store: callgate_store::Settings, folder: &Path) -> callgate_store::Settings {
    if let Some(path) = store.url.strip_prefix("sqlite://") {
        store.url = format!("sqlite://{}", beside(folder, path).display());
    }
    store
}

/// So does the archive; a host without a name is called as its machine is.
fn retention_beside(
    mut retention: callgate_store::RetentionSettings,
    folder: &Path,
) -> callgate_store::RetentionSettings {
    retention.archive_dir = folder.join(retention.archive_dir);
    if retention.host_name.is_empty() {
        retention.host_name = callgate_store::machine_name();
    }
    retention
}

/// So does the folder of compiled processors. Where nothing is said, SQLite has one of its own
/// beside the database file; a PostgreSQL host has none, for nobody but its operator knows where
/// such a folder belongs.
fn sandbox_beside(mut sandbox: SandboxSettings, url: &str, folder: &Path) -> SandboxSettings {
    let said = sandbox.cache_dir.filter(|path| !path.as_os_str().is_empty());
    sandbox.cache_dir = match said {
        Some(path) if path.as_os_str() == NO_CACHE => None,
        Some(path) => Some(folder.join(path)),
        None => url.strip_prefix("sqlite://").map(|file| folder.join(format!("{file}.compiled"))),
    };
    sandbox
}

/// The word for no folder of compiled processors.
const NO_CACHE: &str = "none";

/// Holds the delays and the budget of the fleet against their bounds.
fn fleet(settings: engine::fleet::Settings) -> Result<engine::fleet::Settings, ConfigError> {
    for (field, found, least, most) in [
        ("retry_ms", settings.retry_ms, 100, 3_600_000),
        ("report_ms", settings.report_ms, 1_000, 3_600_000),
        ("budget_runs", settings.budget_runs, 1, 1_000_000),
        ("budget_percent", settings.budget_percent, 0, 100),
    ] {
        if !(least..=most).contains(&found) {
            let problem = format!("found {found}, expected {least} to {most}");
            return Err(ConfigError::new(format!("fleet.{field}"), problem));
        }
    }
    Ok(settings)
}

/// Reads one value, naming the key of a mistake.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(
    value: toml::Value,
    prefix: &str,
) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let key = match (prefix, path.as_str()) {
            ("", path) => path.to_owned(),
            (prefix, ".") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        let words = error.inner().to_string();
        ConfigError::new(key, error::discreet(words.trim_end()).replace('\n', " "))
    })
}

fn take(table: &mut toml::Table, key: &str) -> Result<toml::Table, ConfigError> {
    match table.remove(key) {
        None => Ok(toml::Table::new()),
        Some(toml::Value::Table(inner)) => Ok(inner),
        Some(other) => {
            let found = other.type_str();
            Err(ConfigError::new(key, format!("found {found}, expected a table [{key}.NAME]")))
        }
    }
}

/// Which characters a name may have; all names are 1 to 64 long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameRule {
    fits: fn(char) -> bool,
    words: &'static str,
}

pub(crate) const NAME_OF_BUSINESS: NameRule = NameRule {
    fits: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'),
    words: "A-Z a-z 0-9 _ - .",
};

pub(crate) const NAME_OF_CHANNEL: NameRule = NameRule {
    fits: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    words: "a-z 0-9 -",
};

pub(crate) fn check_name(key: &str, name: &str, rule: NameRule) -> Result<(), ConfigError> {
    if (1..=64).contains(&name.len()) && name.chars().all(rule.fits) {
        Ok(())
    } else {
        let words = rule.words;
        Err(ConfigError::new(key, format!("the name must be 1 to 64 characters of {words}")))
    }
}

pub(crate) fn beside(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}
