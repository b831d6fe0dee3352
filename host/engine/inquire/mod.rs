//! Questions: orders that heard nothing are asked about, on a schedule or out of turn.
//!
//! What a gateway tells on being asked walks the same line as a callback: it is believed once its
//! signature holds, stored once for its meaning, and run like any other. A host that dies between
//! the answer and the store loses nothing: the lease lapses and the question is put again.
//!
//! Reading order: this file (the loops), `way` (a channel that can be asked), `gate` (when a
//! gateway's host is left in peace, and how it is met again), `ask` (one question), `now` (out of
//! turn).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use callgate_core::gateway::inquiry::Inquiry;
use callgate_core::time::Timestamp;
use callgate_store::{Allowance, ClaimInquiries, Store, SweepInquiries};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::inbound::asking::seed;
use crate::inbound::channel::{Channel, Channels};

use self::gate::Gate;
use self::way::{Line, Way};

mod ask;

mod gate;

mod now;

mod way;

pub use way::caller;

/// Asks gateways. Clones share everything.
#[derive(Debug, Clone)]
pub struct Asker(Arc<Rooms>);

#[derive(Debug)]
struct Rooms {
    store: Store,
    channels: Arc<Channels>,
    clock: Clock,
    /// Names this host among all hosts.
    owner: String,
    poll_ms: u32,
    lines: Mutex<BTreeMap<String, Arc<Line>>>,
    gates: Mutex<BTreeMap<String, Arc<Gate>>>,
    /// Something became due before its time.
    nudge: Notify,
}

/// What an asker works with.
#[derive(Debug)]
pub struct Parts {
    /// Where questions and answers are kept.
    pub store: Store,
    /// The channels in force.
    pub channels: Arc<Channels>,
    /// The time.
    pub clock: Clock,
    /// Names this host among all hosts.
    pub owner: String,
    /// How often to look for what another host put on the schedule, in milliseconds.
    pub poll_ms: u32,
}

impl Asker {
    /// Puts it together; nothing is asked before [`follow`] runs or somebody wants it now.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { store, channels, clock, owner, poll_ms } = parts;
        Self(Arc::new(Rooms {
            store,
            channels,
            clock,
            owner,
            poll_ms,
            lines: Mutex::default(),
            gates: Mutex::default(),
            nudge: Notify::new(),
        }))
    }

    /// Names of channels that can be asked now.
    fn names(&self) -> BTreeSet<String> {
        let current = self.0.channels.current();
        let askable = current.values().filter(|channel| channel.gateway.inquiry().is_some());
        askable.map(|channel| channel.name.clone()).collect()
    }

    /// The state that a channel keeps here, whatever its settings become.
    fn line(&self, name: &str) -> Arc<Line> {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lines.entry(name.to_owned()).or_default())
    }

    /// The gate of a gateway's host, shared by the channels that ask there.
    fn gate(&self, host: &str) -> Arc<Gate> {
        let mut gates = self.0.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(host.to_owned()).or_default())
    }

    /// How to ask on a channel now; `None` where it cannot be asked.
    fn way(&self, name: &str) -> Option<Arc<Way>> {
        let channel = self.0.channels.get(name)?;
        self.line(name).way(channel, |host| self.gate(host))
    }

    /// What a channel may ask beside the others of its merchant: the least that one of them says.
    fn share(&self, channel: &Channel) -> Share {
        let merchant_of = |one: &Channel| one.gateway.inquiry().map(Inquiry::merchant);
        let merchant = merchant_of(channel);
        let (mut rate, mut channels) = (channel.ask.rate(), 0_usize);
        for other in self.0.channels.current().values() {
            if merchant_of(other) == merchant {
                rate = rate.least(other.ask.rate());
                channels = channels.saturating_add(1);
            }
        }
        Share { allowance: Allowance { merchant: merchant.unwrap_or_default(), rate }, channels }
    }
}

/// What a merchant may ask, and how many channels have a part in it.
struct Share {
    allowance: Allowance,
    channels: usize,
}

impl Share {
    /// When to look again for what may be asked at `next`. Channels that wait for one bucket do not
    /// look at the same moment, or the same one would always find the question that it holds.
    fn turn(&self, next: Timestamp, (name, now): (&str, Timestamp)) -> Timestamp {
        if self.channels < 2 {
            return next;
        }
        let gap = u64::from(self.allowance.rate.gap_ms());
        let drawn = seed(&format!("{name} {}", now.as_ms())).checked_rem(gap).unwrap_or(0);
        next.plus_ms(i64::try_from(drawn).unwrap_or(0))
    }
}

/// Works until `shutdown` says so; questions on their way are let end.
pub async fn follow(asker: Asker, mut shutdown: watch::Receiver<bool>) {
    let (mut running, mut lines) = (BTreeSet::new(), JoinSet::new());
    let mut ticks = 0_u64;
    while !*shutdown.borrow() {
        for name in asker.names() {
            if running.insert(name.clone()) {
                lines.spawn(line(asker.clone(), name, shutdown.clone()));
            }
        }
        tidy(&asker, ticks).await;
        ticks = ticks.wrapping_add(1);
        let next = asker.0.clock.now().plus_ms(i64::from(asker.0.poll_ms));
        tokio::select! {
            Some(ended) = lines.join_next() => match ended {
                Ok(name) => {
                    running.remove(&name);
                }
                Err(error) => {
                    tracing::error!(%error, "asking on a channel ended badly; all begin anew");
                    // Whose it was is not told; what still runs is ended with the set.
                    lines.abort_all();
                    while lines.join_next().await.is_some() {}
                    running.clear();
                }
            },
            () = asker.0.clock.wait_until(next) => {}
            () = stopped(&mut shutdown) => break,
        }
    }
    while lines.join_next().await.is_some() {}
}

