//! Starts the watch over conditions, and the telling of webhooks.

use std::sync::Arc;

use callgate_store::Store;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::alert::{self, Robots, Watched};
use crate::inbound::channel::Channels;
use crate::telemetry::pulse::Pulse;

/// What alerts are made of, before anything is served.
#[derive(Debug, Clone)]
pub(super) struct Alerts {
    pub(super) pulse: Pulse,
    pub(super) robots: Robots,
}

impl Alerts {
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let robots = Robots::new(&config.webhooks).map_err(|(name, field, problem)| {
            anyhow::anyhow!("alerts.webhooks.{name}.{field}: {problem}")
        })?;
        Ok(Self { pulse: Pulse::of(config.channels.keys().map(String::as_str)), robots })
    }

    /// Watches and tells. What was raised before is told also where nothing is watched any more.
    pub(super) fn start(
        &self,
        config: &Config,
        (store, clock, owner): (&Store, &Clock, &str),
        (metrics, channels): (PrometheusHandle, Arc<Channels>),
        stopped: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let who = (store.clone(), clock.clone(), owner.to_owned());
        let told = (self.robots.clone(), config.alerts.look_ms);
        let mut tasks = vec![tokio::spawn(alert::tell(who, told, stopped.clone()))];
        if config.alerts.enabled {
            let watched = Watched {
                store: store.clone(),
                clock: clock.clone(),
                owner: owner.to_owned(),
                settings: config.alerts.clone(),
                robots: self.robots.clone(),
                pulse: self.pulse.clone(),
                metrics: Arc::new(move || metrics.render()),
                channels: Arc::new(move || channels.current().keys().cloned().collect()),
                businesses: config.businesses.keys().cloned().collect(),
                sinks: config.sinks.iter().map(|sink| sink.name.clone()).collect(),
            };
            tasks.push(tokio::spawn(alert::watch(watched, stopped.clone())));
        }
        tasks
    }
}
