//! Bulkheads: a plugin that is slow or broken takes its own time and nobody else's.
//!
//! Each plugin has a bounded number of runs at once. Who comes when all are taken waits a moment
//! where runs are quick, else goes back into the store and is due again later: it holds no worker
//! meanwhile. A plugin whose runs fail is held to one run at a time, then left alone, then tried.
//! What is held is called back as soon as there is room.
//!
//! Every host judges by the runs that it saw itself; what is held stands in the store, so any host
//! can run it.
//!
//! Reading order: this file, `breaker` (faults to states), `gate` (one plugin), `recall` (calling
//! back), `view` (what operators and machines see).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callgate_core::time::Timestamp;
use callgate_sandbox::fault::FaultKind;
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::run::Stop;
use serde::Deserialize;
use tokio::sync::{Notify, oneshot};

use self::breaker::{Ended, State};
use self::gate::{Answer, Gate};
use crate::clock::{Clock, Stopwatch};

pub mod breaker;

mod gate;

mod recall;

mod view;

pub use breaker::BreakerSettings;
pub use gate::Why;
pub use recall::recall;

/// When held notifications are looked at again, unless they are called back before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldSettings {
    /// How long a notification waits in memory for a run of its plugin to end, in milliseconds,
    /// where it seems that this will do. It holds a worker so long.
    pub patience_ms: u32,
    /// No notification is looked at again sooner, in milliseconds.
    pub first_ms: u32,
    /// Nor later, its spread apart, in milliseconds.
    pub max_ms: u32,
    /// Of many, about so many are looked at in a second.
    pub looks_per_s: u32,
}

impl HoldSettings {
    /// Holds every number against its bounds; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (field, found, least, most) in [
            ("patience_ms", self.patience_ms, 0, 10_000),
            ("first_ms", self.first_ms, 10, 86_400_000),
            ("max_ms", self.max_ms, self.first_ms, 86_400_000),
            ("looks_per_s", self.looks_per_s, 1, 10_000),
        ] {
            if !(least..=most).contains(&found) {
                return Err((field, format!("found {found}, expected {least} to {most}")));
            }
        }
        Ok(())
    }

    /// When a notification is looked at again where so many are held. `seed` spreads what is held
    /// together over as much time again.
    fn delay_ms(&self, held: u64, seed: u64) -> i64 {
        let share = held.saturating_mul(1000).checked_div(self.looks_per_s.into()).unwrap_or(0);
        let delay = share.clamp(self.first_ms.into(), self.max_ms.max(self.first_ms).into());
        let spread = seed.checked_rem(delay.max(1)).unwrap_or(0);
        i64::try_from(delay.saturating_add(spread)).unwrap_or(i64::MAX)
    }
}

/// What every plugin's gate is made of.
#[derive(Debug, Clone)]
pub struct BulkheadSettings {
    /// Runs at once of a plugin that names no number itself, at least 1.
    pub concurrency: usize,
    /// The breaker of a plugin that names no settings itself.
    pub breaker: BreakerSettings,
    /// The breakers of those that do, by the plugin's name.
    pub breakers: BTreeMap<String, BreakerSettings>,
    /// What is held.
    pub hold: HoldSettings,
}

/// The gates of all plugins. Clones are the same gates.
#[derive(Clone)]
pub struct Bulkhead(Arc<Rooms>);

struct Rooms {
    settings: BulkheadSettings,
    clock: Clock,
    gates: Mutex<BTreeMap<Arc<str>, Gate<Waiter>>>,
    /// Something that is held could be run.
    wanted: Notify,
}

/// Tells somebody who waits.
type Waiter = oneshot::Sender<Result<Pass, Why>>;

/// A notification that cannot be run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Why.
    pub why: Why,
    /// When to look again.
    pub delay_ms: i64,
}

