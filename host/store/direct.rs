//! Deciding before storing: a callback and what becomes of it in one commit.
//!
//! Most callbacks meet an order that waits for exactly them. Such a one is run first, and then
//! stored together with what was decided: one commit instead of three, and no row is written
//! twice. Everything that the decision rests on is held against what is stored when it is
//! committed, as with any settlement; what does not hold leaves the callback stored and ready, to
//! be claimed and run like any other.

use std::collections::HashMap;
use std::sync::Arc;

use callgate_core::notification::Notification;
use callgate_core::time::Timestamp;

use crate::batch::{Cell, Statement, fetch};
use crate::callback::{Arrival, Callback, Receipt};
use crate::dialect::Dialect;
use crate::documents::{Document, ORDERS};
use crate::ending::{self, RowChange};
use crate::error::StoreError;
use crate::foretold::{AllForetold, Foretold};
use crate::group::Operation;
use crate::inbox::{InboxState, StoredNotification};
use crate::lease::{ClaimRequest, Job, Lease, MeaningUse};
use crate::order::order_named;
use crate::settlement::{Settled, Settlement, Settling};
use crate::sql::Connection;
use crate::store::Store;

/// A callback that can be decided before it is stored.
#[derive(Debug)]
pub struct Foreseen {
    /// What a worker would be given once it were stored.
    pub job: Job,
    /// With what was decided, it can be stored.
    pub entry: Entry,
}

/// A callback that waits for what is decided about it.
#[derive(Debug)]
pub struct Entry(Arrival);

/// What became of a callback that was decided before it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// As for any callback. It is on disk.
    pub receipt: Receipt,
    /// Whether the decision holds. [`Settled::LostLease`] for a repeat; after
    /// [`Settled::Conflict`] the notification is ready for a worker.
    pub settled: Settled,
}

/// A callback and what was decided about it.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub(crate) arrival: Arrival,
    pub(crate) settling: Settling,
}

impl Arriving {
    /// The row as the decision leaves it, should it hold.
    pub(crate) fn ending(&self) -> Option<RowChange> {
        self.arrival.is_decided().then(|| ending::of(&self.settling))
    }
}

impl Store {
    /// Whether the database is a file of this host: a look at it costs no round trip.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.pools().dialect == Dialect::Sqlite
    }

    /// Looks whether a callback can be decided before it is stored: it has one part, its order is
    /// registered, its meaning is fresh, and nothing else about the order is open. Writes nothing.
    ///
    /// `worker` says in whose name it is decided; its limit is not looked at.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an impossible request, else as the database fails. The
    /// callback may still be accepted as any other.
    pub async fn foresee(
        &self,
        callback: &Arc<Callback>,
        worker: &ClaimRequest,
        now: Timestamp,
    ) -> Result<Option<Foreseen>, StoreError> {
        worker.check()?;
        let [told] = callback.verified.notifications() else { return Ok(None) };
        let Some(name) = &told.order_no else { return Ok(None) };
        let until = now.plus_ms(worker.lease_ms);
        let arrival = Arrival {
            callback: Arc::clone(callback),
            ids: vec![self.new_id(now)],
            lease: Some((worker.owner.clone(), until)),
            now,
        };
        // Who asks for an order asks together with others, whom this must not spoil it for.
        arrival.check()?;
        let sought = Sought {
            business: callback.business.clone(),
            name: name.clone(),
            meaning_key: told.meaning_key.clone(),
        };
        let reading = &self.pools().reading;
        let Some(order) = reading.waiting_order(sought).await? else { return Ok(None) };
        Ok(job(&arrival, told, order).map(|job| Foreseen { job, entry: Entry(arrival) }))
    }

    /// Stores a callback together with what was decided about it, in one commit.
    ///
    /// # Errors
    /// Any [`StoreError`]; nothing was acknowledged and nothing was decided, and the callback may
    /// be accepted as any other.
    pub async fn arrive(
        &self,
        Entry(arrival): Entry,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Arrived, StoreError> {
        let settling = Settling { settlement, history_id: self.new_id(now), now };
        let arriving = Box::new(Arriving { arrival, settling });
        self.ask(|reply| Operation::Arrive(arriving, reply)).await
    }

    /// Stores a callback whose decision takes longer; its job may be settled like any other.
    ///
    /// # Errors
    /// As for [`Store::accept`].
    pub async fn enter(&self, Entry(arrival): Entry) -> Result<Receipt, StoreError> {
        self.ask(|reply| Operation::Accept(arrival, reply)).await
    }
}

