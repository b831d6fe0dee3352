//! What is written and told: the ledger entry, the change of the order, the event. Pure.
//!
//! Each is a view of what is known, and is printed from it without a tree in between: this is what
//! most of a run's time would go to. Members stand in the order of their names.

use std::collections::BTreeMap;

use callgate_processor::Money;
use serde::Serialize;

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
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Told<'a> {
    Paid {
        amount: &'a Money,
        channel: &'a str,
        order_no: &'a str,
        paid_at_ms: u64,
        scene: &'a str,
        transaction_id: &'a str,
    },
    Closed {
        closed_at_ms: u64,
        order_no: &'a str,
    },
}

/// What the event says.
pub(crate) fn told(notice: &Notice) -> Told<'_> {
    match notice {
        Notice::Paid(payment) => Told::Paid {
            amount: &payment.amount,
            channel: &payment.channel,
            order_no: &payment.order_no,
            paid_at_ms: payment.paid_at_ms,
            scene: &payment.scene,
            transaction_id: &payment.transaction_id,
        },
        Notice::Closed { order_no, closed_at_ms } => {
            Told::Closed { closed_at_ms: *closed_at_ms, order_no }
        }
    }
}

/// The ledger entry of a payment. Its key is the transaction id.
#[derive(Serialize)]
pub(crate) struct LedgerEntry<'a> {
    amount: &'a Money,
    kind: &'static str,
    notification_id: &'a str,
    occurred_at_ms: u64,
    order_no: &'a str,
    transaction_id: &'a str,
}

/// What the ledger keeps of a payment.
pub(crate) fn ledger_entry(payment: &Payment) -> LedgerEntry<'_> {
    LedgerEntry {
        amount: &payment.amount,
        kind: "payment",
        notification_id: &payment.notification_id,
        occurred_at_ms: payment.paid_at_ms,
        order_no: &payment.order_no,
        transaction_id: &payment.transaction_id,
    }
}

/// The change of the order's document, a merge patch.
///
/// The payment that the order counts stands in `payment`; every further one in `extra_payments`,
/// by transaction id, so that its refund is not taken for a refund of the order.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum OrderPatch<'a> {
    Closed { closed_at_ms: u64 },
    Paid { payment: Noted<'a> },
    PaidTwice { extra_payments: BTreeMap<&'a str, Noted<'a>> },
}

/// What the order notes of a payment.
#[derive(Serialize)]
pub(crate) struct Noted<'a> {
    amount: &'a Money,
    channel: &'a str,
    paid_at_ms: u64,
    payer: Option<&'a str>,
    scene: &'a str,
    transaction_id: &'a str,
}

/// What changes in the order.
pub(crate) fn order_patch(booking: Booking, notice: &Notice) -> OrderPatch<'_> {
    match notice {
        Notice::Closed { closed_at_ms, .. } => OrderPatch::Closed { closed_at_ms: *closed_at_ms },
        Notice::Paid(payment) => {
            let noted = noted(payment);
            match booking {
                Booking::PayTwice => OrderPatch::PaidTwice {
                    extra_payments: [(payment.transaction_id.as_str(), noted)].into(),
                },
                Booking::Pay | Booking::PayAfterClose | Booking::Close => {
                    OrderPatch::Paid { payment: noted }
                }
            }
        }
    }
}

fn noted(payment: &Payment) -> Noted<'_> {
    Noted {
        amount: &payment.amount,
        channel: &payment.channel,
        paid_at_ms: payment.paid_at_ms,
        payer: payment.payer.as_deref(),
        scene: &payment.scene,
        transaction_id: &payment.transaction_id,
    }
}
