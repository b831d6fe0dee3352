//! `callgate plugin stats`: what runs cost, by version and phase.

use std::process::ExitCode;

use anyhow::Context as _;
use callgate_core::canary::percent;
use clap::Args;
use serde_json::{Map, Value, json};

use super::fleet::At;
use super::window;
use crate::cli::operate::show::{cell, rows, table, time};
use crate::clock::Clock;

/// Show fuel and time of a plugin's runs by version and phase, and what part of its limits it
/// uses.
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// The plugin's own name, such as shop/order-payment.
    name: String,
    /// Of notifications received since then: 7d, 12h, 30m, or 2026-11-15T00:00:00Z.
    #[arg(long, default_value = "1d")]
    since: String,
    #[command(flatten)]
    at: At,
}

impl Stats {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let since = window::moment(&self.since, Clock::system().now()).context("--since")?;
        let mut fields = Map::new();
        fields.insert("name".to_owned(), json!(self.name));
        fields.insert("since_ms".to_owned(), json!(since.as_ms().max(0)));
        let answer = self.at.calls()?.get(&["plugins", "stats"], &fields).await?;
        Ok(self.at.show(&answer, told))
    }
}

fn told(answer: &Value) -> String {
    let word = |name: &str| cell(&answer[name]);
    let mut text = format!(
        "{}: {} attempts of notifications received since {}\n",
        word("plugin"),
        word("attempts"),
        time(&answer["since_ms"])
    );
    if answer["complete"] == json!(false) {
        let oldest = time(&answer["oldest_at_ms"]);
        text.push_str(&format!("the last ones, back to {oldest}; older ones are not looked at\n"));
    }
    for version in rows(&answer["versions"]) {
        text.push_str(&one(version));
    }
    text
}

fn one(version: &Value) -> String {
    let word = |name: &str| cell(&version[name]);
    let short = word("component").chars().take(12).collect::<String>();
    let mut text = format!("\n{} ({short}): {} runs", word("version"), word("runs"));
    for (title, list) in [("", &version["outcomes"]), ("faults: ", &version["faults"])] {
        let counts = list.as_object().into_iter().flatten();
        let counts: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
        if !counts.is_empty() {
            text.push_str(&format!("; {title}{}", counts.join(", ")));
        }
    }
    text.push('\n');
    let whole = json!({ "phase": "all", "runs": version["runs"], "fuel": version["fuel"],
        "duration_us": version["duration_us"] });
    let phases = rows(&version["phases"]).chain(std::iter::once(&whole));
    let lines: Vec<_> = phases
        .map(|phase| {
            let mut line = vec![cell(&phase["phase"]), cell(&phase["runs"])];
            for what in ["fuel", "duration_us"] {
                let numbers = &phase[what];
                line.extend(["p50", "p90", "p99", "max"].map(|name| cell(&numbers[name])));
                let part = numbers["p99_of_limit_parts"].as_i64();
                line.push(part.map(percent).unwrap_or_default());
            }
            line
        })
        .collect();
    let head = [
        "phase", "runs", "fuel p50", "p90", "p99", "max", "of limit", "us p50", "p90", "p99",
        "max", "of limit",
    ];
    text.push_str(&table(&head, lines.into_iter()));
    text
}
