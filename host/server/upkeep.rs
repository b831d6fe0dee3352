//! Keys while the server runs: certificates are fetched, ends are watched, and the configuration is
//! read again.

use std::sync::Arc;

use anyhow::Context;
use callgate_store::Store;
use futures_util::future::try_join_all;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::engine::alert::Robots;
use crate::engine::certificates::{Certificates, Keyring};
use crate::engine::deliver::{Sink, SinkError};
use crate::expiry::{self, Expiry, KeyLine, Source};
use crate::inbound::channel::Channels;
use crate::inbound::keys;
use crate::inbound::listener::tls::TlsKeys;
use crate::inbound::tokens::Operators;
use crate::outbound::endpoints::{EndpointError, Endpoints};
use crate::reload::{self, Part, Reload, Reloads};
use crate::telemetry::pulse::Pulse;

/// Everything that looks after keys.
pub(super) struct Keys {
    certificates: Arc<Certificates>,
    pub(super) expiry: Arc<Expiry>,
    reload: Reload,
    reloads: Reloads,
    operators: Operators,
    store: Store,
    clock: Clock,
}

/// What reaches out of the house, or watches who comes in.
pub(super) struct Outside {
    pub(super) robots: Robots,
    pub(super) pulse: Pulse,
    pub(super) sinks: Vec<Sink>,
    pub(super) endpoints: Arc<Endpoints>,
}

impl Keys {
    /// Puts in force what the store holds, so that the first callback finds its key.
    pub(super) async fn start(
        config: &Config,
        (store, channels): (&Store, &Arc<Channels>),
        (clock, outside): (&Clock, Outside),
        tls: &[Arc<TlsKeys>],
    ) -> anyhow::Result<Self> {
        let keyring = Arc::new(Keyring::new(Arc::clone(channels)));
        let certificates = Certificates {
            store: store.clone(),
            channels: Arc::clone(channels),
            keyring: Arc::clone(&keyring),
            clock: clock.clone(),
            settings: config.keys.clone(),
        };
        certificates.look().await.context("certificates that were fetched")?;
        let expiry = Arc::new(Expiry::new(clock.clone(), config.keys.warn_before_days));
        expiry.watch(expiry::of_channels(Arc::clone(channels)));
        expiry.watch(of_listeners(tls.to_vec()));
        let parts = vec![
            channels_part(keyring, outside.pulse, clock.clone()),
            tokens_part(config),
            fronts_part(config),
            webhooks_part(outside.robots),
            sinks_part(outside.sinks),
            endpoints_part(outside.endpoints),
            tls_part(tls.to_vec(), clock.clone()),
        ];
        let (reload, reloads) = Reload::new(config, clock.clone(), parts);
        Ok(Self {
            certificates: Arc::new(certificates),
            expiry,
            reload,
            reloads,
            operators: config.operators.clone(),
            store: store.clone(),
            clock: clock.clone(),
        })
    }

    /// What operators may ask.
    pub(super) fn calls(&self) -> keys::Keys {
        let (expiry, last, reloads) =
            (Arc::clone(&self.expiry), self.reloads.clone(), self.reloads.clone());
        keys::Keys {
            operators: Arc::new(self.operators.clone()),
            store: self.store.clone(),
            clock: self.clock.clone(),
            list: Arc::new(move || expiry.view()),
            last: Arc::new(move || last.last()),
            reload: Arc::new(move || {
                let reloads = reloads.clone();
                Box::pin(async move { reloads.ask().await.as_ref().map(reload::view) })
            }),
        }
    }

    /// Starts to look after them.
    pub(super) fn follow(self, stopped: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        vec![
            tokio::spawn(self.certificates.follow(stopped.clone())),
            tokio::spawn(self.expiry.follow(stopped.clone())),
            tokio::spawn(self.reload.follow(stopped.clone())),
        ]
    }
}

/// Channels come and go, and change their keys, between two callbacks.
fn channels_part(keyring: Arc<Keyring>, pulse: Pulse, clock: Clock) -> Part {
    Box::new(move |config| {
        let (keyring, pulse, clock) = (Arc::clone(&keyring), pulse.clone(), clock.clone());
        let channels = config.channels.clone();
        Ok(Box::new(move || {
            pulse.know(channels.keys().map(String::as_str));
            keyring.configure(channels, clock.now());
        }))
    })
}

