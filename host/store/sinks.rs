//! Sinks: how far each destination of events has come, and which host delivers to it.
//!
//! One act does it all: a step takes or renews the lease of a sink and, under that lease, writes
//! what was delivered and what was not. The reason for the shape stands in the migration.

use callgate_core::outcome::Reason;
use callgate_core::time::Timestamp;

use crate::batch::{Cell, Statement, fetch};
use crate::error::{Fault, StoreError};
use crate::sql::{Connection, Pool, query};

/// Where a sink that is new begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkStart {
    /// With the next event.
    Now,
    /// With the first event that is still stored.
    Beginning,
}

/// Takes or renews the lease of a sink, and writes under it.
#[derive(Debug, Clone)]
pub struct SinkStep {
    /// The sink.
    pub sink: String,
    /// Where it begins if it is new.
    pub start: SinkStart,
    /// Names the host: unique among all hosts, at most 256 characters.
    pub owner: String,
    /// How long the lease lasts, in milliseconds; 0 gives it up.
    pub lease_ms: i64,
    /// What happened since the last step; none for a first step.
    pub record: Option<SinkRecord>,
}

/// What happened on a sink under one lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkRecord {
    /// The lease, as [`SinkHold::Held`] told it.
    pub epoch: i64,
    /// Everything up to here is delivered, not for this sink, or has a delivery that is kept.
    pub cursor: i64,
    /// What waits or was given up, new or changed.
    pub kept: Vec<KeptDelivery>,
    /// What was kept and is delivered now, by place in the outbox.
    pub delivered: Vec<i64>,
}

/// An event that a sink did not take yet, or never did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDelivery {
    /// The event's place in the outbox.
    pub seq: i64,
    /// The event's id.
    pub event_id: String,
    /// What becomes of it.
    pub state: DeliveryState,
    /// Failed attempts that count.
    pub attempts: u32,
    /// When it failed first, if it did.
    pub first_failed_at: Option<Timestamp>,
    /// Not tried before.
    pub due_at: Timestamp,
    /// Why it failed last, if it did.
    pub reason: Option<Reason>,
}

/// Whether a kept delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is.
    Waiting,
    /// Not before an operator orders it.
    Dead,
}

/// Who delivers to a sink after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkHold {
    /// The host that asked.
    Held {
        /// Names this lease. Where it is not the one that the record named, the record was
        /// dropped: another host was there in between.
        epoch: i64,
        /// Everything up to here is settled or kept.
        cursor: i64,
        /// Another number than last time means that an operator changed what is kept.
        revision: i64,
    },
    /// Another host.
    Elsewhere,
}

/// Where a sink stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStanding {
    /// Its name.
    pub name: String,
    /// Everything up to this place in the outbox is delivered, not for it, or kept.
    pub cursor: i64,
    /// The last place in the outbox that was given out.
    pub last_seq: i64,
    /// Deliveries that wait: those that failed, and those behind them. Counting stops at ten
    /// thousand.
    pub waiting: i64,
    /// Deliveries that were given up. Counting stops at ten thousand.
    pub dead: i64,
    /// Until when a host has it; `None` where none has.
    pub leased_until: Option<Timestamp>,
    /// When a host had it last.
    pub updated_at: Timestamp,
}

/// Where every sink stands, by name.
pub(crate) async fn standing(pool: &Pool) -> Result<Vec<SinkStanding>, StoreError> {
    let rows = query(STANDING).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            Ok(SinkStanding {
                name: row.try_get("name")?,
                cursor: row.try_get("cursor_seq")?,
                last_seq: row.try_get("last_seq")?,
                waiting: row.try_get("waiting")?,
                dead: row.try_get("dead")?,
                leased_until: row
                    .try_get::<Option<i64>, _>("leased_until_ms")?
                    .map(Timestamp::from_ms),
                updated_at: Timestamp::from_ms(row.try_get("updated_at_ms")?),
            })
        })
        .collect()
}

/// A step, and when it was asked for.
#[derive(Debug)]
pub(crate) struct Stepping {
    pub(crate) step: SinkStep,
    pub(crate) now: Timestamp,
}

impl Stepping {
    /// Holds names and numbers against their bounds.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let step = &self.step;
        if !(1..=64).contains(&step.sink.len()) || !(1..=256).contains(&step.owner.len()) {
            return Err(StoreError::invalid("a sink has 1 to 64 characters, an owner 1 to 256"));
        }
        if step.lease_ms < 0 {
            return Err(StoreError::invalid("a lease cannot end before it begins"));
        }
        Ok(())
    }
}

/// Runs steps, in the order of the sinks' names so that two hosts never wait for each other.
pub(crate) async fn run(
    connection: &mut Connection,
    steps: &[Stepping],
) -> Result<Vec<SinkHold>, Fault> {
    let mut places: Vec<usize> = (0..steps.len()).collect();
    places.sort_by_key(|place| steps.get(*place).map(|stepping| &stepping.step.sink));
    let mut holds = vec![SinkHold::Elsewhere; steps.len()];
    for place in places {
        if let (Some(stepping), Some(hold)) = (steps.get(place), holds.get_mut(place)) {
            *hold = step(connection, stepping).await?;
        }
    }
    Ok(holds)
}

