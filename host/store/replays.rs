//! Replays of many notifications: started once, worked off in small steps by any host.
//!
//! Which notifications come next is found outside the writer, however long that takes; a step then
//! locks them, looks again, and moves the cursor in the same transaction. So a host may die at
//! any point, and two hosts that take the same step cannot both have it. When the next step is due
//! stands in the row: that keeps the rate across hosts and restarts.

use callgate_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::{self, AuditEntry};
use crate::dialect::{Dialect, Lock};
use crate::error::{Fault, StoreError};
use crate::filter::Filter;
use crate::inbox::InboxState;
use crate::operate::{Act, Change, change, look};
use crate::plain::Found;
use crate::sql::{Connection, Pool, Row, query};

/// Where a replay of many is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayState {
    /// Steps are still to come.
    Running,
    /// An operator stopped it; what was replayed stays replayed.
    Cancelled,
    /// Everything that fitted was looked at.
    Finished,
}

impl ReplayState {
    /// The state as the database has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Cancelled => "cancelled",
            Self::Finished => "finished",
        }
    }
}

/// A replay that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReplay {
    /// What to replay. Its state must be given, and cannot be `after`.
    pub filter: Filter,
    /// Who wants it, 1 to 128 characters.
    pub who: String,
    /// Why, 1 to [`WHY_MAX`](crate::WHY_MAX) characters.
    pub why: String,
    /// Notifications a second, 1 to [`RATE_MAX`].
    pub rate_per_s: i64,
}

/// What a replay would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// How many; counting stops at [`COUNT_MAX`](crate::COUNT_MAX).
    pub total: i64,
    /// The first of them.
    pub sample: Vec<Found>,
}

/// A replay of many, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkReplay {
    /// Its id.
    pub id: String,
    /// What is replayed.
    pub filter: Filter,
    /// Who wanted it.
    pub who: String,
    /// Why.
    pub why: String,
    /// Notifications a second.
    pub rate_per_s: i64,
    /// How many fitted at the start.
    pub total: i64,
    /// How many were replayed.
    pub done: i64,
    /// How many were left out: somebody worked on them, or they had moved on.
    pub skipped: i64,
    /// Where it is.
    pub state: ReplayState,
    /// When it was started; what arrives later is not replayed.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    pub(crate) cursor: (Timestamp, String),
    pub(crate) next_at: Timestamp,
}

impl BulkReplay {
    pub(crate) fn read(row: &Row) -> Result<Self, StoreError> {
        let filter: String = row.try_get("filter")?;
        let filter = serde_json::from_str(&filter)
            .map_err(|error| StoreError::corrupt(format!("filter of a replay: {error}")))?;
        let state: String = row.try_get("state")?;
        let state = [ReplayState::Running, ReplayState::Cancelled, ReplayState::Finished]
            .into_iter()
            .find(|known| known.as_str() == state)
            .ok_or_else(|| StoreError::corrupt(format!("state of a replay `{state}`")))?;
        let time = |name: &str| row.try_get(name).map(Timestamp::from_ms);
        let finished_at: Option<i64> = row.try_get("finished_at_ms")?;
        Ok(Self {
            id: row.try_get("id")?,
            filter,
            who: row.try_get("who")?,
            why: row.try_get("why")?,
            rate_per_s: row.try_get("rate_per_s")?,
            total: row.try_get("total")?,
            done: row.try_get("done")?,
            skipped: row.try_get("skipped")?,
            state,
            created_at: time("created_at_ms")?,
            finished_at: finished_at.map(Timestamp::from_ms),
            cursor: (time("cursor_ms")?, row.try_get("cursor_id")?),
            next_at: time("next_at_ms")?,
        })
    }

    /// Notifications of one step: a tenth of a second's worth, so that a cancel takes effect and
    /// progress shows, and no transaction is large.
    fn step_size(&self) -> i64 {
        self.rate_per_s.saturating_add(9).div_euclid(10).clamp(1, STEP_MAX)
    }
}

