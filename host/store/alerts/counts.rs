//! How many callbacks were stored, by channel and five minutes: counted afterwards, from what is
//! stored, so that no callback pays for it and every host comes to the same numbers.

use std::collections::BTreeMap;

use callgate_core::time::Timestamp;

use super::notices;
use crate::error::{Fault, StoreError};
use crate::sql::{Connection, Pool, query};
use crate::store::Store;

use super::AlertWork;

/// Callbacks of one span, ready to be written.
#[derive(Debug)]
pub(crate) struct Span {
    from: Timestamp,
    by_channel: Vec<(String, i64)>,
}

/// Callbacks between two moments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountedSpan {
    /// How many spans of [`COUNT_SPAN_MS`] of it were counted.
    pub spans: i64,
    /// How many came, by channel.
    pub by_channel: BTreeMap<String, i64>,
}

impl Store {
    /// Counts the callbacks of one more span that is past; tells whether there was one to count.
    /// Hosts that count the same span write the same numbers.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn count_callbacks(&self, now: Timestamp) -> Result<bool, StoreError> {
        let Some(from) = span_to_count(self.readers(), now).await? else { return Ok(false) };
        let by_channel = of_span(self.readers(), from).await?;
        self.alert_work(AlertWork::Count(Span { from, by_channel }, now)).await?;
        Ok(true)
    }

    /// How many callbacks came from one moment until before another.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn callbacks_between(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<CountedSpan, StoreError> {
        counted(self.readers(), (from, to)).await
    }
}

/// The next span that is past and was not counted.
async fn span_to_count(pool: &Pool, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let floor = |ms: i64| ms.div_euclid(COUNT_SPAN_MS).saturating_mul(COUNT_SPAN_MS);
    let row = query("select max(from_ms) as last from callback_counts").fetch_one(pool).await?;
    let earliest = floor(now.plus_ms(-KEPT_MS).as_ms()).saturating_add(COUNT_SPAN_MS);
    let from = match row.try_get::<Option<i64>, _>("last")? {
        Some(last) => last.saturating_add(COUNT_SPAN_MS),
        None => {
            let row =
                query("select min(received_at_ms) as first from inbox").fetch_one(pool).await?;
            row.try_get::<Option<i64>, _>("first")?.map_or_else(|| floor(now.as_ms()), floor)
        }
    };
    let from = from.max(earliest);
    // A callback has the time of its receipt, and is stored within seconds of it.
    let past = from.saturating_add(COUNT_SPAN_MS).saturating_add(GRACE_MS);
    Ok((past <= now.as_ms()).then_some(Timestamp::from_ms(from)))
}

/// The callbacks of one span by channel. What was learned by asking is none, and the parts of a
/// combined callback are one.
async fn of_span(pool: &Pool, from: Timestamp) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = query(
        "select channel, cast(count(*) as bigint) as callbacks from inbox \
         where received_at_ms >= $1 and received_at_ms < $2 and part = 0 \
         and delivery_key not like 'query:%' group by channel",
    )
    .bind(from.as_ms())
    .bind(from.plus_ms(COUNT_SPAN_MS).as_ms())
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("channel")?, row.try_get("callbacks")?))).collect()
}

pub(super) async fn write(
    connection: &mut Connection,
    span: &Span,
    now: Timestamp,
) -> Result<(), Fault> {
    let sum = span.by_channel.iter().map(|(_, count)| *count).fold(0, i64::saturating_add);
    let rows = span.by_channel.iter().map(|(channel, count)| (channel.as_str(), *count));
    for (channel, count) in rows.chain([("", sum)]) {
        query(
            "insert into callback_counts (from_ms, channel, callbacks) values ($1, $2, $3) \
             on conflict (from_ms, channel) do nothing",
        )
        .bind(span.from.as_ms())
        .bind(channel)
        .bind(count)
        .execute(&mut *connection)
        .await?;
    }
    query("delete from callback_counts where from_ms < $1")
        .bind(now.plus_ms(-KEPT_MS).as_ms())
        .execute(&mut *connection)
        .await?;
    notices::forget(connection, now).await
}

async fn counted(
    pool: &Pool,
    (from, to): (Timestamp, Timestamp),
) -> Result<CountedSpan, StoreError> {
    let rows = query(
        "select channel, cast(sum(callbacks) as bigint) as callbacks, \
         cast(count(*) as bigint) as spans from callback_counts \
         where from_ms >= $1 and from_ms < $2 group by channel",
    )
    .bind(from.as_ms())
    .bind(to.as_ms())
    .fetch_all(pool)
    .await?;
    let mut counted = CountedSpan::default();
    for row in rows {
        let channel: String = row.try_get("channel")?;
        if channel.is_empty() {
            counted.spans = row.try_get("spans")?;
        } else {
            counted.by_channel.insert(channel, row.try_get("callbacks")?);
        }
    }
    Ok(counted)
}

/// Callbacks are counted by so many milliseconds.
pub const COUNT_SPAN_MS: i64 = 300_000;

/// How long counts are kept: a week and a day.
const KEPT_MS: i64 = 8 * 86_400_000;

/// How long after its end a span is counted.
const GRACE_MS: i64 = 30_000;
