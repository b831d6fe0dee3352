//! Conditions: what is watched, when it is too much, and the words for it. Pure.

use std::fmt;

use callgate_store::Severity;
use serde::Deserialize;

use super::machine::{Level, Pace};

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Age of the oldest notification that is neither finished nor parked, in seconds.
    Oldest,
    /// Notifications that wait for their order.
    Parked,
    /// Notifications that wait for a person.
    Review,
    /// Events that a sink was given up for.
    DeadLetters,
    /// Age of the oldest event that a sink has not taken, in seconds.
    SinkLag,
    /// Orders past their time that never moved, in percent.
    SilentOrders,
    /// Callbacks with a wrong signature in five minutes.
    Signatures,
    /// Callbacks refused for their signed time in five minutes.
    Untimely,
    /// How far our clock is from the gateway's, in seconds.
    Clock,
    /// Days until a key can be used no more.
    KeyExpiry,
    /// Callbacks that stay away, in percent of those expected.
    CallbacksAway,
    /// 1 while the configuration on disk is refused and the old one stays in force.
    ReloadRefused,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Oldest,
        Self::Parked,
        Self::Review,
        Self::DeadLetters,
        Self::SinkLag,
        Self::SilentOrders,
        Self::Signatures,
        Self::Untimely,
        Self::Clock,
        Self::KeyExpiry,
        Self::CallbacksAway,
        Self::ReloadRefused,
    ];

    /// The word for it, which a condition's name begins with.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Parked => "parked",
            Self::Review => "review",
            Self::DeadLetters => "dead-letters",
            Self::SinkLag => "sink-lag",
            Self::SilentOrders => "silent-orders",
            Self::Signatures => "signatures",
            Self::Untimely => "untimely",
            Self::Clock => "clock",
            Self::KeyExpiry => "key-expiry",
            Self::CallbacksAway => "callbacks-away",
            Self::ReloadRefused => "reload-refused",
        }
    }

    /// Whether less is worse: time that is left.
    fn falls(self) -> bool {
        self == Self::KeyExpiry
    }

    /// Where a value stands against a rule.
    #[must_use]
    pub fn level(self, value: i64, rule: &Rule) -> Level {
        let (value, over, under) = match self.falls() {
            // What falls is what rises, seen from below.
            true => (
                0_i64.saturating_sub(value),
                0_i64.saturating_sub(rule.over),
                0_i64.saturating_sub(rule.under),
            ),
            false => (value, rule.over, rule.under),
        };
        if value >= over {
            Level::Over
        } else if value < under {
            Level::Under
        } else {
            Level::Between
        }
    }

    /// What is seen, in figures.
    fn words(self, subject: &str, value: i64, limit: i64) -> String {
        match self {
            Self::Oldest => format!(
                "the oldest unprocessed notification is {} old, limit {}",
                Span(value),
                Span(limit)
            ),
            Self::Parked => {
                format!(
                    "{value} notifications wait for their order to be registered, limit {limit}"
                )
            }
            Self::Review => format!("{value} notifications wait for a person, limit {limit}"),
            Self::DeadLetters => {
                format!("sink {subject} did not take {value} events for good, limit {limit}")
            }
            Self::SinkLag => {
                format!("sink {subject} is behind by {}, limit {}", Span(value), Span(limit))
            }
            Self::SilentOrders => format!(
                "{value} % of the orders of {subject} whose time has passed never moved, \
                 limit {limit} %"
            ),
            Self::Signatures => format!(
                "{value} callbacks of channel {subject} with a wrong signature, key or encryption \
                 in 5 minutes, limit {limit}; the gateway's probes apart"
            ),
            Self::Untimely => format!(
                "{value} callbacks of channel {subject} refused for their time in 5 minutes, limit \
                 {limit}: is the clock right?"
            ),
            Self::Clock => format!(
                "our clock and that of the gateway of channel {subject} differ by {}, limit {}",
                Span(value),
                Span(limit)
            ),
            Self::KeyExpiry => {
                format!("key {subject} can be used {value} days more, limit {limit}")
            }
            Self::CallbacksAway => format!(
                "{value} % of the callbacks stay away that channel {subject} has at this hour, \
                 limit {limit} %"
            ),
            Self::ReloadRefused => {
                "the configuration was changed and is refused; the old one stays in force"
                    .to_owned()
            }
        }
    }
}

