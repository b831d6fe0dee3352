//! Audit: who did what to which notification, when, and why. Rows are only added.

use callgate_core::time::Timestamp;

use crate::batch::{Cell, Statement, fetch};
use crate::error::StoreError;
use crate::filter::Condition;
use crate::sql::{Connection, Pool, Row};

/// One act of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its own id.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// The operator's name.
    pub who: String,
    /// What was done: `replay`, `park`, `release`, `discard`, `replays.start`,
    /// `replays.cancel`, `replays.finish`, `reload`, or one of `plugins.…`.
    pub act: String,
    /// The notification, the replay of many, the plugin by its name, or `configuration`.
    pub target: String,
    /// The operator's own words.
    pub why: String,
    /// What came of it.
    pub result: String,
}

impl AuditEntry {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.try_get("id")?,
            at: Timestamp::from_ms(row.try_get("at_ms")?),
            who: row.try_get("who")?,
            act: row.try_get("act")?,
            target: row.try_get("target")?,
            why: row.try_get("why")?,
            result: row.try_get("result")?,
        })
    }

    fn cells(&self) -> [Cell; 7] {
        [
            self.id.as_str().into(),
            self.at.as_ms().into(),
            self.who.as_str().into(),
            self.act.as_str().into(),
            self.target.as_str().into(),
            self.why.as_str().into(),
            self.result.as_str().into(),
        ]
    }
}

/// Which entries to look at, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Of one notification or one replay of many.
    pub target: Option<String>,
    /// Of one operator.
    pub who: Option<String>,
    /// Older than this entry.
    pub before: Option<(Timestamp, String)>,
    /// How many, at most [`AUDIT_MAX`].
    pub limit: i64,
}

pub(crate) async fn insert(
    connection: &mut Connection,
    entries: &[AuditEntry],
) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = entries.iter().map(AuditEntry::cells).collect();
    fetch(connection, INSERT, &rows).await.map(drop)
}

pub(crate) async fn look(pool: &Pool, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
    let mut condition = Condition::of("audit");
    condition.equal("target", query.target.as_deref());
    condition.equal("who", query.who.as_deref());
    if let Some((at, id)) = &query.before {
        let (at, id) = (condition.bind(at.as_ms()), condition.bind(id.as_str()));
        condition.sql.push_str(&format!(" and (t.at_ms, t.id) < ({at}, {id})"));
    }
    let limit = query.limit.clamp(1, AUDIT_MAX);
    let end = format!("order by t.at_ms desc, t.id desc limit {limit}");
    let rows = condition.fetch(pool, (COLUMNS, &end)).await?;
    rows.iter().map(AuditEntry::read).collect()
}

const COLUMNS: &str = "t.id, t.at_ms, t.who, t.act, t.target, t.why, t.result";

const INSERT: Statement = Statement {
    columns: "id, at_ms, who, act, target, why, result",
    text: "insert into audit (id, at_ms, who, act, target, why, result) \
           select v.* from v where v.id is not null",
    suffix: "",
};

/// Entries that one look shows.
pub const AUDIT_MAX: i64 = 500;