/// What became of a cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    /// It has stopped.
    Done(BulkReplay),
    /// It had ended before.
    Ended(BulkReplay),
    /// There is no such replay.
    NotFound,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stepped {
    /// The replay.
    pub id: String,
    /// Replayed by this step.
    pub replayed: i64,
    /// Left out by this step.
    pub skipped: i64,
    /// Where the replay is now.
    pub state: ReplayState,
}

/// A start on its way.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) replay: BulkReplay,
    pub(crate) filter: String,
}

/// A cancel on its way.
#[derive(Debug)]
pub(crate) struct Cancelling {
    pub(crate) entry: AuditEntry,
}

/// A step on its way.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) replay: BulkReplay,
    /// What comes next, in order of arrival.
    pub(crate) next: Vec<(Timestamp, String)>,
    pub(crate) now: Timestamp,
}

pub(crate) async fn start(
    connection: &mut Connection,
    Starting { replay, filter }: &Starting,
) -> Result<BulkReplay, Fault> {
    let now = replay.created_at;
    query(
        "insert into replays (id, filter, who, why, rate_per_s, total, done, skipped, state, \
         cursor_ms, cursor_id, next_at_ms, created_at_ms) \
         values ($1, $2, $3, $4, $5, $6, 0, 0, 'running', $7, '', $8, $9)",
    )
    .bind(replay.id.as_str())
    .bind(filter.as_str())
    .bind(replay.who.as_str())
    .bind(replay.why.as_str())
    .bind(replay.rate_per_s)
    .bind(replay.total)
    .bind(replay.cursor.0.as_ms())
    .bind(now.as_ms())
    .bind(now.as_ms())
    .execute(&mut *connection)
    .await?;
    let result = format!("{} fit {filter}, {} a second", replay.total, replay.rate_per_s);
    audit::insert(connection, &[entry(replay, "start", now, result)]).await?;
    Ok(replay.clone())
}

pub(crate) async fn cancel(
    connection: &mut Connection,
    dialect: Dialect,
    Cancelling { entry }: &Cancelling,
) -> Result<Cancelled, Fault> {
    let Some(mut replay) = locked(connection, dialect, &entry.target).await? else {
        return Ok(Cancelled::NotFound);
    };
    if replay.state != ReplayState::Running {
        return Ok(Cancelled::Ended(replay));
    }
    replay.state = ReplayState::Cancelled;
    replay.finished_at = Some(entry.at);
    save(connection, &replay).await?;
    let result = format!("{} of {} were replayed", replay.done, replay.total);
    audit::insert(connection, &[AuditEntry { result, ..entry.clone() }]).await?;
    Ok(Cancelled::Done(replay))
}

/// Takes a step, unless another host has taken it or the replay was stopped.
pub(crate) async fn step(
    connection: &mut Connection,
    dialect: Dialect,
    Step { replay: seen, next, now }: &Step,
) -> Result<Option<Stepped>, Fault> {
    let Some(mut replay) = locked(connection, dialect, &seen.id).await? else { return Ok(None) };
    if replay.state != ReplayState::Running || replay.cursor != seen.cursor {
        return Ok(None);
    }
    let ids: Vec<&str> = next.iter().map(|(_, id)| id.as_str()).collect();
    let found = look(connection, dialect, &ids).await?;
    let (mut changes, mut entries) = (Vec::new(), Vec::new());
    for id in ids {
        let fits = found.get(id).filter(|row| {
            Some(row.state) == replay.filter.state && row.leased_until.is_none_or(|end| end <= *now)
        });
        let Some((row, to)) = fits.and_then(|row| Some((row, row.replayed()?))) else { continue };
        changes.push(Change { id, act: Act::Replay, from: row.state, to, why: &seen.why });
        entries.push(AuditEntry {
            id: format!("{}.{id}", replay.id),
            at: *now,
            who: replay.who.clone(),
            act: Act::Replay.as_str().to_owned(),
            target: id.to_owned(),
            why: replay.why.clone(),
            result: format!("{}, by replay {}", row.told(to), replay.id),
        });
    }
    change(connection, &changes, *now).await?;
    let count = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let replayed = count(changes.len());
    let skipped = count(next.len()).saturating_sub(replayed);
    replay.done = replay.done.saturating_add(replayed);
    replay.skipped = replay.skipped.saturating_add(skipped);
    let wait_ms = count(next.len()).saturating_mul(1000).div_euclid(replay.rate_per_s.max(1));
    replay.next_at = now.plus_ms(wait_ms);
    if let Some(last) = next.last() {
        replay.cursor = last.clone();
    }
    if count(next.len()) < replay.step_size() {
        replay.state = ReplayState::Finished;
        replay.finished_at = Some(*now);
        let result = format!("{} replayed, {} left out", replay.done, replay.skipped);
        entries.push(entry(&replay, "finish", *now, result));
    }
    audit::insert(connection, &entries).await?;
    save(connection, &replay).await?;
    Ok(Some(Stepped { id: replay.id, replayed, skipped, state: replay.state }))
}

