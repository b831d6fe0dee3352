//! Puts the rooms together: opens everything, serves, and stops without losing anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use callgate_core::time::Timestamp;
use callgate_sandbox::engine::Sandbox;
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::registry::Registry;
use callgate_store::{Retention, Store};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::alert::Robots;
use crate::engine::bulkhead::{Bulkhead, BulkheadSettings};
use crate::engine::deliver::{self, Delivery, Sink};
use crate::engine::fleet::{Fleet, Parts};
use crate::engine::inquire::{self, Asker};
use crate::engine::shadow::Shadows;
use crate::engine::{self, Engine};
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
use crate::outbound::endpoints::Endpoints;
use crate::packages::{self, Package};
use crate::telemetry::LineBudget;
use crate::telemetry::pulse::Pulse;

mod alerts;

mod fronts;

mod guests;

mod reconcile;

mod upkeep;

use alerts::Alerts;
use guests::Guests;
use upkeep::Keys;

/// A server that listens and works.
#[derive(Debug)]
pub struct Server {
    /// Where gateways call.
    pub public: SocketAddr,
    /// Where order calls, health and metrics are answered.
    pub private: SocketAddr,
    /// What the listeners present, by [`TlsKeys::listener`]; a replacement needs no restart.
    pub tls: Vec<Arc<TlsKeys>>,
    /// Where front ends ask for the status of orders, if they may.
    pub status: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    store: Store,
    _guests: Guests,
}

impl Server {
    /// Opens store and plugins, binds both listeners and starts to work.
    ///
    /// Everything that can be wrong is found before the first callback is taken: the server does
    /// not start half.
    ///
    /// # Errors
    /// What could not be opened, and why.
    pub async fn start(
        config: Config,
        clock: Clock,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        let Loaded { sandbox, plugins } = plugins(&config).await?;
        let sinks = sinks(&config).await?;
        let alerts = Alerts::open(&config)?;
        let endpoints = Endpoints::open(config.endpoints.clone()).await?;
        let public = Bound::open("public", &config.public, clock.now()).await?;
        let private = Bound::open("private", &config.private, clock.now()).await?;
        let front_ends = fronts::bind(&config, clock.now()).await?;
        let status = fronts::address(front_ends.as_ref())?;
        let status_keys = front_ends.as_ref().and_then(Bound::keys);
        let tls = [public.keys(), private.keys(), status_keys];
        let tls: Vec<_> = tls.into_iter().flatten().collect();
        let store = Store::open(&config.store).await.context("store.url")?;
        let (stop, stopped) = watch::channel(false);
        let (finished, _) = broadcast::channel::<Finished>(FINISHED_BACKLOG);
        let guests = Guests::start(&config.engine)?;
        let bulkhead = bulkhead(&config, &plugins, &clock)?;
        let owner = uuid::Uuid::now_v7().to_string();
        let shadow_sandbox = sandbox.clone();
        let fleet = Fleet::start(Parts {
            store: store.clone(),
            sandbox,
            policies: config.policies.clone(),
            configured: plugins,
            guests: guests.handle(),
            clock: clock.clone(),
            settings: config.fleet.clone(),
            host: owner.clone(),
        })
        .await?;
        let engine = Engine {
            store: store.clone(),
            shadows: Shadows::new(shadow_sandbox, config.policies.clone()),
            registry: fleet.in_force(),
            trials: fleet.trials(),
            bulkhead: bulkhead.clone(),
            guests: guests.handle(),
            clock: clock.clone(),
            settings: config.engine.clone(),
            endpoints: Arc::new(endpoints),
            finished: finished.clone(),
            owner,
        };
        let channels = Arc::new(Channels::new(config.channels.clone()));
        let asker = Asker::new(inquire::Parts {
            store: store.clone(),
            channels: Arc::clone(&channels),
            clock: clock.clone(),
            owner: engine.owner.clone(),
            poll_ms: config.engine.poll_ms,
        });
        let keys =
            Keys::start(&config, (&store, &channels), (&clock, &alerts.robots), &tls).await?;
        let addresses = (public.local_addr()?, private.local_addr()?);
        let mut tasks = retention(&config, &store, &clock, &stopped)?;
        tasks.extend(deliveries(sinks, &engine, &stopped));
        let ask = Some(fronts::asking(Arc::new(asker.clone())));
        let news = fronts::News { finished: finished.subscribe(), ask };
        tasks.extend(fronts::serve(front_ends, &config, (&store, &clock), (news, &stopped)));
        let watching = (&store, &clock, engine.owner.as_str());
        let seen = (metrics.clone(), Arc::clone(&channels));
        tasks.extend(alerts.start(&config, watching, seen, &stopped));
        tasks.extend([
            tokio::spawn(engine::replay(engine.clone(), stopped.clone())),
            tokio::spawn(engine::bulkhead::recall(engine.clone(), stopped.clone())),
            tokio::spawn(engine::shadow::follow(engine.clone(), stopped.clone())),
            tokio::spawn(Arc::clone(&fleet).follow(config.engine.poll_ms, stopped.clone())),
            tokio::spawn(engine::work(engine, stopped.clone())),
            tokio::spawn(inquire::follow(asker.clone(), stopped.clone())),
            serve_private(
                private,
                &config,
                (&store, fleet, Arc::clone(&channels), asker),
                (&clock, metrics, bulkhead, alerts.robots),
                keys.calls(),
                stopped.clone(),
            ),
            serve_public(
                public,
                &config,
                (&store, channels),
                (&clock, finished, alerts.pulse),
                stopped.clone(),
            ),
        ]);
        tasks.extend(keys.follow(&stopped));
        let (public, private) = addresses;
        Ok(Self { public, private, status, tls, stop, tasks, store, _guests: guests })
    }

