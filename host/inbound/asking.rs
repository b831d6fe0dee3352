//! Asking gateways, as far as calls and configuration have to do with it: how a channel is asked,
//! what is asked first about an order, and the handle by which a call has its gateway asked now.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use callgate_core::asking::{Rate, Schedule};
use callgate_core::notification::EventType;
use callgate_core::time::Timestamp;
use callgate_store::{FirstQuestion, StoreError};
use serde::Deserialize;

use super::channel::Channel;

/// How the gateway of a channel is asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AskSettings {
    /// From the registration of an order to the first question, in milliseconds.
    pub first_ms: u32,
    /// Each gap is so many percent of the one before it.
    pub growth_percent: u32,
    /// No gap is longer, jitter apart, in milliseconds.
    pub max_ms: u32,
    /// From the registration to the last question, in milliseconds.
    pub give_up_ms: u32,
    /// Questions a minute, all hosts together.
    pub per_minute: u32,
    /// Questions at once after a rest.
    pub burst: u32,
    /// Questions of this host on their way at once.
    pub places: usize,
    /// From the first byte sent to the answer read, in milliseconds.
    pub timeout_ms: u32,
    /// A question out of turn is put only so long after the last one, in milliseconds.
    pub again_ms: u32,
    /// Whether the gateway may be a private address.
    pub allow_private: bool,
    /// A certificate that signs the gateway's, as PEM.
    pub ca: Option<String>,
    /// Several of them; where there is none, those of the machine.
    pub cas: Vec<String>,
}

impl Default for AskSettings {
    fn default() -> Self {
        Self {
            first_ms: 60_000,
            growth_percent: 300,
            max_ms: 14_400_000,
            give_up_ms: 86_400_000,
            per_minute: 600,
            burst: 10,
            places: 4,
            timeout_ms: 5_000,
            again_ms: 30_000,
            allow_private: false,
            ca: None,
            cas: Vec::new(),
        }
    }
}

impl AskSettings {
    /// Holds every number against its bounds; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let places = u32::try_from(self.places).unwrap_or(u32::MAX);
        for (field, found, least, most) in [
            ("first_ms", self.first_ms, 100, MONTH_MS),
            ("growth_percent", self.growth_percent, 100, 1_000),
            ("max_ms", self.max_ms, 100, MONTH_MS),
            ("give_up_ms", self.give_up_ms, 100, MONTH_MS),
            ("per_minute", self.per_minute, 1, 1_000_000),
            ("burst", self.burst, 1, 10_000),
            ("places", places, 1, 256),
            ("timeout_ms", self.timeout_ms, 100, 30_000),
            ("again_ms", self.again_ms, 100, 3_600_000),
        ] {
            if !(least..=most).contains(&found) {
                return Err((field, format!("found {found}, expected {least} to {most}")));
            }
        }
        Ok(())
    }

    /// The gaps.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule {
            first_ms: self.first_ms,
            growth_percent: self.growth_percent,
            max_ms: self.max_ms,
            give_up_ms: self.give_up_ms,
        }
    }

    /// How many questions all hosts together may put.
    #[must_use]
    pub fn rate(&self) -> Rate {
        Rate { per_minute: self.per_minute, burst: self.burst }
    }

    /// Who signs the gateway's certificate, as PEM.
    pub fn roots(&self) -> impl Iterator<Item = &str> {
        self.ca.iter().chain(&self.cas).map(String::as_str)
    }
}

/// Thirty days.
const MONTH_MS: u32 = 2_592_000_000;

/// The channels that may be asked about an order of a business: the one that it must be paid
/// through, or all of the business that can be asked.
pub fn askable<'a>(
    channels: impl IntoIterator<Item = &'a Arc<Channel>>,
    business: &str,
    only: Option<&str>,
) -> impl Iterator<Item = &'a Arc<Channel>> {
    channels.into_iter().filter(move |channel| {
        channel.business == business
            && only.is_none_or(|name| name == channel.name)
            && channel.gateway.inquiry().is_some()
    })
}

/// What is asked first about an order that is being registered.
pub(super) fn first_questions<'a>(
    channels: impl IntoIterator<Item = &'a Arc<Channel>>,
    (business, order_no): (&str, &str),
    only: Option<&str>,
    now: Timestamp,
) -> Vec<FirstQuestion> {
    let first = |channel: &Arc<Channel>| {
        let due_at = channel.ask.schedule().next(now, 0, now, seed(order_no))?;
        Some(FirstQuestion { channel: channel.name.clone(), due_at })
    };
    askable(channels, business, only).filter_map(first).collect()
}

/// Spreads what began together.
pub fn seed(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// What a gateway is asked about, out of turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Who owns the order.
    pub business: String,
    /// The order, by its number or one of its other names.
    pub order: String,
    /// The merchant's number of a refund; the payment is asked about where there is none.
    pub refund_no: Option<String>,
}

