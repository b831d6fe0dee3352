//! What alerts are measured by, each with a bounded read.

use callgate_core::time::Timestamp;

use crate::error::StoreError;
use crate::sql::query;
use crate::store::Store;

/// How it stands with the orders of one business whose time has just passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// The business.
    pub business: String,
    /// Orders that were looked at.
    pub orders: i64,
    /// Those of them that never moved since they were registered.
    pub silent: i64,
}

/// What a sink has not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkBacklog {
    /// The sink.
    pub sink: String,
    /// When the oldest event was made that it has not taken or been shown; none where it has all.
    pub oldest: Option<Timestamp>,
    /// Events that it was given up for. Counting stops at ten thousand.
    pub dead: i64,
}

impl Store {
    /// How old the oldest notification is that waits for nothing but its turn, in milliseconds:
    /// neither finished nor parked.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn oldest_unprocessed_ms(&self, now: Timestamp) -> Result<Option<i64>, StoreError> {
        // As for the oldest open one: the sum keeps to the small index over what is open.
        let row = query(
            "select min(received_at_ms + 0) as oldest from inbox \
             where due_at_ms is not null and state <> 'parked'",
        )
        .fetch_one(self.readers())
        .await?;
        let oldest = row.try_get::<Option<i64>, _>("oldest")?;
        Ok(oldest.map(|ms| now.ms_since(Timestamp::from_ms(ms))))
    }

    /// How many of the orders that were registered from one moment until before another have never
    /// moved, by business; the youngest [`SILENT_LOOKED_AT`] are looked at.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn silent_orders(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Silence>, StoreError> {
        let rows = query(
            "select o.business, cast(count(*) as bigint) as orders, \
             cast(sum(case when o.version = 1 then 1 else 0 end) as bigint) as silent \
             from (select business, version from documents where collection = 'orders' \
                 and created_at_ms >= $1 and created_at_ms < $2 \
                 order by created_at_ms desc limit $3) o group by o.business order by o.business",
        )
        .bind(from.as_ms())
        .bind(to.as_ms())
        .bind(SILENT_LOOKED_AT)
        .fetch_all(self.readers())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Silence {
                    business: row.try_get("business")?,
                    orders: row.try_get("orders")?,
                    silent: row.try_get("silent")?,
                })
            })
            .collect()
    }

    /// What every sink has not taken, by name; also of sinks that nobody has configured any more.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn sink_backlogs(&self) -> Result<Vec<SinkBacklog>, StoreError> {
        let rows = query(BACKLOGS).fetch_all(self.readers()).await?;
        rows.iter()
            .map(|row| {
                let behind: Option<i64> = row.try_get("behind_ms")?;
                let waiting: Option<i64> = row.try_get("waiting_ms")?;
                let oldest = [behind, waiting].into_iter().flatten().min();
                Ok(SinkBacklog {
                    sink: row.try_get("name")?,
                    oldest: oldest.map(Timestamp::from_ms),
                    dead: row.try_get("dead")?,
                })
            })
            .collect()
    }
}

const BACKLOGS: &str = "select s.name, \
    (select o.created_at_ms from outbox o where o.seq > s.cursor_seq order by o.seq limit 1) \
        as behind_ms, \
    (select w.created_at_ms from deliveries d join outbox w on w.seq = d.seq \
        where d.sink = s.name and d.state = 'waiting' order by d.seq limit 1) as waiting_ms, \
    (select cast(count(*) as bigint) from (select 1 from deliveries d \
        where d.sink = s.name and d.state = 'dead' limit 10000) x) as dead \
    from sinks s order by s.name";

/// Orders that one look at silent ones goes through.
pub const SILENT_LOOKED_AT: i64 = 10_000;
