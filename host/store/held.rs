//! Held notifications: they wait for a plugin that cannot be run now. How many they are, and
//! calling them back when it can.
//!
//! They are rows like all others, due again by themselves; being called back only makes that
//! sooner. So nothing is lost where nobody calls.

use std::collections::BTreeMap;

use callgate_core::time::Timestamp;

use crate::batch::{self, Cell, Statement, fetch};
use crate::dialect::{Dialect, Lock};
use crate::error::{Fault, StoreError};
use crate::sql::{Connection, Pool, query};

/// A notification is held because its plugin has enough runs under way.
pub const HELD_FULL: &str = "bulkhead.full";

/// A notification is held because its plugin failed too often.
pub const HELD_OPEN: &str = "bulkhead.open";

/// Notifications of one plugin that are to be called back.
#[derive(Debug, Clone)]
pub struct Recall {
    /// The plugin.
    pub plugin: String,
    /// How many at most, those that are due soonest first.
    pub limit: u32,
}

/// What is to be called back, and when that was said.
#[derive(Debug)]
pub(crate) struct Recalling {
    pub(crate) recall: Recall,
    pub(crate) now: Timestamp,
}

/// How many notifications are held, by plugin.
pub(crate) async fn counts(pool: &Pool) -> Result<BTreeMap<String, i64>, StoreError> {
    let sql = format!(
        "select t.plugin, cast(count(*) as bigint) as rows_found from inbox t where {HELD} \
         and t.plugin is not null and t.lease_owner is null group by t.plugin"
    );
    let rows = query(sql).fetch_all(pool).await?;
    let mut counts = BTreeMap::new();
    for row in rows {
        counts.insert(row.try_get("plugin")?, row.try_get("rows_found")?);
    }
    Ok(counts)
}

/// Makes held notifications due now; tells for each recall how many. Rows that somebody is
/// working on are left alone.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    group: &[Recalling],
) -> Result<Vec<u64>, Fault> {
    let mut answers = Vec::with_capacity(group.len());
    for Recalling { recall, now } in group {
        let lock = dialect.lock(Lock::Free);
        let sql = format!(
            "select t.id from inbox t where {HELD} and t.plugin = $1 and t.due_at_ms > $2 \
             and t.lease_owner is null order by t.due_at_ms, t.received_at_ms, t.id limit $3{lock}"
        );
        batch::count();
        let found = query(sql)
            .bind(recall.plugin.as_str())
            .bind(now.as_ms())
            .bind(i64::from(recall.limit))
            .fetch_all(&mut *connection)
            .await?;
        let rows = found
            .iter()
            .map(|row| Ok([row.try_get::<String, _>("id")?.into(), now.as_ms().into()]))
            .collect::<Result<Vec<[Cell; 2]>, sqlx::Error>>()?;
        let called = fetch(connection, CALL, &rows).await?.len();
        answers.push(u64::try_from(called).unwrap_or(u64::MAX));
    }
    Ok(answers)
}

const CALL: Statement = Statement {
    columns: "row_id, now_ms",
    text: "update inbox set due_at_ms = v.now_ms from v where inbox.id = v.row_id \
           and inbox.lease_owner is null and inbox.due_at_ms is not null returning id",
    suffix: "",
};

/// Word for word what the index of held notifications says.
const HELD: &str =
    "t.due_at_ms is not null and t.reason_code in ('bulkhead.full', 'bulkhead.open')";
