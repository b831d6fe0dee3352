//! A channel: a gateway with an account, keys, a business and a scene; and all of them as they are
//! in force at the moment.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use callgate_core::gateway::Gateway;
use serde::Deserialize;

use super::networks::Networks;

/// A configured channel, its keys read and validated.
#[derive(Debug)]
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
    /// The protocol with this account's keys.
    pub gateway: Arc<dyn Gateway>,
}

/// Every channel by its name, as it is in force now. Who takes one keeps it to the end of what it
/// does, though another has taken its place meanwhile.
#[derive(Debug, Default)]
pub struct Channels {
    current: RwLock<Arc<BTreeMap<String, Arc<Channel>>>>,
}

impl Channels {
    /// Puts channels in force.
    #[must_use]
    pub fn new(channels: BTreeMap<String, Arc<Channel>>) -> Self {
        Self { current: RwLock::new(Arc::new(channels)) }
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
