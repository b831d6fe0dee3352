//! What a verified callback says happened, in words that are the same for every gateway.

use std::borrow::Cow;
use std::fmt;

use crate::money::Money;
use crate::time::Timestamp;

/// The notifications of one callback whose signature was checked over the exact bytes received.
///
/// Only this crate can make one, so whoever holds it holds the proof. It is never empty; only a
/// combined order has more than one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    delivery_key: String,
    notifications: Vec<Notification>,
    signed_at: Option<Timestamp>,
}

impl Verified {
    pub(crate) fn one(delivery_key: String, notification: Notification) -> Self {
        Self { delivery_key, notifications: vec![notification], signed_at: None }
    }

    /// `None` where there is no part: a callback that says nothing is malformed.
    pub(crate) fn several(delivery_key: String, notifications: Vec<Notification>) -> Option<Self> {
        let verified = Self { delivery_key, notifications, signed_at: None };
        (!verified.notifications.is_empty()).then_some(verified)
    }

    /// The same with the moment that the gateway signed it.
    pub(crate) fn signed_at_moment(self, signed_at: Option<Timestamp>) -> Self {
        Self { signed_at, ..self }
    }

    /// When the gateway's clock read what it signed, where it signs that: held against ours it
    /// tells whether one of the two clocks is wrong.
    #[must_use]
    pub fn signed_at(&self) -> Option<Timestamp> {
        self.signed_at
    }

    /// The gateway's identity of this message: a repeat is counted, not stored again.
    #[must_use]
    pub fn delivery_key(&self) -> &str {
        &self.delivery_key
    }

    /// The notifications, in the order of the message.
    #[must_use]
    pub fn notifications(&self) -> &[Notification] {
        &self.notifications
    }
}

/// One thing that happened to one payment or refund, as the gateway tells it.
///
/// `Debug` leaves out the payer and the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Notification {
    /// What happened, normalised.
    pub event_type: EventType,
    /// The business fact: transaction and state, refund and state. Two messages with one
    /// meaning key advance a document once.
    pub meaning_key: String,
    /// Order number as the gateway was given it (`out_trade_no`).
    pub order_no: Option<String>,
    /// The gateway's number of the payment.
    pub transaction_id: Option<String>,
    /// For a refund: the gateway's number of it.
    pub refund_id: Option<String>,
    /// For a refund: the merchant's own number of it.
    pub refund_no: Option<String>,
    /// Who paid, as the gateway names them (`openid`, `buyer_id`). Personal data: never logged.
    pub payer: Option<String>,
    /// What moved: the amount paid, or the amount refunded by this refund.
    pub amount: Option<Money>,
    /// Everything refunded so far, where the gateway tells that instead of the amount of one
    /// refund. Alipay's `refund_fee` is such a total; a finished trade has it too.
    pub refunded_total: Option<Money>,
    /// The total of the order as the gateway has it; the host holds it against the order.
    pub order_amount: Option<Money>,
    /// When the gateway says it happened.
    pub occurred_at: Option<Timestamp>,
    /// The first account field that is not the channel's, if any. The signature was right, so
    /// the notification is kept for review instead of refused.
    pub mismatch: Option<AccountMismatch>,
    /// The checked plaintext as one JSON object, whatever the gateway's own format is.
    pub body: String,
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("event_type", &self.event_type)
            .field("meaning_key", &self.meaning_key)
            .field("order_no", &self.order_no)
            .field("transaction_id", &self.transaction_id)
            .field("refund_id", &self.refund_id)
            .field("refund_no", &self.refund_no)
            .field("amount", &self.amount)
            .field("refunded_total", &self.refunded_total)
            .field("order_amount", &self.order_amount)
            .field("occurred_at", &self.occurred_at)
            .field("mismatch", &self.mismatch)
            .finish_non_exhaustive()
    }
}

/// Names an event: one of the constants, or for what has no normalised name
/// `<gateway>.<the gateway's own name in lower case>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventType(Cow<'static, str>);

impl EventType {
    /// The payer paid in full.
    pub const PAYMENT_SUCCEEDED: Self = Self(Cow::Borrowed("payment.succeeded"));
    /// The payment can no longer succeed: closed unpaid, revoked, or refunded in full.
    pub const PAYMENT_CLOSED: Self = Self(Cow::Borrowed("payment.closed"));
    /// The payment was tried and failed.
    pub const PAYMENT_FAILED: Self = Self(Cow::Borrowed("payment.failed"));
    /// The payment waits for the payer.
    pub const PAYMENT_PENDING: Self = Self(Cow::Borrowed("payment.pending"));
    /// The payment is final: no refund is possible any more.
    pub const PAYMENT_FINISHED: Self = Self(Cow::Borrowed("payment.finished"));
    /// It was paid and, by the time somebody asked, given back in whole or in part: which refunds
    /// there were, the answer does not say.
    pub const PAYMENT_REFUNDED: Self = Self(Cow::Borrowed("payment.refunded"));
    /// A refund reached the payer.
    pub const REFUND_SUCCEEDED: Self = Self(Cow::Borrowed("refund.succeeded"));
    /// A refund was given up.
    pub const REFUND_CLOSED: Self = Self(Cow::Borrowed("refund.closed"));
    /// A refund failed at the payer's bank; a person must act.
    pub const REFUND_ABNORMAL: Self = Self(Cow::Borrowed("refund.abnormal"));

    /// Names what has no normalised name. Characters outside `a-z 0-9 . - _` become `-`, and the
    /// text is cut at 96 characters.
    #[must_use]
    pub fn other(gateway: &str, name: &str) -> Self {
        let tidy = |c: char| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '.' | '_') => c,
            _ => '-',
        };
        Self(Cow::Owned(format!("{gateway}.{name}").chars().take(96).map(tidy).collect()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An account field of a notification that is not what the channel is configured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountMismatch {
    /// The merchant, partner or seller is another one.
    Merchant,
    /// The application is another one.
    Application,
}

#[cfg(test)]
mod tests {
    use super::{EventType, Notification, Verified};

    #[test]
    fn debug_shows_neither_payer_nor_body() {
        let notification = Notification {
            event_type: EventType::PAYMENT_SUCCEEDED,
            meaning_key: "payment:1:SUCCESS".to_owned(),
            order_no: None,
            transaction_id: None,
            refund_id: None,
            refund_no: None,
            payer: Some("somebody".to_owned()),
            amount: None,
            refunded_total: None,
            order_amount: None,
            occurred_at: None,
            mismatch: None,
            body: "contents".to_owned(),
        };
        let text = format!("{:?}", Verified::one("n1".to_owned(), notification));
        assert!(text.contains("payment:1:SUCCESS"), "{text}");
        assert!(!text.contains("somebody") && !text.contains("contents"), "{text}");
    }
}
