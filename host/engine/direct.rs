//! Callbacks that are decided before they are stored, and stored with what was decided: one
//! commit, and the effect stands when the gateway has its answer.
//!
//! Only where nothing else is likely: the order is registered and nothing about it is open, the
//! processor calls nobody outside, and a guest's thread is free soon. Who takes too long is stored
//! first after all, and goes on as any run whose lease it holds; whoever never began is stored to
//! be claimed. So a gateway waits [`DirectSettings::patience_ms`] at most for a processor.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callgate_core::time::Timestamp;
use callgate_sandbox::registry::RouteKey;
use callgate_store::{Arrived, Callback, ClaimRequest, Foreseen, Job, Receipt, Store, StoreError};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use self::rest::{Length, Rest};
use super::run::{self, Decided};
use super::{Engine, convert};
use crate::clock::Stopwatch;
use crate::inbound::taking::{Taken, Taking};

mod rest;

/// Where callbacks are decided before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whenever {
    /// Where the database is a file of this host, so that answers wait for no round trips.
    Near,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Whenever {
    fn with(self, store: &Store) -> bool {
        match self {
            Self::Near => store.is_near(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// When callbacks are decided before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectSettings {
    /// With which databases.
    pub when: Whenever,
    /// How long a callback waits for its processor before it is stored without it, in
    /// milliseconds.
    pub patience_ms: u32,
    /// After one that waited in vain, those of the same business are stored first for as long as it
    /// waited; twice as long where the next one waits in vain too, and so on up to so long, in
    /// milliseconds.
    pub rest_ms: u32,
    /// Where the last run did not end well, or another host began less than so long ago, all are
    /// stored first for so long after the start, in milliseconds: attempts are counted in the store,
    /// and what brings a host down must run out of them.
    pub calm_ms: u32,
}

impl DirectSettings {
    fn length(&self) -> Length {
        Length { first_ms: self.patience_ms, most_ms: self.rest_ms }
    }

    /// Holds every number against its bounds; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (field, found, least, most) in [
            ("patience_ms", self.patience_ms, 1, 2_000),
            ("rest_ms", self.rest_ms, 0, 600_000),
            ("calm_ms", self.calm_ms, 0, 86_400_000),
        ] {
            if !(least..=most).contains(&found) {
                return Err((field, format!("found {found}, expected {least} to {most}")));
            }
        }
        Ok(())
    }
}

/// Takes callbacks in. Clones are the same.
#[derive(Clone)]
pub struct Direct(Arc<Rooms>);

struct Rooms {
    engine: Engine,
    /// Whether any callback is decided before it is stored.
    wanted: bool,
    /// Callbacks on their way at once: as many as there are workers, beside them.
    places: Arc<Semaphore>,
    most: u32,
    /// Before this all are stored first.
    from: Timestamp,
    /// Businesses whose callbacks are stored first.
    resting: Mutex<BTreeMap<String, Rest>>,
}

impl fmt::Debug for Direct {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Direct").field("from", &self.0.from).finish_non_exhaustive()
    }
}

impl Taking for Direct {
    fn take(&self, callback: Callback, now: Timestamp) -> Taken<'_> {
        Box::pin(self.take_in(callback, now))
    }
}

impl Direct {
    /// Takes callbacks in from `from` on; before that they are only stored.
    #[must_use]
    pub fn new(engine: Engine, from: Timestamp) -> Self {
        let wanted = engine.settings.direct.when.with(&engine.store);
        let most = u32::try_from(engine.settings.workers.max(1)).unwrap_or(u32::MAX);
        let places = Arc::new(Semaphore::new(engine.settings.workers.max(1)));
        let resting = Mutex::default();
        Self(Arc::new(Rooms { engine, wanted, places, most, from, resting }))
    }

    /// Ends when nothing is under way any more; from then on callbacks are only stored.
    pub async fn rest(&self) {
        if let Ok(all) = self.0.places.acquire_many(self.0.most).await {
            all.forget();
        }
    }

    async fn take_in(&self, callback: Callback, now: Timestamp) -> Result<Receipt, StoreError> {
        let callback = Arc::new(callback);
        if let Some(place) = self.place(&callback, now)
            && let Some(receipt) = self.decided(&callback, now, place).await
        {
            return Ok(receipt);
        }
        // Also where an attempt to store it with its decision failed: a repeat is none.
        self.0.engine.store.accept(callback, now).await
    }

    /// A place, if it is worth a try.
    fn place(&self, callback: &Callback, now: Timestamp) -> Option<OwnedSemaphorePermit> {
        let Rooms { wanted, places, from, resting, .. } = &*self.0;
        if !wanted || now < *from {
            return None;
        }
        let rests = resting.lock().unwrap_or_else(PoisonError::into_inner);
        if rests.get(&callback.business).is_some_and(|rest| rest.holds(now)) {
            return None;
        }
        drop(rests);
        Arc::clone(places).try_acquire_owned().ok()
    }

