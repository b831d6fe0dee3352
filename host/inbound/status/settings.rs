//! Settings of the listener for front ends, and their bounds.

use serde::Deserialize;

use crate::inbound::ListenerSettings;

/// Settings of `[status]`. Each is a limit on what browsers may cost.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether the listener is there at all.
    pub enabled: bool,
    /// Address and limits of the listener.
    pub listener: ListenerSettings,
    /// Longest long poll, in milliseconds; a longer wish is cut.
    pub wait_max_ms: u32,
    /// Longest life of an event stream, in milliseconds; up to a quarter less.
    pub stream_max_ms: u32,
    /// Time between two signs of life on an event stream, in milliseconds.
    pub heartbeat_ms: u32,
    /// The least that a client is asked to wait before it connects again, in milliseconds; up to
    /// three times as long.
    pub retry_ms: u32,
    /// Clients that wait at once.
    pub waiters_max: usize,
    /// Clients that wait for one order at once.
    pub waiters_per_order_max: usize,
    /// Clients that wait with one token at once.
    pub waiters_per_token_max: usize,
    /// Life of a token that this server makes, in seconds, unless it is asked for another.
    pub token_s: u32,
    /// Longest life that any token may still have, in seconds.
    pub token_max_s: u32,
    /// Age of an order that stands as it was registered, at which a look at it has its gateway
    /// asked, in milliseconds; 0 for never.
    pub repair_after_ms: u32,
    /// At most one such question in this time for each order, in milliseconds.
    pub repair_every_ms: u32,
}

impl Settings {
    /// Holds every number against its bounds; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        for (field, found, least, most) in [
            ("wait_max_ms", u64::from(self.wait_max_ms), 1000, 120_000),
            ("stream_max_ms", u64::from(self.stream_max_ms), 1000, 86_400_000),
            ("heartbeat_ms", u64::from(self.heartbeat_ms), 100, 300_000),
            ("retry_ms", u64::from(self.retry_ms), 100, 60_000),
            ("waiters_max", wide(self.waiters_max), 1, 1 << 20),
            ("waiters_per_order_max", wide(self.waiters_per_order_max), 1, 1 << 20),
            ("waiters_per_token_max", wide(self.waiters_per_token_max), 1, 1 << 20),
            ("token_s", u64::from(self.token_s), 1, u64::from(self.token_max_s)),
            ("token_max_s", u64::from(self.token_max_s), 1, 86_400),
            ("repair_after_ms", u64::from(self.repair_after_ms), 0, 86_400_000),
            ("repair_every_ms", u64::from(self.repair_every_ms), 1000, 86_400_000),
        ] {
            if !(least..=most).contains(&found) {
                let problem = format!("found {found}, expected {least} to {most}");
                return Err((field.to_owned(), problem));
            }
        }
        Ok(())
    }
}
