//! Repair on read: who looks at an order that has stood too long has its gateway asked.
//!
//! It never delays the answer: whether it is worth asking is found out beside it, and what the
//! gateway says comes in as every notification does.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use callgate_core::time::Timestamp;
use callgate_store::{Standing, Store};
use tokio::sync::Semaphore;

use super::Settings;
use super::waiting::Name;

/// Asks the gateway of an order what became of it, by business and order number: begins to, and
/// returns at once.
pub type AskGateway = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// Decides whether to ask. Clones are the same.
#[derive(Clone)]
pub(super) struct Repair(Arc<Rooms>);

struct Rooms {
    ask: Option<AskGateway>,
    store: Store,
    after_ms: i64,
    every_ms: i64,
    /// When each order was asked about last; those of long ago are forgotten.
    asked: Mutex<HashMap<Name, Timestamp>>,
    looks: Arc<Semaphore>,
}

impl fmt::Debug for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repair").finish_non_exhaustive()
    }
}

impl Repair {
    pub(super) fn new(ask: Option<AskGateway>, store: Store, settings: &Settings) -> Self {
        // None asked for is the same as nobody to ask.
        let ask = ask.filter(|_| settings.repair_after_ms > 0);
        Self(Arc::new(Rooms {
            ask,
            store,
            after_ms: i64::from(settings.repair_after_ms),
            every_ms: i64::from(settings.repair_every_ms),
            asked: Mutex::default(),
            looks: Arc::new(Semaphore::new(LOOKS_AT_ONCE)),
        }))
    }

    /// Somebody looks at this order.
    pub(super) fn looked(&self, standing: &Standing, now: Timestamp) {
        if self.0.ask.is_none() || now.ms_since(standing.updated_at) < self.0.after_ms {
            return;
        }
        let name = (standing.business.clone(), standing.order_no.clone());
        let Ok(permit) = Arc::clone(&self.0.looks).try_acquire_owned() else { return };
        if !self.0.is_due(&name, now) {
            return;
        }
        let rooms = Arc::clone(&self.0);
        tokio::spawn(async move {
            rooms.ask_if_open(&name).await;
            drop(permit);
        });
    }
}

impl Rooms {
    fn is_due(&self, name: &Name, now: Timestamp) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.get(name).is_some_and(|last| now.ms_since(*last) < self.every_ms) {
            return false;
        }
        if asked.len() >= ASKED_MAX {
            asked.retain(|_, last| now.ms_since(*last) < self.every_ms);
        }
        if asked.len() >= ASKED_MAX {
            metrics::counter!("callgate_status_repairs_total", "class" => "skipped").increment(1);
            return false;
        }
        asked.insert(name.clone(), now);
        true
    }

    async fn ask_if_open(&self, name @ (business, order_no): &Name) {
        match (&self.ask, self.store.is_as_registered(business, order_no).await) {
            (Some(ask), Ok(Some(true))) => {
                metrics::counter!("callgate_status_repairs_total", "class" => "asked").increment(1);
                ask(business, order_no);
            }
            (_, Ok(_)) => {}
            (_, Err(error)) => {
                tracing::warn!(%error, code = error.code(), business = name.0,
                    "an order that is looked at cannot be read");
            }
        }
    }
}

/// Orders whose last question is remembered.
const ASKED_MAX: usize = 16_384;

/// Orders that are looked at beside answers at once.
const LOOKS_AT_ONCE: usize = 4;
