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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use callgate_core::money::{Currency, Money};
    use callgate_core::order::State;
    use callgate_core::time::Timestamp;
    use callgate_store::{NewOrder, Standing, Store};
    use tokio::sync::mpsc;

    use super::Repair;
    use crate::inbound::status::Settings;

    async fn store(folder: &tempfile::TempDir) -> Store {
        let url = format!("sqlite://{}", folder.path().join("x.db").display());
        let settings = callgate_store::Settings { url, ..Default::default() };
        Store::open(&settings).await.expect("a store")
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(1_790_000_000_000).plus_ms(ms)
    }

    async fn registered(store: &Store, order_no: &str) -> Standing {
        let order = NewOrder {
            business: "SHOP".to_owned(),
            order_no: order_no.to_owned(),
            amount: Money { minor: 1, currency: Currency::CNY },
            channel: None,
            state: State::parse("TO_BE_PAID").expect("a state"),
            aliases: Vec::new(),
            body: "{}".to_owned(),
        };
        store.register(order, at(0)).await.expect("registered");
        let name = ("SHOP".to_owned(), order_no.to_owned());
        let found = store.standings(&[name]).await.expect("read");
        found.into_iter().flatten().next().expect("the order")
    }

    /// A repair with the default settings (two minutes, a minute), and what it asks.
    fn repair(store: &Store) -> (Repair, mpsc::UnboundedReceiver<String>) {
        let defaults: toml::Table = include_str!("../../default.toml").parse().expect("TOML");
        let settings: Settings = defaults["status"].clone().try_into().expect("settings");
        settings.check().expect("the defaults are in bounds");
        let (asks, asked) = mpsc::unbounded_channel();
        let ask = move |business: &str, order_no: &str| {
            asks.send(format!("{business}/{order_no}")).expect("somebody listens");
        };
        (Repair::new(Some(Arc::new(ask)), store.clone(), &settings), asked)
    }

    /// Waits until what was begun beside the answer is through.
    async fn through(repair: &Repair) {
        let all = u32::try_from(super::LOOKS_AT_ONCE).expect("a few");
        drop(repair.0.looks.acquire_many(all).await.expect("never closed"));
    }

    #[tokio::test]
    async fn an_order_past_its_time_is_asked_about_once_in_a_while() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let store = store(&folder).await;
        let (one, two) = (registered(&store, "N1").await, registered(&store, "N2").await);
        let (repair, mut asked) = repair(&store);
        for (standing, ms, expected) in [
            (&one, 119_999, None),
            (&one, 120_000, Some("SHOP/N1")),
            (&one, 120_001, None),
            (&two, 120_002, Some("SHOP/N2")),
            (&one, 179_999, None),
            (&one, 180_000, Some("SHOP/N1")),
        ] {
            repair.looked(standing, at(ms));
            through(&repair).await;
            assert_eq!(asked.try_recv().ok().as_deref(), expected, "{ms}");
        }
        store.close().await;
    }

    #[tokio::test]
    async fn an_order_that_is_gone_or_a_store_that_fails_asks_nobody() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let store = store(&folder).await;
        let gone = Standing { order_no: "N9".to_owned(), ..registered(&store, "N1").await };
        let (repair, mut asked) = repair(&store);
        repair.looked(&gone, at(500_000));
        through(&repair).await;
        store.close().await;
        let known = Standing { order_no: "N1".to_owned(), ..gone };
        repair.looked(&known, at(500_000));
        through(&repair).await;
        assert!(asked.try_recv().is_err());
    }
}
