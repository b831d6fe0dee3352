//! Keys while the server runs: certificates are fetched, ends are watched, and the configuration is
//! read again.

use std::sync::Arc;

use anyhow::Context;
use callgate_store::Store;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::certificates::{Certificates, Keyring};
use crate::expiry::{self, Expiry};
use crate::inbound::channel::Channels;
use crate::inbound::keys;
use crate::inbound::tokens::Operators;
use crate::reload::{self, Part, Reload, Reloads};

/// Everything that looks after keys.
pub(super) struct Keys {
    certificates: Arc<Certificates>,
    pub(super) expiry: Arc<Expiry>,
    reload: Reload,
    reloads: Reloads,
    operators: Operators,
}

impl Keys {
    /// Puts in force what the store holds, so that the first callback finds its key.
    pub(super) async fn start(
        config: &Config,
        (store, channels): (&Store, &Arc<Channels>),
        clock: &Clock,
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
        let parts = vec![channels_part(keyring, clock.clone()), tokens_part(config)];
        let (reload, reloads) = Reload::new(config, clock.clone(), parts);
        let operators = config.operators.clone();
        Ok(Self { certificates: Arc::new(certificates), expiry, reload, reloads, operators })
    }

    /// What operators may ask.
    pub(super) fn calls(&self) -> keys::Keys {
        let (expiry, last, reloads) =
            (Arc::clone(&self.expiry), self.reloads.clone(), self.reloads.clone());
        keys::Keys {
            operators: Arc::new(self.operators.clone()),
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
fn channels_part(keyring: Arc<Keyring>, clock: Clock) -> Part {
    Box::new(move |config| {
        let (keyring, clock) = (Arc::clone(&keyring), clock.clone());
        let channels = config.channels.clone();
        Ok(Box::new(move || keyring.configure(channels, clock.now())))
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