    /// Ends when a part of the server has ended by itself, which none should.
    pub async fn broken(&self) {
        let mut look = tokio::time::interval(BETWEEN_LOOKS);
        while !self.tasks.iter().any(JoinHandle::is_finished) {
            look.tick().await;
        }
    }

    /// Stops accepting, finishes what is accepted, flushes and closes the store.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the server ended badly");
            }
        }
        self.store.close().await;
    }
}

/// The gates in front of the plugins.
fn bulkhead(config: &Config, plugins: &[Arc<Plugin>], clock: &Clock) -> anyhow::Result<Bulkhead> {
    let engine = &config.engine;
    let mut breakers = BTreeMap::new();
    for (name, plugin) in &config.plugins {
        let Some(breaker) = plugin.breaker(engine.breaker) else { continue };
        // A processor calls itself `shop/orders`; a section cannot, so the last part will do.
        let names = plugins.iter().map(|one| one.descriptor().name.as_str());
        let mut named = names.filter(|one| *one == name || one.rsplit('/').next() == Some(name));
        let (Some(one), None) = (named.next(), named.next()) else {
            anyhow::bail!(
                "plugins.{name}.breaker: exactly one processor must call itself {name} or \
                 .../{name}; name the section as its processor calls itself"
            );
        };
        breakers.insert(one.to_owned(), breaker);
    }
    let slots = usize::try_from(config.sandbox.slots).unwrap_or(usize::MAX);
    let settings = BulkheadSettings {
        concurrency: (engine.workers.min(slots) / 4).max(1),
        breaker: engine.breaker,
        breakers,
        hold: engine.hold,
    };
    Ok(Bulkhead::new(settings, clock.clone()))
}

/// The sandbox, and the plugins of the configuration.
#[derive(Debug)]
pub struct Loaded {
    /// Where they were compiled.
    pub sandbox: Sandbox,
    /// In the order of their names in the configuration.
    pub plugins: Vec<Arc<Plugin>>,
}

/// Loads every plugin of the configuration, and sees that they can be in force together.
///
/// # Errors
/// Which plugin is refused, and why.
pub async fn plugins(config: &Config) -> anyhow::Result<Loaded> {
    let sandbox = Sandbox::with_compiler(config.sandbox.clone(), config.compiler.clone())
        .context("sandbox")?;
    let mut loaded = Vec::new();
    for (name, settings) in &config.plugins {
        let Package { source, admitted } = packages::read(name, settings, &config.policies).await?;
        let refused = || format!("plugins.{name}: {} is refused", settings.file.display());
        let plugin = sandbox.load(source).await.with_context(refused)?;
        if let Some(admitted) = admitted {
            let checked = admitted.check_descriptor(plugin.descriptor());
            checked.map_err(packages::coded).with_context(refused)?;
        }
        loaded.push(Arc::new(plugin));
    }
    Registry::build(loaded.clone()).context("plugins")?;
    Ok(Loaded { sandbox, plugins: loaded })
}

