//! Accepting: a verified callback becomes rows, once for each delivery key and part.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use callgate_core::money::Money;
use callgate_core::notification::{AccountMismatch, Notification, Verified};
use callgate_core::time::Timestamp;

use crate::batch::{Cell, Statement, fetch};
use crate::dialect::{Dialect, Lock};
use crate::error::{Fault, StoreError};
use crate::order::NAMES;
use crate::repeat::{Contradiction, contradictions};
use crate::sql::Connection;

/// A callback whose signature was checked, and where it came in.
#[derive(Debug, Clone)]
pub struct Callback {
    /// The channel that it came through.
    pub channel: String,
    /// Who owns its orders.
    pub business: String,
    /// How they are paid.
    pub scene: String,
    /// What it says.
    pub verified: Verified,
    /// The request headers that the channel keeps, as JSON.
    pub headers: String,
    /// The callback as received.
    pub raw: Vec<u8>,
}

/// What became of a callback. Whoever holds one may tell the gateway: it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// Stored now; the ids of the new notifications, in the order of the message.
    New(Vec<String>),
    /// Stored before; this time was counted.
    Seen,
}

/// A callback on its way into the inbox.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) callback: Arc<Callback>,
    /// One id for each part; the same when the group has to be run again.
    pub(crate) ids: Vec<String>,
    /// Who has decided what becomes of it, and until when they may say so.
    pub(crate) lease: Option<(String, Timestamp)>,
    pub(crate) now: Timestamp,
}

impl Arrival {
    /// Holds the texts against what PostgreSQL cannot store and SQLite could.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let nul = |text: &str| text.contains('\0');
        let in_part = |part: &Notification| {
            let texts = [
                &part.order_no,
                &part.transaction_id,
                &part.refund_id,
                &part.refund_no,
                &part.payer,
            ];
            nul(&part.meaning_key)
                || nul(&part.body)
                || texts.into_iter().flatten().any(|text| nul(text))
        };
        let parts = self.callback.verified.notifications();
        if nul(self.callback.verified.delivery_key())
            || nul(&self.callback.headers)
            || parts.iter().any(in_part)
        {
            return Err(StoreError::invalid("a text of the callback has a NUL character"));
        }
        if parts.len() > PARTS_MAX {
            let found = parts.len();
            return Err(StoreError::invalid(format!(
                "{found} parts, at most {PARTS_MAX} expected"
            )));
        }
        Ok(())
    }
}

/// Stores the arrivals; one receipt for each, in their order, and what contradicts itself.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    arrivals: &[&Arrival],
) -> Result<(Vec<Receipt>, Vec<Contradiction>), Fault> {
    if arrivals.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let orders = resolve(connection, dialect, arrivals).await?;
    // Two rows of one statement must not meet in one conflict, so repeats inside the group are
    // counted here.
    let mut rows: Vec<(Key<'_>, Pending<'_>)> = Vec::new();
    let mut places = HashMap::new();
    for arrival in arrivals {
        for (part, (notification, id)) in
            arrival.callback.verified.notifications().iter().zip(&arrival.ids).enumerate()
        {
            let key = (
                arrival.callback.channel.as_str(),
                arrival.callback.verified.delivery_key(),
                i64::try_from(part).unwrap_or(i64::MAX),
            );
            let place = *places.entry(key).or_insert_with(|| {
                let pending =
                    Pending { arrival, notification, id, seen: 0, last_seen: arrival.now };
                rows.push((key, pending));
                rows.len().saturating_sub(1)
            });
            if let Some((_, pending)) = rows.get_mut(place) {
                pending.seen = pending.seen.saturating_add(1);
                pending.last_seen = pending.last_seen.max(arrival.now);
            }
        }
    }
    // Hosts that store the same callbacks take the rows in the same order.
    rows.sort_by_key(|(key, _)| *key);
    let cells: Vec<_> = rows.iter().map(|(key, pending)| pending.cells(*key, &orders)).collect();
    let mut stored = BTreeSet::new();
    for row in fetch(connection, INSERT, &cells).await? {
        stored.insert(row.try_get::<String, _>("id")?);
    }
    let new = rows.iter().filter(|(_, pending)| stored.contains(pending.id));
    let evidence: Vec<_> = new.map(|(key, pending)| pending.evidence(key.2)).collect();
    fetch(connection, KEEP, &evidence).await?;
    let receipts: Vec<Receipt> = arrivals
        .iter()
        .map(|arrival| {
            let ids = arrival.ids.iter().filter(|id| stored.contains(*id)).cloned();
            match ids.collect::<Vec<_>>() {
                ids if ids.is_empty() => Receipt::Seen,
                ids => Receipt::New(ids),
            }
        })
        .collect();
    let seen = arrivals.iter().zip(&receipts).filter(|(_, receipt)| **receipt == Receipt::Seen);
    let repeats: Vec<&Arrival> = seen.map(|(arrival, _)| *arrival).collect();
    let contradictions = contradictions(connection, &repeats).await?;
    Ok((receipts, contradictions))
}

