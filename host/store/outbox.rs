//! The outbox: events, written with what they tell of, in the order of commits.

use callgate_core::outcome::Event;
use callgate_core::time::Timestamp;

use crate::batch::{self, Cell, Statement, change};
use crate::error::{Fault, StoreError};
use crate::sql::{Connection, Pool, Row, query};

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Place in the order of commits; grows, with gaps.
    pub seq: i64,
    /// Who owns the order.
    pub business: String,
    /// The message.
    pub event: Event,
    /// The notification whose run made it.
    pub notification_id: String,
    /// The order it tells of, if any.
    pub order_no: Option<String>,
    /// When it was committed.
    pub created_at: Timestamp,
    /// What of it cannot be read, if anything: then it must not be sent. The others go on.
    pub unreadable: Option<String>,
}

impl StoredEvent {
    pub(crate) fn read(row: &Row) -> Result<Self, StoreError> {
        let headers: String = row.try_get("headers")?;
        let (headers, unreadable) = match serde_json::from_str(&headers) {
            Ok(headers) => (headers, None),
            Err(error) => (Vec::new(), Some(format!("headers of an event: {error}"))),
        };
        Ok(Self {
            seq: row.try_get("seq")?,
            business: row.try_get("business")?,
            event: Event {
                id: row.try_get("id")?,
                topic: row.try_get("topic")?,
                key: row.try_get("key")?,
                payload: row.try_get("payload")?,
                headers,
            },
            notification_id: row.try_get("notification_id")?,
            order_no: row.try_get("order_no")?,
            created_at: Timestamp::from_ms(row.try_get("created_at_ms")?),
            unreadable,
        })
    }
}

/// An event on its way into the outbox.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) business: String,
    pub(crate) event: Event,
    pub(crate) notification_id: String,
    pub(crate) order_no: Option<String>,
    pub(crate) now: Timestamp,
}

/// Writes events, in their order. The last act of a group: from here to the commit this host
/// holds the counter, and no other can take numbers.
///
/// An event whose id is there already is the same event, and stays as it was.
pub(crate) async fn append(connection: &mut Connection, events: &[Outgoing]) -> Result<(), Fault> {
    if events.is_empty() {
        return Ok(());
    }
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    batch::count();
    let last: i64 =
        query("update counters set value = value + $1 where name = 'outbox' returning value")
            .bind(count)
            .fetch_one(&mut *connection)
            .await?
            .try_get("value")?;
    let mut rows = Vec::with_capacity(events.len());
    for (place, outgoing) in (last.saturating_sub(count).saturating_add(1)..).zip(events) {
        rows.push(cells(outgoing, place)?);
    }
    change(connection, INSERT, &rows).await?;
    Ok(())
}

fn cells(outgoing: &Outgoing, seq: i64) -> Result<[Cell; 10], StoreError> {
    let event = &outgoing.event;
    let headers = serde_json::to_string(&event.headers)
        .map_err(|error| StoreError::invalid(format!("headers of an event: {error}")))?;
    Ok([
        event.id.as_str().into(),
        seq.into(),
        outgoing.business.as_str().into(),
        event.topic.as_str().into(),
        event.key.as_str().into(),
        event.payload.as_str().into(),
        headers.into(),
        outgoing.notification_id.as_str().into(),
        outgoing.order_no.as_deref().into(),
        outgoing.now.as_ms().into(),
    ])
}

/// The events of one order, in the order of commits.
pub(crate) async fn of_order(
    pool: &Pool,
    business: &str,
    order_no: &str,
) -> Result<Vec<StoredEvent>, StoreError> {
    let look = query(OF_ORDER).bind(business).bind(order_no).bind(EVENTS_MAX);
    let rows = look.fetch_all(pool).await?;
    rows.iter().map(StoredEvent::read).collect()
}

/// Events behind a place, in the order of commits.
pub(crate) async fn after(
    pool: &Pool,
    seq: i64,
    limit: i64,
) -> Result<Vec<StoredEvent>, StoreError> {
    let rows = query(
        "select id, seq, business, topic, key, payload, headers, notification_id, order_no, \
         created_at_ms from outbox where seq > $1 order by seq limit $2",
    )
    .bind(seq)
    .bind(limit.clamp(1, EVENTS_MAX))
    .fetch_all(pool)
    .await?;
    rows.iter().map(StoredEvent::read).collect()
}

/// The event at a place, if it is still stored.
pub(crate) async fn at(pool: &Pool, seq: i64) -> Result<Option<StoredEvent>, StoreError> {
    let row = query(
        "select id, seq, business, topic, key, payload, headers, notification_id, order_no, \
         created_at_ms from outbox where seq = $1",
    )
    .bind(seq)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(StoredEvent::read).transpose()
}

/// Events are found by the notifications that made them: those that the order's history names,
/// which stays, and those that are there. The sum keeps both databases from going through all
/// events in their order.
pub(crate) const OF_ORDER: &str = "select o.id, o.seq, o.business, o.topic, o.key, o.payload, o.headers, \
    o.notification_id, o.order_no, o.created_at_ms from outbox o where o.notification_id in ( \
        select h.notification_id from history h \
        where h.business = $1 and h.order_no = $2 and h.effect <> 'none' \
        union select h.notification_id from history h \
        where h.business = $1 and h.order_no = $2 and h.effect = 'none' \
        union select i.id from inbox i where i.business = $1 and i.subject = $2) \
    and o.business = $1 and o.order_no = $2 order by o.seq + 0 limit $3";

const INSERT: Statement = Statement {
    columns: "id, seq, business, topic, key, payload, headers, notification_id, order_no, now_ms",
    text: "insert into outbox (id, seq, business, topic, key, payload, headers, notification_id, \
           order_no, created_at_ms, state) \
           select v.*, 'ready' from v where v.id is not null on conflict (id) do nothing",
    suffix: "",
};

/// Events of one look, at an order or at what comes next.
pub const EVENTS_MAX: i64 = 200;