/// The right to one run. It ends when it is dropped.
pub struct Pass {
    rooms: Arc<Rooms>,
    plugin: Arc<str>,
    version: Arc<str>,
    notification: u64,
    begun: State,
    watch: Stopwatch,
    ended: Ended,
}

impl Pass {
    /// Notes what the run came to, and ends it.
    pub fn end<T>(mut self, result: &Result<T, Stop>) {
        self.ended = match result {
            Ok(_) | Err(Stop::Ignore(_) | Stop::Reject { .. } | Stop::Retry { .. }) => Ended::Good,
            Err(Stop::Fault(fault)) => match fault.kind {
                FaultKind::Fuel
                | FaultKind::Memory
                | FaultKind::Deadline
                | FaultKind::Trap
                | FaultKind::Contract
                | FaultKind::Differs
                | FaultKind::Quota => Ended::Fault,
                FaultKind::Host => Ended::Neither,
            },
        };
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let bulkhead = Bulkhead(Arc::clone(&self.rooms));
        let told = (self.notification, self.ended, self.begun);
        let took_us = self.watch.elapsed_us();
        bulkhead.end((&self.plugin, &self.version), told, took_us);
    }
}

impl Bulkhead {
    /// Gates without a past.
    #[must_use]
    pub fn new(settings: BulkheadSettings, clock: Clock) -> Self {
        let gates = Mutex::new(BTreeMap::new());
        Self(Arc::new(Rooms { settings, clock, gates, wanted: Notify::new() }))
    }

    /// Waits a moment, if that will do, for the right to run a plugin for a notification.
    ///
    /// # Errors
    /// [`Held`] where it cannot be run now: the notification goes back into the store.
    pub async fn enter(&self, plugin: &Plugin, notification: &str) -> Result<Pass, Held> {
        let hold = &self.0.settings.hold;
        let patience = Duration::from_millis(hold.patience_ms.into());
        let seed = hash(notification);
        let why = match self.ask(plugin, seed, patience) {
            Ok(pass) => return Ok(pass),
            Err(Asked::Held(why)) => why,
            Err(Asked::Waits(told)) => match tokio::time::timeout(patience, told).await {
                Ok(Ok(Ok(pass))) => return Ok(pass),
                Ok(Ok(Err(why))) => why,
                // It took longer than it seemed.
                Ok(Err(_)) | Err(_) => {
                    self.leave(plugin.descriptor().name.as_str());
                    Why::Full
                }
            },
        };
        Err(self.hold(plugin.descriptor().name.as_str(), why, seed))
    }

    fn ask(&self, plugin: &Plugin, notification: u64, patience: Duration) -> Result<Pass, Asked> {
        let (name, version) = (plugin.name(), plugin.identity());
        let now = self.0.clock.now();
        let mut gates = self.gates();
        let gate = self.gate(&mut gates, plugin, now);
        let (answer, change) = gate.ask(version, micros(patience), now);
        let asked = match answer {
            Answer::Go(begun) => Ok(self.pass((name, version), notification, begun)),
            Answer::No(why) => Err(Asked::Held(why)),
            Answer::Wait => {
                let (waiter, told) = oneshot::channel();
                gate.wait((Arc::clone(version), notification), waiter);
                Err(Asked::Waits(told))
            }
        };
        drop(gates);
        view::tell(name, change);
        asked
    }

