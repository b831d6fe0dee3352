//! What is known: the payment that the gateway tells of, and the order as the mall has it.

use callgate_processor::{Document, Exchange, Money, PhaseError, PhaseResult, State};
use serde::{Deserialize, Serialize};

/// What the notification says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// A payer paid.
    Paid(Payment),
    /// The payment can no longer succeed.
    Closed {
        /// The order's own number.
        order_no: String,
        /// When, in milliseconds since 1970.
        closed_at_ms: u64,
    },
}

/// A payment, as it is booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) order_no: String,
    pub(crate) transaction_id: String,
    pub(crate) amount: Money,
    pub(crate) paid_at_ms: u64,
    pub(crate) payer: Option<String>,
    pub(crate) channel: String,
    pub(crate) scene: String,
    pub(crate) notification_id: String,
}

impl Notice {
    /// Reads the notification. The order's own number is given: the notification may speak of the
    /// order by a payment number.
    pub(crate) fn read(exchange: &Exchange, order_no: String) -> PhaseResult<Self> {
        let at_ms = exchange.occurred_at_ms().unwrap_or_else(|| exchange.received_at_ms());
        if exchange.event_type() == super::CLOSED_EVENT {
            return Ok(Self::Closed { order_no, closed_at_ms: at_ms });
        }
        let transaction_id = exchange.transaction_id().filter(|id| !id.is_empty());
        let Some(transaction_id) = transaction_id else {
            return Err(PhaseError::reject(
                "transaction-missing",
                "the notification has no transaction id, expected one for a payment",
            ));
        };
        let amount = amount(exchange.amount(), exchange.order_amount())?;
        Ok(Self::Paid(Payment {
            order_no,
            transaction_id,
            amount,
            paid_at_ms: at_ms,
            payer: exchange.payer(),
            channel: exchange.channel(),
            scene: exchange.scene(),
            notification_id: exchange.notification_id(),
        }))
    }

    pub(crate) fn order_no(&self) -> &str {
        match self {
            Self::Paid(payment) => &payment.order_no,
            Self::Closed { order_no, .. } => order_no,
        }
    }
}

/// The amount of a payment: positive, and the whole order.
pub(crate) fn amount(paid: Option<Money>, order: Option<Money>) -> PhaseResult<Money> {
    let Some(paid) = paid else {
        return Err(PhaseError::reject("amount-missing", "the notification has no amount"));
    };
    if paid.minor <= 0 {
        let text = format!("payment of {paid}, expected more than nothing");
        return Err(PhaseError::reject("amount-not-positive", text));
    }
    match order {
        Some(order) if order != paid => {
            let text = format!("payment of {paid}, the order is {order}");
            Err(PhaseError::reject("amount-mismatch", text))
        }
        Some(_) | None => Ok(paid),
    }
}

/// The order as it is: its state and the payment noted in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) state: State,
    pub(crate) noted: Noted,
}

/// What earlier payments left in the order's document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Noted {
    pub(crate) payment: Option<NotedPayment>,
}

/// The payment that the order counts as its own. Where the mall registered an order as paid, it
/// may have no transaction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct NotedPayment {
    pub(crate) transaction_id: Option<String>,
}

/// What a ledger entry must say to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Booked {
    pub(crate) order_no: String,
}

impl Order {
    pub(crate) fn read(subject: &Document) -> PhaseResult<Self> {
        let Some(state) = subject.state.clone() else {
            return Err(PhaseError::reject("state-missing", "the order has no state"));
        };
        Ok(Self { state, noted: subject.body()? })
    }
}
