//! `callgate plugin shadow`: another version beside live runs, without an effect.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::backtest::line;
use super::fleet::At;
use super::window;
use crate::cli::operate::show::{cell, escaped, rows, time};
use crate::engine::backtest::Difference;

/// Run a version that was pushed beside the one in force, with every effect thrown away, and see
/// where it decides otherwise.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("act").required(true).args(["version", "stop", "report"]))]
pub(super) struct Shadow {
    /// The plugin's own name, such as shop/order-payment.
    name: String,
    /// Start this version, in place of another shadow of the plugin.
    #[arg(long)]
    version: Option<String>,
    /// For this share of orders, such as 5% or 0.25%; all unless given.
    #[arg(long, requires = "version")]
    percent: Option<String>,
    /// The configuration of its processor, JSON; that of the version in force unless given.
    #[arg(long, requires = "version")]
    config: Option<PathBuf>,
    /// Stop it; what it found stays.
    #[arg(long)]
    stop: bool,
    /// Show what it found, on all hosts.
    #[arg(long)]
    report: bool,
    /// In the report, also what documents and events say: personal data.
    #[arg(long, requires = "report")]
    raw: bool,
    /// Why; it stands in the audit table.
    #[arg(long, required_unless_present = "report")]
    why: Option<String>,
    #[command(flatten)]
    at: At,
}

impl Shadow {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let calls = self.at.calls()?;
        let mut fields = Map::new();
        fields.insert("name".to_owned(), json!(self.name));
        if self.report {
            if self.raw {
                fields.insert("raw".to_owned(), json!(true));
            }
            let answer = calls.get(&["plugins", "shadow"], &fields).await?;
            return Ok(self.at.show(&answer, told));
        }
        fields.insert("why".to_owned(), json!(self.why));
        let mut path = vec!["plugins", "shadow"];
        if self.stop {
            path.push("stop");
        } else {
            fields.insert("version".to_owned(), json!(self.version));
            if let Some(file) = &self.config {
                fields.insert("config".to_owned(), window::values(file)?);
            }
            if let Some(percent) = &self.percent {
                fields.insert("percent".to_owned(), json!(percent));
            }
        }
        let answer = calls.post(&path, &Value::Object(fields)).await?;
        Ok(self.at.show(&answer, stands))
    }
}

fn stands(answer: &Value) -> String {
    let word = |name: &str| cell(&answer[name]);
    let stopped = &answer["stopped_at_ms"];
    let end =
        if stopped.is_null() { String::new() } else { format!(", stopped at {}", time(stopped)) };
    let (name, version, share) = (word("name"), word("version"), word("percent"));
    format!("{name}: {version} beside {share} of orders since {}{end}\n", time(&answer["since_ms"]))
}

fn told(answer: &Value) -> String {
    let counts = &answer["found"];
    let found = |name: &str| counts[name].as_u64().unwrap_or(0);
    let mut text = stands(answer);
    text.push_str(&format!(
        "{} runs offered: {} decided alike, {} otherwise, {} left out (busy), {} failed\n",
        found("offered"),
        found("same"),
        found("different"),
        found("dropped"),
        found("failed")
    ));
    for (kind, count) in counts["kinds"].as_object().into_iter().flatten() {
        text.push_str(&format!("  {:<10}{}\n", escaped(kind), cell(count)));
    }
    text.push_str(&format!("fuel: A {}, B {}\n", found("fuel_a"), found("fuel_b")));
    for host in rows(&answer["hosts"]).filter(|host| !host["refused"].is_null()) {
        let (name, why) = (cell(&host["host"]), cell(&host["refused"]));
        text.push_str(&format!("host {name} does not run it: {why}\n"));
    }
    for one in rows(&answer["last"]) {
        let word = |name: &str| cell(&one[name]);
        text.push_str(&format!(
            "\n{}  {}  {}\n",
            word("notification"),
            word("order_no"),
            time(&one["at_ms"])
        ));
        let outcome = |side: &str| one[side].get("outcome").map(cell).unwrap_or_default();
        if outcome("a") != outcome("b") {
            text.push_str(&format!("    {} -> {}\n", outcome("a"), outcome("b")));
        }
        for difference in rows(&one["differences"]) {
            let read = serde_json::from_value::<Difference>(difference.clone());
            text.push_str(&read.map(|difference| line(&difference)).unwrap_or_default());
        }
    }
    text
}
