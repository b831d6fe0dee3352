//! The writer's part of retention: a lease, and rows that are emptied or forgotten, a few at once.

use std::sync::Arc;

use callgate_core::time::Timestamp;
use uuid::Uuid;

use crate::batch::{self, Cell, Statement, fetch};
use crate::dialect::{Dialect, Lock};
use crate::error::Fault;
use crate::retention::rows::FLOOR;
use crate::sql::{Connection, query};

/// One small step.
#[derive(Debug)]
pub(crate) struct Removal {
    /// Who does retention; one host at a time.
    pub(crate) owner: String,
    pub(crate) until: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) what: What,
}

/// What is removed.
#[derive(Debug)]
pub(crate) enum What {
    /// Nothing: the lease alone. The sinks that are named are marked as ones that somebody has.
    Nothing { sinks: Arc<[String]> },
    /// The content of these notifications, by id and the time they were finished, and their
    /// attempts. One that was finished again since, or is emptied already, is left alone.
    Content(Vec<(String, i64)>),
    /// These events, by id and place, where every sink is past them that any host has had since
    /// this moment.
    Events { rows: Vec<(String, i64)>, gone: Timestamp },
    /// Archived rows that arrived and were repeated last before this moment, so many at most.
    Keys { before: Timestamp, limit: i64 },
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// Another host holds the lease; nothing was done.
    Elsewhere,
    /// So many rows.
    Rows(u64),
}

/// Runs removals inside the transaction that `connection` is in.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    removals: &[Removal],
) -> Result<Vec<Removed>, Fault> {
    let mut answers = Vec::with_capacity(removals.len());
    for removal in removals {
        if !held(connection, removal).await? {
            answers.push(Removed::Elsewhere);
            continue;
        }
        let rows = match &removal.what {
            What::Nothing { sinks } => {
                mark(connection, sinks, removal.now).await?;
                0
            }
            What::Events { rows, gone } => drop_events(connection, rows, *gone).await?,
            What::Content(rows) => empty(connection, dialect, rows, removal.now).await?,
            What::Keys { before, limit } => forget(connection, dialect, *before, *limit).await?,
        };
        answers.push(Removed::Rows(u64::try_from(rows).unwrap_or(u64::MAX)));
    }
    Ok(answers)
}

