//! The store: every line of SQL, for SQLite and PostgreSQL.
//!
//! Whom it may call: `callgate-core` and the database. Absent: plugins, gateways, decisions, a
//! clock: `now` is always a parameter, in SQL too.
//!
//! Reading order: [`Store`] is the way in. What writes waits for one writer (`writer`), which runs
//! what waits in line (`queue`, `weight`) as one transaction (`group`): accepting (`accept`, `callback`,
//! `storing`, `repeat`; with what was decided before, `direct`, `foretold`), registering (`register`),
//! settling (`settlement`, `settle`, `verdict`, `ending`), claiming (`lease`, `held`) and delivering (`sinks`). One
//! file per table knows its columns: `inbox`, `documents`, `history`, `outbox`, `deliveries`,
//! `attempt` (and `recorded`, what back-tests and statistics read of it), `calls`, `audit`; `order` looks
//! at the first of them, `standing` at where many orders stand. What people may do is in `operators`,
//! `operate` and `replays`, with `filter`; which processors are in force stands in `plugins`; what
//! gateways sign with, where they handed it out, in `certificates`; what is wrong, and whom to tell,
//! in `alerts`, with `measures`; what gateways are to be asked in `inquiries`; what bills are held
//! against in `bills`; what is old is archived to files (`retention`), and
//! `backup` copies whole files; `runs` knows whether the last run of this machine ended well. Below are
//! the seam to both databases (`sql`, `lite`, `single`), multi-row statements (`batch`), what differs
//! between the two (`dialect`), the schema and the faults.

mod store;

mod writer;

mod queue;

mod weight;

mod group;

mod accept;

mod callback;

mod storing;

mod repeat;

mod direct;

mod foretold;

mod register;

mod settlement;

mod settle;

mod verdict;

mod ending;

mod lease;

mod held;

mod inbox;

mod inquiries;

mod plain;

mod documents;

mod reading;

mod history;

mod outbox;
#[cfg(test)]
mod plans;

mod sinks;

mod deliveries;

mod order;

mod standing;

mod attempt;

mod recorded;

mod calls;

mod audit;

mod filter;

mod operators;

mod operate;

mod replays;

mod plugins;

mod alerts;

mod certificates;

mod measures;

mod bills;

mod bell;

mod retention;

mod backup;

mod runs;

mod tally;

mod probe;

mod sql;

mod checkpoint;

mod lite;

mod single;

mod batch;

mod dialect;

mod schema;

mod settings;

mod error;

pub use alerts::{
    AlertStep, AlertStepped, COUNT_SPAN_MS, CountedSpan, DueNotice, Notice, NoticeClaim, NoticeEnd,
    OpenAlert, Raised, SeenAlert, Severity, Turn, WebhookStanding,
};
pub use attempt::{ATTEMPTS_KEPT, ATTEMPTS_SHOWN, Attempt, Spent};
pub use audit::{AUDIT_MAX, AuditEntry, AuditQuery};
pub use backup::{Contents, Existing, backup, restore};
pub use bell::Bell;
pub use bills::{BILL_ROWS_MAX, PaidNotification, PaidPage};
pub use callback::{Callback, PARTS_MAX, Receipt};
pub use calls::{CALLS_MAX, CallBegun, CallEnd, CallKept, EndedCall, NewCall, StoredCall};
pub use certificates::{AskGaps, CertificateAsk, PlatformCertificate};
pub use deliveries::{DEAD_LETTERS_MAX, DeadAct, DeadLetter, DeadLetters, WaitingDelivery};
pub use direct::{Arrived, Entry, Foreseen};
pub use documents::{DOCUMENTS_MAX, Document, DocumentRef, ORDERS};
pub use error::StoreError;
pub use filter::{COUNT_MAX, Cursor, Filter, SAMPLE_MAX, SEARCH_MAX};
pub use held::{HELD_FULL, HELD_OPEN, Recall};
pub use history::{Committed, Effect, HISTORY_MAX, HistoryEntry, RunRecord};
pub use inbox::{Counts, InboxState, NOTIFICATIONS_MAX, StoredNotification};
pub use inquiries::{
    Allowance, BeginInquiry, ClaimInquiries, ClaimedInquiries, FirstQuestion, InquiryBegun,
    InquiryEnd, InquiryKey, InquiryLease, NewInquiry, StoredInquiry, SweepInquiries,
};
pub use lease::{CLAIM_MAX, ClaimRequest, Job, Lease, MeaningUse};
pub use measures::{SILENT_LOOKED_AT, Silence, SinkBacklog};
pub use operate::{Act, Acted, Inspection, Instruction, WHY_MAX};
pub use order::OrderView;
pub use outbox::{EVENTS_MAX, StoredEvent};
pub use plain::{Found, PlainRow, Unreadable};
pub use plugins::{
    Activation, Canary, CountedRuns, Crossed, HostReport, NewShadow, NewVersion, PluginAct,
    PluginActed, PluginInstruction, PluginVersion, Pushed, Rollout, Shadow, ShadowReport,
    ShadowStarted,
};
pub use recorded::{
    ATTEMPTS_PAGE_MAX, Measured, MeasuredQuery, RECORDED_PAGE_MAX, ReadOnly, RecordedPage,
    RecordedQuery, RecordedRun,
};
pub use register::{ALIASES_MAX, NewOrder, Registered};
pub use replays::{BulkReplay, Cancelled, NewReplay, Preview, RATE_MAX, ReplayState, Stepped};
pub use retention::file::ArchiveReader;
pub use retention::{Retention, RetentionSettings, Step, machine_name};
pub use settings::Settings;
pub use settlement::{
    AfterEnd, AfterPhase, AfterSettlement, DocumentRead, Settled, Settlement, SubjectSeen,
};
pub use sinks::{
    DeliveryState, KeptDelivery, SinkHold, SinkRecord, SinkStanding, SinkStart, SinkStep,
};
pub use standing::{KnownOrder, STANDINGS_MAX, Standing};
pub use store::Store;
pub use tally::Tally;
