//! What is written and told: the ledger entry, the change of the order, the event. Pure.

use serde_json::{Value, json};

use crate::account::{Account, Origin};
use crate::notice::{Failure, Refund};
use crate::rules::{Booking, Finding};

/// The topic of the event.
pub(crate) fn topic(finding: &Finding) -> &'static str {
    match finding {
        Finding::Failure(Failure::Abnormal) => "order.refund-abnormal",
        Finding::Failure(Failure::Closed) => "order.refund-closed",
        Finding::Refund(booking) => match booking.origin {
            Origin::Extra(_) => "order.extra-payment-refunded",
            Origin::Order if booking.is_full() => "order.refunded",
            Origin::Order => "order.refunded-in-part",
        },
    }
}

/// The payload of the event.
pub(crate) fn told(order_no: &str, refund: &Refund, finding: &Finding) -> Value {
    let mut payload = json!({
        "order_no": order_no,
        "refund": refund.key,
        "refund_id": refund.refund_id,
        "refund_no": refund.refund_no,
        "transaction_id": refund.transaction_id,
        "occurred_at_ms": refund.at_ms,
        "channel": refund.channel,
        "scene": refund.scene,
    });
    if let (Finding::Refund(booking), Some(members)) = (finding, payload.as_object_mut()) {
        members.insert("amount".to_owned(), json!(booking.amount));
        members.insert("refunded".to_owned(), json!(booking.refunded));
        members.insert("paid".to_owned(), json!(booking.paid));
    }
    payload
}

/// The ledger entry of a refund. The amounts of all entries of a payment sum up to what went back.
pub(crate) fn ledger_entry(order_no: &str, refund: &Refund, booking: &Booking) -> Value {
    json!({
        "kind": "refund",
        "order_no": order_no,
        "transaction_id": refund.transaction_id,
        "refund_id": refund.refund_id,
        "refund_no": refund.refund_no,
        "amount": booking.amount,
        "refunded": booking.refunded,
        "occurred_at_ms": refund.at_ms,
        "notification_id": refund.notification_id,
    })
}

/// The change of the order's document, a merge patch.
///
/// `refunds` is what counts; `refunded` beside the payment is its sum, for readers. What failed
/// before and succeeded now has failed no more.
pub(crate) fn order_patch(refund: &Refund, finding: &Finding, account: &Account) -> Value {
    let key = refund.key.as_str();
    let booking = match finding {
        Finding::Failure(failure) => return json!({ "failed_refunds": { key: failure } }),
        Finding::Refund(booking) => booking,
    };
    let noted = json!({
        "transaction_id": refund.transaction_id,
        "amount": booking.amount,
        "refunded_at_ms": refund.at_ms,
    });
    let mut patch = json!({ "refunds": { key: noted } });
    if let Some(members) = patch.as_object_mut() {
        if account.failed_refunds.contains_key(key) {
            members.insert("failed_refunds".to_owned(), json!({ key: null }));
        }
        let (name, value) = match &booking.origin {
            Origin::Order => ("refunded", json!(booking.refunded)),
            Origin::Extra(transaction_id) => {
                let refunded = json!({ transaction_id.as_str(): { "refunded": booking.refunded } });
                ("extra_payments", refunded)
            }
        };
        members.insert(name.to_owned(), value);
    }
    patch
}
