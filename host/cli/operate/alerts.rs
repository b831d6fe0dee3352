//! The words for alerts: see what is raised, and try whether a webhook can be told.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Table;
use super::call::Calls;
use super::show::{cell, rows, table, time};

/// Show what is raised, and how it stands with the webhooks that are told.
#[derive(Debug, Args)]
pub(super) struct Alerts {
    #[command(subcommand)]
    word: Option<AlertWord>,
}

#[derive(Debug, Subcommand)]
enum AlertWord {
    /// Send a test message to a webhook.
    Test {
        /// The webhook, as the configuration names it.
        webhook: String,
    },
}

impl Alerts {
    pub(super) async fn call(self, calls: &Calls) -> anyhow::Result<(Value, Table)> {
        Ok(match self.word {
            None => (calls.get(&["alerts"], &Map::new()).await?, shown),
            Some(AlertWord::Test { webhook }) => {
                (calls.post(&["alerts", &webhook, "test"], &json!({})).await?, tested)
            }
        })
    }
}

fn shown(answer: &Value) -> String {
    let raised = rows(&answer["alerts"]).map(|one| {
        let word = |name: &str| cell(&one[name]);
        vec![
            word("condition"),
            word("severity"),
            time(&one["since_ms"]),
            time(&one["told_at_ms"]),
            word("told"),
            word("summary"),
        ]
    });
    let head = ["condition", "severity", "since", "told last", "times", "what is seen"];
    let mut text = table(&head, raised);
    let webhooks = rows(&answer["webhooks"]).map(|one| {
        let word = |name: &str| cell(&one[name]);
        vec![
            word("webhook"),
            word("waiting"),
            time(&one["sent_at_ms"]),
            word("failed_code"),
            word("failed"),
        ]
    });
    text.push('\n');
    text.push_str(&table(&["webhook", "waiting", "sent last", "failed", "why"], webhooks));
    text
}

fn tested(answer: &Value) -> String {
    format!("{} was told: look whether the message is there\n", cell(&answer["webhook"]))
}
