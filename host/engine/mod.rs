//! Work: a stored notification becomes a business effect, exactly once.
//!
//! May call store, sandbox, outbound and core. Absent: SQL, gateways' keys; HTTP status codes
//! outside `deliver::http`.
//!
//! Reading order: `run` (one job from claim to settle: read it first), `decide` (what to make of
//! what a run says), `after` (the phase after the commit), `worker` (the loop around it),
//! `outside` (what a guest can reach), `convert` and `report`; `deliver` is what becomes of events;
//! `replay` works off replays of many; `retain` puts old notifications into files.

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

pub mod deliver;

mod replay;

pub use replay::replay;
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
    /// Delays between attempts, and when there are no more.
    pub retry: Retry,
}

/// When to try again, and when to give up: after so many attempts or at such an age, whichever
/// comes first. Both are counted anew when an operator replays.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Delay after the first failed attempt, in milliseconds.
    pub first_ms: u32,
    /// No delay is longer, jitter apart, in milliseconds.
    pub max_ms: u32,
    /// Attempts after which work is given up and goes to review.
    pub attempts_max: u32,
    /// Age at which work that fails is given up and goes to review, in milliseconds.
    pub age_max_ms: u32,
}

impl Retry {
    /// The delays and their number.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        let Self { first_ms, max_ms, attempts_max, age_max_ms: _ } = *self;
        Backoff { first_ms, max_ms, attempts_max }
    }
}

/// What every job needs.
#[derive(Clone)]
pub struct Engine {
    /// Where jobs come from and decisions go.
    pub store: Store,
    /// Which processor is for what.
    pub registry: Arc<Registry>,
    /// Where jobs run, with the guests in them: threads of their own, so that no guest delays an
    /// answer to a gateway.
    pub guests: tokio::runtime::Handle,
    /// The time.
    pub clock: Clock,
    /// Limits and delays.
    pub settings: Settings,
    /// Tells who waits that a notification is decided.
    pub finished: broadcast::Sender<Finished>,
    /// Names this process in leases.
    pub owner: String,
}
