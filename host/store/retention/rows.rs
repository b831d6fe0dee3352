//! The rows that are to be archived: reads beside the writer.

use std::collections::HashMap;

use callgate_core::time::Timestamp;
use serde_json::Value;

use super::{DAY_MS, Table, day_of};
use crate::batch::{Cell, Statement, fetch};
use crate::error::StoreError;
use crate::plain::{PlainRow, plain};
use crate::sql::{Pool, Row, query};

/// A page of rows for a file.
pub(super) struct Page {
    pub(super) rows: Vec<PlainRow>,
    /// Behind which row the next page begins; `None` where the day has no more.
    pub(super) next: Option<(i64, String)>,
}

/// Which rows of a table are old enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Old {
    /// Ended, or committed, before this moment.
    pub(super) end: i64,
    /// A sink that no host has had for longer counts no more.
    pub(super) gone: Timestamp,
}

/// The first millisecond of the day of the oldest row to archive, where there is one.
pub(super) async fn oldest(pool: &Pool, table: Table, old: Old) -> Result<Option<i64>, StoreError> {
    match table {
        Table::Inbox => oldest_notification(pool, old.end).await,
        Table::Outbox => Ok(oldest_event(pool, old).await?),
    }
}

async fn oldest_notification(pool: &Pool, end: i64) -> Result<Option<i64>, StoreError> {
    let row = query(OLDEST).bind(end).fetch_optional(pool).await?;
    let finished: Option<i64> = row.map(|row| row.try_get("finished_at_ms")).transpose()?;
    Ok(finished.map(day_of))
}

/// Passes over what somebody still wants, page by page.
async fn oldest_event(pool: &Pool, old: Old) -> Result<Option<i64>, sqlx::Error> {
    let floor = floor(pool, old.gone).await?;
    let mut after = 0;
    loop {
        let rows = query(EVENTS_SEEN)
            .bind(after)
            .bind(floor)
            .bind(old.gone.as_ms())
            .bind(LOOKED_AT)
            .fetch_all(pool)
            .await?;
        for row in &rows {
            after = row.try_get("seq")?;
            if row.try_get::<i64, _>("wanted")? > 0 {
                continue;
            }
            // They stand in the order of commits, so what follows is no older.
            let created: i64 = row.try_get("created_at_ms")?;
            return Ok((created < old.end).then(|| day_of(created)));
        }
        if rows.is_empty() {
            return Ok(None);
        }
    }
}

/// Whole rows of one day, from behind a row on. Every column there is: an archive must not forget
/// one that a later migration adds.
pub(super) async fn page(
    pool: &Pool,
    (table, day, old): (Table, i64, Old),
    after: &(i64, String),
    limit: u32,
) -> Result<Page, StoreError> {
    match table {
        Table::Inbox => notifications(pool, after, day, limit).await,
        Table::Outbox => events(pool, (day, old), after.0, limit).await,
    }
}

async fn notifications(
    pool: &Pool,
    (finished, id): &(i64, String),
    day: i64,
    limit: u32,
) -> Result<Page, StoreError> {
    let rows = query(NOTIFICATIONS)
        .bind(*finished)
        .bind(id.as_str())
        .bind(day.saturating_add(DAY_MS))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    let next = match rows.last() {
        Some(row) => Some((row.try_get("finished_at_ms")?, row.try_get("id")?)),
        None => None,
    };
    let mut rows = rows.iter().map(notification).collect::<Result<Vec<_>, _>>()?;
    add_attempts(pool, &mut rows).await?;
    Ok(Page { rows, next })
}

/// A notification with the callback that it came in.
fn notification(row: &Row) -> Result<PlainRow, StoreError> {
    let mut line = plain(row)?;
    for (column, kept) in [("headers", "kept_headers"), ("raw", "kept_raw")] {
        if let Some(value) = line.remove(kept).filter(|value| !value.is_null()) {
            line.insert(column.to_owned(), value);
        }
    }
    Ok(line)
}

