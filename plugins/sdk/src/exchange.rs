//! What every phase is given: the notification in hand, the run, and the quiet imports.

use std::fmt;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::document::{Document, State};
use crate::error::{PhaseError, PhaseResult};
use crate::host::{Amount, Fact, Host, OptionalFact};
use crate::json;
use crate::money::Money;

/// Whether this is the real thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A live notification.
    Live,
    /// An operator replays a stored notification.
    Replay,
    /// Nothing is committed; what is staged is only shown.
    DryRun,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Every step.
    Trace,
    /// For finding faults.
    Debug,
    /// The life of a run.
    Info,
    /// Strange, but coped with.
    Warn,
    /// A person must act.
    Error,
}

/// The notification in hand, what the host knows about this run, and the quiet imports: scratch,
/// configuration, clock and log. Given to every phase.
///
/// A reader asks the host when it is called, and only then: what is not read is not copied. Subject
/// and scratch are asked for once in a run.
#[derive(Clone)]
pub struct Exchange(pub(crate) Rc<dyn Host>);

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

/// The notification: what the gateway said.
impl Exchange {
    /// The host's identity of this notification, the same for every retry and replay: the
    /// idempotency key.
    #[must_use]
    pub fn notification_id(&self) -> String {
        self.0.fact(Fact::NotificationId)
    }

    /// The configured channel that it came in on, such as `wechat-v3-main`.
    #[must_use]
    pub fn channel(&self) -> String {
        self.0.fact(Fact::Channel)
    }

    /// What happened, normalised by the host, such as `payment.succeeded`.
    #[must_use]
    pub fn event_type(&self) -> String {
        self.0.fact(Fact::EventType)
    }

    /// The gateway's identity of this message, the same for all its tries.
    #[must_use]
    pub fn delivery_key(&self) -> String {
        self.0.fact(Fact::DeliveryKey)
    }

    /// The business fact, such as transaction and state: it advances the subject once.
    #[must_use]
    pub fn meaning_key(&self) -> String {
        self.0.fact(Fact::MeaningKey)
    }

    /// When the gateway says it happened, in milliseconds since 1970.
    #[must_use]
    pub fn occurred_at_ms(&self) -> Option<u64> {
        self.0.occurred_at_ms()
    }

    /// When the host stored it, in milliseconds since 1970.
    #[must_use]
    pub fn received_at_ms(&self) -> u64 {
        self.0.received_at_ms()
    }

    /// Reads the verified, decrypted content, one JSON object whatever the gateway's own format.
    ///
    /// # Errors
    /// Rejects with `body-unreadable` where the content has another form.
    pub fn body<T: DeserializeOwned>(&self) -> PhaseResult<T> {
        json::read("body-unreadable", &self.0.fact(Fact::Body))
    }

    /// What moved: the amount paid, or the amount of this refund.
    #[must_use]
    pub fn amount(&self) -> Option<Money> {
        self.0.amount(Amount::Moved)
    }

    /// For a refund, everything refunded so far, where the gateway tells that instead of the
    /// amount of one refund. Alipay does.
    #[must_use]
    pub fn refunded_total(&self) -> Option<Money> {
        self.0.amount(Amount::RefundedTotal)
    }

    /// The total of the order as the gateway has it; the host has held it against the subject.
    #[must_use]
    pub fn order_amount(&self) -> Option<Money> {
        self.0.amount(Amount::Order)
    }

    /// Order number as the gateway was given it; it may be an alias of the subject.
    #[must_use]
    pub fn order_no(&self) -> Option<String> {
        self.0.optional(OptionalFact::OrderNo)
    }

    /// The gateway's own number of the payment.
    #[must_use]
    pub fn transaction_id(&self) -> Option<String> {
        self.0.optional(OptionalFact::TransactionId)
    }

    /// For a refund, the gateway's own number of it.
    #[must_use]
    pub fn refund_id(&self) -> Option<String> {
        self.0.optional(OptionalFact::RefundId)
    }

    /// For a refund, the merchant's own number of it.
    #[must_use]
    pub fn refund_no(&self) -> Option<String> {
        self.0.optional(OptionalFact::RefundNo)
    }

