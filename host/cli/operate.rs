//! `callgate operate`: look at notifications and repair, through the operator calls of a running
//! server. The words are those of the calls.
//!
//! Reading order: this file (the words of the command line), `sinks` (those for sinks), `alerts`, `call` (one
//! call over HTTP), `show` (tables).

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use self::call::{Calls, Server};
use super::print;

pub(super) mod call;

pub(super) mod show;

mod sinks;

mod alerts;

/// Look at notifications, replay, park, release, discard; send dead letters again; see who did
/// what.
#[derive(Debug, Args)]
pub(super) struct Operate {
    #[command(flatten)]
    server: Server,
    /// Print the answer's JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Find notifications, newest first.
    Search(Box<Search>),
    /// Show one notification with its attempts and what operators did to it.
    Inspect {
        /// The notification.
        id: String,
        /// Also its body, payer and the callback as it came: personal data.
        #[arg(long)]
        raw: bool,
    },
    /// Run one notification again, or many by filter: first dry, then with --go.
    Replay(Box<Replay>),
    /// Set a notification aside for a while.
    Park {
        /// The notification.
        id: String,
        /// Why.
        #[arg(long)]
        why: String,
        /// For how long, in milliseconds; a day unless given.
        #[arg(long)]
        for_ms: Option<i64>,
    },
    /// End a wait: due now.
    Release(OnOne),
    /// Nothing is to come of it: done.
    Discard(OnOne),
    /// Show replays of many and their progress, or one of them.
    Replays {
        /// One of them.
        id: Option<String>,
        /// Show its progress until it ends.
        #[arg(long, requires = "id")]
        follow: bool,
    },
    /// Stop a replay of many.
    Cancel(OnOne),
    /// Show how each plugin is run on this host: how often at once, whether it is left alone.
    Bulkheads,
    /// Show every key and certificate in force, when it ends, and the last reload.
    Keys,
    /// Read the configuration again, now.
    Reload(Reload),
    /// Show what operators did, newest first.
    Audit {
        /// To one notification or replay.
        #[arg(long)]
        target: Option<String>,
        /// By one operator.
        #[arg(long)]
        who: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// Show what is raised, and how it stands with the webhooks that are told.
    Alerts(alerts::Alerts),
    #[command(flatten)]
    Sinks(sinks::SinkWord),
}

#[derive(Debug, Args)]
struct OnOne {
    /// What it is done to.
    id: String,
    /// Why.
    #[arg(long)]
    why: String,
}

#[derive(Debug, Args)]
struct Reload {
    /// Why, for the audit table.
    #[arg(long)]
    why: Option<String>,
}

impl Reload {
    fn body(self) -> Value {
        self.why.map_or_else(|| json!({}), |why| json!({ "why": why }))
    }
}

#[derive(Debug, Args)]
struct Page {
    /// How many lines.
    #[arg(long)]
    limit: Option<i64>,
    /// Where an earlier answer ended.
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Debug, Args)]
struct Search {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    page: Page,
}

#[derive(Debug, Args)]
struct Replay {
    /// One notification; else a filter.
    #[arg(conflicts_with_all = ["state", "go", "rate_per_s"], required_unless_present = "state")]
    id: Option<String>,
    /// Why; not needed for a dry run.
    #[arg(long, required_if_eq("go", "true"))]
    why: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Notifications a second; 10 unless given.
    #[arg(long)]
    rate_per_s: Option<i64>,
    /// Really replay; without it, what would be replayed is shown.
    #[arg(long)]
    go: bool,
}

#[derive(Debug, Args)]
struct Filter {
    /// Where they are.
    #[arg(long)]
    state: Option<State>,
    /// The channel they came through.
    #[arg(long)]
    channel: Option<String>,
    /// Who owns the order.
    #[arg(long)]
    business: Option<String>,
    /// What happened, such as payment.succeeded.
    #[arg(long)]
    event_type: Option<String>,
    /// Why they are where they are.
    #[arg(long)]
    reason_code: Option<String>,
    /// The order; goes with --business.
    #[arg(long)]
    order_no: Option<String>,
    /// Received then or later, in milliseconds since 1970.
    #[arg(long)]
    received_from_ms: Option<i64>,
    /// Received before, in milliseconds since 1970.
    #[arg(long)]
    received_to_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Ready,
    Parked,
    After,
    Done,
    Review,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Parked => "parked",
            Self::After => "after",
            Self::Done => "done",
            Self::Review => "review",
        }
    }
}

