//! Accepting: a verified callback becomes rows, once for each delivery key and part.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use callgate_core::money::Money;
use callgate_core::notification::{AccountMismatch, Notification, Verified};
use callgate_core::time::Timestamp;

use crate::batch::{self, Cell, Statement, change, fetch};
use crate::dialect::{Dialect, Lock};
use crate::ending::{LeaseEnd, RowChange};
use crate::error::{Fault, StoreError};
use crate::inbox::InboxState;
use crate::order::NAMES;
use crate::repeat::{Contradiction, contradictions};
use crate::settlement::Budget;
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

/// A callback to be stored, and how its row ends, if that was decided before. One that was has one
/// part.
pub(crate) type Incoming<'a> = (&'a Arrival, Option<&'a RowChange>);

/// What a group accepts.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// One for each callback, in their order.
    pub(crate) receipts: Vec<Receipt>,
    /// What contradicts itself.
    pub(crate) contradictions: Vec<Contradiction>,
    /// The orders of the new rows that are stored as they end, by the ids of the rows.
    pub(crate) subjects: HashMap<String, Option<String>>,
}

/// Stores callbacks.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    incoming: &[Incoming<'_>],
) -> Result<Accepted, Fault> {
    if incoming.is_empty() {
        return Ok(Accepted::default());
    }
    let orders = resolve(connection, dialect, incoming).await?;
    // Two rows of one statement must not meet in one conflict, so repeats inside the group are
    // counted here.
    let mut rows: Vec<(Key<'_>, Pending<'_>)> = Vec::new();
    let mut places = HashMap::new();
    for (arrival, ending) in incoming.iter().copied() {
        for (part, (notification, id)) in
            arrival.callback.verified.notifications().iter().zip(&arrival.ids).enumerate()
        {
            let key = (
                arrival.callback.channel.as_str(),
                arrival.callback.verified.delivery_key(),
                i64::try_from(part).unwrap_or(i64::MAX),
            );
            let place = *places.entry(key).or_insert_with(|| {
                let subject = subject(arrival, notification, &orders);
                let (seen, last_seen) = (0, arrival.now);
                let row = Pending { arrival, notification, id, subject, ending, seen, last_seen };
                rows.push((key, row));
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
    let new = insert(connection, &rows).await?;
    rows.retain(|(_, pending)| new.contains(pending.id));
    let evidence: Vec<_> = rows.iter().map(|(key, pending)| pending.evidence(key.2)).collect();
    change(connection, KEEP, &evidence).await?;
    let receipt = |arrival: &Arrival| {
        let ids: Vec<_> = arrival.ids.iter().filter(|id| new.contains(*id)).cloned().collect();
        if ids.is_empty() { Receipt::Seen } else { Receipt::New(ids) }
    };
    let receipts: Vec<_> = incoming.iter().map(|(arrival, _)| receipt(arrival)).collect();
    let ended = rows.iter().filter(|(_, row)| row.ending.is_some());
    let subject = |row: &Pending<'_>| row.subject.map(str::to_owned);
    let subjects = ended.map(|(_, row)| (row.id.to_owned(), subject(row))).collect();
    let seen = incoming.iter().zip(&receipts).filter(|(_, receipt)| **receipt == Receipt::Seen);
    let repeats: Vec<&Arrival> = seen.map(|((arrival, _), _)| *arrival).collect();
    let contradictions = contradictions(connection, &repeats).await?;
    Ok(Accepted { receipts, contradictions, subjects })
}

/// Stores rows, or counts them where they are there already; the ids of the new ones.
async fn insert(
    connection: &mut Connection,
    rows: &[(Key<'_>, Pending<'_>)],
) -> Result<HashSet<String>, Fault> {
    let cells: Vec<_> = rows.iter().map(|(key, pending)| pending.cells(*key)).collect();
    let Connection::Lite(lite) = connection else {
        let stored = fetch(connection, INSERT_OR_COUNT, &cells).await?;
        return Ok(stored.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?);
    };
    batch::count();
    let stored = lite.change_each((INSERT.columns, INSERT.text), &cells)?;
    let (new, known): (Vec<_>, Vec<_>) =
        rows.iter().zip(stored).partition(|(_, stored)| *stored > 0);
    let known: Vec<_> = known.into_iter().map(|((key, row), _)| row.again(*key)).collect();
    change(connection, COUNT, &known).await?;
    Ok(new.into_iter().map(|((_, row), _)| row.id.to_owned()).collect())
}

/// The order that is spoken of: its own number where somebody registered it.
fn subject<'a>(
    arrival: &Arrival,
    told: &'a Notification,
    orders: &'a HashMap<(String, String), String>,
) -> Option<&'a str> {
    let name = told.order_no.as_ref()?;
    let known = orders.get(&(arrival.callback.business.clone(), name.clone()));
    Some(known.unwrap_or(name).as_str())
}

/// Finds the order behind each order number that is given.
///
/// A name that nobody registered yet is written down, and locked, so that who registers it on
/// another host at the same moment waits for this commit and then finds these notifications.
async fn resolve(
    connection: &mut Connection,
    dialect: Dialect,
    incoming: &[Incoming<'_>],
) -> Result<HashMap<(String, String), String>, Fault> {
    let named: BTreeSet<(&str, &str)> = incoming
        .iter()
        .flat_map(|(arrival, _)| {
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
        change(connection, AWAIT, &unknown).await?;
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
    subject: Option<&'a str>,
    ending: Option<&'a RowChange>,
    seen: i64,
    last_seen: Timestamp,
}

impl Pending<'_> {
    fn cells(&self, (channel, delivery_key, part): Key<'_>) -> [Cell; 38] {
        let Callback { business, scene, .. } = &*self.arrival.callback;
        let found = self.notification;
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
        let (ending, lease) = (self.ending, self.arrival.lease.as_ref());
        let attempts = i64::from(lease.is_some());
        let held = ending.is_none_or(|ending| ending.lease == LeaseEnd::Held);
        let lease = lease.filter(|_| held);
        let reason = ending.and_then(|ending| ending.reason.as_ref());
        let due_at = ending.map_or(Some(self.arrival.now), |ending| ending.due_at);
        // What an attempt costs is told in what was there before it.
        let before = ending.map_or(0, |ending| match ending.budget {
            Budget::Spent => 0,
            Budget::Kept | Budget::Raced | Budget::Anew => attempts,
        });
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
            self.subject.into(),
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
            due_at.map(Timestamp::as_ms).into(),
            self.seen.into(),
            self.last_seen.as_ms().into(),
            lease.map(|(_, until)| until.as_ms()).into(),
            lease.map(|(owner, _)| owner.as_str()).into(),
            attempts.into(),
            before.into(),
            ending.map_or(InboxState::Ready, |ending| ending.state).as_str().into(),
            reason.map(|reason| reason.code.as_ref()).into(),
            reason.map(|reason| reason.text.as_str()).into(),
            ending.and_then(|ending| ending.outcome).into(),
            ending.and_then(|ending| ending.scratch.as_deref()).into(),
            ending.and_then(|ending| ending.plugin.as_deref()).into(),
            ending.and_then(|ending| ending.finished_at).map(Timestamp::as_ms).into(),
            ending.and_then(|ending| ending.history_id.as_deref()).into(),
        ]
    }

    /// Where it is, and how often it came again.
    fn again(&self, (channel, delivery_key, part): Key<'_>) -> [Cell; 5] {
        let last_seen = self.last_seen.as_ms();
        [channel.into(), delivery_key.into(), part.into(), self.seen.into(), last_seen.into()]
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

const COLUMNS: &str = "id, channel, business, scene, delivery_key, part, event_type, meaning_key, order_no, subject, \
     transaction_id, refund_id, refund_no, payer, amount_minor, currency, order_amount_minor, \
     order_currency, refunded_total_minor, mismatch, occurred_at_ms, body, received_at_ms, \
     due_at_ms, seen, last_seen_at_ms, leased_until_ms, lease_owner, attempts, attempts_before, \
     state, reason_code, reason_text, outcome, scratch, plugin, finished_at_ms, history_id";

/// Stores a row unless its delivery key is known; what is done then follows.
macro_rules! insert {
    ($known:literal) => {
        concat!(
            "insert into inbox (id, channel, business, scene, delivery_key, part, event_type, \
             meaning_key, order_no, subject, transaction_id, refund_id, refund_no, payer, \
             amount_minor, currency, order_amount_minor, order_currency, refunded_total_minor, \
             mismatch, occurred_at_ms, body, received_at_ms, due_at_ms, seen, last_seen_at_ms, \
             leased_until_ms, lease_owner, attempts, attempts_before, state, reason_code, \
             reason_text, outcome, scratch, plugin, finished_at_ms, history_id, headers) \
             select v.*, '' from v where v.id is not null \
             on conflict (channel, delivery_key, part) do ",
            $known
        )
    };
}

const INSERT_OR_COUNT: Statement = Statement {
    columns: COLUMNS,
    text: insert!(
        "update set seen = inbox.seen + excluded.seen, last_seen_at_ms = excluded.last_seen_at_ms \
         returning id"
    ),
    suffix: "",
};

const INSERT: Statement = Statement { columns: COLUMNS, text: insert!("nothing"), suffix: "" };

const COUNT: Statement = Statement {
    columns: "at_channel, at_key, at_part, more, last_ms",
    text: "update inbox set seen = inbox.seen + v.more, last_seen_at_ms = v.last_ms from v \
           where inbox.channel = v.at_channel and inbox.delivery_key = v.at_key \
           and inbox.part = v.at_part",
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
