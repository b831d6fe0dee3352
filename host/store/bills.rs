//! What a bill is held against: what is stored of many orders at once, and what is stored as paid
//! in a span of time, page by page.

use std::collections::HashMap;

use callgate_core::bill::compare::{Fact, Ours, Progress};
use callgate_core::money::Money;
use callgate_core::time::Timestamp;

use crate::batch::{Cell, Statement, fetch};
use crate::documents::ORDERS;
use crate::error::StoreError;
use crate::filter::Cursor;
use crate::inbox::{InboxState, parse_currency};
use crate::order::order_named;
use crate::sql::{Row, query};
use crate::store::Store;

/// A payment that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidNotification {
    /// The notification.
    pub id: String,
    /// When it was received; with the id its place in the pages.
    pub received_at: Timestamp,
    /// The order, as the gateway was given it.
    pub order_no: Option<String>,
    /// The gateway's number of the payment.
    pub transaction_id: Option<String>,
    /// What was paid.
    pub amount: Option<Money>,
    /// When, as the gateway has it.
    pub occurred_at: Option<Timestamp>,
}

/// Payments in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidPage {
    /// The payments.
    pub paid: Vec<PaidNotification>,
    /// Where the next page begins; none where this is the last one.
    pub next: Option<Cursor>,
}

impl Store {
    /// What is stored of orders of one business, in the order asked; at most [`BILL_ROWS_MAX`].
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for more, else as the database fails.
    pub async fn stored_of(
        &self,
        business: &str,
        numbers: &[String],
    ) -> Result<Vec<Ours>, StoreError> {
        if numbers.len() > BILL_ROWS_MAX {
            let found = numbers.len();
            return Err(StoreError::invalid(format!("{found} orders, expected {BILL_ROWS_MAX}")));
        }
        let mut found: HashMap<String, Ours> = HashMap::new();
        let mut unique: Vec<&String> = numbers.iter().collect();
        unique.sort_unstable();
        unique.dedup();
        let rows: Vec<[Cell; 2]> =
            unique.iter().map(|number| [business.into(), number.as_str().into()]).collect();
        let mut connection = self.readers().acquire().await?;
        let orders: Vec<[Cell; 3]> = unique
            .iter()
            .map(|number| [business.into(), ORDERS.into(), number.as_str().into()])
            .collect();
        for row in fetch(&mut connection, REGISTERED, &orders).await? {
            let ours = found.entry(row.try_get("number")?).or_default();
            ours.registered = money(&row, "amount_minor", "currency")?;
        }
        for row in fetch(&mut connection, HEARD, &rows).await? {
            found.entry(row.try_get("number")?).or_default().heard.push(fact(&row)?);
        }
        Ok(numbers.iter().map(|number| found.get(number).cloned().unwrap_or_default()).collect())
    }

    /// What is stored of one channel as paid from one moment until before another, in order of
    /// arrival from behind a place on; at most [`BILL_ROWS_MAX`]. What arrived more than two days
    /// later is not looked for.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn paid_between(
        &self,
        channel: &str,
        (from, to): (Timestamp, Timestamp),
        after: Option<&Cursor>,
    ) -> Result<PaidPage, StoreError> {
        let (received, id) = match after {
            Some((at, id)) => (at.as_ms(), id.as_str()),
            // A gateway's clock may be a little ahead of ours.
            None => (from.plus_ms(-CLOCKS_MS).as_ms(), ""),
        };
        let limit = i64::try_from(BILL_ROWS_MAX).unwrap_or(i64::MAX);
        let rows = query(PAID)
            .bind(channel)
            .bind(received)
            .bind(id)
            .bind(to.plus_ms(LATE_MS).as_ms())
            .bind(from.as_ms())
            .bind(to.as_ms())
            .bind(limit)
            .fetch_all(self.readers())
            .await?;
        let paid: Vec<_> = rows.iter().map(PaidNotification::read).collect::<Result<_, _>>()?;
        let full = paid.len() >= BILL_ROWS_MAX;
        let next = paid.last().filter(|_| full).map(|last| (last.received_at, last.id.clone()));
        Ok(PaidPage { paid, next })
    }
}

impl PaidNotification {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let occurred: Option<i64> = row.try_get("occurred_at_ms")?;
        Ok(Self {
            id: row.try_get("id")?,
            received_at: Timestamp::from_ms(row.try_get("received_at_ms")?),
            order_no: row.try_get("order_no")?,
            transaction_id: row.try_get("transaction_id")?,
            amount: match money(row, "order_amount_minor", "order_currency")? {
                Some(total) => Some(total),
                None => money(row, "amount_minor", "currency")?,
            },
            occurred_at: occurred.map(Timestamp::from_ms),
        })
    }
}

fn money(row: &Row, minor: &str, currency: &str) -> Result<Option<Money>, StoreError> {
    match row.try_get::<Option<i64>, _>(minor)? {
        Some(minor) => Ok(Some(Money { minor, currency: parse_currency(row.try_get(currency)?)? })),
        None => Ok(None),
    }
}

fn fact(row: &Row) -> Result<Fact, StoreError> {
    let mismatch: Option<String> = row.try_get("mismatch")?;
    // A word of a newer host is as good as open.
    let progress = match InboxState::parse(row.try_get("state")?) {
        _ if mismatch.is_some() => Progress::Review,
        Ok(InboxState::Done | InboxState::After) => Progress::Done,
        Ok(InboxState::Review) => Progress::Review,
        Ok(InboxState::Ready | InboxState::Parked) | Err(_) => Progress::Open,
    };
    Ok(Fact {
        event_type: row.try_get("event_type")?,
        transaction_id: row.try_get("transaction_id")?,
        refund_id: row.try_get("refund_id")?,
        refund_no: row.try_get("refund_no")?,
        amount: money(row, "amount_minor", "currency")?,
        order_amount: money(row, "order_amount_minor", "order_currency")?,
        refunded_total: money(row, "refunded_total_minor", "currency")?,
        progress,
    })
}

const REGISTERED: Statement = Statement {
    columns: "business, collection, number",
    text: concat!(
        "select v.number as number, d.amount_minor, d.currency from v \
         join documents d on d.business = v.business and d.collection = v.collection and d.key = ",
        order_named!("v.business", "v.number")
    ),
    suffix: "",
};

const HEARD: Statement = Statement {
    columns: "business, number",
    text: concat!(
        "select v.number as number, i.event_type, i.transaction_id, i.refund_id, i.refund_no, \
         i.amount_minor, i.currency, i.order_amount_minor, i.order_currency, \
         i.refunded_total_minor, i.state, i.mismatch from v \
         join inbox i on i.business = v.business and i.subject = coalesce(",
        order_named!("v.business", "v.number"),
        ", v.number) order by i.received_at_ms, i.id"
    ),
    suffix: "",
};

const PAID: &str = "select id, received_at_ms, order_no, transaction_id, amount_minor, currency, \
    order_amount_minor, order_currency, occurred_at_ms from inbox \
    where (received_at_ms, id) > ($2, $3) and received_at_ms < $4 and channel = $1 \
    and event_type = 'payment.succeeded' and occurred_at_ms >= $5 and occurred_at_ms < $6 \
    order by received_at_ms, id limit $7";

/// Rows of a bill, and payments of a page, that one look takes.
pub const BILL_ROWS_MAX: usize = 200;

const CLOCKS_MS: i64 = 600_000;

/// Longer than a gateway repeats a callback.
const LATE_MS: i64 = 2 * 86_400_000;
