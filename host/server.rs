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
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::engine::bulkhead::{Bulkhead, BulkheadSettings};
use crate::engine::deliver::{self, Delivery, Sink};
use crate::engine::direct::{self, Direct};
use crate::engine::fleet::{Fleet, Parts};
use crate::engine::inquire::{self, Asker};
use crate::engine::shadow::Shadows;
use crate::engine::{self, Engine};
use crate::inbound::Finished;
use crate::inbound::channel::Channels;
use crate::inbound::listener::tls::TlsKeys;
use crate::outbound::endpoints::Endpoints;
use crate::packages::{self, Package};

mod alerts;

mod doors;

mod fronts;

mod guests;

mod reconcile;

mod upkeep;

use alerts::Alerts;
use doors::{Addresses, Doors, House};
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
    direct: Direct,
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
        let loaded = plugins(&config).await?;
        let sinks = sinks(&config).await?;
        let alerts = Alerts::open(&config)?;
        let endpoints = Arc::new(Endpoints::open(config.endpoints.clone()).await?);
        let doors = Doors::open(&config, &clock).await?;
        let (addresses, tls) = (doors.addresses()?, doors.tls());
        let store = Store::open(&config.store).await.context("store.url")?;
        let from = direct::begin(&store, &config.engine.direct, clock.now()).await;
        let from = from.context("store.url")?;
        let (stop, stopped) = watch::channel(false);
        let (finished, _) = broadcast::channel::<Finished>(FINISHED_BACKLOG);
        let guests = Guests::start(&config.engine)?;
        let bulkhead = bulkhead(&config, &loaded.plugins, &clock)?;
        let outside = upkeep::Outside {
            robots: alerts.robots.clone(),
            pulse: alerts.pulse.clone(),
            sinks: sinks.clone(),
            endpoints: Arc::clone(&endpoints),
        };
        let tools = Tools { guests: guests.handle(), bulkhead: bulkhead.clone(), endpoints };
        let (fleet, engine) =
            crew(&config, (&store, &clock), loaded, (tools, finished.clone())).await?;
        let channels = Arc::new(Channels::new(config.channels.clone()));
        let asker = Asker::new(inquire::Parts {
            store: store.clone(),
            channels: Arc::clone(&channels),
            clock: clock.clone(),
            owner: engine.owner.clone(),
            poll_ms: config.engine.poll_ms,
        });
        let keys = Keys::start(&config, (&store, &channels), (&clock, outside), &tls).await?;
        let mut tasks = retention(&config, &store, &clock, &stopped)?;
        tasks.extend(deliveries(sinks, &engine, &stopped));
        let watching = (&store, &clock, engine.owner.as_str());
        let seen = (metrics.clone(), Arc::clone(&channels));
        tasks.extend(alerts.start(&config, watching, seen, &stopped));
        let direct = Direct::new(engine.clone(), from);
        tasks.extend(workers(engine, &asker, &stopped));
        let follow = Arc::clone(&fleet).follow(config.engine.poll_ms, stopped.clone());
        tasks.push(tokio::spawn(follow));
        let house = House {
            store: store.clone(),
            direct: direct.clone(),
            clock,
            channels,
            asks: Arc::new(asker),
            metrics,
            fleet,
            bulkhead,
            robots: alerts.robots,
            pulse: alerts.pulse,
            keys: keys.calls(),
            finished,
        };
        tasks.extend(doors.serve(&config, house, &stopped));
        tasks.extend(keys.follow(&stopped));
        let Addresses { public, private, status } = addresses;
        Ok(Self { public, private, status, tls, stop, tasks, store, direct, _guests: guests })
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
        self.direct.rest().await;
        if let Err(error) = self.store.end_run().await {
            tracing::warn!(%error, "the next run will not know that this one ended well");
        }
        self.store.close().await;
    }
}

/// What runs use.
struct Tools {
    guests: Handle,
    bulkhead: Bulkhead,
    endpoints: Arc<Endpoints>,
}

/// Who does the work, and who says which versions do it.
async fn crew(
    config: &Config,
    (store, clock): (&Store, &Clock),
    Loaded { sandbox, plugins }: Loaded,
    (Tools { guests, bulkhead, endpoints }, finished): (Tools, broadcast::Sender<Finished>),
) -> anyhow::Result<(Arc<Fleet>, Engine)> {
    let owner = uuid::Uuid::now_v7().to_string();
    let shadows = Shadows::new(sandbox.clone(), config.policies.clone());
    let fleet = Fleet::start(Parts {
        store: store.clone(),
        sandbox,
        policies: config.policies.clone(),
        configured: plugins,
        guests: guests.clone(),
        clock: clock.clone(),
        settings: config.fleet.clone(),
        host: owner.clone(),
    })
    .await?;
    let engine = Engine {
        store: store.clone(),
        shadows,
        registry: fleet.in_force(),
        trials: fleet.trials(),
        bulkhead,
        guests,
        clock: clock.clone(),
        settings: config.engine.clone(),
        endpoints,
        finished,
        owner,
    };
    Ok((fleet, engine))
}

/// Starts everything that works beside the answers.
fn workers(engine: Engine, asker: &Asker, stopped: &watch::Receiver<bool>) -> [JoinHandle<()>; 5] {
    [
        tokio::spawn(engine::replay(engine.clone(), stopped.clone())),
        tokio::spawn(engine::bulkhead::recall(engine.clone(), stopped.clone())),
        tokio::spawn(engine::shadow::follow(engine.clone(), stopped.clone())),
        tokio::spawn(engine::work(engine, stopped.clone())),
        tokio::spawn(inquire::follow(asker.clone(), stopped.clone())),
    ]
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
pub fn certificates(config: &Config, now: Timestamp) -> Result<(), ConfigError> {
    for (name, listener) in [
        ("public", &config.public),
        ("private", &config.private),
        ("status.listener", &config.status.listener),
    ] {
        let Some(tls) = &listener.tls else { continue };
        tls.dated(now).map_err(|error| {
            ConfigError::new(format!("{name}.tls.{}", error.field), error.problem).coded(error.code)
        })?;
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

/// How many decisions a waiting answer may fall behind before it gives up listening.
const FINISHED_BACKLOG: usize = 4096;

/// How often the parts of the server are looked at.
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_secs(1);
