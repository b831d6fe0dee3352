//! The listeners: bound before anything starts, served once everything else is there.

use std::net::SocketAddr;
use std::sync::Arc;

use callgate_store::Store;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::{fronts, reconcile};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::alert::Robots;
use crate::engine::bulkhead::Bulkhead;
use crate::engine::direct::Direct;
use crate::engine::fleet::Fleet;
use crate::inbound::asking::SharedAsks;
use crate::inbound::callback::{Intake, Place};
use crate::inbound::channel::Channels;
use crate::inbound::inquiries::{self, Inquiries};
use crate::inbound::listener::tls::TlsKeys;
use crate::inbound::listener::{self, Bound, Pushes};
use crate::inbound::operator::Operator;
use crate::inbound::orders::Orders;
use crate::inbound::ready::Ready;
use crate::inbound::{Finished, keys, operator, orders};
use crate::telemetry::LineBudget;
use crate::telemetry::pulse::Pulse;

/// Listeners that are bound and not served yet.
pub(super) struct Doors {
    public: Bound,
    private: Bound,
    front_ends: Option<Bound>,
}

/// Where they are.
pub(super) struct Addresses {
    pub(super) public: SocketAddr,
    pub(super) private: SocketAddr,
    pub(super) status: Option<SocketAddr>,
}

/// What stands behind them.
pub(super) struct House {
    pub(super) store: Store,
    pub(super) direct: Direct,
    pub(super) clock: Clock,
    pub(super) channels: Arc<Channels>,
    pub(super) asks: SharedAsks,
    pub(super) metrics: PrometheusHandle,
    pub(super) fleet: Arc<Fleet>,
    pub(super) bulkhead: Bulkhead,
    pub(super) robots: Robots,
    pub(super) pulse: Pulse,
    pub(super) keys: keys::Keys,
    pub(super) finished: broadcast::Sender<Finished>,
}

impl Doors {
    pub(super) async fn open(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        Ok(Self {
            public: Bound::open("public", &config.public, clock.now()).await?,
            private: Bound::open("private", &config.private, clock.now()).await?,
            front_ends: fronts::bind(config, clock.now()).await?,
        })
    }

    pub(super) fn addresses(&self) -> anyhow::Result<Addresses> {
        Ok(Addresses {
            public: self.public.local_addr()?,
            private: self.private.local_addr()?,
            status: fronts::address(self.front_ends.as_ref())?,
        })
    }

    /// What they present.
    pub(super) fn tls(&self) -> Vec<Arc<TlsKeys>> {
        let status = self.front_ends.as_ref().and_then(Bound::keys);
        [self.public.keys(), self.private.keys(), status].into_iter().flatten().collect()
    }

    /// Opens them.
    pub(super) fn serve(
        self,
        config: &Config,
        house: House,
        stopped: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let ask = Some(fronts::asking(Arc::clone(&house.asks)));
        let news = fronts::News { finished: house.finished.subscribe(), ask };
        let place = (&house.store, &house.clock);
        let mut tasks = fronts::serve(self.front_ends, config, place, (news, stopped));
        tasks.push(house.serve_public(self.public, config, stopped.clone()));
        tasks.push(house.serve_private(self.private, config, stopped.clone()));
        tasks
    }
}

impl House {
    fn serve_public(
        &self,
        bound: Bound,
        config: &Config,
        stopped: watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let log = &config.log;
        let (lines, of_network) = (log.refused_lines_per_s, log.refused_lines_per_network_per_s);
        let place = Place {
            clock: self.clock.clone(),
            settings: config.public.clone(),
            refused_lines: LineBudget::new(lines, of_network),
            pulse: self.pulse.clone(),
        };
        let (channels, finished) = (Arc::clone(&self.channels), self.finished.clone());
        let intake =
            Arc::new(Intake::new(channels, Arc::new(self.direct.clone()), finished, place));
        let answer = move |peer, request| Arc::clone(&intake).answer(peer, request);
        tokio::spawn(listener::serve_peers(bound, config.public.clone(), answer, stopped))
    }

    fn serve_private(
        self,
        bound: Bound,
        config: &Config,
        stopped: watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let Self { store, clock, channels, asks, bulkhead, robots, .. } = self;
        let operators = Arc::new(config.operators.clone());
        let pushes = Pushes::new(Arc::clone(&operators), config.sandbox.component_bytes_max);
        let orders = Orders {
            store: store.clone(),
            businesses: Arc::new(config.businesses.clone()),
            channels: Arc::clone(&channels),
            clock: clock.clone(),
        };
        let router = orders::router(orders.clone())
            .merge(fronts::back_end(config, &orders))
            .merge(inquiries::router(Inquiries { orders, asks: Arc::clone(&asks) }))
            .merge(keys::router(self.keys))
            .merge(operator::router(Operator {
                store: store.clone(),
                metrics: self.metrics,
                operators,
                plugins: self.fleet,
                budget: config.fleet.budget(),
                clock: clock.clone(),
                reviews: Arc::default(),
                ready: Arc::new(Ready::new(store, clock)),
                bulkheads: Arc::new(move || bulkhead.view()),
                robots: Arc::new(robots),
                channels,
                ask: Arc::new(reconcile::ByQuestion(asks)),
            }));
        let private = listener::Private::new(router, config.private.clone(), pushes);
        let answer = move |request| private.clone().answer(request);
        tokio::spawn(listener::serve(bound, config.private.clone(), answer, stopped))
    }
}
