//! The store: every line of SQL, for SQLite and PostgreSQL.
//!
//! Whom it may call: `callgate-core` and the database. Absent: plugins, gateways, decisions, a
//! clock: `now` is always a parameter, in SQL too.
//!
//! Reading order: [`Store`] is the way in. What writes waits for one writer (`writer`), which runs
//! what waits as one transaction (`group`): accepting (`accept`, `repeat`), registering (`register`),
//! settling (`settlement`, `settle`, `verdict`) and claiming (`lease`). One file per table knows
//! its columns: `inbox`, `documents`, `history`, `outbox`; `order` looks at all of them. Below are
//! multi-row statements (`batch`), the two databases (`dialect`), the schema and the faults.

mod store;

mod writer;

mod group;

mod accept;

mod repeat;

mod register;

mod settlement;

mod settle;

mod verdict;

mod lease;

mod inbox;

mod documents;

mod history;

mod outbox;

mod order;

mod bell;

mod batch;

mod dialect;

mod schema;

mod settings;

mod error;

pub use accept::{Callback, PARTS_MAX, Receipt};
pub use bell::Bell;
pub use documents::{DOCUMENTS_MAX, Document, DocumentRef, ORDERS};
pub use error::StoreError;
pub use history::{Effect, HISTORY_MAX, HistoryEntry, RunRecord};
pub use inbox::{Counts, InboxState, NOTIFICATIONS_MAX, StoredNotification};
pub use lease::{CLAIM_MAX, ClaimRequest, Job, Lease, MeaningUse};
pub use order::OrderView;
pub use outbox::{EVENTS_MAX, StoredEvent};
pub use register::{ALIASES_MAX, NewOrder, Registered};
pub use settings::Settings;
pub use settlement::{
    AfterEnd, AfterPhase, AfterSettlement, DocumentRead, Settled, Settlement, SubjectSeen,
};
pub use store::Store;
