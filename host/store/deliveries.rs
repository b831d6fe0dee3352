//! Deliveries that are kept: what waits for a sink, what was given up, and sending that again.

use callgate_core::outcome::Reason;
use callgate_core::time::Timestamp;

use crate::audit::{self, AuditEntry};
use crate::error::{Fault, StoreError};
use crate::outbox::StoredEvent;
use crate::sql::{Connection, Pool, Row, query};

/// A delivery that waits, with what is needed to keep the order; the event is read when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingDelivery {
    /// The event's place in the outbox.
    pub seq: i64,
    /// The event's id.
    pub event_id: String,
    /// Who owns the order.
    pub business: String,
    /// Events with one key of one business leave in the order of commits.
    pub key: String,
    /// When the event was committed.
    pub created_at: Timestamp,
    /// Failed attempts that count.
    pub attempts: u32,
    /// When it failed first, if it did.
    pub first_failed_at: Option<Timestamp>,
    /// Not tried before.
    pub due_at: Timestamp,
}

/// A delivery that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The sink that did not take it.
    pub sink: String,
    /// The event.
    pub event: StoredEvent,
    /// Failed attempts that counted.
    pub attempts: u32,
    /// Why the last one failed.
    pub reason: Option<Reason>,
    /// When the first one failed.
    pub first_failed_at: Option<Timestamp>,
    /// When it was given up.
    pub dead_since: Timestamp,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// Of this sink.
    pub sink: String,
    /// Only this event, by its id.
    pub event_id: Option<String>,
    /// Only this business's.
    pub business: Option<String>,
    /// Only those whose place in the outbox is behind this one; 0 for all. The last one seen
    /// leads to the next page.
    pub after_seq: i64,
    /// At most so many, 1 to [`DEAD_LETTERS_MAX`].
    pub limit: i64,
}

impl DeadLetters {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if (1..=DEAD_LETTERS_MAX).contains(&self.limit) {
            return Ok(());
        }
        let limit = self.limit;
        Err(StoreError::invalid(format!("limit is {limit}, expected 1 to {DEAD_LETTERS_MAX}")))
    }
}

/// What is to become of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadAct {
    /// They are sent again, with all their attempts.
    Redeliver,
    /// Nothing is to come of them: the sink never gets them.
    Discard,
}

impl DeadAct {
    /// The word for it, the same in the API, on the command line and in the audit table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redeliver => "redeliver",
            Self::Discard => "discard",
        }
    }
}

/// An order about dead letters, when it was given, by whom and why.
#[derive(Debug)]
pub(crate) struct Redelivery {
    pub(crate) which: DeadLetters,
    pub(crate) act: DeadAct,
    pub(crate) now: Timestamp,
    /// Its result is added when it is known.
    pub(crate) entry: AuditEntry,
}

/// What waits for a sink, in the order of commits.
pub(crate) async fn waiting(
    pool: &Pool,
    sink: &str,
    limit: i64,
) -> Result<Vec<WaitingDelivery>, StoreError> {
    let rows = query(WAITING).bind(sink).bind(limit).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            Ok(WaitingDelivery {
                seq: row.try_get("seq")?,
                event_id: row.try_get("event_id")?,
                business: row.try_get("business")?,
                key: row.try_get("key")?,
                created_at: Timestamp::from_ms(row.try_get("created_at_ms")?),
                attempts: attempts(row)?,
                first_failed_at: moment(row, "first_failed_at_ms")?,
                due_at: Timestamp::from_ms(row.try_get("due_at_ms")?),
            })
        })
        .collect()
}

/// What a sink was given up for, in the order of commits.
pub(crate) async fn dead(pool: &Pool, which: &DeadLetters) -> Result<Vec<DeadLetter>, StoreError> {
    let rows = query(DEAD)
        .bind(which.sink.as_str())
        .bind(which.event_id.as_deref())
        .bind(which.business.as_deref())
        .bind(which.after_seq)
        .bind(which.limit)
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            let code: Option<String> = row.try_get("reason_code")?;
            let text: Option<String> = row.try_get("reason_text")?;
            Ok(DeadLetter {
                sink: row.try_get("sink")?,
                event: StoredEvent::read(row)?,
                attempts: attempts(row)?,
                reason: code.map(|code| Reason::new(code, text.unwrap_or_default())),
                first_failed_at: moment(row, "first_failed_at_ms")?,
                dead_since: Timestamp::from_ms(row.try_get("changed_at_ms")?),
            })
        })
        .collect()
}