/// Whether what the listeners present is valid at `now`.
///
/// # Errors
/// The first that is not, with its key.
pub fn certificates(config: &Config, now: Timestamp) -> anyhow::Result<()> {
    for (name, listener) in [
        ("public", &config.public),
        ("private", &config.private),
        ("status.listener", &config.status.listener),
    ] {
        let Some(tls) = &listener.tls else { continue };
        tls.dated(now).map_err(|error| anyhow::anyhow!("{name}.tls.{error}"))?;
    }
    Ok(())
}

/// Opens every sink.
///
/// # Errors
/// Which sink is refused, and why.
pub async fn sinks(config: &Config) -> anyhow::Result<Vec<Sink>> {
    let mut sinks = Vec::with_capacity(config.sinks.len());
    for settings in &config.sinks {
        sinks.push(Sink::open(settings.clone()).await?);
    }
    Ok(sinks)
}

/// Starts delivering to every sink.
fn deliveries(
    sinks: Vec<Sink>,
    engine: &Engine,
    stopped: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let delivery = Delivery {
        store: engine.store.clone(),
        clock: engine.clock.clone(),
        owner: engine.owner.clone(),
        poll_ms: engine.settings.poll_ms,
    };
    let deliver = |sink| deliver::deliver(delivery.clone(), sink, stopped.clone());
    sinks.into_iter().map(|sink| tokio::spawn(deliver(sink))).collect()
}

/// Starts retention where it is wanted.
fn retention(
    config: &Config,
    store: &Store,
    clock: &Clock,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let settings = config.retention.clone();
    if !settings.enabled {
        return Ok(Vec::new());
    }
    let owner = uuid::Uuid::now_v7().to_string();
    let sinks = config.sinks.iter().map(|sink| sink.name.clone()).collect();
    let retention = Retention::new(store.clone(), settings.clone(), owner, sinks)?;
    let (clock, stopped) = (clock.clone(), stopped.clone());
    Ok(vec![tokio::spawn(engine::retain(retention, settings, clock, stopped))])
}

fn serve_public(
    bound: Bound,
    config: &Config,
    (store, channels): (&Store, Arc<Channels>),
    (clock, finished, pulse): (&Clock, broadcast::Sender<Finished>, Pulse),
    stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let place = Place {
        clock: clock.clone(),
        settings: config.public.clone(),
        refused_lines: LineBudget::new(config.log.refused_lines_per_s),
        pulse,
    };
    let intake = Arc::new(Intake::new(channels, store.clone(), finished, place));
    let answer = move |peer, request| Arc::clone(&intake).answer(peer, request);
    tokio::spawn(listener::serve_peers(bound, config.public.clone(), answer, stopped))
}

fn serve_private(
    bound: Bound,
    config: &Config,
    (store, fleet, channels, asker): (&Store, Arc<Fleet>, Arc<Channels>, Asker),
    (clock, metrics, bulkhead, robots): (&Clock, PrometheusHandle, Bulkhead, Robots),
    keys: keys::Keys,
    stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let operators = Arc::new(config.operators.clone());
    let pushes = Pushes::new(Arc::clone(&operators), config.sandbox.component_bytes_max);
    let orders = Orders {
        store: store.clone(),
        businesses: Arc::new(config.businesses.clone()),
        channels: Arc::clone(&channels),
        clock: clock.clone(),
    };
    let asks: SharedAsks = Arc::new(asker);
    let router = orders::router(orders.clone())
        .merge(fronts::back_end(config, &orders))
        .merge(inquiries::router(Inquiries { orders, asks: Arc::clone(&asks) }))
        .merge(keys::router(keys))
        .merge(operator::router(Operator {
            store: store.clone(),
            metrics,
            operators: Arc::clone(&operators),
            plugins: fleet,
            budget: config.fleet.budget(),
            clock: clock.clone(),
            reviews: Arc::default(),
            ready: Arc::new(Ready::new(store.clone(), clock.clone())),
            bulkheads: Arc::new(move || bulkhead.view()),
            robots: Arc::new(robots),
            channels,
            ask: Arc::new(reconcile::ByQuestion(asks)),
        }));
    let private = listener::Private::new(router, config.private.clone(), pushes);
    let answer = move |request| private.clone().answer(request);
    tokio::spawn(listener::serve(bound, config.private.clone(), answer, stopped))
}

/// How many decisions a waiting answer may fall behind before it gives up listening.
const FINISHED_BACKLOG: usize = 4096;

/// How often the parts of the server are looked at.
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_secs(1);