/// What a gateway's bill has and nobody heard of: it names the very number that the gateway was
/// given, whether an order is registered under it or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed {
    /// Who owns the channel.
    pub business: String,
    /// The channel that the bill is of.
    pub channel: String,
    /// The number of the order, as the gateway was given it.
    pub number: String,
    /// The merchant's number of a refund; the payment is asked about where there is none.
    pub refund_no: Option<String>,
}

/// What came of a question out of turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// In one word what is known now.
    pub told: Word,
    /// Whether a gateway was asked for it.
    pub asked: bool,
    /// The notification that says so, where one does.
    pub notification: Option<String>,
    /// A stable code, where no gateway answered.
    pub code: Option<String>,
}

/// What is known of a payment or a refund, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Nobody answered.
    NoAnswer,
    /// The gateway knows of no such payment or refund.
    Unknown,
    /// It knows it, and nothing is decided.
    Pending,
    /// Something else was told: the notification says what.
    Other,
    /// The payment was tried and failed; it may be tried again.
    Failed,
    /// Nobody can pay any more, or the refund was given up.
    Closed,
    /// The refund reached the payer, or the payment was given back.
    Refunded,
    /// The payer paid.
    Paid,
}

impl Word {
    /// The word of an event, by its name.
    #[must_use]
    pub fn of(event: &str) -> Self {
        for (events, word) in [
            (&[EventType::PAYMENT_SUCCEEDED, EventType::PAYMENT_FINISHED][..], Self::Paid),
            (&[EventType::PAYMENT_REFUNDED, EventType::REFUND_SUCCEEDED], Self::Refunded),
            (&[EventType::PAYMENT_CLOSED, EventType::REFUND_CLOSED], Self::Closed),
            (&[EventType::PAYMENT_FAILED, EventType::REFUND_ABNORMAL], Self::Failed),
            (&[EventType::PAYMENT_PENDING], Self::Pending),
        ] {
            if events.iter().any(|one| one.as_str() == event) {
                return word;
            }
        }
        Self::Other
    }

    /// Whether nothing more is to be asked once this was told.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Paid | Self::Refunded | Self::Closed => true,
            Self::NoAnswer | Self::Unknown | Self::Pending | Self::Other | Self::Failed => false,
        }
    }

    /// The word in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::Unknown => "unknown",
            Self::Pending => "pending",
            Self::Other => "other",
            Self::Failed => "failed",
            Self::Closed => "closed",
            Self::Refunded => "refunded",
            Self::Paid => "paid",
        }
    }
}

/// An answer on its way; `None` where there is no such order.
pub type Asking<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Answered>, StoreError>> + Send + 'a>>;

/// Whoever asks gateways.
pub trait Asks: Send + Sync {
    /// Asks now, unless it was asked a moment ago or is known already. What is told walks the line
    /// of a callback before this ends. A caller that goes away stops nothing.
    fn ask_now(&self, about: About) -> Asking<'_>;

    /// Puts a payment or a refund on the schedule; what is on it stays as it is.
    fn put_on_schedule(&self, about: About) -> Asking<'_>;

    /// Puts what a bill has on the schedule of its channel, under the number that the bill has. An
    /// order need not be registered: what is told of it then waits for it, as a callback would.
    fn put_billed(&self, billed: Billed) -> Asking<'_>;
}

/// Shared by all calls.
pub type SharedAsks = Arc<dyn Asks>;

#[cfg(test)]
mod tests {
    use callgate_core::notification::EventType;

    use super::{AskSettings, Word};

    #[test]
    fn the_defaults_are_inside_their_own_bounds() {
        assert_eq!(AskSettings::default().check(), Ok(()));
        assert_eq!(AskSettings::default().schedule().questions_max(), 11);
    }

    #[test]
    fn every_number_has_bounds() {
        type Change = fn(&mut AskSettings);
        let changes: [(&str, Change); 5] = [
            ("first_ms", |it| it.first_ms = 0),
            ("growth_percent", |it| it.growth_percent = 99),
            ("places", |it| it.places = 0),
            ("per_minute", |it| it.per_minute = 0),
            ("timeout_ms", |it| it.timeout_ms = 30_001),
        ];
        for (field, change) in changes {
            let mut settings = AskSettings::default();
            change(&mut settings);
            assert_eq!(settings.check().unwrap_err().0, field);
        }
    }

    #[test]
    fn only_what_decides_is_final() {
        for (event, word) in [
            (EventType::PAYMENT_SUCCEEDED, Word::Paid),
            (EventType::PAYMENT_CLOSED, Word::Closed),
            (EventType::REFUND_SUCCEEDED, Word::Refunded),
        ] {
            assert_eq!((Word::of(event.as_str()), word.is_final()), (word, true));
        }
        assert!(!Word::of(EventType::PAYMENT_FAILED.as_str()).is_final());
        assert!(!Word::of("x.y").is_final());
    }
}
