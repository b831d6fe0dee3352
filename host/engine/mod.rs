//! Work: a stored notification becomes a business effect, exactly once.
//!
//! May call store, sandbox and core. Absent: HTTP status codes, SQL, key material.
//!
//! Reading order: `run` (one job from claim to settle: read it first), `decide` (what to make of
//! what a run says), `after` (the phase after the commit), `worker` (the loop around it),
//! `outside` (what a guest can reach), `convert` and `report`; `retain` (old notifications go to files).

use std::sync::Arc;

use callgate_core::retry::Backoff;
use callgate_sandbox::registry::Registry;
use callgate_store::Store;
use serde::Deserialize;
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::inbound::Finished;

mod run;

mod decide;

mod after;

mod worker;

mod outside;

mod convert;

mod report;

mod retain;

pub use retain::retain;
pub use worker::work;

/// Settings of the engine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Notifications worked on at once.
    pub workers: usize,
    /// How often to look for work that no wake-up announced, in milliseconds.
    pub poll_ms: u32,
    /// How long a notification belongs to its worker, in milliseconds.
    pub lease_ms: u32,
    /// How long a notification waits for its order, in milliseconds.
    pub park_ms: u32,
    /// Delays between attempts, and how many there are.
    pub retry: Backoff,
}

/// What every job needs.
#[derive(Clone)]
pub struct Engine {
    /// Where jobs come from and decisions go.
    pub store: Store,
    /// Which processor is for what.
    pub registry: Arc<Registry>,
    /// The time.
    pub clock: Clock,
    /// Limits and delays.
    pub settings: Settings,
    /// Tells who waits that a notification is decided.
    pub finished: broadcast::Sender<Finished>,
    /// Names this process in leases.
    pub owner: String,
}
