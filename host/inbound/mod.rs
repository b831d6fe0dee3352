//! Sockets: callbacks on the public listener, orders, health and metrics on the private one.
//!
//! May call store and core, never the engine; it learns of finished work through a channel.
//! Absent: a state change of a document, SQL, a guest.
//!
//! Reading order: `listener` (connections and their limits), `channel`, `callback` (the straight
//! line from bytes to ack), `orders` and their `view`, `operator` (health and metrics), `operate`
//! (repair) with its `operate_query` and `operate_view`, `tokens`, `error` (the one place where an
//! error becomes a status code).

use std::net::SocketAddr;

use serde::Deserialize;

pub mod channel;

pub mod callback;

pub mod error;

pub mod listener;

pub mod operate;

mod operate_query;

mod operate_view;

pub mod operator;

pub mod orders;

mod view;

pub mod tokens;

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
}

/// Tells who waits that a notification is decided.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The notification's id.
    pub notification: String,
}
