//! Certificates that gateways sign with: asked for on a schedule, kept in the store, put in force
//! beside those of the configuration.
//!
//! All hosts share what one of them was handed, and of all hosts one asks. A callback under a key
//! that is not there makes somebody ask, once in a while and never once for each forged post; it is
//! refused at once all the same, and the gateway comes again. Nothing that fails a check is used,
//! and nothing that works is taken away for it.
//!
//! Reading order: this file (when somebody asks), `fetch` (one question and its answer), `keyring`
//! (what is in force).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use callgate_core::time::Timestamp;
use callgate_store::{AskGaps, CertificateAsk, PlatformCertificate, Store, StoreError};
use futures_util::future::join_all;
use serde::Deserialize;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::inbound::channel::{Channel, Channels};

mod fetch;

mod keyring;

pub use keyring::Keyring;

/// Settings of `[keys]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Days before a key ends from which on it is warned of.
    pub warn_before_days: u32,
    /// How often a gateway is asked for its certificates, in milliseconds.
    pub fetch_every_ms: i64,
    /// After a question that came to nothing, and where a callback names a key that is not there:
    /// how long since the last question, in milliseconds.
    pub fetch_again_ms: i64,
    /// How often to look for what another host was handed, in milliseconds.
    pub look_ms: i64,
}

impl Settings {
    /// Holds every number against its bounds; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (field, found, least, most) in [
            ("warn_before_days", i64::from(self.warn_before_days), 0, 3650),
            ("fetch_every_ms", self.fetch_every_ms, 1000, 7 * DAY_MS),
            ("fetch_again_ms", self.fetch_again_ms, 1000, DAY_MS),
            ("look_ms", self.look_ms, 100, 3_600_000),
        ] {
            if !(least..=most).contains(&found) {
                return Err((field, format!("found {found}, expected {least} to {most}")));
            }
        }
        Ok(())
    }
}

/// Fetches certificates for all channels.
#[derive(Debug)]
pub struct Certificates {
    /// Where they are kept.
    pub store: Store,
    /// The channels as they are in force.
    pub channels: Arc<Channels>,
    /// Puts them in force.
    pub keyring: Arc<Keyring>,
    /// The time.
    pub clock: Clock,
    /// When to ask.
    pub settings: Settings,
}

impl Certificates {
    /// Puts in force what the store holds. A host calls it before it hears its first callback.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn look(&self) -> Result<(), StoreError> {
        let mut kept: BTreeMap<String, Vec<PlatformCertificate>> = BTreeMap::new();
        for one in self.store.platform_certificates().await? {
            kept.entry(one.channel.clone()).or_default().push(one);
        }
        self.keyring.keep(kept, self.clock.now());
        Ok(())
    }

    /// Asks when it is time, until the server stops.
    pub async fn follow(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        // Since when a channel misses a key that nobody has asked for.
        let mut missing: BTreeMap<String, Timestamp> = BTreeMap::new();
        loop {
            if let Err(error) = self.step(&mut missing).await {
                tracing::warn!(%error, code = error.code(), "certificates cannot be looked after now");
            }
            let next = self.clock.now().plus_ms(self.settings.look_ms);
            tokio::select! {
                () = self.clock.wait_until(next) => {}
                () = self.channels.missed() => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn step(&self, missing: &mut BTreeMap<String, Timestamp>) -> Result<(), StoreError> {
        self.look().await?;
        let now = self.clock.now();
        for name in self.channels.take_missed() {
            missing.entry(name).or_insert(now);
        }
        let asks = self.store.certificate_asks().await?;
        let asked: BTreeMap<&str, &CertificateAsk> =
            asks.iter().map(|ask| (ask.channel.as_str(), ask)).collect();
        // Whoever asked after the miss asked for it, too.
        missing.retain(|name, since| asked.get(name.as_str()).is_none_or(|a| a.asked_at < *since));
        let current = self.channels.current();
        let due: Vec<(&Arc<Channel>, AskGaps)> = current
            .values()
            .filter_map(|channel| {
                let platform = channel.gateway.platform()?;
                let urgent = missing.contains_key(&channel.name) || !platform.can_verify(now);
                let gaps = self.gaps(urgent);
                let ask = asked.get(channel.name.as_str());
                let is_due = ask.is_none_or(|ask| ask.due_at(gaps) <= now || ask.asked_at > now);
                is_due.then_some((channel, gaps))
            })
            .collect();
        if due.is_empty() {
            return Ok(());
        }
        let asking = due.into_iter().map(|(channel, gaps)| self.ask(channel, gaps));
        let ended: Result<BTreeSet<String>, StoreError> =
            join_all(asking).await.into_iter().collect();
        for name in ended? {
            missing.remove(&name);
        }
        self.look().await
    }

    fn gaps(&self, urgent: bool) -> AskGaps {
        let failed_ms = self.settings.fetch_again_ms;
        let answered_ms = if urgent { failed_ms } else { self.settings.fetch_every_ms };
        AskGaps { answered_ms, failed_ms }
    }

    /// Asks one gateway, unless another host does; tells for which channel.
    async fn ask(&self, channel: &Channel, gaps: AskGaps) -> Result<String, StoreError> {
        let name = channel.name.clone();
        if !self.store.take_certificate_ask(&name, gaps, self.clock.now()).await? {
            return Ok(name);
        }
        if let Some(admitted) = fetch::fetch(channel, &self.clock).await {
            let kept = admitted.iter().map(|one| PlatformCertificate {
                channel: name.clone(),
                serial: one.serial().to_owned(),
                pem: one.pem.clone(),
                valid_from: one.valid().from,
                valid_to: one.valid().to,
            });
            self.store.keep_certificates(&name, kept.collect(), self.clock.now()).await?;
        }
        Ok(name)
    }
}

const DAY_MS: i64 = 24 * 3_600_000;
