//! The words for sinks: see what was not taken, have it sent again, or give it up.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Table;
use super::call::Calls;
use super::show;

/// What can be said of sinks.
#[derive(Debug, Subcommand)]
pub(super) enum SinkWord {
    /// Show every sink, and what it has not taken.
    Sinks,
    /// Show the events that a sink was given up for.
    DeadLetters {
        /// The sink.
        sink: String,
        /// One event.
        #[arg(long)]
        event_id: Option<String>,
        /// Of one business.
        #[arg(long)]
        business: Option<String>,
        /// How many lines.
        #[arg(long)]
        limit: Option<i64>,
        /// Where an earlier answer ended.
        #[arg(long)]
        after: Option<i64>,
    },
    /// Send dead letters again, with all their attempts and their old ids.
    Redeliver(Which),
    /// Give dead letters up: the sink never gets them.
    DiscardDead(Which),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// The sink.
    sink: String,
    /// One event.
    #[arg(long, required_unless_present_any = ["business", "all"])]
    event_id: Option<String>,
    /// All of one business.
    #[arg(long)]
    business: Option<String>,
    /// All of them, a thousand at a time.
    #[arg(long, conflicts_with_all = ["event_id", "business"])]
    all: bool,
    /// Why.
    #[arg(long)]
    why: String,
}

impl SinkWord {
    pub(super) async fn call(self, calls: &Calls) -> anyhow::Result<(Value, Table)> {
        Ok(match self {
            Self::Sinks => (calls.get(&["sinks"], &Map::new()).await?, show::sinks),
            Self::DeadLetters { sink, event_id, business, limit, after } => {
                let fields = [
                    ("event_id", event_id.map(Value::from)),
                    ("business", business.map(Value::from)),
                    ("limit", limit.map(Value::from)),
                    ("after", after.map(Value::from)),
                ];
                let given = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
                let fields = given.map(|(name, value)| (name.to_owned(), value)).collect();
                (calls.get(&["sinks", &sink, "dead-letters"], &fields).await?, show::dead_letters)
            }
            Self::Redeliver(which) => which.post(calls, "redeliver").await?,
            Self::DiscardDead(which) => which.post(calls, "discard").await?,
        })
    }
}

impl Which {
    async fn post(self, calls: &Calls, act: &str) -> anyhow::Result<(Value, Table)> {
        let Self { sink, event_id, business, all, why } = self;
        let body = json!({ "event_id": event_id, "business": business, "all": all, "why": why });
        Ok((calls.post(&["sinks", &sink, act], &body).await?, show::dead_acted))
    }
}