/// A condition with the value that was read just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What is watched.
    pub kind: Kind,
    /// Whose: a sink, a channel, a business, a key; empty where there is but one.
    pub subject: String,
    /// The value in the kind's unit.
    pub value: i64,
}

impl Reading {
    /// The condition's name, the same on every host.
    #[must_use]
    pub fn condition(&self) -> String {
        let kind = self.kind.as_str();
        if self.subject.is_empty() {
            return kind.to_owned();
        }
        format!("{kind}:{}", self.subject).chars().take(CONDITION_MAX).collect()
    }

    /// What is seen, in figures.
    #[must_use]
    pub fn summary(&self, rule: &Rule) -> String {
        self.kind.words(&self.subject, self.value, rule.over)
    }
}

/// When a condition is raised, and when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Raised at this value or past it.
    pub over: i64,
    /// Well when it is short of this value again.
    pub under: i64,
    /// How long it must last, in milliseconds.
    pub for_ms: u32,
    /// How much it matters.
    pub severity: Severity,
}

impl Rule {
    /// How long things must last.
    #[must_use]
    pub fn pace(&self, clear_ms: u32) -> Pace {
        Pace { for_ms: i64::from(self.for_ms), clear_ms: i64::from(clear_ms) }
    }
}

/// Seconds for people.
struct Span(i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.saturating_abs();
        let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
        let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{rest} s"),
            (0, 0, minutes) => write!(f, "{minutes} min {rest} s"),
            (0, hours, minutes) => write!(f, "{hours} h {minutes} min"),
            (days, hours, _) => write!(f, "{days} d {hours} h"),
        }
    }
}

/// Characters of a condition's name, as the store holds it.
const CONDITION_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use callgate_store::Severity;

    use super::super::machine::Level::{self, Between, Over, Under};
    use super::{Kind, Reading, Rule};

    fn rule(over: i64, under: i64) -> Rule {
        Rule { over, under, for_ms: 0, severity: Severity::Warning }
    }

    fn check(kind: Kind, rule: &Rule, expected: &[(i64, Level)]) {
        for (value, level) in expected {
            assert_eq!(kind.level(*value, rule), *level, "{kind:?} {value}");
        }
    }

    #[test]
    fn a_value_is_over_at_its_limit_and_well_below_the_other() {
        let expected = [(9, Under), (10, Between), (19, Between), (20, Over), (i64::MAX, Over)];
        check(Kind::Parked, &rule(20, 10), &expected);
        check(Kind::Review, &rule(1, 1), &[(0, Under), (1, Over)]);
    }

    #[test]
    fn time_that_is_left_is_too_little_from_above() {
        let expected =
            [(16, Under), (15, Between), (14, Over), (0, Over), (-3, Over), (i64::MIN, Over)];
        check(Kind::KeyExpiry, &rule(14, 15), &expected);
    }

    #[test]
    fn a_condition_says_whose_it_is_and_what_is_seen() {
        let one = |kind, subject: &str, value| Reading { kind, subject: subject.to_owned(), value };
        let lag = one(Kind::SinkLag, "erp", 3_725);
        assert_eq!(lag.condition(), "sink-lag:erp");
        assert_eq!(
            lag.summary(&rule(900, 300)),
            "sink erp is behind by 1 h 2 min, limit 15 min 0 s"
        );
        assert_eq!(one(Kind::Oldest, "", 59).condition(), "oldest");
        let long = one(Kind::KeyExpiry, &"k".repeat(9_999), 3);
        assert!(long.condition().chars().count() <= 200);
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> = Kind::ALL.map(Kind::as_str).into();
        assert_eq!(words.len(), Kind::ALL.len());
    }
}
