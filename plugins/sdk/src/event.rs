//! Domain events for the host's outbox.

use serde::Serialize;

use crate::error::PhaseResult;
use crate::json;

/// An event: delivered at least once after the commit, or never where the run does not commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// A topic that the host's configuration grants the plugin, such as `order.paid`.
    pub topic: String,
    /// Events with one key are delivered in commit order.
    pub key: String,
    /// The payload, a JSON text.
    pub payload: String,
    /// Extra headers for the consumer; names are lower-case tokens.
    pub headers: Vec<(String, String)>,
}

impl Event {
    /// Makes an event with a payload.
    ///
    /// # Errors
    /// Rejects with `event-unwritable` where the payload has no form in JSON.
    pub fn new<T: Serialize + ?Sized>(
        topic: impl Into<String>,
        key: impl Into<String>,
        payload: &T,
    ) -> PhaseResult<Self> {
        let payload = json::write("event-unwritable", payload)?;
        Ok(Self { topic: topic.into(), key: key.into(), payload, headers: Vec::new() })
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}