/// How many dead letters a sink has.
pub(crate) async fn dead_count(pool: &Pool, sink: &str) -> Result<i64, StoreError> {
    let row = query(
        "select cast(count(*) as bigint) as dead from deliveries \
         where sink = $1 and state = 'dead'",
    )
    .bind(sink)
    .fetch_one(pool)
    .await?;
    Ok(row.try_get("dead")?)
}

/// Makes dead letters wait again, with all their attempts, or forgets them; one count for each
/// order.
pub(crate) async fn redeliver(
    connection: &mut Connection,
    redeliveries: &[Redelivery],
) -> Result<Vec<i64>, Fault> {
    let mut counts = Vec::with_capacity(redeliveries.len());
    for Redelivery { which, act, now, entry } in redeliveries {
        // First the sink's row, as a step does, so that the two never wait for each other.
        query("update sinks set revision = revision + 1 where name = $1")
            .bind(which.sink.as_str())
            .execute(&mut *connection)
            .await?;
        let sql = match act {
            DeadAct::Redeliver => REDELIVER,
            DeadAct::Discard => DISCARD,
        };
        let mut query = query(sql)
            .bind(which.sink.as_str())
            .bind(which.event_id.as_deref())
            .bind(which.business.as_deref())
            .bind(which.after_seq)
            .bind(which.limit);
        if *act == DeadAct::Redeliver {
            query = query.bind(now.as_ms());
        }
        let changed = query.execute(&mut *connection).await?;
        let count = i64::try_from(changed).unwrap_or(i64::MAX);
        let result = format!("{count} dead letters of {}", which.sink);
        audit::insert(connection, &[AuditEntry { result, ..entry.clone() }]).await?;
        counts.push(count);
    }
    Ok(counts)
}

fn attempts(row: &Row) -> Result<u32, StoreError> {
    let attempts: i64 = row.try_get("attempts")?;
    Ok(u32::try_from(attempts).unwrap_or(u32::MAX))
}

fn moment(row: &Row, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_ms))
}

/// The one condition of looking at dead letters and of sending them again.
macro_rules! dead_letters {
    () => {
        "from deliveries d join outbox o on o.seq = d.seq where d.sink = $1 and d.state = 'dead' \
         and (cast($2 as text) is null or d.event_id = $2) \
         and (cast($3 as text) is null or o.business = $3) and d.seq > $4 order by d.seq limit $5"
    };
}

const WAITING: &str = "select d.seq, d.event_id, o.business, o.key, o.created_at_ms, d.attempts, \
    d.first_failed_at_ms, d.due_at_ms from deliveries d join outbox o on o.seq = d.seq \
    where d.sink = $1 and d.state = 'waiting' order by d.seq limit $2";

const DEAD: &str = concat!(
    "select o.id, o.seq, o.business, o.topic, o.key, o.payload, o.headers, o.notification_id, \
     o.order_no, o.created_at_ms, d.sink, d.attempts, d.first_failed_at_ms, d.reason_code, \
     d.reason_text, d.changed_at_ms ",
    dead_letters!()
);

const DISCARD: &str = concat!(
    "delete from deliveries where sink = $1 and seq in (select d.seq ",
    dead_letters!(),
    ")"
);

const REDELIVER: &str = concat!(
    "update deliveries set state = 'waiting', attempts = 0, first_failed_at_ms = null, \
     due_at_ms = $6, changed_at_ms = $6 where sink = $1 and seq in (select d.seq ",
    dead_letters!(),
    ")"
);

/// Dead letters of one page, and of one order to send them again.
pub const DEAD_LETTERS_MAX: i64 = 1_000;
