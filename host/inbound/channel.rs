//! A channel: a gateway with an account, keys, a business and a scene; and all of them as they are
//! in force at the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use callgate_core::gateway::Gateway;
use serde::Deserialize;
use tokio::sync::Notify;

use super::asking::AskSettings;
use super::networks::Networks;

/// A configured channel, its keys read and validated.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its name, which stands in the callback's address.
    pub name: String,
    /// Who owns the orders.
    pub business: String,
    /// How they are paid.
    pub scene: String,
    /// When the gateway hears success.
    pub answer: AnswerWhen,
    /// With `processed`: the longest wait for the business commit, in milliseconds.
    pub answer_within_ms: u32,
    /// Whence its callbacks may come; empty for everywhere.
    pub networks: Networks,
    /// How its gateway is asked, where it can be.
    pub ask: AskSettings,
    /// The protocol with this account's keys.
    pub gateway: Arc<dyn Gateway>,
}

/// Every channel by its name, as it is in force now. Who takes one keeps it to the end of what it
/// does, though another has taken its place meanwhile.
#[derive(Debug, Default)]
pub struct Channels {
    current: RwLock<Arc<BTreeMap<String, Arc<Channel>>>>,
    missed: Mutex<BTreeSet<String>>,
    miss: Notify,
}

impl Channels {
    /// Puts channels in force.
    #[must_use]
    pub fn new(channels: BTreeMap<String, Arc<Channel>>) -> Self {
        Self { current: RwLock::new(Arc::new(channels)), ..Self::default() }
    }

    /// All of them.
    #[must_use]
    pub fn current(&self) -> Arc<BTreeMap<String, Arc<Channel>>> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The channel of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Channel>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.get(name).cloned()
    }

    /// Puts others in force, all at once.
    pub fn replace(&self, channels: BTreeMap<String, Arc<Channel>>) {
        let channels = Arc::new(channels);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = channels;
    }

    /// Says that a callback of this channel named a key that is not there. A thousand forged ones
    /// say no more than one.
    pub fn miss(&self, channel: &Channel) {
        if channel.gateway.platform().is_none() {
            return;
        }
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if !missed.contains(&channel.name) {
            missed.insert(channel.name.clone());
            self.miss.notify_one();
        }
    }

    /// Waits for the first miss since the last [`Channels::take_missed`].
    pub async fn missed(&self) {
        self.miss.notified().await;
    }

    /// The channels that missed a key, and forgets them.
    #[must_use]
    pub fn take_missed(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// When a gateway hears success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerWhen {
    /// As soon as the callback is on disk.
    #[default]
    Stored,
    /// When its business commit is done, but within a budget.
    Processed,
}
