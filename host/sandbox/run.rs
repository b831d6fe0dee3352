//! What goes into a run and what comes out of it, in plain types.

use std::time::Duration;

use crate::fault::{Fault, Phase};
use crate::http::Heard;
use crate::outside::{Document, DocumentRef};

/// Everything that a run is told.
#[derive(Debug, Clone)]
pub struct RunInput {
    /// The notification in hand.
    pub notification: Notification,
    /// The order that it speaks of; `None` on a route that works without a subject.
    pub subject: Option<Document>,
    /// Whether this is the real thing.
    pub mode: RunMode,
    /// 1 for the first try.
    pub attempt: u32,
    /// The time that the guest reads, in milliseconds since 1970; the same in all phases. A value
    /// before the notification was received is read as the time it was received.
    pub now_ms: u64,
    /// What an earlier phase left: empty at first, for `after` the scratch of the run's report.
    pub scratch: String,
}

/// The notification as a guest sees it. `core` knows what each field means.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The host's identity of it, the same for every retry and replay.
    pub id: String,
    /// The configured channel it came in on.
    pub channel: String,
    /// Business of the channel.
    pub business: String,
    /// Scene of the channel.
    pub scene: String,
    /// What happened, normalised.
    pub event_type: String,
    /// The gateway's identity of the message.
    pub delivery_key: String,
    /// The business fact.
    pub meaning_key: String,
    /// Order number as the gateway was given it.
    pub order_no: Option<String>,
    /// The gateway's number of the payment.
    pub transaction_id: Option<String>,
    /// For a refund: the gateway's number of it.
    pub refund_id: Option<String>,
    /// For a refund: the merchant's own number of it.
    pub refund_no: Option<String>,
    /// Who paid. Personal data: never logged.
    pub payer: Option<String>,
    /// What moved.
    pub amount: Option<Money>,
    /// For a refund: everything refunded so far.
    pub refunded_total: Option<Money>,
    /// The total of the order as the gateway has it.
    pub order_amount: Option<Money>,
    /// When the gateway says it happened, in milliseconds since 1970.
    pub occurred_at: Option<u64>,
    /// When the host stored it, in milliseconds since 1970.
    pub received_at: u64,
    /// The verified content, one JSON object.
    pub body: String,
}

/// An amount of money in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// Cents, fen; negative for corrections.
    pub minor: i64,
    /// ISO 4217, upper case.
    pub currency: String,
}

/// Whether a run is the real thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunMode {
    /// A live notification.
    Live,
    /// An operator replays a stored notification.
    Replay,
    /// Nothing is committed.
    DryRun,
}

impl RunMode {
    /// The name in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Replay => "replay",
            Self::DryRun => "dry-run",
        }
    }
}

/// Outcome of the commit, for the `after` phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// State of the subject after the commit; empty for none.
    pub state: String,
    /// Version of the subject after the commit; 0 for none.
    pub version: u64,
    /// How many staged events were committed.
    pub events: u32,
    /// The state that `next-state` chose; `None` where it chose to stay.
    pub target: Option<String>,
}

/// What a run came to. `T` is [`Draft`] for the five phases, `Vec<Event>` for `after`.
#[derive(Debug, Clone)]
pub struct Report<T> {
    /// What the run proposes, or why it stopped.
    pub result: Result<T, Stop>,
    /// The last phase that was called.
    pub phase: Phase,
    /// What the guest left for later phases; empty where it left nothing.
    pub scratch: String,
    /// What the guest read from outside besides the subject, for the check at the commit.
    pub reads: Vec<Read>,
    /// Everything that the outside answered besides the subject, by name: asking an outside that
    /// answers the same makes the same run again.
    pub answers: Vec<(DocumentRef, Option<Document>)>,
    /// The outgoing calls, in order, and what the guest was told of each.
    pub calls: Vec<Heard>,
    /// Log lines handed on.
    pub log_lines: u32,
    /// Log lines dropped over quota.
    pub log_lines_dropped: u32,
    /// Calls of imports.
    pub host_calls: u32,
    /// Most bytes of linear memory held at once.
    pub memory_bytes: usize,
    /// Fuel and time of each phase that was called, making the instance included.
    pub costs: Vec<Cost>,
}

/// A document that a run has looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Which one.
    pub name: DocumentRef,
    /// The version seen; `None` where there was no document.
    pub version: Option<u64>,
}

/// What one phase cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Which one.
    pub phase: Phase,
    /// Fuel burned.
    pub fuel: u64,
    /// Wall time, waiting for the outside included.
    pub duration: Duration,
}

/// What a run proposes, not yet judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// The state that `next-state` chose: 1 to 64 of `A-Z a-z 0-9 _ -`. Whether the processor
    /// declared the step is for the caller to judge. `None` to stay.
    pub target: Option<String>,
    /// Whole documents to write, each named once, in the order first staged.
    pub writes: Vec<Write>,
    /// Events, in the order staged.
    pub events: Vec<Event>,
}

/// A staged write of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Which one.
    pub name: DocumentRef,
    /// The whole new body, a JSON text.
    pub body: String,
    /// What must hold at the commit.
    pub expect: Expect,
}

/// What must hold of a document at the commit for a write to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The document must not exist.
    Absent,
    /// It must still have this version.
    Version(u64),
    /// No condition.
    Any,
}

/// A staged event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `{notification id}.{phase}.{ordinal from 1}`: the same on every run of the notification.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// Events with one key leave in commit order.
    pub key: String,
    /// The payload, a JSON text.
    pub payload: String,
    /// Extra headers; names are lower-case tokens, values have no control characters.
    pub headers: Vec<(String, String)>,
}

/// Why a run proposes nothing. Texts of the guest are cut at 1 KiB and escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The guest says: genuine, but nothing to do.
    Ignore(String),
    /// The guest says: genuine, but wrong for this business.
    Reject {
        /// `^[a-z][a-z0-9-]{0,62}$`; `bad-code` where the guest's own was not.
        code: String,
        /// For a person.
        message: String,
    },
    /// The guest says: cannot be decided now.
    Retry {
        /// As for a rejection.
        code: String,
        /// For a person.
        message: String,
        /// The guest's wish, in milliseconds.
        after_ms: Option<u32>,
    },
    /// The guest failed, or the host failed it.
    Fault(Fault),
}
