//! Delivery: events leave after their commit, at least once, always with the same id, and in the
//! order of commits for each key and sink.
//!
//! Each sink has a loop of its own: one that is down delays no other, and nothing else waits for
//! any of them. May call store, outbound and core.
//!
//! Reading order: `work` (the loop of one sink), `place` (where it is and what signs, which can
//! change while it runs), `queue` (what waits, and in which order),
//! `outbound::circuit` (whether the sink is asked at all), `message` and `signature` (what is
//! sent), `http` and `nats` (how), `gauges` (what is measured).

use std::collections::BTreeSet;
use std::sync::Arc;

use callgate_core::retry::Backoff;
use callgate_core::secret::Secret;
use callgate_store::{SinkStart, Store, StoredEvent};
use reqwest::Url;
use tokio::sync::watch;

use self::place::Place;
use crate::clock::Clock;

mod work;

mod place;

mod queue;

mod gauges;

mod message;

pub mod signature;

mod http;

mod nats;

pub use self::place::Move;
pub use crate::outbound::circuit::CircuitSettings;

/// Settings of one sink.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    /// Its name, which stands for it in the store, logs and metrics.
    pub name: String,
    /// Which topics it takes.
    pub topics: Vec<TopicPattern>,
    /// Which businesses' events it takes; none for all.
    pub businesses: Option<BTreeSet<String>>,
    /// Where it begins when it is new.
    pub start: SinkStart,
    /// Events on their way at once, each of another key.
    pub in_flight_max: usize,
    /// Failed and held back events that are kept beside the outbox; with more the sink stands.
    pub held_max: usize,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u32,
    /// How long the sink belongs to a host that says nothing more, in milliseconds.
    pub lease_ms: u32,
    /// Age of an event's first failure after which it is given up, in milliseconds.
    pub give_up_ms: i64,
    /// Delays between attempts, and how many of them count.
    pub retry: Backoff,
    /// When the sink is left in peace.
    pub circuit: CircuitSettings,
    /// Where it is.
    pub target: TargetSettings,
}

/// Which topics a sink takes: one, or all that begin alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern {
    text: String,
    prefix: bool,
}

impl TopicPattern {
    /// Reads `order.paid`, `order.*` or `*`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (stem, prefix) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        let fits =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let shaped = stem.chars().all(fits)
            && (if prefix { stem.is_empty() || stem.ends_with('.') } else { !stem.is_empty() });
        shaped.then(|| Self { text: stem.to_owned(), prefix })
    }

    fn fits(&self, topic: &str) -> bool {
        if self.prefix { topic.starts_with(&self.text) } else { topic == self.text }
    }
}

/// Where a sink is.
#[derive(Debug, Clone)]
pub enum TargetSettings {
    /// An endpoint that takes Standard Webhooks.
    Http {
        /// Where to post.
        url: Url,
        /// All that are valid now; each signs.
        secrets: Vec<signature::SigningSecret>,
        /// Whether it may be a private address.
        reach: crate::outbound::address::Reach,
        /// Who signs its certificate; those that the machine trusts where there is none.
        roots: Vec<reqwest::Certificate>,
    },
    /// A stream of NATS JetStream.
    Nats {
        /// `nats://host:4222` or `tls://…`; several separated by commas.
        url: String,
        /// With `{business}` and `{topic}`.
        subject: String,
        /// Who we are, if the server asks.
        login: NatsLogin,
    },
}

/// Who we are at a NATS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsLogin {
    /// It does not ask.
    None,
    /// A token.
    Token(Secret),
    /// A user and a password.
    User(String, Secret),
}

/// A sink that is ready to be delivered to. Clones are the same sink.
#[derive(Debug, Clone)]
pub struct Sink {
    settings: Arc<SinkSettings>,
    place: Place,
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Attempt {
    /// The sink has it.
    Delivered,
    /// The sink does not want it any more.
    Gone,
    /// It has not, or nobody knows.
    Failed(Failure),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    code: &'static str,
    text: String,
    /// The sink's wish when to come again, in milliseconds from now.
    wait_ms: Option<u32>,
    blame: Blame,
}

/// Whose failure it was, as far as the answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// The sink's: another event would have failed as well.
    Sink,
    /// The event's: the sink answered, and did not take this one.
    Event,
}

/// Why a sink cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sinks.{name}.url: {problem}")]
pub struct SinkError {
    /// The sink.
    pub name: String,
    /// What was found and what was expected.
    pub problem: String,
}

impl Sink {
    /// Opens a sink. One that does not answer at the moment is no error: it may later.
    ///
    /// # Errors
    /// [`SinkError`] where its address must not be reached or is none.
    pub async fn open(settings: SinkSettings) -> Result<Self, SinkError> {
        let place = Place::open(&settings).await?;
        Ok(Self { settings: Arc::new(settings), place })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Makes ready what other settings say of where the sink is and what signs there. Nothing
    /// changes before [`Move::enforce`]; everything else of the settings waits for the next start.
    ///
    /// # Errors
    /// [`SinkError`] where the address must not be reached or is none.
    pub async fn ready(&self, settings: &SinkSettings) -> Result<Move, SinkError> {
        let target = settings.target.clone();
        self.place.ready(SinkSettings { target, ..SinkSettings::clone(&self.settings) }).await
    }

    fn takes(&self, event: &StoredEvent) -> bool {
        let businesses = self.settings.businesses.as_ref();
        businesses.is_none_or(|names| names.contains(&event.business))
            && self.settings.topics.iter().any(|pattern| pattern.fits(&event.event.topic))
    }

    async fn attempt(&self, event: &StoredEvent, clock: &Clock) -> Attempt {
        self.place.attempt(event, clock).await
    }
}

/// What every sink's loop needs.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where events are, and how far each sink has come.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Names this host in leases.
    pub owner: String,
    /// How often to look for what another host committed, in milliseconds.
    pub poll_ms: u32,
}

/// Delivers to one sink until `shutdown` says so; then ends what is on its way.
pub async fn deliver(delivery: Delivery, sink: Sink, shutdown: watch::Receiver<bool>) {
    work::Work::new(delivery, sink).run(shutdown).await;
}

#[cfg(test)]
mod tests {
    use super::TopicPattern;

    fn check(pattern: &str, topic: &str, expected: Option<bool>) {
        let found = TopicPattern::parse(pattern).map(|pattern| pattern.fits(topic));
        assert_eq!(found, expected, "{pattern} and {topic}");
    }

    #[test]
    fn a_pattern_takes_one_topic_or_all_that_begin_alike() {
        check("order.paid", "order.paid", Some(true));
        check("order.paid", "order.paid-twice", Some(false));
        check("order.*", "order.paid", Some(true));
        check("order.*", "orders.paid", Some(false));
        check("*", "order.paid", Some(true));
        for pattern in ["", "order*", "*.paid", "Order.*", "order. *"] {
            check(pattern, "order.paid", None);
        }
    }
}
