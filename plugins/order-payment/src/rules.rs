//! The decision: what a payment means for the order as it is now. Pure.

use callgate_processor::{PhaseError, PhaseResult};
use serde::{Deserialize, Serialize};

use crate::notice::{Booked, Order, Payment};
use crate::{CLOSED, TO_BE_PAID};

/// How a notification is booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Booking {
    /// The payment that the order waits for.
    Pay,
    /// The first payment of an order that was closed before.
    PayAfterClose,
    /// Another payment of an order that has one: money that someone must give back.
    PayTwice,
    /// The order can no longer be paid.
    Close,
}

/// Decides how a payment is booked.
///
/// A transaction is booked once: what the ledger or the order already knows is ignored, so that
/// the gateway's two names for one payment (succeeded, later finished) count once. A transaction
/// that is not known is always booked or sent to a person, never dropped.
pub(crate) fn book(
    payment: &Payment,
    order: &Order,
    booked: Option<&Booked>,
) -> PhaseResult<Booking> {
    if let Some(entry) = booked {
        return Err(already_booked(payment, entry));
    }
    let noted = order.noted.payment.as_ref();
    let noted_id = noted.and_then(|noted| noted.transaction_id.as_deref());
    if noted_id == Some(payment.transaction_id.as_str()) {
        return Err(PhaseError::ignore("the order already counts this transaction"));
    }
    // What the shop itself wrote about a payment names no transaction, and is no payment.
    match noted_id {
        Some(_) => Ok(Booking::PayTwice),
        None if order.state == TO_BE_PAID => Ok(Booking::Pay),
        None if order.state == CLOSED => Ok(Booking::PayAfterClose),
        None => Err(PhaseError::reject(
            "payment-unexpected",
            format!("order is {} and has no payment noted, expected {TO_BE_PAID}", order.state),
        )),
    }
}

fn already_booked(payment: &Payment, entry: &Booked) -> PhaseError {
    if entry.order_no == payment.order_no {
        PhaseError::ignore("the ledger already has this transaction")
    } else {
        let text = format!(
            "the ledger has this transaction for order {}, the notification speaks of {}",
            entry.order_no, payment.order_no
        );
        PhaseError::reject("transaction-of-another-order", text)
    }
}