/// Finds the order behind each order number that is given.
///
/// A name that nobody registered yet is written down, and locked, so that who registers it on
/// another host at the same moment waits for this commit and then finds these notifications.
async fn resolve(
    connection: &mut Connection,
    dialect: Dialect,
    arrivals: &[&Arrival],
) -> Result<HashMap<(String, String), String>, Fault> {
    let named: BTreeSet<(&str, &str)> = arrivals
        .iter()
        .flat_map(|arrival| {
            let parts = arrival.callback.verified.notifications().iter();
            let names = parts.filter_map(|part| part.order_no.as_deref());
            names.map(|name| (arrival.callback.business.as_str(), name))
        })
        .collect();
    let cells = |(business, alias): &(&str, &str)| [Cell::from(*business), Cell::from(*alias)];
    let rows: Vec<_> = named.iter().map(cells).collect();
    let mut orders = read(connection, NAMES, &rows).await?;
    let unknown: Vec<_> = named
        .iter()
        .filter(|(business, alias)| {
            !orders.contains_key(&((*business).to_owned(), (*alias).to_owned()))
        })
        .map(cells)
        .collect();
    if !unknown.is_empty() {
        fetch(connection, AWAIT, &unknown).await?;
        let locked = Statement { suffix: dialect.lock(Lock::Share), ..NAMES };
        orders.extend(read(connection, locked, &unknown).await?);
    }
    Ok(orders)
}

async fn read(
    connection: &mut Connection,
    statement: Statement,
    rows: &[[Cell; 2]],
) -> Result<HashMap<(String, String), String>, sqlx::Error> {
    let mut orders = HashMap::new();
    for row in fetch(connection, statement, rows).await? {
        if let Some(order_no) = row.try_get::<Option<String>, _>("order_no")? {
            orders.insert((row.try_get("business")?, row.try_get("alias")?), order_no);
        }
    }
    Ok(orders)
}

/// Channel, delivery key and part.
type Key<'a> = (&'a str, &'a str, i64);

/// A row to be inserted, or to be counted where it is there already.
struct Pending<'a> {
    arrival: &'a Arrival,
    notification: &'a Notification,
    id: &'a str,
    seen: i64,
    last_seen: Timestamp,
}

impl Pending<'_> {
    fn cells(
        &self,
        (channel, delivery_key, part): Key<'_>,
        orders: &HashMap<(String, String), String>,
    ) -> [Cell; 29] {
        let Callback { business, scene, .. } = &*self.arrival.callback;
        let found = self.notification;
        let subject = found
            .order_no
            .as_ref()
            .map(|name| orders.get(&(business.clone(), name.clone())).unwrap_or(name).as_str());
        let minor = |money: Option<Money>| Cell::from(money.map(|money| money.minor));
        let currency = |money: Option<Money>| match &money {
            Some(money) => Cell::from(money.currency.as_str()),
            None => Cell::Text(None),
        };
        let mismatch = found.mismatch.map(|mismatch| match mismatch {
            AccountMismatch::Merchant => "merchant",
            AccountMismatch::Application => "application",
        });
        let now = self.arrival.now.as_ms();
        let lease = self.arrival.lease.as_ref();
        [
            self.id.into(),
            channel.into(),
            business.as_str().into(),
            scene.as_str().into(),
            delivery_key.into(),
            part.into(),
            found.event_type.as_str().into(),
            found.meaning_key.as_str().into(),
            found.order_no.as_deref().into(),
            subject.into(),
            found.transaction_id.as_deref().into(),
            found.refund_id.as_deref().into(),
            found.refund_no.as_deref().into(),
            found.payer.as_deref().into(),
            minor(found.amount),
            currency(found.amount.or(found.refunded_total)),
            minor(found.order_amount),
            currency(found.order_amount),
            minor(found.refunded_total),
            mismatch.into(),
            found.occurred_at.map(Timestamp::as_ms).into(),
            found.body.as_str().into(),
            now.into(),
            now.into(),
            self.seen.into(),
            self.last_seen.as_ms().into(),
            lease.map(|(_, until)| until.as_ms()).into(),
            lease.map(|(owner, _)| owner.as_str()).into(),
            i64::from(lease.is_some()).into(),
        ]
    }

    /// What came with it.
    fn evidence(&self, part: i64) -> [Cell; 3] {
        let Callback { headers, raw, .. } = &*self.arrival.callback;
        let raw = (part == 0).then_some(raw.as_slice());
        [self.id.into(), headers.as_str().into(), raw.into()]
    }
}

const AWAIT: Statement = Statement {
    columns: "business, alias",
    text: "insert into order_aliases (business, alias) \
           select v.business, v.alias from v where v.alias is not null order by 1, 2 \
           on conflict (business, alias) do nothing",
    suffix: "",
};

const INSERT: Statement = Statement {
    columns: "id, channel, business, scene, delivery_key, part, event_type, meaning_key, \
              order_no, subject, transaction_id, refund_id, refund_no, payer, amount_minor, \
              currency, order_amount_minor, order_currency, refunded_total_minor, mismatch, \
              occurred_at_ms, body, received_at_ms, due_at_ms, seen, last_seen_at_ms, \
              leased_until_ms, lease_owner, attempts",
    text: "insert into inbox (id, channel, business, scene, delivery_key, part, event_type, \
           meaning_key, order_no, subject, transaction_id, refund_id, refund_no, payer, \
           amount_minor, currency, order_amount_minor, order_currency, refunded_total_minor, \
           mismatch, occurred_at_ms, body, received_at_ms, due_at_ms, seen, last_seen_at_ms, \
           leased_until_ms, lease_owner, attempts, state, headers) \
           select v.*, 'ready', '' from v where v.id is not null \
           on conflict (channel, delivery_key, part) do update \
           set seen = inbox.seen + excluded.seen, last_seen_at_ms = excluded.last_seen_at_ms \
           returning id",
    suffix: "",
};

/// Beside the rows that were stored now: a repeat brings nothing new.
const KEEP: Statement = Statement {
    columns: "row_id, headers, raw",
    text: "insert into callbacks (notification_id, headers, raw) \
           select v.* from v where v.row_id is not null",
    suffix: "",
};

/// Parts of one combined callback: WeChat Pay combines at most 50 orders.
pub const PARTS_MAX: usize = 64;