/// What listeners present. Whether one speaks TLS at all is decided at the start.
fn tls_part(all: Vec<Arc<TlsKeys>>, clock: Clock) -> Part {
    Box::new(move |config| {
        let settings = [
            ("public", &config.public.tls),
            ("private", &config.private.tls),
            ("status.listener", &config.status.listener.tls),
        ];
        let mut ready = Vec::new();
        for keys in &all {
            let named = settings.iter().find(|(name, _)| *name == keys.listener());
            let Some((name, Some(settings))) = named else { continue };
            ready.push(keys.ready(settings, clock.now()).map_err(|error| {
                ConfigError::new(format!("{name}.tls.{}", error.field), error.problem)
                    .coded(error.code)
            })?);
        }
        Ok(Box::new(move || {
            for one in ready {
                one.enforce();
            }
        }))
    })
}

/// The certificates of listeners as they are in force.
fn of_listeners(all: Vec<Arc<TlsKeys>>) -> Source {
    Box::new(move || all.iter().flat_map(|keys| lines(keys)).collect())
}

fn lines(keys: &TlsKeys) -> Vec<KeyLine> {
    let listener = keys.listener();
    let line = |(id, valid)| KeyLine {
        owner: listener.to_owned(),
        id,
        kind: "tls-certificate",
        origin: "configured",
        valid: Some(valid),
    };
    keys.certificates().into_iter().map(line).collect()
}

/// What businesses allow their front ends: keys of tokens, origins.
fn fronts_part(config: &Config) -> Part {
    let fronts = config.fronts.clone();
    Box::new(move |config| {
        let (fronts, new) = (fronts.clone(), config.fronts.current());
        Ok(Box::new(move || fronts.replace(new)))
    })
}

/// Who is told of alerts.
fn webhooks_part(robots: Robots) -> Part {
    Box::new(move |config| {
        let new = Robots::new(&config.webhooks).map_err(|(name, field, problem)| {
            ConfigError::new(format!("alerts.webhooks.{name}.{field}"), problem)
        })?;
        let robots = robots.clone();
        Ok(Box::new(move || robots.take_over(&new)))
    })
}

/// Where sinks are, and what signs there. What they take, and how, waits for the next start.
fn sinks_part(sinks: Vec<Sink>) -> Part {
    Box::new(move |config| {
        let settings = |sink: &&Sink| config.sinks.iter().find(|one| one.name == sink.name());
        let known = sinks.iter().filter_map(|sink| Some((sink, settings(&sink)?)));
        // Parts are made ready on a thread of their own, which may wait: for all names at once.
        let ready = try_join_all(known.map(|(sink, settings)| sink.ready(settings)));
        let moves = Handle::current().block_on(ready).map_err(|SinkError { name, problem }| {
            ConfigError::new(format!("sinks.{name}.url"), problem)
        })?;
        Ok(Box::new(move || {
            for one in moves {
                one.enforce();
            }
        }))
    })
}

/// Where endpoints are, and who we are there.
fn endpoints_part(endpoints: Arc<Endpoints>) -> Part {
    Box::new(move |config| {
        let ready = Handle::current().block_on(endpoints.ready(&config.endpoints));
        let moves = ready.map_err(|EndpointError { name, field, problem }| {
            ConfigError::new(format!("endpoints.{name}.{field}"), problem)
        })?;
        Ok(Box::new(move || moves.enforce()))
    })
}

/// Tokens of operators and of businesses. A business that is new waits for the next start: more
/// than its tokens belongs to it. One that is gone admits nobody any more.
fn tokens_part(config: &Config) -> Part {
    let (operators, businesses) = (config.operators.clone(), config.businesses.clone());
    Box::new(move |config| {
        let (operators, businesses) = (operators.clone(), businesses.clone());
        let (new_operators, new) = (config.operators.clone(), config.businesses.clone());
        Ok(Box::new(move || {
            operators.replace(&new_operators);
            for (name, tokens) in &businesses {
                tokens.replace(&new.get(name).cloned().unwrap_or_default());
            }
        }))
    })
}
