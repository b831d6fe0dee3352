//! Sockets: callbacks on the public listener, orders, health and metrics on the private one.
//!
//! May call store and core, never the engine; it learns of finished work through a channel.
//! Absent: a state change of a document, SQL, a guest.
//!
//! Reading order: `listener` (connections and their limits), `networks` (whom they come from),
//! `channel`, `callback` (the straight line from bytes to ack), `taking` (who takes it in), `asking` (how gateways are asked)
//! with the calls `inquiries`, `orders` and their `view`, `operator` (health and metrics), `operate`
//! (repair) with its `operate_query` and `operate_view`, `ready`, `sinks`, `alerts`, `reconcile` and
//! `keys` beside them, `plugins` (what is in force), `trials` with `statistics` (versions at work), `tokens`,
//! `error` (the one place where an error becomes a status code), `status` (front ends that wait for
//! an order).

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;

use listener::{http2, tls};
use networks::{ForwardedBy, Networks};

pub mod channel;

pub mod asking;

pub mod inquiries;

pub mod callback;

pub mod taking;

pub mod error;

pub mod listener;

pub mod networks;

pub mod operate;
mod patient;

mod operate_query;

pub mod plugins;

mod operate_view;

pub mod trials;

mod statistics;

pub mod operator;

pub mod alerts;

pub mod reconcile;

pub mod ready;

pub mod keys;

mod sinks;

pub mod orders;

mod view;

pub mod tokens;

pub mod status;

/// Settings of one listener. Each is a limit that holds before any cryptography.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Longest body in bytes.
    pub body_bytes_max: usize,
    /// Longest request head in bytes; at least 8192.
    pub head_bytes_max: usize,
    /// Most headers of one request.
    pub headers_max: usize,
    /// Time to read a whole head, and again a whole body, in milliseconds.
    pub read_timeout_ms: u64,
    /// Connections at once.
    pub connections_max: usize,
    /// Requests at once that are worked on.
    pub requests_max: usize,
    /// Limits of one HTTP/2 connection.
    #[serde(default)]
    pub http2: http2::Settings,
    /// What is presented; none for a listener in clear text.
    #[serde(default)]
    pub tls: Option<tls::Settings>,
    /// Proxies that are believed when they say for whom they ask.
    #[serde(default)]
    pub trusted_proxies: Networks,
    /// Where they say it.
    #[serde(default)]
    pub forwarded_by: ForwardedBy,
}

impl ListenerSettings {
    /// Holds every number against its bounds; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        for (field, found, least, most) in [
            ("body_bytes_max", wide(self.body_bytes_max), 1024, 64 << 20),
            ("head_bytes_max", wide(self.head_bytes_max), 8192, 1 << 20),
            ("headers_max", wide(self.headers_max), 16, 1000),
            ("read_timeout_ms", self.read_timeout_ms, 100, 600_000),
            ("connections_max", wide(self.connections_max), 1, 1 << 20),
            ("requests_max", wide(self.requests_max), 1, 1 << 20),
            ("http2.streams_max", self.http2.streams_max.into(), 1, 1000),
            ("http2.resets_max", self.http2.resets_max.into(), 1, 100_000),
        ] {
            if !(least..=most).contains(&found) {
                return Err((field, format!("found {found}, expected {least} to {most}")));
            }
        }
        Ok(())
    }
}

/// Tells who waits that a notification is decided.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The notification's id.
    pub notification: String,
    /// Business and number of its order, which may have changed; `None` where there is none.
    pub order: Option<Arc<(String, String)>>,
}
