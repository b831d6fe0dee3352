//! Audit: who did what to which notification, when, and why. Rows are only added.

use callgate_core::time::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Row};

use crate::batch::{Cell, Statement, fetch};
use crate::error::StoreError;

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
    /// `replays.cancel` or `replays.finish`.
    pub act: String,
    /// The notification, or the replay of many.
    pub target: String,
    /// The operator's own words.
    pub why: String,
    /// What came of it.
    pub result: String,
}

impl AuditEntry {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
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
    connection: &mut AnyConnection,
    entries: &[AuditEntry],
) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = entries.iter().map(AuditEntry::cells).collect();
    fetch(connection, INSERT, &rows).await.map(drop)
}

pub(crate) async fn look(
    pool: &AnyPool,
    query: &AuditQuery,
) -> Result<Vec<AuditEntry>, StoreError> {
    let mut sql =
        "select id, at_ms, who, act, target, why, result from audit where true".to_owned();
    let texts = [("target", &query.target), ("who", &query.who)];
    let mut place = 0;
    for (column, _) in texts.iter().filter(|(_, value)| value.is_some()) {
        place += 1;
        sql.push_str(&format!(" and {column} = ${place}"));
    }
    if query.before.is_some() {
        sql.push_str(&format!(" and (at_ms, id) < (${}, ${})", place + 1, place + 2));
    }
    let limit = query.limit.clamp(1, AUDIT_MAX);
    sql.push_str(&format!(" order by at_ms desc, id desc limit {limit}"));
    let mut look = sqlx::query::<Any>(AssertSqlSafe(sql));
    for text in texts.into_iter().filter_map(|(_, value)| value.as_deref()) {
        look = look.bind(text.to_owned());
    }
    if let Some((at, id)) = &query.before {
        look = look.bind(at.as_ms()).bind(id.clone());
    }
    look.fetch_all(pool).await?.iter().map(AuditEntry::read).collect()
}

const INSERT: Statement = Statement {
    columns: "id, at_ms, who, act, target, why, result",
    text: "insert into audit (id, at_ms, who, act, target, why, result) \
           select v.* from v where v.id is not null",
    suffix: "",
};

/// Entries that one look shows.
pub const AUDIT_MAX: i64 = 500;
