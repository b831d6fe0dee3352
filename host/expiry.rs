//! Keys and their ends: shown to operators and to their machines, and warned of well before.
//!
//! Whoever holds keys that end gives a function that lists them as they are in force; see
//! [`Expiry::watch`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use callgate_core::gateway::known::Validity;
use callgate_core::time::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::inbound::channel::Channels;

/// One key, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// Whose it is: the name of a channel, or of a listener.
    pub owner: String,
    /// Its name: a serial number, an id, or the setting that holds it.
    pub id: String,
    /// What it is for, such as `certificate`.
    pub kind: &'static str,
    /// Where it came from: `configured` or `fetched`.
    pub origin: &'static str,
    /// When it is valid; `None` where it has no end.
    pub valid: Option<Validity>,
}

/// Lists keys as they are in force now.
pub type Source = Box<dyn Fn() -> Vec<KeyLine> + Send + Sync>;

/// Watches the ends of keys.
pub struct Expiry {
    sources: RwLock<Vec<Source>>,
    clock: Clock,
    warn_before_ms: i64,
    told: Mutex<Told>,
}

/// A key by owner and id.
type Name = (String, String);

/// What was said already.
#[derive(Debug, Default)]
struct Told {
    /// What is shown as metrics.
    shown: BTreeSet<Name>,
    /// When a warning was given last.
    warned: BTreeMap<Name, Timestamp>,
}

impl Expiry {
    /// Watches nothing yet.
    #[must_use]
    pub fn new(clock: Clock, warn_before_days: u32) -> Self {
        let warn_before_ms = i64::from(warn_before_days).saturating_mul(DAY_MS);
        let sources = RwLock::default();
        Self { sources, clock, warn_before_ms, told: Mutex::default() }
    }

    /// Watches what a source lists from now on.
    pub fn watch(&self, source: Source) {
        self.sources.write().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Every key, in the order of the sources.
    #[must_use]
    pub fn lines(&self) -> Vec<KeyLine> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.iter().flat_map(|source| source()).collect()
    }

    /// The same for people and machines.
    #[must_use]
    pub fn view(&self) -> Value {
        let now = self.clock.now();
        let lines = self.lines();
        let rows = lines.iter().map(|line| {
            json!({
                "owner": line.owner,
                "id": line.id,
                "kind": line.kind,
                "source": line.origin,
                "valid_from_ms": line.valid.map(|valid| valid.from.as_ms()),
                "valid_to_ms": line.valid.map(|valid| valid.to.as_ms()),
                "state": self.state(line, now),
            })
        });
        rows.collect()
    }

