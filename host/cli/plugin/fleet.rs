//! Plugins on a running server: push, list, activate, roll back, retire, try on some orders, by
//! its operator calls.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};

use super::table;
use crate::cli::operate::call::{Calls, Server};
use crate::cli::print;

/// Which server, and as whom.
#[derive(Debug, Args)]
pub(super) struct At {
    #[command(flatten)]
    server: Server,
    /// Print the answer's JSON instead of a text.
    #[arg(long)]
    json: bool,
}

/// Who acts gives a reason, and may say which revision the act rests on.
#[derive(Debug, Args)]
struct Words {
    /// Why; it stands in the audit table.
    #[arg(long)]
    why: String,
    /// The revision of the plugin that `list` showed; what is there now unless given.
    #[arg(long)]
    revision: Option<i64>,
}

/// Hand a version to a server: it is checked, compiled and stored, and not yet in force.
#[derive(Debug, Args)]
pub(super) struct Push {
    /// The component.
    file: PathBuf,
    /// Its signed manifest.
    #[arg(short, long)]
    manifest: PathBuf,
    /// Why.
    #[arg(long, default_value = "a new version")]
    why: String,
    #[command(flatten)]
    at: At,
}

/// Show plugins, their versions, and what each host has in force.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this plugin.
    name: Option<String>,
    #[command(flatten)]
    at: At,
}

/// Put a version in force on every host, for all orders or for some.
#[derive(Debug, Args)]
pub(super) struct Activate {
    /// NAME@VERSION, such as shop/order-payment@1.3.0.
    which: Which,
    /// The configuration of its processor, JSON; that of the version before unless given.
    #[arg(long)]
    config: Option<PathBuf>,
    /// As a canary, for this share of orders, such as 5% or 0.25%.
    #[arg(long, value_name = "PERCENT")]
    canary: Option<String>,
    /// As a canary, for these orders: numbers separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "ORDERS")]
    orders: Vec<String>,
    /// Runs of the canary before it is judged; the server's unless given.
    #[arg(long)]
    budget_runs: Option<u32>,
    /// Percent of the canary's runs that may fail beyond what fails anyway; the server's unless
    /// given.
    #[arg(long)]
    budget_percent: Option<String>,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    at: At,
}

/// Back to the version and configuration before; with a canary under way, only that ends.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The plugin.
    name: String,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    at: At,
}

/// Never activate a version again.
#[derive(Debug, Args)]
pub(super) struct Retire {
    /// NAME@VERSION.
    which: Which,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    at: At,
}

/// Change, promote or stop a canary.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("act").required(true).multiple(true)
    .args(["percent", "orders", "promote", "stop"]))]
pub(super) struct Canary {
    /// The plugin.
    name: String,
    /// Give it this share of orders.
    #[arg(long)]
    percent: Option<String>,
    /// Give it these orders: numbers separated by commas.
    #[arg(long, value_delimiter = ',')]
    orders: Vec<String>,
    /// Make it the active version.
    #[arg(long, conflicts_with_all = ["percent", "orders", "stop"])]
    promote: bool,
    /// End the trial.
    #[arg(long, conflicts_with_all = ["percent", "orders"])]
    stop: bool,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    at: At,
}

/// A version of a plugin.
#[derive(Debug, Clone)]
struct Which {
    name: String,
    version: String,
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('@') {
            Some((name, version)) if !name.is_empty() && !version.is_empty() => {
                Ok(Self { name: name.to_owned(), version: version.to_owned() })
            }
            Some(_) | None => {
                Err("expected NAME@VERSION, such as shop/order-payment@1.3.0".to_owned())
            }
        }
    }
}

impl At {
    pub(super) fn calls(&self) -> anyhow::Result<Calls> {
        self.server.patient()
    }

    pub(super) fn show(&self, answer: &Value, text: impl FnOnce(&Value) -> String) -> ExitCode {
        let text = if self.json { format!("{answer:#}\n") } else { text(answer) };
        print(&text);
        ExitCode::SUCCESS
    }

    /// Acts on a plugin as it stands now, unless the operator says which one he looked at.
    async fn act(
        &self,
        act: &str,
        (name, words): (&str, &Words),
        more: Map<String, Value>,
    ) -> anyhow::Result<ExitCode> {
        let calls = self.calls()?;
        let revision = match words.revision {
            Some(revision) => revision,
            None => {
                let listed = calls.get(&["plugins"], &Map::new()).await?;
                let found = table::plugin(&listed, name);
                found.and_then(|plugin| plugin["revision"].as_i64()).unwrap_or(0)
            }
        };
        let mut body = more;
        body.insert("name".to_owned(), json!(name));
        body.insert("why".to_owned(), json!(words.why));
        body.insert("revision".to_owned(), json!(revision));
        let answer = calls.post(&["plugins", act], &Value::Object(body)).await?;
        Ok(self.show(&answer, table::acted))
    }
}

impl Push {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let component = read(&self.file).await?;
        let manifest = String::from_utf8(read(&self.manifest).await?)
            .with_context(|| format!("{} is not UTF-8", self.manifest.display()))?;
        let mut body = json!({ "manifest": manifest, "why": self.why }).to_string().into_bytes();
        body.push(b'\n');
        body.extend(component);
        let answer = self.at.calls()?.send(&["plugins"], body).await?;
        Ok(self.at.show(&answer, table::pushed))
    }
}

impl List {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let answer = self.at.calls()?.get(&["plugins"], &Map::new()).await?;
        let name = self.name;
        Ok(self.at.show(&answer, |answer| table::listed(answer, name.as_deref())))
    }
}

impl Activate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut body = Map::new();
        body.insert("version".to_owned(), json!(self.which.version));
        if let Some(file) = &self.config {
            let config: Value = serde_json::from_slice(&read(file).await?)
                .with_context(|| format!("{} is no JSON", file.display()))?;
            body.insert("config".to_owned(), config);
        }
        let trial = self.canary.is_some() || !self.orders.is_empty();
        anyhow::ensure!(
            trial || (self.budget_runs.is_none() && self.budget_percent.is_none()),
            "a budget goes with --canary or --orders"
        );
        if trial {
            let mut canary = Map::new();
            let fields = [
                ("percent", self.canary.map(|percent| json!(percent))),
                ("orders", (!self.orders.is_empty()).then(|| json!(self.orders))),
                ("budget_runs", self.budget_runs.map(|runs| json!(runs))),
                ("budget_percent", self.budget_percent.map(|percent| json!(percent))),
            ];
            canary.extend(fields.into_iter().filter_map(|(key, one)| Some((key.to_owned(), one?))));
            body.insert("canary".to_owned(), Value::Object(canary));
        }
        self.at.act("activate", (&self.which.name, &self.words), body).await
    }
}

impl Rollback {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        self.at.act("rollback", (&self.name, &self.words), Map::new()).await
    }
}

impl Retire {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut body = Map::new();
        body.insert("version".to_owned(), json!(self.which.version));
        self.at.act("retire", (&self.which.name, &self.words), body).await
    }
}

impl Canary {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let act = match (self.promote, self.stop) {
            (true, _) => "promote",
            (_, true) => "stop",
            (false, false) => "change",
        };
        let mut body = Map::new();
        body.insert("act".to_owned(), json!(act));
        body.extend(self.percent.as_ref().map(|percent| ("percent".to_owned(), json!(percent))));
        if !self.orders.is_empty() {
            body.insert("orders".to_owned(), json!(self.orders));
        }
        self.at.act("canary", (&self.name, &self.words), body).await
    }
}

async fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    tokio::fs::read(file).await.with_context(|| format!("{} cannot be read", file.display()))
}
