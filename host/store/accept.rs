//! Accepting: a verified callback becomes rows, once for each delivery key and part.

use std::collections::{BTreeSet, HashMap};

use callgate_core::notification::Notification;

use crate::batch::{Cell, Statement, change, fetch};
use crate::callback::{Arrival, Receipt};
use crate::dialect::{Dialect, Lock};
use crate::ending::RowChange;
use crate::error::Fault;
use crate::order::NAMES;
use crate::repeat::{Contradiction, contradictions};
use crate::sql::Connection;
use crate::storing::{Key, Pending, insert, keep};

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
    keep(connection, &rows).await?;
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

const AWAIT: Statement = Statement {
    columns: "business, alias",
    text: "insert into order_aliases (business, alias) \
           select v.business, v.alias from v where v.alias is not null order by 1, 2 \
           on conflict (business, alias) do nothing",
    suffix: "",
};
