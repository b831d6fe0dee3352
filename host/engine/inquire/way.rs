//! A channel that can be asked: where, with which client, and how many questions at once.

use std::sync::{Arc, Mutex, PoisonError};

use callgate_core::time::Timestamp;
use reqwest::{Certificate, Url};
use tokio::sync::Semaphore;

use super::gate::Gate;
use crate::inbound::channel::Channel;
use crate::outbound::address::Reach;
use crate::outbound::circuit::{Circuit, CircuitSettings, Probe};
use crate::outbound::client::{Caller, Endpoint, NotReachable};

/// What a channel keeps here, whatever its settings become.
#[derive(Debug)]
pub(super) struct Line {
    current: Mutex<Option<Arc<Way>>>,
    /// Questions out of turn that are on their way.
    now: Arc<Semaphore>,
}

impl Default for Line {
    fn default() -> Self {
        Self { current: Mutex::default(), now: Arc::new(Semaphore::new(NOW_MAX)) }
    }
}

/// How to ask on a channel, as it is configured now.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) channel: Arc<Channel>,
    pub(super) caller: Caller,
    pub(super) gate: Arc<Gate>,
    /// Opens where the gateway's host is well but will not answer this merchant, or its answers
    /// are not believed: no other channel has to suffer for it. It begins anew where the channel's
    /// keys or settings change, for that is what mends it.
    own: Mutex<Circuit>,
    pub(super) now: Arc<Semaphore>,
}

impl Line {
    /// The way to ask on a channel: the one in use, unless the channel is another by now.
    pub(super) fn way(
        &self,
        channel: Arc<Channel>,
        gate: impl FnOnce(&str) -> Arc<Gate>,
    ) -> Option<Arc<Way>> {
        channel.gateway.inquiry()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = current.as_ref().filter(|way| Arc::ptr_eq(&way.channel, &channel)) {
            return Some(Arc::clone(way));
        }
        let (caller, host) = match caller(&channel) {
            Ok(found) => found,
            Err(error) => {
                // The configuration was checked, so this is the machine's doing.
                tracing::error!(%error, channel = %channel.name, "a channel cannot be asked");
                return None;
            }
        };
        let (own, now) = (Mutex::new(Circuit::new(DENIED)), Arc::clone(&self.now));
        let way = Arc::new(Way { channel, caller, gate: gate(&host), own, now });
        *current = Some(Arc::clone(&way));
        Some(way)
    }
}

impl Way {
    /// How many more questions may be put, where so many are on their way.
    pub(super) fn places(&self, now: Timestamp, going: usize) -> usize {
        self.own().room(now, going, self.channel.ask.places)
    }

    /// How long a question belongs to this host: the answer and its commit are inside.
    pub(super) fn lease_ms(&self) -> i64 {
        i64::from(self.channel.ask.timeout_ms).saturating_add(COMMIT_MS)
    }

    /// The gateway answered this merchant, and was believed.
    pub(super) fn well(&self) {
        self.own().success();
    }

    /// It did not; tells whether the channel is left in peace by this.
    pub(super) fn ill(&self, seed: u64, now: Timestamp) -> bool {
        let mut own = self.own();
        let probe = if own.is_open() { Probe::Yes } else { Probe::No };
        own.failure(i64::from_ne_bytes(seed.to_ne_bytes()), probe, now)
    }

    fn own(&self) -> std::sync::MutexGuard<'_, Circuit> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client that asks on a channel, and the host that it asks.
///
/// # Errors
/// [`NotReachable`] where the address must not be asked, or a certificate is none.
pub fn caller(channel: &Channel) -> Result<(Caller, String), NotReachable> {
    let wrong = |found: &str, expected| NotReachable::Url { found: found.to_owned(), expected };
    let base = channel.gateway.inquiry().map_or("", |inquiry| inquiry.base_url());
    let url: Url = base.parse().map_err(|_| wrong(base, "https://host"))?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !plain {
        return Err(wrong(base, "https://host without a path"));
    }
    let mut roots = Vec::new();
    for pem in channel.ask.roots() {
        let bundle = Certificate::from_pem_bundle(pem.as_bytes());
        let bundle = bundle.ok().filter(|bundle| !bundle.is_empty());
        roots.extend(bundle.ok_or_else(|| wrong("other bytes in `ca`", "certificates in PEM"))?);
    }
    let host = url.origin().ascii_serialization();
    let reach = if channel.ask.allow_private { Reach::Anywhere } else { Reach::Public };
    let endpoint = Endpoint { url, reach, timeout_ms: channel.ask.timeout_ms };
    Ok((Caller::trusting(endpoint, roots)?, host))
}

/// When a channel is left in peace whose gateway is well.
const DENIED: CircuitSettings =
    CircuitSettings { failures: 5, first_ms: 30_000, max_ms: 3_600_000 };

/// Questions out of turn at once on one channel.
const NOW_MAX: usize = 16;

/// From an answer to its commit, in milliseconds: the store's own patience is shorter.
const COMMIT_MS: i64 = 15_000;
