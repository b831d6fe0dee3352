//! A step of one host: what it sees is raised, what it sees no more is cleared.

use callgate_core::time::Timestamp;

use super::{AlertStep, AlertStepped, Notice, OpenAlert, Raised, SeenAlert, Turn, notices};
use crate::error::Fault;
use crate::sql::{Connection, query};

/// Raises and clears; `ids` are for the notices.
pub(super) async fn run(
    connection: &mut Connection,
    (said, ids): (&AlertStep, &[String]),
    now: Timestamp,
) -> Result<AlertStepped, Fault> {
    let mut stepped = AlertStepped::default();
    let mut ids = ids.iter();
    for seen in &said.seen {
        let (raised, notice) = raise(connection, (said, seen), now).await?;
        stepped.raised.push(raised);
        if let Some(notice) = notice {
            notices::write(connection, (said, &mut ids), &notice).await?;
        }
    }
    for condition in &said.over {
        if let Some(notice) = clear(connection, (said, condition), now).await? {
            notices::write(connection, (said, &mut ids), &notice).await?;
            stepped.cleared.push(condition.clone());
        }
    }
    Ok(stepped)
}

async fn raise(
    connection: &mut Connection,
    (said, seen): (&AlertStep, &SeenAlert),
    now: Timestamp,
) -> Result<(Raised, Option<Notice>), Fault> {
    let row = query(ONE).bind(seen.condition.as_str()).fetch_optional(&mut *connection).await?;
    let told = |turn, raised_at| Notice {
        turn,
        condition: seen.condition.clone(),
        severity: seen.severity,
        summary: seen.summary.clone(),
        since: seen.since,
        raised_at,
        at: now,
    };
    let Some(row) = row else {
        put(connection, (said, seen), now).await?;
        return Ok((Raised::New, Some(told(Turn::Raised, now))));
    };
    if let Some(cleared) = row.try_get::<Option<i64>, _>("cleared_at_ms")? {
        if seen.since.as_ms() <= cleared {
            return Ok((Raised::Cleared, None));
        }
        put(connection, (said, seen), now).await?;
        return Ok((Raised::New, Some(told(Turn::Raised, now))));
    }
    let open = OpenAlert::read(&row)?;
    if open.owner != said.owner && open.held_until > now {
        return Ok((Raised::Elsewhere, None));
    }
    let again = now.ms_since(open.told_at) >= said.repeat_ms;
    query(HOLD)
        .bind(seen.condition.as_str())
        .bind(said.owner.as_str())
        .bind(now.plus_ms(said.lease_ms).as_ms())
        .bind(seen.severity.as_str())
        .bind(seen.summary.as_str())
        .bind(if again { now } else { open.told_at }.as_ms())
        .bind(if again { open.told.saturating_add(1) } else { open.told })
        .execute(&mut *connection)
        .await?;
    let lasting = Notice { since: open.since, ..told(Turn::Lasting, open.raised_at) };
    Ok((Raised::Held, again.then_some(lasting)))
}

async fn put(
    connection: &mut Connection,
    (said, seen): (&AlertStep, &SeenAlert),
    now: Timestamp,
) -> Result<(), Fault> {
    query(PUT)
        .bind(seen.condition.as_str())
        .bind(seen.severity.as_str())
        .bind(seen.summary.as_str())
        .bind(said.owner.as_str())
        .bind(now.plus_ms(said.lease_ms).as_ms())
        .bind(seen.since.as_ms())
        .bind(now.as_ms())
        .execute(connection)
        .await?;
    Ok(())
}

/// Clears a condition that this host has, or that nobody has any more.
async fn clear(
    connection: &mut Connection,
    (said, condition): (&AlertStep, &str),
    now: Timestamp,
) -> Result<Option<Notice>, Fault> {
    let row = query(CLEAR)
        .bind(condition)
        .bind(said.owner.as_str())
        .bind(now.as_ms())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let open = OpenAlert::read(&row)?;
    Ok(Some(Notice {
        turn: Turn::Recovered,
        condition: open.condition,
        severity: open.severity,
        summary: open.summary,
        since: open.since,
        raised_at: open.raised_at,
        at: now,
    }))
}

/// What is raised.
pub(super) const OPEN: &str = "select condition, severity, summary, owner, held_until_ms, \
    since_ms, raised_at_ms, told_at_ms, told from alerts where cleared_at_ms is null \
    order by condition";

const ONE: &str = "select condition, severity, summary, owner, held_until_ms, since_ms, \
    raised_at_ms, told_at_ms, told, cleared_at_ms from alerts where condition = $1";

const PUT: &str = "insert into alerts (condition, severity, summary, owner, held_until_ms, \
    since_ms, raised_at_ms, told_at_ms, told) values ($1, $2, $3, $4, $5, $6, $7, $7, 1) \
    on conflict (condition) do update set severity = excluded.severity, \
    summary = excluded.summary, owner = excluded.owner, held_until_ms = excluded.held_until_ms, \
    since_ms = excluded.since_ms, raised_at_ms = excluded.raised_at_ms, \
    told_at_ms = excluded.told_at_ms, told = 1, cleared_at_ms = null";

const HOLD: &str = "update alerts set owner = $2, held_until_ms = $3, severity = $4, \
    summary = $5, told_at_ms = $6, told = $7 where condition = $1";

const CLEAR: &str = "update alerts set cleared_at_ms = $3 where condition = $1 \
    and cleared_at_ms is null and (owner = $2 or held_until_ms <= $3) \
    returning condition, severity, summary, owner, held_until_ms, since_ms, raised_at_ms, \
    told_at_ms, told";