/// Takes the lease or keeps it; `false` where another host has it.
async fn held(connection: &mut Connection, removal: &Removal) -> Result<bool, sqlx::Error> {
    batch::count();
    let row = query(
        "insert into leases (name, owner, until_ms) values ('retention', $1, $2) \
         on conflict (name) do update set owner = excluded.owner, until_ms = excluded.until_ms \
         where leases.owner = excluded.owner or leases.until_ms <= $3 returning name",
    )
    .bind(removal.owner.as_str())
    .bind(removal.until.as_ms())
    .bind(removal.now.as_ms())
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Locks are taken in the order in which accepting and settling take them.
async fn empty(
    connection: &mut Connection,
    dialect: Dialect,
    rows: &[(String, i64)],
    now: Timestamp,
) -> Result<usize, sqlx::Error> {
    let rows: Vec<[Cell; 2]> =
        rows.iter().map(|(id, finished)| [id.as_str().into(), (*finished).into()]).collect();
    let locked = Statement { suffix: dialect.lock(Lock::Update), ..FINISHED };
    let mut ids: Vec<[Cell; 2]> = Vec::with_capacity(rows.len());
    for row in fetch(connection, locked, &rows).await? {
        ids.push([row.try_get::<String, _>("id")?.into(), now.as_ms().into()]);
    }
    fetch(connection, EMPTY_CALLS, &ids).await?;
    fetch(connection, DROP_CALLBACKS, &ids).await?;
    let emptied = fetch(connection, EMPTY, &ids).await?.len();
    let ids: Vec<[Cell; 1]> = ids.into_iter().map(|[id, _]| [id]).collect();
    fetch(connection, FORGET_ATTEMPTS, &ids).await?;
    Ok(emptied)
}

/// One after the other in the order of their names, as steps of delivery take them.
async fn mark(
    connection: &mut Connection,
    sinks: &[String],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    for sink in sinks {
        batch::count();
        query("update sinks set updated_at_ms = $2 where name = $1")
            .bind(sink.as_str())
            .bind(now.as_ms())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Everything that keeps an event is looked at again, in the transaction that removes it: cursors
/// only move on, and what a sink has not taken is written down when its cursor passes.
async fn drop_events(
    connection: &mut Connection,
    rows: &[(String, i64)],
    gone: Timestamp,
) -> Result<usize, sqlx::Error> {
    batch::count();
    let row = query(FLOOR).bind(gone.as_ms()).fetch_one(&mut *connection).await?;
    let floor: i64 = row.try_get("floor_seq")?;
    let rows: Vec<[Cell; 3]> = rows
        .iter()
        .filter(|(_, seq)| *seq <= floor)
        .map(|(id, seq)| [id.as_str().into(), (*seq).into(), gone.as_ms().into()])
        .collect();
    let mut seqs: Vec<[Cell; 1]> = Vec::with_capacity(rows.len());
    for row in fetch(connection, DROP_EVENTS, &rows).await? {
        seqs.push([row.try_get::<i64, _>("seq")?.into()]);
    }
    // What a sink that is gone never took goes with its event.
    fetch(connection, DROP_DELIVERIES, &seqs).await?;
    Ok(seqs.len())
}

async fn forget(
    connection: &mut Connection,
    dialect: Dialect,
    before: Timestamp,
    limit: i64,
) -> Result<usize, sqlx::Error> {
    batch::count();
    let rows = query(OLD)
        .bind(first_id_of(before))
        .bind(before.as_ms())
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    let mut ids: Vec<[Cell; 1]> = Vec::with_capacity(rows.len());
    for row in rows {
        ids.push([row.try_get::<String, _>("id")?.into()]);
    }
    let locked = Statement { suffix: dialect.lock(Lock::Update), ..ARCHIVED };
    fetch(connection, locked, &ids).await?;
    fetch(connection, FORGET_ATTEMPTS, &ids).await?;
    Ok(fetch(connection, FORGET, &ids).await?.len())
}

/// The smallest id of a moment: ids are UUIDs of version 7 and begin with their time.
pub(crate) fn first_id_of(moment: Timestamp) -> String {
    let ms = u128::try_from(moment.as_ms().clamp(0, MS_MAX)).unwrap_or(0);
    Uuid::from_u128(ms << 80_u32).to_string()
}

/// The sum keeps PostgreSQL from going through everything that is not archived.
const FINISHED: Statement = Statement {
    columns: "row_id, finished_ms",
    text: "select t.id from v join inbox t on t.id = v.row_id \
           and t.finished_at_ms = v.finished_ms \
           where t.state = 'done' and t.archived_at_ms + 0 is null \
           order by t.channel, t.delivery_key, t.part",
    suffix: "",
};

const EMPTY: Statement = Statement {
    columns: "row_id, now_ms",
    text: "update inbox set body = '', headers = '', raw = null, payer = null, scratch = null, \
           reason_text = null, archived_at_ms = v.now_ms from v where inbox.id = v.row_id \
           returning inbox.id",
    suffix: "",
};

/// What endpoints answered is content too; the notification cannot run again, so nobody asks for it.
const EMPTY_CALLS: Statement = Statement {
    columns: "row_id, now_ms",
    text: "delete from calls where notification_id in (select v.row_id from v) \
           returning notification_id",
    suffix: "",
};

const DROP_CALLBACKS: Statement = Statement {
    columns: "row_id, now_ms",
    text: "delete from callbacks where notification_id in (select v.row_id from v) \
           returning notification_id",
    suffix: "",
};

/// Ids sort by arrival, so the oldest rows are the first of the primary key: no index more.
const OLD: &str = "select id from inbox where id < $1 and archived_at_ms is not null \
                   and last_seen_at_ms < $2 order by id limit $3";

const ARCHIVED: Statement = Statement {
    columns: "row_id",
    text: "select t.id from v join inbox t on t.id = v.row_id where t.archived_at_ms is not null \
           order by t.channel, t.delivery_key, t.part",
    suffix: "",
};

const FORGET_ATTEMPTS: Statement = Statement {
    columns: "row_id",
    text: "delete from attempts where notification_id in (select v.row_id from v) \
           returning notification_id",
    suffix: "",
};

const DROP_EVENTS: Statement = Statement {
    columns: "row_id, row_seq, gone_ms",
    text: "delete from outbox where (seq, id) in (select v.row_seq, v.row_id from v \
           where not exists (select 1 from deliveries d join sinks s on s.name = d.sink \
               where d.seq = v.row_seq and s.updated_at_ms >= v.gone_ms)) returning seq",
    suffix: "",
};

const DROP_DELIVERIES: Statement = Statement {
    columns: "row_seq",
    text: "delete from deliveries where seq in (select v.row_seq from v) returning seq",
    suffix: "",
};

const FORGET: Statement = Statement {
    columns: "row_id",
    text: "delete from inbox where id in (select v.row_id from v) \
           and archived_at_ms is not null returning id",
    suffix: "",
};

/// What 48 bits hold.
const MS_MAX: i64 = (1 << 48) - 1;

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;

    use super::first_id_of;

    #[test]
    fn the_first_id_of_a_moment_sorts_between_the_ids_before_and_after() {
        let moment = Timestamp::from_ms(1_795_226_400_000);
        let id = |ms: u64| {
            let rest = u32::try_from(ms % 1000).unwrap() * 1_000_000;
            uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, ms / 1000, rest))
                .to_string()
        };
        assert!(id(1_795_226_399_999) < first_id_of(moment));
        assert!(first_id_of(moment) < id(1_795_226_400_000));
    }
}