    /// The gate of a plugin, which gets to know the version by this.
    fn gate<'a>(
        &self,
        gates: &'a mut BTreeMap<Arc<str>, Gate<Waiter>>,
        plugin: &Plugin,
        now: Timestamp,
    ) -> &'a mut Gate<Waiter> {
        let descriptor = plugin.descriptor();
        let settings = &self.0.settings;
        let named = usize::try_from(plugin.limits().concurrency).unwrap_or(usize::MAX);
        let concurrency = if named == 0 { settings.concurrency } else { named };
        let breaker = settings.breakers.get(&descriptor.name).unwrap_or(&settings.breaker);
        let gate = gates.entry(Arc::clone(plugin.name())).or_insert_with(|| Gate::new(*breaker));
        gate.know((plugin.identity(), &descriptor.version), concurrency, now);
        gate
    }

    fn pass(
        &self,
        (plugin, version): (&Arc<str>, &Arc<str>),
        notification: u64,
        begun: State,
    ) -> Pass {
        Pass {
            rooms: Arc::clone(&self.0),
            plugin: Arc::clone(plugin),
            version: Arc::clone(version),
            notification,
            begun,
            watch: Stopwatch::start(),
            ended: Ended::Neither,
        }
    }

    /// A run is over: whoever waits may go on.
    fn end(&self, (name, version): (&Arc<str>, &str), told: (u64, Ended, State), took_us: u64) {
        let now = self.0.clock.now();
        let mut gates = self.gates();
        let Some(gate) = gates.get_mut(name) else { return };
        let change = gate.end(version, told, (took_us, now));
        let mut next = Vec::new();
        while let Some(((version, notification), waiter, answer)) = gate.next(now) {
            let answer = match answer {
                Answer::Go(begun) => Ok(self.pass((name, &version), notification, begun)),
                Answer::No(why) => Err(why),
                Answer::Wait => continue,
            };
            next.push((waiter, answer));
        }
        let room = gate.room(self.patience_us(), now) > 0;
        drop(gates);
        // Outside the lock: a pass that nobody takes any more is dropped here and ends again.
        for (waiter, answer) in next {
            drop(waiter.send(answer));
        }
        if room {
            self.0.wanted.notify_one();
        }
        view::tell(name, change);
    }

    /// Somebody waits no longer.
    fn leave(&self, name: &str) {
        if let Some(gate) = self.gates().get_mut(name) {
            gate.retain_waiting(|waiter| !waiter.is_closed());
        }
    }

    fn hold(&self, name: &str, why: Why, seed: u64) -> Held {
        let now = self.0.clock.now();
        let held = self.gates().get_mut(name).map_or(1, Gate::hold);
        let delay_ms = self.0.settings.hold.delay_ms(held, seed);
        let (word, delay_ms) = match why {
            Why::Full => ("full", delay_ms),
            // Before that nobody runs it, however few are held.
            Why::Open(until) => {
                let left_ms = until.map_or(0, |until| until.ms_since(now).max(0));
                ("open", delay_ms.saturating_add(left_ms))
            }
        };
        metrics::counter!("callgate_plugin_held_total", "plugin" => name.to_owned(),
            "why" => word)
        .increment(1);
        Held { why, delay_ms }
    }

    fn patience_us(&self) -> u64 {
        u64::from(self.0.settings.hold.patience_ms).saturating_mul(1000)
    }

    fn gates(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Gate<Waiter>>> {
        self.0.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of asking, where it is not a pass.
enum Asked {
    Held(Why),
    Waits(oneshot::Receiver<Result<Pass, Why>>),
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::HoldSettings;

    const SETTINGS: HoldSettings =
        HoldSettings { patience_ms: 100, first_ms: 1_000, max_ms: 600_000, looks_per_s: 100 };

    #[test]
    fn ten_thousand_held_ones_are_looked_at_a_hundred_times_a_second() {
        let delays = |held| {
            let delay = |seed: u64| SETTINGS.delay_ms(held, super::hash(&seed.to_string()));
            (0..1000).map(delay).collect::<Vec<_>>()
        };
        assert!(delays(1).iter().all(|delay| (1_000..2_000).contains(delay)));
        let many = delays(10_000);
        assert!(many.iter().all(|delay| (100_000..200_000).contains(delay)));
        let early = many.iter().filter(|delay| **delay < 150_000).count();
        assert!((400..600).contains(&early), "spread: {early} of 1000 in the first half");
        assert!(delays(u64::MAX).iter().all(|delay| (600_000..1_200_000).contains(delay)));
    }
}