impl Filter {
    /// What is asked for, as the calls name it.
    fn fields(&self) -> Map<String, Value> {
        let fields = [
            ("state", self.state.map(|state| json!(state.as_str()))),
            ("channel", self.channel.as_ref().map(|text| json!(text))),
            ("business", self.business.as_ref().map(|text| json!(text))),
            ("event_type", self.event_type.as_ref().map(|text| json!(text))),
            ("reason_code", self.reason_code.as_ref().map(|text| json!(text))),
            ("order_no", self.order_no.as_ref().map(|text| json!(text))),
            ("received_from_ms", self.received_from_ms.map(|ms| json!(ms))),
            ("received_to_ms", self.received_to_ms.map(|ms| json!(ms))),
        ];
        let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        given.collect()
    }
}

impl Page {
    fn add_to(&self, fields: &mut Map<String, Value>) {
        if let Some(limit) = self.limit {
            fields.insert("limit".to_owned(), json!(limit));
        }
        if let Some(cursor) = &self.cursor {
            fields.insert("cursor".to_owned(), json!(cursor));
        }
    }
}

impl Operate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let calls = self.server.calls()?;
        let (answer, table) = self.word.call(&calls).await?;
        if self.json {
            print(&format!("{answer:#}\n"));
        } else {
            print(&table(&answer));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// How an answer is shown to people.
type Table = fn(&Value) -> String;

impl Word {
    async fn call(self, calls: &Calls) -> anyhow::Result<(Value, Table)> {
        let on_one = |one: &OnOne| json!({ "why": one.why });
        Ok(match self {
            Self::Search(search) => {
                let mut fields = search.filter.fields();
                search.page.add_to(&mut fields);
                (calls.get(&["notifications"], &fields).await?, show::notifications)
            }
            Self::Inspect { id, raw } => {
                let mut fields = Map::new();
                if raw {
                    fields.insert("raw".to_owned(), json!(true));
                }
                (calls.get(&["notifications", &id], &fields).await?, show::inspection)
            }
            Self::Replay(replay) => replay.call(calls).await?,
            Self::Park { id, why, for_ms } => {
                let body = json!({ "why": why, "for_ms": for_ms });
                (calls.post(&["notifications", &id, "park"], &body).await?, show::acted)
            }
            Self::Release(one) => {
                let path = ["notifications", &one.id, "release"];
                (calls.post(&path, &on_one(&one)).await?, show::acted)
            }
            Self::Discard(one) => {
                let path = ["notifications", &one.id, "discard"];
                (calls.post(&path, &on_one(&one)).await?, show::acted)
            }
            Self::Replays { id: None, .. } => {
                (calls.get(&["replays"], &Map::new()).await?, show::replays)
            }
            Self::Replays { id: Some(id), follow } => {
                let mut answer = calls.get(&["replays", &id], &Map::new()).await?;
                while follow && answer.get("state").is_some_and(|state| state == "running") {
                    tell(&show::progress(&answer));
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                    answer = calls.get(&["replays", &id], &Map::new()).await?;
                }
                (answer, show::replay)
            }
            Self::Cancel(one) => {
                let path = ["replays", &one.id, "cancel"];
                (calls.post(&path, &on_one(&one)).await?, show::replay)
            }
            Self::Bulkheads => (calls.get(&["bulkheads"], &Map::new()).await?, show::bulkheads),
            Self::Keys => (calls.get(&["keys"], &Map::new()).await?, show::keys),
            Self::Reload(reload) => (calls.post(&["reload"], &reload.body()).await?, show::reload),
            Self::Audit { target, who, page } => {
                let mut fields = Map::new();
                page.add_to(&mut fields);
                for (name, text) in [("target", target), ("who", who)] {
                    fields.extend(text.map(|text| (name.to_owned(), json!(text))));
                }
                (calls.get(&["audit"], &fields).await?, show::audit)
            }
            Self::Alerts(alerts) => alerts.call(calls).await?,
            Self::Sinks(word) => word.call(calls).await?,
        })
    }
}

impl Replay {
    async fn call(self, calls: &Calls) -> anyhow::Result<(Value, Table)> {
        if let Some(id) = &self.id {
            let body = json!({ "why": self.why.unwrap_or_default() });
            let answer = calls.post(&["notifications", id, "replay"], &body).await?;
            return Ok((answer, show::acted));
        }
        let mut body = json!({ "filter": self.filter.fields(), "dry_run": !self.go });
        if let Some(body) = body.as_object_mut() {
            body.extend(self.why.map(|why| ("why".to_owned(), json!(why))));
            body.extend(self.rate_per_s.map(|rate| ("rate_per_s".to_owned(), json!(rate))));
        }
        let answer = calls.post(&["replays"], &body).await?;
        let table: Table = if self.go { show::replay } else { show::preview };
        Ok((answer, table))
    }
}

/// Writes beside the answer, which may be JSON for a machine.
fn tell(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

/// The pause between two looks at a replay that is followed.
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_secs(1);