/// Puts the attempts of notifications beside them: they leave the database together.
async fn add_attempts(pool: &Pool, rows: &mut [PlainRow]) -> Result<(), StoreError> {
    let ids: Vec<[Cell; 1]> = rows
        .iter()
        .filter_map(|row| row.get("id").and_then(Value::as_str))
        .map(|id| [id.into()])
        .collect();
    let mut connection = pool.acquire().await?;
    let mut attempts: HashMap<String, Vec<Value>> = HashMap::new();
    for row in fetch(&mut connection, ATTEMPTS, &ids).await? {
        let id: String = row.try_get("notification_id")?;
        attempts.entry(id).or_default().push(Value::Object(plain(&row)?));
    }
    for row in rows {
        let id = row.get("id").and_then(Value::as_str).unwrap_or_default();
        let ended = attempts.remove(id).unwrap_or_default();
        row.insert("attempts_ended".to_owned(), Value::Array(ended));
    }
    Ok(())
}

/// Events up to the end of a day; what somebody still wants is passed over.
async fn events(
    pool: &Pool,
    (day, old): (i64, Old),
    after: i64,
    limit: u32,
) -> Result<Page, StoreError> {
    let floor = floor(pool, old.gone).await?;
    let found = query(EVENTS)
        .bind(after)
        .bind(floor)
        .bind(old.gone.as_ms())
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    let end = day.saturating_add(DAY_MS).min(old.end);
    let mut page = Page { rows: Vec::with_capacity(found.len()), next: None };
    for row in &found {
        if row.try_get::<i64, _>("wanted")? == 0 {
            if row.try_get::<i64, _>("created_at_ms")? >= end {
                page.next = None;
                break;
            }
            page.rows.push(event(row)?);
        }
        page.next = Some((row.try_get("seq")?, String::new()));
    }
    Ok(page)
}

fn event(row: &Row) -> Result<PlainRow, StoreError> {
    let mut event = plain(row)?;
    event.remove("wanted");
    Ok(event)
}

/// Every sink that counts is past the events up to here.
async fn floor(pool: &Pool, gone: Timestamp) -> Result<i64, sqlx::Error> {
    let row = query(FLOOR).bind(gone.as_ms()).fetch_one(pool).await?;
    row.try_get("floor_seq")
}

const OLDEST: &str = "select finished_at_ms from inbox where state = 'done' \
    and archived_at_ms is null and finished_at_ms < $1 order by finished_at_ms limit 1";

const NOTIFICATIONS: &str = "select t.*, c.headers as kept_headers, c.raw as kept_raw \
    from inbox t left join callbacks c on c.notification_id = t.id \
    where t.state = 'done' and t.archived_at_ms is null \
    and (t.finished_at_ms, t.id) > ($1, $2) and t.finished_at_ms < $3 \
    order by t.finished_at_ms, t.id limit $4";

const ATTEMPTS: Statement = Statement {
    columns: "row_id",
    text: "select t.* from v join attempts t on t.notification_id = v.row_id \
           order by t.notification_id, t.attempt, t.step",
    suffix: "",
};

/// The least place of all sinks that count; the last of all places where there is none. A sink
/// counts while a host has it, or had it not long ago.
///
/// A statement of its own: it reads the whole of a small table, which PostgreSQL is told to shun,
/// and in a larger statement that would drown every other consideration of the planner.
pub(super) const FLOOR: &str = "select coalesce(min(cursor_seq), 9223372036854775807) as floor_seq \
    from sinks where updated_at_ms >= $1";

/// Whether a sink that counts has a delivery of an event that is not through.
macro_rules! wanted {
    () => {
        "(select cast(count(*) as bigint) from deliveries d join sinks s on s.name = d.sink \
         where d.seq = o.seq and s.updated_at_ms >= $3) as wanted"
    };
}

const EVENTS_SEEN: &str = concat!(
    "select o.seq, o.created_at_ms, ",
    wanted!(),
    " from outbox o where o.seq > $1 and o.seq <= $2 order by o.seq limit $4"
);

const EVENTS: &str = concat!(
    "select o.*, ",
    wanted!(),
    " from outbox o where o.seq > $1 and o.seq <= $2 order by o.seq limit $4"
);

/// Events that are passed over in one look.
const LOOKED_AT: i64 = 64;