    /// Who paid, as the gateway names them. Personal data: never log it.
    #[must_use]
    pub fn payer(&self) -> Option<String> {
        self.0.optional(OptionalFact::Payer)
    }
}

/// The run: what the host knows beside the notification.
impl Exchange {
    /// Business of the channel, such as `PRODUCT_ORDER`.
    #[must_use]
    pub fn business(&self) -> String {
        self.0.fact(Fact::Business)
    }

    /// Scene of the channel, such as `WE_CHAT_PAY`.
    #[must_use]
    pub fn scene(&self) -> String {
        self.0.fact(Fact::Scene)
    }

    /// The order that the notification speaks of; none on a route without a subject.
    #[must_use]
    pub fn subject(&self) -> Option<Document> {
        self.0.subject()
    }

    /// The order that the notification speaks of, on a route that always has one.
    ///
    /// # Errors
    /// Rejects with `subject-missing` where there is none.
    pub fn order(&self) -> PhaseResult<Document> {
        self.subject().ok_or_else(|| {
            PhaseError::reject("subject-missing", "the route has no subject, expected an order")
        })
    }

    /// The state chosen by `next_state`; none before it and for a run that stays.
    #[must_use]
    pub fn target_state(&self) -> Option<State> {
        self.0.optional(OptionalFact::TargetState).map(State::from)
    }

    /// Whether this is the real thing.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode()
    }

    /// 1 for the first try.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt()
    }

    /// Milliseconds left before the host stops this phase.
    #[must_use]
    pub fn remaining_ms(&self) -> u32 {
        self.0.remaining_ms()
    }

    /// Everything about notification and run as one JSON object, whose members have the names of
    /// the contract's functions: one crossing instead of many.
    ///
    /// # Errors
    /// Rejects with `summary-unreadable` where the expected form is another.
    pub fn summary<T: DeserializeOwned>(&self) -> PhaseResult<T> {
        json::read("summary-unreadable", &self.0.fact(Fact::Summary))
    }

    /// What an earlier phase of this run left; none at first.
    ///
    /// # Errors
    /// Rejects with `scratch-unreadable` where it has another form.
    pub fn scratch<T: DeserializeOwned>(&self) -> PhaseResult<Option<T>> {
        json::read_optional("scratch-unreadable", &self.0.scratch())
    }

    /// Leaves a value for the later phases, `after` included, in place of what was there. At
    /// most 64 KiB of JSON. The only thing that may carry from one phase to the next.
    ///
    /// # Errors
    /// Rejects with `scratch-refused` where the host does not take it.
    pub fn set_scratch<T: Serialize + ?Sized>(&self, value: &T) -> PhaseResult {
        let text = json::write("scratch-refused", value)?;
        self.0.set_scratch(&text).map_err(|text| PhaseError::reject("scratch-refused", text))
    }

    /// The plugin's configuration.
    #[must_use]
    pub fn config(&self) -> Config {
        Config(Rc::clone(&self.0))
    }

    /// Wall clock in milliseconds since 1970, constant inside one phase.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    /// A time-ordered unique id, the same when the same phase is run again.
    #[must_use]
    pub fn new_id(&self) -> String {
        self.0.new_id()
    }

    /// Writes one log line; the host adds plugin, notification and phase. No personal data.
    pub fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        self.0.log(level, message, fields);
    }

    /// Whether a level is on, so that nothing is formatted that would be dropped.
    #[must_use]
    pub fn log_enabled(&self, level: Level) -> bool {
        self.0.log_enabled(level)
    }
}

/// The plugin's configuration, from the host's. Frozen for the length of a run.
#[derive(Clone)]
pub struct Config(pub(crate) Rc<dyn Host>);

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Config")
    }
}

impl Config {
    /// One value by dotted path, such as `limits.max-amount`; none where unset.
    ///
    /// # Errors
    /// Rejects with `config-unreadable` where the value has another form.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> PhaseResult<Option<T>> {
        self.0.config(path).map(|text| json::read("config-unreadable", &text)).transpose()
    }

    /// Identity of the configuration in force.
    #[must_use]
    pub fn revision(&self) -> String {
        self.0.fact(Fact::ConfigRevision)
    }
}
