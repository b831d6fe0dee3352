//! A notification made by hand, as the host would have it after verification.

use crate::money::Money;

/// What arrives. Made with [`Notification::new`] and narrowed with the other functions.
#[derive(Debug, Clone)]
pub struct Notification {
    pub(crate) id: String,
    pub(crate) event_type: String,
    pub(crate) business: String,
    pub(crate) scene: String,
    pub(crate) channel: String,
    pub(crate) body: String,
    pub(crate) order_no: Option<String>,
    pub(crate) transaction_id: Option<String>,
    pub(crate) refund_id: Option<String>,
    pub(crate) refund_no: Option<String>,
    pub(crate) payer: Option<String>,
    pub(crate) amount: Option<Money>,
    pub(crate) refunded_total: Option<Money>,
    pub(crate) order_amount: Option<Money>,
    pub(crate) occurred_at_ms: Option<u64>,
}

impl Notification {
    /// Starts with the host's id, the event type and the business; the rest is empty.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        event_type: impl Into<String>,
        business: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            event_type: event_type.into(),
            business: business.into(),
            scene: String::new(),
            channel: "test-channel".to_owned(),
            body: "{}".to_owned(),
            order_no: None,
            transaction_id: None,
            refund_id: None,
            refund_no: None,
            payer: None,
            amount: None,
            refunded_total: None,
            order_amount: None,
            occurred_at_ms: None,
        }
    }

    /// The scene of the channel.
    #[must_use]
    pub fn scene(mut self, scene: impl Into<String>) -> Self {
        self.scene = scene.into();
        self
    }

    /// The channel.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = channel.into();
        self
    }

    /// The decrypted content.
    #[must_use]
    pub fn body(mut self, body: &serde_json::Value) -> Self {
        self.body = body.to_string();
        self
    }

    /// The order number; it finds the subject.
    #[must_use]
    pub fn order_no(mut self, order_no: impl Into<String>) -> Self {
        self.order_no = Some(order_no.into());
        self
    }

    /// The gateway's number of the payment.
    #[must_use]
    pub fn transaction_id(mut self, transaction_id: impl Into<String>) -> Self {
        self.transaction_id = Some(transaction_id.into());
        self
    }

    /// The gateway's number of the refund.
    #[must_use]
    pub fn refund_id(mut self, refund_id: impl Into<String>) -> Self {
        self.refund_id = Some(refund_id.into());
        self
    }

    /// The merchant's number of the refund.
    #[must_use]
    pub fn refund_no(mut self, refund_no: impl Into<String>) -> Self {
        self.refund_no = Some(refund_no.into());
        self
    }

    /// Who paid.
    #[must_use]
    pub fn payer(mut self, payer: impl Into<String>) -> Self {
        self.payer = Some(payer.into());
        self
    }

    /// What moved.
    #[must_use]
    pub fn amount(mut self, amount: Money) -> Self {
        self.amount = Some(amount);
        self
    }

    /// Everything refunded so far.
    #[must_use]
    pub fn refunded_total(mut self, total: Money) -> Self {
        self.refunded_total = Some(total);
        self
    }

    /// The total of the order.
    #[must_use]
    pub fn order_amount(mut self, amount: Money) -> Self {
        self.order_amount = Some(amount);
        self
    }

    /// When it happened, in milliseconds since 1970.
    #[must_use]
    pub fn occurred_at_ms(mut self, at_ms: u64) -> Self {
        self.occurred_at_ms = Some(at_ms);
        self
    }

    /// The business fact, made of event type, payment, refund and refunded total.
    pub(crate) fn meaning_key(&self) -> String {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let total = self.refunded_total.as_ref().map(|total| total.minor.to_string());
        let parts = [&self.transaction_id, &self.refund_id, &self.refund_no, &total].map(text);
        format!("{}:{}", self.event_type, parts.join(":"))
    }
}
