//! [`Store`]: open it, act on it, look at it, close it.

use std::collections::BTreeMap;
use std::sync::Arc;

use callgate_core::time::Timestamp;
use tokio::sync::{Mutex, oneshot, watch};
use uuid::{ContextV7, Uuid};

use crate::bell::{Bell, Rope};
use crate::callback::{Arrival, Callback, Receipt};
use crate::deliveries::{self, DeadLetter, DeadLetters, WaitingDelivery};
use crate::dialect::{Pools, connect};
use crate::documents::{Document, DocumentRef};
use crate::error::StoreError;
use crate::group::{Operation, Reply};
use crate::held::{self, Recall, Recalling};
use crate::inbox::{self, Counts, StoredNotification};
use crate::inquiries::FirstQuestion;
use crate::lease::{Claim, ClaimRequest, Job};
use crate::order::{self, OrderView};
use crate::outbox::{self, StoredEvent};
use crate::probe::Probe;
use crate::queue::{Bounds, Queue, line};
use crate::register::{NewOrder, Registered, Registration};
use crate::retention::removal::{Removal, Removed};
use crate::schema::migrate;
use crate::settings::Settings;
use crate::settle::Finishing;
use crate::settlement::{AfterSettlement, Settled, Settlement, Settling};
use crate::sinks::{SinkHold, SinkStep, Stepping};
use crate::sql::Pool;
use crate::tally::{self, Tally};
use crate::writer::{Ending, Writer};

/// Everything that lasts. Clones are the same store.
///
/// An act that was sent is done even where its caller goes away; whoever has the answer knows
/// that it is on disk.
#[derive(Debug, Clone)]
pub struct Store(Arc<Rooms>);

#[derive(Debug)]
struct Rooms {
    pools: Arc<Pools>,
    queue: Queue,
    stop: watch::Sender<bool>,
    writer: Mutex<Option<Ending>>,
    work: Arc<Rope>,
    settled: Arc<Rope>,
    tally: Arc<tally::Counts>,
    /// Keeps ids of one millisecond in order.
    ids: std::sync::Mutex<ContextV7>,
}

impl Store {
    /// Opens the database, creating the file where it is SQLite's, and brings it to this
    /// program's schema. Needs a Tokio runtime, on which the writer lives.
    ///
    /// # Errors
    /// [`StoreError::Settings`] for a wrong setting, [`StoreError::Denied`] where the database
    /// does not let us in, [`StoreError::Newer`] where a newer program migrated it,
    /// [`StoreError::Corrupt`] where it is no database of this program, and
    /// [`StoreError::Unavailable`] where it cannot be reached or the machine has no thread left.
    pub async fn open(settings: &Settings) -> Result<Self, StoreError> {
        settings.check()?;
        let pools = Arc::new(connect(settings).await?);
        migrate(&pools).await?;
        let (queue, line) = line(Bounds::of(settings));
        let (stop, stopped) = watch::channel(false);
        let (work, settled) = (Arc::new(Rope::new()), Arc::new(Rope::new()));
        let tally = Arc::new(tally::Counts::default());
        let writer = Writer {
            pools: Arc::clone(&pools),
            checkpoints: pools.checkpoints()?,
            order_block_ms: settings.order_block_ms,
            work: Arc::clone(&work),
            settled: Arc::clone(&settled),
            tally: Arc::clone(&tally),
        };
        let writer = Mutex::new(Some(writer.start(line, stopped)?));
        let ids = std::sync::Mutex::new(ContextV7::new());
        Ok(Self(Arc::new(Rooms { pools, queue, stop, writer, work, settled, tally, ids })))
    }

    /// Stores a callback, once for each delivery key; a repeat is counted.
    ///
    /// # Errors
    /// Any [`StoreError`]; nothing was acknowledged, and the gateway must send it again.
    pub async fn accept(
        &self,
        callback: impl Into<Arc<Callback>>,
        now: Timestamp,
    ) -> Result<Receipt, StoreError> {
        let callback = callback.into();
        let parts = callback.verified.notifications().len();
        let ids = (0..parts).map(|_| self.new_id(now)).collect();
        let arrival = Arrival { callback, ids, lease: None, now };
        arrival.check()?;
        self.ask(|reply| Operation::Accept(arrival, reply)).await
    }

