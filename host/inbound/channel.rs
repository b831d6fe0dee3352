//! A channel: a gateway with an account, keys, a business and a scene.

use std::sync::Arc;

use callgate_core::gateway::Gateway;
use serde::Deserialize;

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
    /// The protocol with this account's keys.
    pub gateway: Arc<dyn Gateway>,
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