async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // Whoever could say so may be gone, which says the same.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Asks on one channel for as long as it can be asked; tells its name.
async fn line(asker: Asker, name: String, mut shutdown: watch::Receiver<bool>) -> String {
    let mut going = JoinSet::new();
    while !*shutdown.borrow() {
        let Some(way) = asker.way(&name) else { break };
        let now = asker.0.clock.now();
        let look = now.plus_ms(i64::from(asker.0.poll_ms));
        // Listening begins before looking.
        let freed = way.gate.freed();
        let nudged = asker.0.nudge.notified();
        let (next, refused) = match take(&asker, &way, &mut going, now).await {
            Took::Some => continue,
            Took::Nothing(next) => (next.map_or(look, |next| next.min(look)), false),
            Took::Refused => (look, true),
        };
        let next = next.max(now.plus_ms(1));
        tokio::select! {
            Some(ended) = going.join_next() => note(ended),
            () = nudged => {}
            () = freed, if refused => {}
            () = asker.0.clock.wait_until(next) => {}
            () = stopped(&mut shutdown) => break,
        }
    }
    while let Some(ended) = going.join_next().await {
        note(ended);
    }
    name
}

/// What a look for questions came to.
enum Took {
    /// Something: it is worth looking again at once.
    Some,
    /// Nothing, and when there may be something.
    Nothing(Option<Timestamp>),
    /// There was no place at the gateway: others are going, or it is left in peace.
    Refused,
}

/// Claims as many questions as there are places, and puts them.
async fn take(asker: &Asker, way: &Arc<Way>, going: &mut JoinSet<()>, now: Timestamp) -> Took {
    while let Some(ended) = going.try_join_next() {
        note(ended);
    }
    let places = way.places(now, going.len());
    let mut passes = Gate::reserve(&way.gate, now, places);
    if passes.is_empty() {
        return Took::Refused;
    }
    let share = asker.share(&way.channel);
    let claim = ClaimInquiries {
        channel: way.channel.name.clone(),
        owner: asker.0.owner.clone(),
        limit: u32::try_from(passes.len()).unwrap_or(u32::MAX),
        lease_ms: way.lease_ms(),
        allowance: share.allowance.clone(),
    };
    let claimed = match asker.0.store.claim_inquiries(claim, now).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::error!(%error, code = error.code(), "no question can be claimed");
            return Took::Nothing(None);
        }
    };
    let late_ms = claimed.next_at.map_or(0, |next| now.ms_since(next).max(0));
    metrics::gauge!("callgate_inquiry_late_seconds", "channel" => way.channel.name.clone())
        .set(f64::from(i32::try_from(late_ms / 1000).unwrap_or(i32::MAX)));
    let found = claimed.leases.len().saturating_add(claimed.heard);
    for lease in claimed.leases {
        // Never more are leased than there are passes; if so, the lease lapses.
        let Some(pass) = passes.pop() else { break };
        going.spawn(ask::scheduled(asker.clone(), Arc::clone(way), lease, pass));
    }
    if found > 0 {
        return Took::Some;
    }
    let name = way.channel.name.as_str();
    Took::Nothing(claimed.next_at.map(|next| share.turn(next, (name, now))))
}

/// A panic in a question is our mistake: its lease lapses.
fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a question ended badly and will be put again");
    }
}

/// Looks for orders that nobody put on the schedule, one page a time, and forgets what was over
/// long ago.
async fn tidy(asker: &Asker, ticks: u64) {
    let now = asker.0.clock.now();
    let mut wishes: BTreeMap<String, SweepInquiries> = BTreeMap::new();
    for channel in asker.0.channels.current().values() {
        if channel.gateway.inquiry().is_none() {
            continue;
        }
        let since = now.plus_ms(i64::from(channel.ask.give_up_ms).saturating_neg());
        let wish = wishes.entry(channel.business.clone()).or_insert_with(|| SweepInquiries {
            business: channel.business.clone(),
            channels: Vec::new(),
            since,
            anew_before: now.plus_ms(-ANEW_MS),
            limit: PAGE,
        });
        wish.since = wish.since.min(since);
        wish.channels.push((channel.name.clone(), channel.ask.first_ms));
    }
    for wish in wishes.values() {
        if let Err(error) = asker.0.store.sweep_inquiries(wish, now).await {
            tracing::warn!(%error, code = error.code(), "orders cannot be looked through");
        }
    }
    if ticks.checked_rem(FORGET_TICKS) == Some(0)
        && let Err(error) = asker.0.store.forget_inquiries(now.plus_ms(-KEPT_MS)).await
    {
        tracing::warn!(%error, code = error.code(), "old questions cannot be forgotten");
    }
}

/// Orders of one page.
const PAGE: i64 = 500;

/// How often all orders are looked through, in milliseconds: a day.
const ANEW_MS: i64 = 86_400_000;

/// How often old questions are looked for, in ticks of the loop.
const FORGET_TICKS: u64 = 60;

/// How long a question that is over can be looked at, in milliseconds: 30 days.
const KEPT_MS: i64 = 2_592_000_000;