    /// Hands out what is due, in order of arrival for each order and never two of one order.
    ///
    /// A claim that is given up while it waits may still lease jobs; they come back when the
    /// lease ends.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an impossible request, else as the database fails.
    pub async fn claim(
        &self,
        request: ClaimRequest,
        now: Timestamp,
    ) -> Result<Vec<Job>, StoreError> {
        request.check()?;
        self.ask(|reply| Operation::Claim(Claim { request, now }, reply)).await
    }

    /// Makes what a run decided true, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where the settlement is impossible, else as the database fails. In
    /// both cases nothing was written and the lease is as it was.
    pub async fn settle(
        &self,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Settled, StoreError> {
        let settling = Box::new(Settling { settlement, history_id: self.new_id(now), now });
        self.ask(|reply| Operation::Settle(settling, reply)).await
    }

    /// Ends the last phase of a notification whose advance is committed.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn finish_after(
        &self,
        settlement: AfterSettlement,
        now: Timestamp,
    ) -> Result<Settled, StoreError> {
        let finishing = Box::new(Finishing { settlement, now });
        self.ask(|reply| Operation::Finish(finishing, reply)).await
    }

    /// Registers an order, and releases what was parked for it. The same registration again
    /// changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an impossible order, else as the database fails.
    pub async fn register(
        &self,
        order: NewOrder,
        now: Timestamp,
    ) -> Result<Registered, StoreError> {
        self.register_asking(order, Vec::new(), now).await
    }

    /// The same, and writes down in the same commit when its gateways are asked first if nothing
    /// is heard of it.
    ///
    /// # Errors
    /// As for [`Store::register`].
    pub async fn register_asking(
        &self,
        order: NewOrder,
        questions: Vec<FirstQuestion>,
        now: Timestamp,
    ) -> Result<Registered, StoreError> {
        let registration = Box::new(Registration::new(order, now)?.asking(questions));
        self.ask(|reply| Operation::Register(registration, reply)).await
    }

    /// Takes or renews the lease of a sink, and writes what happened on it. A sink that is new
    /// begins where the step says.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an impossible step, else as the database fails.
    pub async fn step_sink(&self, step: SinkStep, now: Timestamp) -> Result<SinkHold, StoreError> {
        let stepping = Box::new(Stepping { step, now });
        stepping.check()?;
        self.ask(|reply| Operation::Step(stepping, reply)).await
    }

    /// What sinks were given up for, in the order of commits.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an impossible limit, else as the database fails.
    pub async fn dead_letters(&self, which: &DeadLetters) -> Result<Vec<DeadLetter>, StoreError> {
        which.check()?;
        deliveries::dead(self.readers(), which).await
    }

