//! What is written and told: the ledger entry, the change of the order, the event. Pure.

use serde_json::{Value, json};

use crate::notice::{Notice, Payment};
use crate::rules::Booking;

/// The topic of the event.
pub(crate) fn topic(booking: Booking) -> &'static str {
    match booking {
        Booking::Pay => "order.paid",
        Booking::PayAfterClose => "order.paid-after-close",
        Booking::PayTwice => "order.paid-twice",
        Booking::Close => "order.closed",
    }
}

/// The payload of the event. The payer stays in the order: an event goes to many readers.
pub(crate) fn told(notice: &Notice) -> Value {
    match notice {
        Notice::Paid(payment) => json!({
            "order_no": payment.order_no,
            "transaction_id": payment.transaction_id,
            "amount": payment.amount,
            "paid_at_ms": payment.paid_at_ms,
            "channel": payment.channel,
            "scene": payment.scene,
        }),
        Notice::Closed { order_no, closed_at_ms } => {
            json!({ "order_no": order_no, "closed_at_ms": closed_at_ms })
        }
    }
}

/// The ledger entry of a payment. Its key is the transaction id.
pub(crate) fn ledger_entry(payment: &Payment) -> Value {
    json!({
        "kind": "payment",
        "order_no": payment.order_no,
        "transaction_id": payment.transaction_id,
        "amount": payment.amount,
        "occurred_at_ms": payment.paid_at_ms,
        "notification_id": payment.notification_id,
    })
}

/// The change of the order's document, a merge patch.
///
/// The payment that the order counts stands in `payment`; every further one in `extra_payments`,
/// by transaction id, so that its refund is not taken for a refund of the order.
pub(crate) fn order_patch(booking: Booking, notice: &Notice) -> Value {
    match notice {
        Notice::Closed { closed_at_ms, .. } => json!({ "closed_at_ms": closed_at_ms }),
        Notice::Paid(payment) => {
            let noted = noted(payment);
            match booking {
                Booking::PayTwice => {
                    json!({ "extra_payments": { payment.transaction_id.as_str(): noted } })
                }
                Booking::Pay | Booking::PayAfterClose | Booking::Close => {
                    json!({ "payment": noted })
                }
            }
        }
    }
}

fn noted(payment: &Payment) -> Value {
    json!({
        "transaction_id": payment.transaction_id,
        "amount": payment.amount,
        "paid_at_ms": payment.paid_at_ms,
        "payer": payment.payer,
        "channel": payment.channel,
        "scene": payment.scene,
    })
}