async fn step(connection: &mut Connection, stepping: &Stepping) -> Result<SinkHold, Fault> {
    let hold = match lease(connection, stepping).await? {
        Some(hold) => hold,
        None => {
            create(connection, stepping).await?;
            lease(connection, stepping).await?.unwrap_or(SinkHold::Elsewhere)
        }
    };
    let hold = match (hold, &stepping.step.record) {
        (SinkHold::Held { epoch, revision, .. }, Some(record)) if record.epoch == epoch => {
            write(connection, stepping, record).await?;
            SinkHold::Held { epoch, cursor: record.cursor, revision }
        }
        (hold, _) => hold,
    };
    if stepping.step.lease_ms == 0 && hold != SinkHold::Elsewhere {
        // Free for everybody at once, also for a host whose clock is behind.
        query(RELEASE).bind(stepping.step.sink.as_str()).execute(connection).await?;
    }
    Ok(hold)
}

/// Takes or renews; `None` where nothing was taken, whether another host has it or it is new.
async fn lease(
    connection: &mut Connection,
    stepping: &Stepping,
) -> Result<Option<SinkHold>, Fault> {
    let Stepping { step, now } = stepping;
    let row = query(LEASE)
        .bind(step.sink.as_str())
        .bind(step.owner.as_str())
        .bind(now.plus_ms(step.lease_ms).as_ms())
        .bind(now.as_ms())
        .fetch_optional(&mut *connection)
        .await?;
    row.map(|row| {
        Ok(SinkHold::Held {
            epoch: row.try_get("epoch")?,
            cursor: row.try_get("cursor_seq")?,
            revision: row.try_get("revision")?,
        })
    })
    .transpose()
}

async fn create(connection: &mut Connection, stepping: &Stepping) -> Result<(), Fault> {
    let text = match stepping.step.start {
        SinkStart::Now => CREATE_NOW,
        SinkStart::Beginning => CREATE_BEGINNING,
    };
    query(text)
        .bind(stepping.step.sink.as_str())
        .bind(stepping.now.as_ms())
        .execute(connection)
        .await?;
    Ok(())
}

async fn write(
    connection: &mut Connection,
    stepping: &Stepping,
    record: &SinkRecord,
) -> Result<(), Fault> {
    let sink = stepping.step.sink.as_str();
    query("update sinks set cursor_seq = $2 where name = $1 and cursor_seq < $2")
        .bind(sink)
        .bind(record.cursor)
        .execute(&mut *connection)
        .await?;
    let rows: Vec<[Cell; 10]> =
        record.kept.iter().map(|kept| cells(sink, kept, stepping.now)).collect();
    fetch(connection, KEEP, &rows).await?;
    let rows: Vec<[Cell; 2]> =
        record.delivered.iter().map(|seq| [sink.into(), (*seq).into()]).collect();
    fetch(connection, FORGET, &rows).await?;
    Ok(())
}

fn cells(sink: &str, kept: &KeptDelivery, now: Timestamp) -> [Cell; 10] {
    let state = match kept.state {
        DeliveryState::Waiting => "waiting",
        DeliveryState::Dead => "dead",
    };
    let reason = kept.reason.as_ref();
    [
        sink.into(),
        kept.seq.into(),
        kept.event_id.as_str().into(),
        state.into(),
        i64::from(kept.attempts).into(),
        kept.first_failed_at.map(Timestamp::as_ms).into(),
        kept.due_at.as_ms().into(),
        reason.map(|reason| reason.code.as_ref()).into(),
        reason.map(|reason| reason.text.as_str()).into(),
        now.as_ms().into(),
    ]
}

const STANDING: &str = "select s.name, s.cursor_seq, s.leased_until_ms, s.updated_at_ms, \
    (select value from counters where name = 'outbox') as last_seq, \
    (select cast(count(*) as bigint) from (select 1 from deliveries d \
        where d.sink = s.name and d.state = 'waiting' limit 10000) w) as waiting, \
    (select cast(count(*) as bigint) from (select 1 from deliveries d \
        where d.sink = s.name and d.state = 'dead' limit 10000) w) as dead \
    from sinks s order by s.name";

const LEASE: &str = "update sinks set \
    epoch = case when lease_owner = $2 then epoch else epoch + 1 end, \
    lease_owner = $2, leased_until_ms = $3, updated_at_ms = $4 \
    where name = $1 and (lease_owner is null or lease_owner = $2 or leased_until_ms <= $4) \
    returning epoch, cursor_seq, revision";

const RELEASE: &str = "update sinks set lease_owner = null, leased_until_ms = null where name = $1";

const CREATE_NOW: &str = "insert into sinks (name, cursor_seq, created_at_ms, updated_at_ms) \
    select $1, value, $2, $2 from counters where name = 'outbox' on conflict (name) do nothing";

const CREATE_BEGINNING: &str = "insert into sinks (name, cursor_seq, created_at_ms, \
    updated_at_ms) values ($1, 0, $2, $2) on conflict (name) do nothing";

const KEEP: Statement = Statement {
    columns: "sink, seq, event_id, state, attempts, first_failed_at_ms, due_at_ms, reason_code, \
              reason_text, now_ms",
    text: "insert into deliveries (sink, seq, event_id, state, attempts, first_failed_at_ms, \
           due_at_ms, reason_code, reason_text, changed_at_ms) \
           select v.* from v where v.seq is not null on conflict (sink, seq) do update set \
           state = excluded.state, attempts = excluded.attempts, \
           first_failed_at_ms = excluded.first_failed_at_ms, due_at_ms = excluded.due_at_ms, \
           reason_code = excluded.reason_code, reason_text = excluded.reason_text, \
           changed_at_ms = excluded.changed_at_ms",
    suffix: "",
};

const FORGET: Statement = Statement {
    columns: "of_sink, of_seq",
    text: "delete from deliveries where (sink, seq) in (select of_sink, of_seq from v)",
    suffix: "",
};