fn entry(replay: &BulkReplay, act: &str, at: Timestamp, result: String) -> AuditEntry {
    AuditEntry {
        id: format!("{}.{act}", replay.id),
        at,
        who: replay.who.clone(),
        act: format!("replays.{act}"),
        target: replay.id.clone(),
        why: replay.why.clone(),
        result,
    }
}

async fn locked(
    connection: &mut Connection,
    dialect: Dialect,
    id: &str,
) -> Result<Option<BulkReplay>, Fault> {
    let sql =
        format!("select {COLUMNS} from replays t where t.id = $1{}", dialect.lock(Lock::Update));
    let row = query(sql).bind(id).fetch_optional(connection).await?;
    Ok(row.as_ref().map(BulkReplay::read).transpose()?)
}

async fn save(connection: &mut Connection, replay: &BulkReplay) -> Result<(), Fault> {
    query(
        "update replays set done = $2, skipped = $3, state = $4, cursor_ms = $5, cursor_id = $6, \
         next_at_ms = $7, finished_at_ms = $8 where id = $1",
    )
    .bind(replay.id.as_str())
    .bind(replay.done)
    .bind(replay.skipped)
    .bind(replay.state.as_str())
    .bind(replay.cursor.0.as_ms())
    .bind(replay.cursor.1.as_str())
    .bind(replay.next_at.as_ms())
    .bind(replay.finished_at.map(Timestamp::as_ms))
    .execute(connection)
    .await?;
    Ok(())
}

/// What comes next: by arrival, after the cursor, not younger than the replay.
pub(crate) async fn next(
    pool: &Pool,
    replay: &BulkReplay,
) -> Result<Vec<(Timestamp, String)>, StoreError> {
    let mut condition = replay.filter.condition()?;
    let (at, id) = (replay.cursor.0.as_ms(), replay.cursor.1.as_str());
    let (at, id) = (condition.bind(at), condition.bind(id));
    let until = condition.bind(replay.created_at.as_ms());
    condition.sql.push_str(&format!(
        " and (t.received_at_ms, t.id) > ({at}, {id}) and t.received_at_ms <= {until}"
    ));
    let end = format!("order by t.received_at_ms, t.id limit {}", replay.step_size());
    let rows = condition.fetch(pool, ("t.received_at_ms, t.id", &end)).await?;
    let read =
        |row: &Row| Ok((Timestamp::from_ms(row.try_get("received_at_ms")?), row.try_get("id")?));
    rows.iter().map(read).collect()
}

/// A replay of many says what state it means, so that nobody replays everything by leaving a
/// filter empty.
pub(crate) fn check(filter: &Filter) -> Result<(), StoreError> {
    match filter.state {
        Some(InboxState::After) | None => {
            Err(StoreError::invalid("filter.state is not one of ready, parked, done, review"))
        }
        Some(InboxState::Ready | InboxState::Parked | InboxState::Done | InboxState::Review) => {
            filter.check()
        }
    }
}

pub(crate) const COLUMNS: &str = "t.id, t.filter, t.who, t.why, t.rate_per_s, t.total, t.done, t.skipped, \
    t.state, t.cursor_ms, t.cursor_id, t.next_at_ms, t.created_at_ms, t.finished_at_ms";

/// Notifications of one step.
const STEP_MAX: i64 = 100;

/// Notifications a second of one replay.
pub const RATE_MAX: i64 = 1000;
