//! Puts the rooms together: opens everything, serves, and stops without losing anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use callgate_sandbox::engine::Sandbox;
use callgate_sandbox::grants::Grants;
use callgate_sandbox::load::Source;
use callgate_sandbox::registry::Registry;
use callgate_store::{Retention, Store};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::bulkhead::{Bulkhead, BulkheadSettings};
use crate::engine::deliver::{self, Delivery, Sink};
use crate::engine::{self, Engine};
use crate::inbound::callback::{Intake, Place};
use crate::inbound::listener;
use crate::inbound::operator::Operator;
use crate::inbound::orders::Orders;
use crate::inbound::{Finished, ListenerSettings, operator, orders};
use crate::telemetry::LineBudget;

/// A server that listens and works.
#[derive(Debug)]
pub struct Server {
    /// Where gateways call.
    pub public: SocketAddr,
    /// Where order calls, health and metrics are answered.
    pub private: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    store: Store,
    guests: Option<Runtime>,
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
        let registry = plugins(&config).await?;
        let sinks = sinks(&config).await?;
        let public = bind(&config.public, "public.listen").await?;
        let private = bind(&config.private, "private.listen").await?;
        let store = Store::open(&config.store).await.context("store.url")?;
        let (stop, stopped) = watch::channel(false);
        let (finished, _) = broadcast::channel::<Finished>(FINISHED_BACKLOG);
        let guests = guests(&config)?;
        let bulkhead = bulkhead(&config, &registry, &clock)?;
        let engine = Engine {
            store: store.clone(),
            registry,
            bulkhead: bulkhead.clone(),
            guests: guests.handle().clone(),
            clock: clock.clone(),
            settings: config.engine.clone(),
            finished: finished.clone(),
            owner: uuid::Uuid::now_v7().to_string(),
        };
        let delivery = Delivery {
            store: store.clone(),
            clock: clock.clone(),
            owner: engine.owner.clone(),
            poll_ms: config.engine.poll_ms,
        };
        let addresses = (public.local_addr()?, private.local_addr()?);
        let mut tasks = retention(&config, &store, &clock, &stopped)?;
        tasks.extend([
            tokio::spawn(engine::replay(engine.clone(), stopped.clone())),
            tokio::spawn(engine::bulkhead::recall(engine.clone(), stopped.clone())),
            tokio::spawn(engine::work(engine, stopped.clone())),
            serve_private(private, &config, &store, (&clock, metrics, bulkhead), stopped.clone()),
            serve_public(public, &config, &store, (&clock, finished), stopped.clone()),
        ]);
        tasks.extend(
            sinks.into_iter().map(|sink| {
                tokio::spawn(deliver::deliver(delivery.clone(), sink, stopped.clone()))
            }),
        );
        let (public, private) = addresses;
        Ok(Self { public, private, stop, tasks, store, guests: Some(guests) })
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

impl Drop for Server {
    fn drop(&mut self) {
        // A runtime may not be waited for inside another one.
        if let Some(guests) = self.guests.take() {
            guests.shutdown_background();
        }
    }
}

/// Threads for guests alone. They stand back behind those that answer gateways.
fn guests(config: &Config) -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.engine.guest_threads > 0 {
        builder.worker_threads(config.engine.guest_threads);
    }
    let nice = config.engine.guest_nice;
    let stand_back = move || {
        // On Linux this is the thread and not the process.
        if nice > 0
            && let Err(error) = rustix::process::setpriority_process(None, nice)
        {
            tracing::warn!(%error, "the threads of guests cannot stand back");
        }
    };
    builder
        .thread_name("guests")
        .on_thread_start(stand_back)
        .enable_all()
        .build()
        .context("the runtime for guests cannot be started")
}

/// The gates in front of the plugins.
fn bulkhead(config: &Config, registry: &Registry, clock: &Clock) -> anyhow::Result<Bulkhead> {
    let engine = &config.engine;
    let mut breakers = BTreeMap::new();
    for (name, plugin) in &config.plugins {
        let Some(breaker) = plugin.breaker(engine.breaker) else { continue };
        // A processor calls itself `shop/orders`; a section cannot, so the last part will do.
        let names = registry.plugins().iter().map(|one| one.descriptor().name.as_str());
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

/// Loads every plugin and builds the registry.
///
/// # Errors
/// Which plugin is refused, and why.
pub async fn plugins(config: &Config) -> anyhow::Result<Arc<Registry>> {
    let sandbox = Sandbox::with_compiler(config.sandbox.clone(), config.compiler.clone());
    let sandbox = sandbox.context("sandbox")?;
    let mut loaded = Vec::new();
    for (name, settings) in &config.plugins {
        let file = settings.file.display();
        let bytes = tokio::fs::read(&settings.file)
            .await
            .with_context(|| format!("plugins.{name}.file: {file} cannot be read"))?;
        let source = Source {
            bytes,
            limits: settings.limits.clone(),
            grants: Grants {
                businesses: Some(settings.businesses.iter().cloned().collect()),
                ..settings.grants.clone()
            },
            config: settings.config.clone(),
        };
        let plugin = sandbox
            .load(source)
            .await
            .with_context(|| format!("plugins.{name}: {file} is refused"))?;
        loaded.push(Arc::new(plugin));
    }
    Ok(Arc::new(Registry::build(loaded).context("plugins")?))
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
    let retention = Retention::new(store.clone(), settings.clone(), owner)?;
    let (clock, stopped) = (clock.clone(), stopped.clone());
    Ok(vec![tokio::spawn(engine::retain(retention, settings, clock, stopped))])
}

async fn bind(settings: &ListenerSettings, key: &str) -> anyhow::Result<TcpListener> {
    let address = settings.listen;
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: cannot listen on {address}; is another server there?"))
}

fn serve_public(
    listener: TcpListener,
    config: &Config,
    store: &Store,
    (clock, finished): (&Clock, broadcast::Sender<Finished>),
    stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let place = Place {
        clock: clock.clone(),
        settings: config.public.clone(),
        refused_lines: LineBudget::new(config.log.refused_lines_per_s),
    };
    let intake = Arc::new(Intake::new(config.channels.clone(), store.clone(), finished, place));
    let answer = move |request| Arc::clone(&intake).answer(request);
    tokio::spawn(listener::serve(listener, config.public.clone(), answer, stopped))
}

fn serve_private(
    listener: TcpListener,
    config: &Config,
    store: &Store,
    (clock, metrics, bulkhead): (&Clock, PrometheusHandle, Bulkhead),
    stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let channels: BTreeMap<String, String> = config
        .channels
        .values()
        .map(|channel| (channel.name.clone(), channel.business.clone()))
        .collect();
    let router = orders::router(Orders {
        store: store.clone(),
        businesses: Arc::new(config.businesses.clone()),
        channels: Arc::new(channels),
        clock: clock.clone(),
    })
    .merge(operator::router(Operator {
        store: store.clone(),
        metrics,
        operators: Arc::new(config.operators.clone()),
        clock: clock.clone(),
        reviews: Arc::default(),
        bulkheads: Arc::new(move || bulkhead.view()),
    }));
    let private = listener::Private::new(router, config.private.clone());
    let answer = move |request| private.clone().answer(request);
    tokio::spawn(listener::serve(listener, config.private.clone(), answer, stopped))
}

/// How many decisions a waiting answer may fall behind before it gives up listening.
const FINISHED_BACKLOG: usize = 4096;

/// How often the parts of the server are looked at.
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_secs(1);
