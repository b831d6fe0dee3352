//! Alerts that reach people: what is watched, when it is told, to whom and how.
//!
//! May call store, outbound, core, clock and telemetry; nothing else waits for any of this.
//!
//! Reading order: `machine` (one condition over time, pure), `condition` (what is watched and its
//! words, pure), `readings` (where the values come from), `watch` (the loop), `away` (callbacks
//! that stay away, pure), `robot` (how a webhook is told, with its signature), `send` (what is told
//! is sent).

use serde::Deserialize;

use self::condition::{Kind, Rule};

pub mod machine;

pub mod condition;

mod away;

mod readings;

mod watch;

pub mod robot;

mod send;

pub use send::{Robots, tell};
pub use watch::{Watched, watch};

/// Settings of alerts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether conditions are looked at.
    pub enabled: bool,
    /// How often, in milliseconds.
    pub look_ms: u32,
    /// How long a condition must be well before it is over, in milliseconds.
    pub clear_ms: u32,
    /// After how long people are told again of what lasts, in milliseconds.
    pub repeat_ms: u32,
    /// Age of the oldest notification that is neither finished nor parked, in seconds.
    pub oldest: Rule,
    /// Notifications that wait for their order.
    pub parked: Rule,
    /// Notifications that wait for a person.
    pub review: Rule,
    /// Events that a sink was given up for.
    pub dead_letters: Rule,
    /// Age of the oldest event that a sink has not taken, in seconds.
    pub sink_lag: Rule,
    /// Orders past their time that never moved, in percent.
    pub silent_orders: Rule,
    /// Which orders those are.
    pub silent: Silent,
    /// Callbacks with a wrong signature in five minutes.
    pub signatures: Rule,
    /// Callbacks refused for their signed time in five minutes.
    pub untimely: Rule,
    /// How far our clock is from the gateway's, in seconds.
    pub clock: Rule,
    /// Days until a key can be used no more.
    pub key_expiry: Rule,
    /// Callbacks that stay away, in percent of those expected.
    pub callbacks_away: Rule,
    /// What is expected.
    pub away: Away,
    /// 1 while the configuration on disk is refused.
    pub reload_refused: Rule,
}

/// Which orders are looked at for silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silent {
    /// An order's time is over so long after its registration, in milliseconds.
    pub after_ms: u32,
    /// Orders whose time ended within so many milliseconds are looked at.
    pub window_ms: u32,
    /// Fewer orders than this say nothing.
    pub orders_min: u32,
}

/// What callbacks are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Away {
    /// Callbacks of so many milliseconds are held against the same time before.
    pub window_ms: u32,
    /// Where fewer are expected, nothing is said.
    pub expected_min: u32,
}

impl Settings {
    /// The rule of a kind.
    #[must_use]
    pub fn rule(&self, kind: Kind) -> &Rule {
        match kind {
            Kind::Oldest => &self.oldest,
            Kind::Parked => &self.parked,
            Kind::Review => &self.review,
            Kind::DeadLetters => &self.dead_letters,
            Kind::SinkLag => &self.sink_lag,
            Kind::SilentOrders => &self.silent_orders,
            Kind::Signatures => &self.signatures,
            Kind::Untimely => &self.untimely,
            Kind::Clock => &self.clock,
            Kind::KeyExpiry => &self.key_expiry,
            Kind::CallbacksAway => &self.callbacks_away,
            Kind::ReloadRefused => &self.reload_refused,
        }
    }

    /// How long the word of a host counts that says nothing more, in milliseconds.
    #[must_use]
    pub(in crate::engine) fn lease_ms(&self) -> i64 {
        i64::from(self.look_ms).saturating_mul(4).max(LEASE_MS_MIN)
    }

    /// Holds what has bounds against them; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), (String, String)> {
        let hour = 3_600_000;
        for (field, found, (least, most)) in [
            ("look_ms", self.look_ms, (10, 600_000)),
            ("clear_ms", self.clear_ms, (0, 24 * hour)),
            ("repeat_ms", self.repeat_ms, (1_000, 30 * 24 * hour)),
            ("silent.after_ms", self.silent.after_ms, (1_000, 7 * 24 * hour)),
            ("silent.window_ms", self.silent.window_ms, (1_000, 24 * hour)),
            ("silent.orders_min", self.silent.orders_min, (1, 1_000_000)),
            ("away.window_ms", self.away.window_ms, (300_000, 6 * hour)),
            ("away.expected_min", self.away.expected_min, (1, 1_000_000)),
        ] {
            if !(least..=most).contains(&found) {
                let problem = format!("found {found}, expected {least} to {most}");
                return Err((field.to_owned(), problem));
            }
        }
        for kind in Kind::ALL {
            let rule = self.rule(kind);
            let field = |name: &str| format!("{}.{name}", kind.as_str().replace('-', "_"));
            let (low, high, words) = if kind == Kind::KeyExpiry {
                (rule.over, rule.under, "at least over")
            } else {
                (rule.under, rule.over, "at most over")
            };
            if low > high || low < 0 {
                let problem = format!("found {}, expected 0 or more and {words}", rule.under);
                return Err((field("under"), problem));
            }
            if rule.for_ms > 24 * hour {
                return Err((
                    field("for_ms"),
                    format!("found {}, expected a day at most", rule.for_ms),
                ));
            }
        }
        Ok(())
    }
}

/// A host that is busy for a moment keeps what it raised.
const LEASE_MS_MIN: i64 = 5_000;