    /// How many dead letters a sink has.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn dead_letter_count(&self, sink: &str) -> Result<i64, StoreError> {
        deliveries::dead_count(self.readers(), sink).await
    }

    /// What waits for a sink, in the order of commits.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn waiting_deliveries(
        &self,
        sink: &str,
        limit: i64,
    ) -> Result<Vec<WaitingDelivery>, StoreError> {
        deliveries::waiting(self.readers(), sink, limit).await
    }

    /// Events behind a place in the outbox, in the order of commits; at most
    /// [`EVENTS_MAX`](crate::EVENTS_MAX).
    ///
    /// # Errors
    /// As the database fails.
    pub async fn events_after(&self, seq: i64, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
        outbox::after(self.readers(), seq, limit).await
    }

    /// The event at a place in the outbox, if it is still stored.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn event_at(&self, seq: i64) -> Result<Option<StoredEvent>, StoreError> {
        outbox::at(self.readers(), seq).await
    }

    /// Rings when there may be something to claim: a new notification, a released one, or one
    /// whose predecessor was settled. Other hosts and passing time do not ring it.
    #[must_use]
    pub fn work_bell(&self) -> Bell {
        self.0.work.bell()
    }

    /// Rings when something was settled on this host.
    #[must_use]
    pub fn settled_bell(&self) -> Bell {
        self.0.settled.bell()
    }

    /// What the writer has committed since the store was opened.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.0.tally.read()
    }

    /// Commits a row, as a callback would be: ends well only where callbacks can be stored.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn probe(&self, now: Timestamp) -> Result<(), StoreError> {
        let probe = Probe { id: self.new_id(now), now };
        self.ask(|reply| Operation::Probe(probe, reply)).await
    }

    /// One small step of retention.
    pub(crate) async fn remove(&self, removal: Removal) -> Result<Removed, StoreError> {
        self.ask(|reply| Operation::Remove(removal, reply)).await
    }

    /// Makes notifications due now that are held for a plugin; tells how many.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn recall(&self, recall: Recall, now: Timestamp) -> Result<u64, StoreError> {
        self.ask(|reply| Operation::Recall(Recalling { recall, now }, reply)).await
    }

    /// How many notifications are held, by plugin.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn held(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        held::counts(self.readers()).await
    }

    /// The order that is known by this number or alias, with everything about it.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn order(&self, business: &str, name: &str) -> Result<Option<OrderView>, StoreError> {
        order::view(self.readers(), business, name).await
    }

    /// Several documents of one business, in the order asked; at most
    /// [`DOCUMENTS_MAX`](crate::DOCUMENTS_MAX).
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for more, else as the database fails.
    pub async fn documents(
        &self,
        business: &str,
        refs: &[DocumentRef],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        self.0.pools.reading.documents(self.readers(), business, refs).await
    }

    /// One notification by its id.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn notification(&self, id: &str) -> Result<Option<StoredNotification>, StoreError> {
        inbox::notification_by_id(self.readers(), id).await
    }

    /// The callback that a notification came in, as received; `None` for the later parts of a
    /// combined callback, which share the first one's.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn raw_callback(&self, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
        inbox::raw(self.readers(), id).await
    }

    /// What was heard of an order that may not be registered, by its number or by the name it
    /// was called, in order of arrival.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn notifications_of(
        &self,
        business: &str,
        name: &str,
    ) -> Result<Vec<StoredNotification>, StoreError> {
        let order_no = order::resolve(self.readers(), business, name).await?;
        inbox::of_subject(self.readers(), business, order_no.as_deref().unwrap_or(name)).await
    }

    /// The events of an order, in the order of commits.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn events_of(
        &self,
        business: &str,
        order_no: &str,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        outbox::of_order(self.readers(), business, order_no).await
    }

    /// How many notifications are where, finished ones apart.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        inbox::counts(self.readers()).await
    }

    /// How old the oldest notification is that is not finished, in milliseconds.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn oldest_open_ms(&self, now: Timestamp) -> Result<Option<i64>, StoreError> {
        Ok(inbox::oldest_open(self.readers()).await?.map(|oldest| now.ms_since(oldest)))
    }

    /// Takes nothing new, ends what waits, and closes the database. A second call does nothing.
    pub async fn close(&self) {
        self.0.stop.send_replace(true);
        if let Some(writer) = self.0.writer.lock().await.take()
            && writer.await.is_err()
        {
            tracing::error!("the store's writer ended badly");
        }
        self.0.pools.close().await;
    }

    pub(crate) fn pools(&self) -> &Pools {
        &self.0.pools
    }

    pub(crate) fn readers(&self) -> &Pool {
        &self.0.pools.readers
    }

    pub(crate) async fn ask<T>(
        &self,
        operation: impl FnOnce(Reply<T>) -> Operation,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.0.queue.put(operation(reply)).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// A UUID of version 7 of this moment; later ones sort later.
    pub(crate) fn new_id(&self, now: Timestamp) -> String {
        let seconds = u64::try_from(now.as_ms().div_euclid(1000)).unwrap_or(0);
        let rest = u32::try_from(now.as_ms().rem_euclid(1000)).unwrap_or(0);
        let moment =
            uuid::Timestamp::from_unix(&self.0.ids, seconds, rest.saturating_mul(1_000_000));
        Uuid::new_v7(moment).to_string()
    }
}