/// What is known of the rows that are stored as they end: those of new callbacks, with their orders.
pub(crate) fn foretold<'a>(
    arrives: &'a [Arriving],
    endings: &'a [Option<RowChange>],
    mut subjects: HashMap<String, Option<String>>,
) -> AllForetold<'a> {
    let row = |(one, ending): (&'a Arriving, &'a Option<RowChange>)| {
        let id = one.arrival.ids.first()?;
        let subject = subjects.remove(id)?;
        Some((id.as_str(), Foretold::new(&one.arrival, subject, ending.as_ref()?)?))
    };
    arrives.iter().zip(endings).filter_map(row).collect()
}

/// The job that a worker would be given, had it claimed the notification.
fn job(arrival: &Arrival, told: &Notification, order: Document) -> Option<Job> {
    let callback = &arrival.callback;
    let (owner, until) = arrival.lease.as_ref()?;
    let id = arrival.ids.first()?;
    let subject = Some(order.key.clone());
    let lease = Lease {
        id: id.clone(),
        owner: owner.clone(),
        attempt: 1,
        business: callback.business.clone(),
        subject: subject.clone(),
    };
    let stored = StoredNotification {
        id: id.clone(),
        channel: callback.channel.clone(),
        business: callback.business.clone(),
        scene: callback.scene.clone(),
        delivery_key: callback.verified.delivery_key().to_owned(),
        part: 0,
        notification: told.clone(),
        subject,
        // As with any job.
        headers: String::new(),
        received_at: arrival.now,
        state: InboxState::Ready,
        due_at: Some(arrival.now),
        leased_until: Some(*until),
        attempts: 1,
        attempts_before: 0,
        races: 0,
        replayed_at: None,
        seen: 1,
        last_seen_at: arrival.now,
        reason: None,
        outcome: None,
        scratch: None,
        plugin: None,
        history_id: None,
        finished_at: None,
        archived_at: None,
    };
    let meaning = MeaningUse::Fresh;
    Some(Job { lease, stored, subject: Some(order), meaning, committed: None })
}

/// An order that may wait for a callback.
#[derive(Debug)]
pub(crate) struct Sought {
    pub(crate) business: String,
    /// One of its names.
    pub(crate) name: String,
    /// What the callback says of it.
    pub(crate) meaning_key: String,
}

/// The orders of those that are registered, whose meaning is fresh, and of which nothing else is
/// open; each with its place. One that cannot be read is as one that is not there.
pub(crate) async fn waiting(
    connection: &mut Connection,
    sought: &[&Sought],
) -> Result<Vec<(usize, Document)>, StoreError> {
    let cells = |(place, sought): (usize, &&Sought)| {
        let Sought { business, name, meaning_key } = *sought;
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        [
            Cell::from(place),
            (&**business).into(),
            ORDERS.into(),
            (&**name).into(),
            (&**meaning_key).into(),
        ]
    };
    let rows: Vec<_> = sought.iter().enumerate().map(cells).collect();
    let mut found = Vec::new();
    for row in fetch(connection, WAITING, &rows).await? {
        let place = usize::try_from(row.try_get::<i64, _>("place")?).unwrap_or(usize::MAX);
        found.extend(Document::read(&row).ok().map(|document| (place, document)));
    }
    Ok(found)
}

/// The sum keeps PostgreSQL from looking for neighbours in the index of what is open: those of one
/// order are found by the order. No `not exists`, as for [`is_used`]. The name is looked up inside,
/// as by [`order_named!`], and all of the key comes from the list.
pub(crate) const WAITING: Statement = Statement {
    columns: "place, in_business, in_collection, name, in_meaning",
    text: concat!(
        "select v.place as place, t.business, t.collection, t.key, t.version, t.state, t.body, \
         t.amount_minor, t.currency, t.channel, t.created_at_ms, t.updated_at_ms from v \
         join documents t on (t.business = v.in_business and t.collection = v.in_collection \
             and t.key = ",
        order_named!("v.in_business", "v.name"),
        ") where coalesce((select 1 from history h where h.business = t.business \
             and h.order_no = t.key and h.meaning_key = v.in_meaning and h.effect <> 'none' \
             limit 1), 0) = 0 \
         and coalesce((select 1 from inbox e where e.business = t.business \
             and e.subject = t.key and e.due_at_ms + 0 is not null limit 1), 0) = 0"
    ),
    suffix: "",
};