    /// Shows and warns, again and again until the server stops.
    pub async fn follow(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            self.look();
            let next = self.clock.now().plus_ms(LOOK_MS);
            tokio::select! {
                () = self.clock.wait_until(next) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Shows the end of every key as a metric, and warns of those that are near it, once a day.
    pub fn look(&self) {
        let now = self.clock.now();
        let lines = self.lines();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shown = BTreeSet::new();
        for line in &lines {
            let Some(valid) = line.valid else { continue };
            gauge(&line.owner, &line.id).set(seconds(valid.to));
            let name = (line.owner.clone(), line.id.clone());
            self.warn(line, valid, (&mut told.warned, &name), now);
            shown.insert(name);
        }
        // A series cannot be taken back; one that is no number crosses no threshold.
        for (owner, id) in told.shown.difference(&shown) {
            gauge(owner, id).set(f64::NAN);
        }
        told.warned.retain(|name, _| shown.contains(name));
        told.shown.extend(shown);
    }

    fn warn(
        &self,
        line: &KeyLine,
        valid: Validity,
        (warned, name): (&mut BTreeMap<Name, Timestamp>, &Name),
        now: Timestamp,
    ) {
        let state = self.state(line, now);
        let is_told = warned.get(name).is_some_and(|at| now.ms_since(*at) < DAY_MS);
        if is_told || !matches!(state, ENDED | ENDS_SOON) {
            return;
        }
        warned.insert(name.clone(), now);
        let KeyLine { owner, id, kind, .. } = line;
        let days = valid.to.ms_since(now).div_euclid(DAY_MS);
        match state {
            ENDED => tracing::error!(owner, key = id, kind, ended = %valid.to,
                code = "keys.ended", "a key has ended: put the next one in its place"),
            _ => tracing::warn!(owner, key = id, kind, ends = %valid.to, days,
                code = "keys.ends-soon", "a key ends soon: put the next one beside it in time"),
        }
    }

    fn state(&self, line: &KeyLine, now: Timestamp) -> &'static str {
        match line.valid {
            None => "good",
            Some(valid) if valid.to < now => ENDED,
            Some(valid) if valid.to.ms_since(now) < self.warn_before_ms => ENDS_SOON,
            Some(valid) if valid.from > now => "not-yet",
            Some(_) => "good",
        }
    }
}

/// The keys of all channels as they are in force.
#[must_use]
pub fn of_channels(channels: Arc<Channels>) -> Source {
    Box::new(move || {
        let current = channels.current();
        let lines = current.values().flat_map(|channel| {
            channel.gateway.keys().into_iter().map(|key| KeyLine {
                owner: channel.name.clone(),
                id: key.id,
                kind: key.kind.as_str(),
                origin: key.origin.as_str(),
                valid: key.valid,
            })
        });
        lines.collect()
    })
}

fn gauge(owner: &str, id: &str) -> metrics::Gauge {
    metrics::gauge!("callgate_key_expires_seconds",
        "channel" => owner.to_owned(), "key" => id.to_owned())
}

/// Whole seconds since 1970.
fn seconds(moment: Timestamp) -> f64 {
    // Beyond 2106 only somebody's grandchildren are warned too early.
    f64::from(u32::try_from(moment.as_ms() / 1000).unwrap_or(u32::MAX))
}

const ENDED: &str = "ended";

const ENDS_SOON: &str = "ends-soon";

const DAY_MS: i64 = 24 * 3_600_000;

/// How often ends are looked at, in milliseconds: keys that were changed are shown soon after.
const LOOK_MS: i64 = 5_000;

#[cfg(test)]
mod tests {
    use callgate_core::gateway::known::Validity;
    use callgate_core::time::Timestamp;

    use super::{DAY_MS, Expiry, KeyLine};
    use crate::clock::Clock;

    fn line(id: &str, days: Option<(i64, i64)>) -> KeyLine {
        let moment = |days: i64| Timestamp::from_ms(days.saturating_mul(DAY_MS));
        let valid = days.map(|(from, to)| Validity { from: moment(from), to: moment(to) });
        let owner = "main".to_owned();
        KeyLine { owner, id: id.to_owned(), kind: "certificate", origin: "configured", valid }
    }

    #[test]
    fn a_key_is_told_by_how_near_its_end_is() {
        let clock = Clock::manual(Timestamp::from_ms(DAY_MS.saturating_mul(100)));
        let expiry = Expiry::new(clock.clone(), 30);
        expiry.watch(Box::new(|| {
            vec![
                line("endless", None),
                line("far", Some((0, 130))),
                line("near", Some((0, 129))),
                line("past", Some((0, 99))),
                line("next", Some((110, 400))),
            ]
        }));
        let states = || {
            let view = expiry.view();
            let states = view.as_array().expect("a list").iter();
            states.map(|row| row["state"].as_str().expect("a state").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(states(), ["good", "good", "ends-soon", "ended", "not-yet"]);
        expiry.look();
        assert_eq!(expiry.told.lock().expect("told").warned.len(), 2);
        clock.advance_ms(DAY_MS.saturating_mul(10));
        assert_eq!(states(), ["good", "ends-soon", "ends-soon", "ended", "good"]);
        expiry.look();
        assert_eq!(expiry.told.lock().expect("told").warned.len(), 3);
    }
}
