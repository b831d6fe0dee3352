//! What the engine tells the store about a run, and what it hears back.

use callgate_core::outcome::{Event, Outcome, Reason};
use callgate_core::time::Timestamp;

use crate::attempt::Spent;
use crate::documents::DocumentRef;
use crate::history::RunRecord;
use crate::lease::Lease;

/// What a run decided, and what it rests on.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The right to settle.
    pub lease: Lease,
    /// What the host decided.
    pub outcome: Outcome,
    /// What the run saw of its order.
    pub subject: SubjectSeen,
    /// What else the run read.
    pub reads: Vec<DocumentRead>,
    /// JSON for the last phase; `None` keeps what is there.
    pub scratch: Option<String>,
    /// Whether a last phase is to follow the commit.
    pub after: AfterPhase,
    /// Which processor ran, if one did.
    pub run: Option<RunRecord>,
    /// What the attempt took.
    pub spent: Spent,
    /// When a retry, a held or a deferred run is due, or when a parked notification's wait is over. Other outcomes do not
    /// look at it.
    pub due_at: Timestamp,
}

/// What a run saw of its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectSeen {
    /// Nothing that the decision rests on.
    Unread,
    /// There was none. Where it has been registered since, the notification runs again.
    Absent,
    /// It had this version. Where it has another now, the notification runs again, except after
    /// [`Outcome::Retry`], [`Outcome::Defer`] and [`Outcome::Hold`].
    At(i64),
}

/// A document that a run read, and how it found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRead {
    /// The document.
    pub document: DocumentRef,
    /// Its version; `None` where it did not exist.
    pub version: Option<i64>,
}

/// Whether the last phase runs after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterPhase {
    /// No: an advance is the end.
    None,
    /// Yes: the same worker keeps the lease for it and ends it with `finish_after`.
    Wanted,
}

/// What became of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It holds. Where the order stands now: state and version, empty and 0 where there is none;
    /// and how many events were written.
    Done {
        /// The state of the order.
        state: String,
        /// The version of the order.
        version: i64,
        /// Events written.
        events: usize,
    },
    /// Something that the run read has changed. Nothing was written; the notification is ready
    /// again, at once.
    Conflict,
    /// Another message with this meaning was first. Nothing was written; the notification is done.
    Repeated,
    /// Somebody else has the notification by now. Nothing was written.
    LostLease,
    /// The order was registered meanwhile. The notification is ready again, at once.
    Released,
}

/// One settlement of a group.
#[derive(Debug)]
pub(crate) struct Settling {
    pub(crate) settlement: Settlement,
    /// The id of its history entry, if there will be one.
    pub(crate) history_id: String,
    pub(crate) now: Timestamp,
}

/// How the last phase ended.
#[derive(Debug, Clone)]
pub struct AfterSettlement {
    /// The lease under which the advance was settled, or a later one.
    pub lease: Lease,
    /// The end.
    pub end: AfterEnd,
    /// Events of this phase, committed with its success; dropped otherwise.
    pub events: Vec<Event>,
    /// Which processor ran, if one did.
    pub run: Option<RunRecord>,
    /// What the phase took.
    pub spent: Spent,
}

/// The end of a last phase. What was committed before stays committed in every case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterEnd {
    /// It is through.
    Done,
    /// This phase alone again, later.
    Retry(Reason, Timestamp),
    /// A person must look.
    Review(Reason),
    /// It was not run: its plugin cannot be run now. Later, and no attempt is spent.
    Hold(Reason, Timestamp),
}

/// What an attempt costs of the attempts that a notification has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// One: it failed.
    Spent,
    /// Nothing: it waits for something else.
    Kept,
    /// Nothing, but that a race was lost is remembered.
    Raced,
    /// What comes next begins with a whole one.
    Anew,
}