    /// The receipt of a callback that was stored with what was decided; `None` where it has to be
    /// stored like any other.
    async fn decided(
        &self,
        callback: &Arc<Callback>,
        now: Timestamp,
        place: OwnedSemaphorePermit,
    ) -> Option<Receipt> {
        let (told, mut receipt) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let way = Way {
            direct: self.clone(),
            callback: Arc::clone(callback),
            now,
            begun: Arc::clone(&begun),
            told,
        };
        self.0.engine.guests.spawn(async move {
            way.go().await;
            drop(place);
        });
        match timeout(self.patience(), &mut receipt).await {
            Ok(told) => told.ok(),
            // Who comes first has it.
            Err(_) if !begun.swap(true, Ordering::AcqRel) => {
                self.tire(callback, now, "unbegun");
                None
            }
            // It keeps to its own time.
            Err(_) => receipt.await.ok(),
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.0.engine.settings.direct.patience_ms.into())
    }

    /// One of this business waited in vain.
    fn tire(&self, Callback { business, .. }: &Callback, came: Timestamp, way: &'static str) {
        let Rooms { engine, resting, .. } = &*self.0;
        count(business, way);
        let mut resting = resting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = resting.get(business).copied();
        let rest = Rest::after(before, (came, engine.clock.now()), engine.settings.direct.length());
        resting.insert(business.clone(), rest);
    }
}

/// One callback on its way.
struct Way {
    direct: Direct,
    callback: Arc<Callback>,
    now: Timestamp,
    /// Whether it is decided here or stored by who waits: who sets it has it.
    begun: Arc<AtomicBool>,
    /// Hears that it is stored.
    told: oneshot::Sender<Receipt>,
}

impl Way {
    /// Decides and stores; who waits for a receipt that never comes stores it instead.
    async fn go(self) {
        let Self { direct, callback, now, begun, told } = self;
        let engine = &direct.0.engine;
        if begun.load(Ordering::Acquire) {
            return;
        }
        let Some(Foreseen { job, entry }) = foresee(engine, &callback, now).await else { return };
        if begun.swap(true, Ordering::AcqRel) {
            return;
        }
        let watch = Stopwatch::start();
        let mut deciding = pin!(run::decide_job(engine, &job));
        if let Ok(decided) = timeout(direct.patience(), &mut deciding).await {
            let mut decided = timed(decided, watch);
            let now = engine.clock.now();
            let settlement = run::settlement(&job, &mut decided, now);
            match engine.store.arrive(entry, settlement, now).await {
                Ok(Arrived { receipt, settled }) => {
                    count(&callback.business, "decided");
                    let new = receipt != Receipt::Seen;
                    // Who waited may have gone.
                    drop(told.send(receipt));
                    if new {
                        run::conclude(engine, &job, decided, (Some(settled), watch)).await;
                    }
                }
                Err(error) => run::complain(&job, &error),
            }
            return;
        }
        direct.tire(&callback, now, "overtaken");
        match engine.store.enter(entry).await {
            Ok(receipt @ Receipt::New(_)) => {
                drop(told.send(receipt));
                let decided = timed(deciding.await, watch);
                run::finish(engine, &job, decided, watch).await;
            }
            // Nothing is under way in its name: the first one is.
            Ok(receipt @ Receipt::Seen) => drop(told.send(receipt)),
            Err(error) => run::complain(&job, &error),
        }
    }
}

/// What became of a try: `decided` with its callback, `overtaken` by its patience and stored first,
/// or `unbegun` within it.
fn count(business: &str, way: &'static str) {
    let business = business.to_owned();
    metrics::counter!("callgate_direct_total", "business" => business, "way" => way).increment(1);
}

fn timed(mut decided: Decided, watch: Stopwatch) -> Decided {
    decided.spent.duration_us = convert::micros(watch.elapsed());
    decided
}

/// The job that a callback will be, where it can be decided at once.
async fn foresee(engine: &Engine, callback: &Arc<Callback>, now: Timestamp) -> Option<Foreseen> {
    let worker = ClaimRequest {
        limit: 1,
        owner: engine.owner.clone(),
        lease_ms: i64::from(engine.settings.lease_ms),
    };
    match engine.store.foresee(callback, &worker, now).await {
        Ok(foreseen) => foreseen.filter(|foreseen| stays_inside(engine, &foreseen.job)),
        // Storing it will say what is wrong.
        Err(error) => {
            tracing::debug!(%error, code = error.code(), "a callback is stored first");
            None
        }
    }
}

/// Whether the processor of a job reaches nobody outside: what it calls is written down under a
/// notification that is stored.
fn stays_inside(engine: &Engine, job: &Job) -> bool {
    let stored = &job.stored;
    let state = job.subject.as_ref().and_then(|order| order.state.as_ref());
    let key = RouteKey {
        business: &stored.business,
        scene: &stored.scene,
        event_type: stored.notification.event_type.as_str(),
        state: Some(state.map_or("", |state| state.as_str())),
    };
    let plugin = engine.registry.current().pick(key, convert::order_no(job));
    plugin.is_none_or(|plugin| plugin.grants().endpoints.is_empty())
}

/// When direct decisions may begin here.
///
/// # Errors
/// As the database fails.
pub async fn begin(
    store: &Store,
    settings: &DirectSettings,
    now: Timestamp,
) -> Result<Timestamp, StoreError> {
    if !settings.when.with(store) || !store.begin_run(now, settings.calm_ms).await? {
        return Ok(now);
    }
    tracing::warn!(
        calm_ms = settings.calm_ms,
        "the last run did not end well, or another one began here or a moment ago: callbacks are \
         stored before they are decided for a while"
    );
    Ok(now.plus_ms(settings.calm_ms.into()))
}
