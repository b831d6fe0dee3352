//! Work: a stored notification becomes a business effect, exactly once.
//!
//! May call store, sandbox, outbound and core. Absent: SQL, gateways' keys; HTTP status codes
//! outside `deliver::http`.
//!
//! Reading order: `run` (one job from claim to settle: read it first), `decide` (what to make of
//! what a run says), `direct` (deciding before storing), `bulkhead` (no plugin takes another's time), `after` (the phase after the commit), `worker` (the loop around it),
//! `outside` and `calls` (what a guest can reach), `convert`, `report`, `meters` and `labels`;
//! `deliver` is what becomes of events, `alert` what people are told;
//! `backtest` is what another version would have decided, `shadow` the same beside live runs;
//! `replay` works off replays of many; `retain` puts old notifications into files; `fleet` keeps
//! in force what is to be in force; `inquire` asks gateways about orders that heard nothing,
//! `certificates` for what they sign with.

use std::sync::Arc;

use callgate_core::retry::Backoff;
use callgate_sandbox::registry::InForce;
use callgate_store::Store;
use serde::Deserialize;
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::inbound::Finished;
use crate::outbound::endpoints::Endpoints;

use self::bulkhead::{Bulkhead, HoldSettings};
use self::direct::DirectSettings;

mod run;

pub mod direct;

mod decide;

mod after;

mod worker;

mod outside;

mod calls;

mod convert;

pub mod bulkhead;

mod report;

mod labels;

mod meters;

pub mod deliver;

pub mod alert;

pub(crate) mod backtest;

pub mod shadow;

pub mod fleet;

pub mod inquire;

pub mod certificates;

mod replay;

pub use bulkhead::BreakerSettings;
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
    /// Threads that guests run on; 0 for as many as the machine has cores.
    pub guest_threads: usize,
    /// How much the threads of guests stand back behind those that answer gateways, 0 to 19.
    pub guest_nice: i32,
    /// How often to look for work that no wake-up announced, in milliseconds.
    pub poll_ms: u32,
    /// How long a notification belongs to its worker, in milliseconds.
    pub lease_ms: u32,
    /// How long a notification waits for its order, in milliseconds.
    pub park_ms: u32,
    /// Whether what runs are told and read is kept with their attempts, for back-tests.
    pub record_inputs: bool,
    /// Bytes of what is kept of one run; longer ones are not kept.
    pub record_inputs_bytes: usize,
    /// Delays between attempts, and when there are no more.
    pub retry: Retry,
    /// When a plugin counts as broken, unless it has settings of its own.
    pub breaker: BreakerSettings,
    /// When what waits for a plugin is looked at again.
    pub hold: HoldSettings,
    /// When callbacks are decided before they are stored.
    pub direct: DirectSettings,
}

impl Settings {
    /// Holds what has bounds against them; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.guest_threads > GUEST_THREADS_MAX {
            let problem =
                format!("found {}, expected 0 to {GUEST_THREADS_MAX}", self.guest_threads);
            return Err(("guest_threads".to_owned(), problem));
        }
        if !(0..=19).contains(&self.guest_nice) {
            let problem = format!("found {}, expected 0 to 19", self.guest_nice);
            return Err(("guest_nice".to_owned(), problem));
        }
        self.breaker.check().map_err(|(field, problem)| (format!("breaker.{field}"), problem))?;
        self.hold.check().map_err(|(field, problem)| (format!("hold.{field}"), problem))?;
        self.direct.check().map_err(|(field, problem)| (format!("direct.{field}"), problem))
    }
}

/// More threads than this only stand in each other's way.
const GUEST_THREADS_MAX: usize = 1024;

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
    /// Which processor is for what. A job that has picked its processor keeps it.
    pub registry: Arc<InForce>,
    /// Versions that run beside without an effect.
    pub shadows: shadow::Shadows,
    /// Where runs of canaries are counted.
    pub trials: Arc<fleet::Trials>,
    /// How much of the time each plugin may take.
    pub bulkhead: Bulkhead,
    /// Where jobs run, with the guests in them: threads of their own, so that no guest delays an
    /// answer to a gateway.
    pub guests: tokio::runtime::Handle,
    /// The time.
    pub clock: Clock,
    /// Limits and delays.
    pub settings: Settings,
    /// What processors may call.
    pub endpoints: Arc<Endpoints>,
    /// Tells who waits that a notification is decided.
    pub finished: broadcast::Sender<Finished>,
    /// Names this process in leases.
    pub owner: String,
}
