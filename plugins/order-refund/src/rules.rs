//! The decision: what a refund means for the order as it is now. Pure.

use callgate_processor::{Money, PhaseError, PhaseResult, State, Transition};
use serde::{Deserialize, Serialize};

use crate::account::{Account, NotedRefund, Origin};
use crate::notice::{Failure, Refund, Told};
use crate::{CLOSED, REFUNDED, REFUNDING, TO_BE_DELIVERED, TO_BE_PAID};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Finding {
    /// Money went back.
    Refund(Booking),
    /// No money moved.
    Failure(Failure),
}

/// How a refund is booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Booking {
    /// The payment that it belongs to.
    pub(crate) origin: Origin,
    /// What this refund adds.
    pub(crate) amount: Money,
    /// Everything refunded of that payment, this refund included.
    pub(crate) refunded: Money,
    /// What was paid.
    pub(crate) paid: Money,
}

impl Booking {
    /// Whether the whole payment went back.
    pub(crate) fn is_full(&self) -> bool {
        self.refunded == self.paid
    }
}

/// What is known beside the notification.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) account: &'a Account,
    pub(crate) state: &'a State,
    /// The total of the payment as the gateway has it.
    pub(crate) paid: Option<&'a Money>,
}

/// What a ledger entry must say to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Booked {
    order_no: String,
}

/// Stops a refund that the ledger has already.
pub(crate) fn not_booked_before(order_no: &str, entry: Option<&Booked>) -> PhaseResult {
    match entry {
        None => Ok(()),
        Some(entry) if entry.order_no == order_no => {
            Err(PhaseError::ignore("the ledger already has this refund"))
        }
        Some(entry) => {
            let found = &entry.order_no;
            let text = format!("the ledger has this refund for order {found}, not {order_no}");
            Err(PhaseError::reject("refund-of-another-order", text))
        }
    }
}

/// Decides how money that went back is booked.
///
/// A refund whose payment is not noted yet waits: gateways give no order between the two, and
/// without the payment nobody can say whether it is the order's own. The host tries again and,
/// where the payment never comes, hands it to a person.
pub(crate) fn book(refund: &Refund, told: &Told, known: &Known<'_>) -> PhaseResult<Booking> {
    let origin = origin(refund.transaction_id.as_deref(), known)?;
    if let Some(before) = known.account.refunds.get(&refund.key) {
        return Err(repeated(before, told));
    }
    let noted = known.account.payment(&origin).and_then(|payment| payment.amount.as_ref());
    let Some(paid) = noted.or(known.paid) else {
        return Err(PhaseError::reject("paid-amount-unknown", "neither order nor refund says it"));
    };
    let before = known.account.refunded(&origin, &paid.currency)?;
    let amount = added(told, &before)?;
    let refunded = before.plus(&amount)?;
    if refunded.minor > paid.minor {
        let text = format!("{refunded} refunded in all, {paid} were paid");
        return Err(PhaseError::reject("refund-exceeds-payment", text));
    }
    Ok(Booking { origin, amount, refunded, paid: paid.clone() })
}

/// The payment that a refund belongs to.
fn origin(transaction_id: Option<&str>, known: &Known<'_>) -> PhaseResult<Origin> {
    let account = known.account;
    // An order that the mall registered as paid has no payment noted and needs none.
    let expects_payment = [TO_BE_PAID, CLOSED].contains(known.state);
    match (transaction_id, &account.payment) {
        (Some(id), _) if account.extra_payments.contains_key(id) => {
            Ok(Origin::Extra(id.to_owned()))
        }
        (Some(id), Some(payment)) => match payment.transaction_id.as_deref() {
            Some(own) if own != id => Err(not_here_yet()),
            Some(_) | None => Ok(Origin::Order),
        },
        (None, Some(_)) if !account.extra_payments.is_empty() => Err(PhaseError::reject(
            "transaction-missing",
            "the order has several payments and the refund names none of them",
        )),
        (Some(_) | None, None) if expects_payment => Err(not_here_yet()),
        (Some(_) | None, None) | (None, Some(_)) => Ok(Origin::Order),
    }
}

fn not_here_yet() -> PhaseError {
    PhaseError::retry("payment-not-here-yet", "the payment of this refund is not noted yet")
}

fn repeated(before: &NotedRefund, told: &Told) -> PhaseError {
    match told {
        Told::Amount(amount) if *amount != before.amount => {
            let text = format!("refund of {amount}, noted before as {}", before.amount);
            PhaseError::reject("refund-changed", text)
        }
        Told::Amount(_) | Told::Total(_) => {
            PhaseError::ignore("the order already counts this refund")
        }
    }
}

/// What a refund adds to what is known. A total that adds nothing came late or twice.
fn added(told: &Told, before: &Money) -> PhaseResult<Money> {
    match told {
        Told::Amount(amount) if amount.minor <= 0 => {
            let text = format!("refund of {amount}, expected more than nothing");
            Err(PhaseError::reject("amount-not-positive", text))
        }
        Told::Amount(amount) => Ok(amount.clone()),
        Told::Total(total) => {
            let amount = total.minus(before)?;
            if amount.minor > 0 {
                Ok(amount)
            } else {
                Err(PhaseError::ignore("the order already counts this total or a later one"))
            }
        }
    }
}

/// Where a booked refund moves the order. A state that is not the refunds' own stays: the mall
/// may have states of which this processor knows nothing.
pub(crate) fn transition(booking: &Booking, state: Option<&State>) -> Transition {
    let target = if booking.is_full() { REFUNDED } else { REFUNDING };
    let movable = state.is_some_and(|state| [TO_BE_DELIVERED, REFUNDING, CLOSED].contains(state));
    if booking.origin == Origin::Order && movable && state != Some(&target) {
        Transition::MoveTo(target)
    } else {
        Transition::Stay
    }
}

/// Decides whether a refund that moved no money is news.
pub(crate) fn note_failure(
    refund: &Refund,
    failure: Failure,
    account: &Account,
) -> PhaseResult<Failure> {
    if account.refunds.contains_key(&refund.key) {
        return Err(PhaseError::ignore("the refund succeeded meanwhile"));
    }
    match (account.failed_refunds.get(&refund.key), failure) {
        (None, _) | (Some(Failure::Abnormal), Failure::Closed) => Ok(failure),
        (Some(Failure::Abnormal), Failure::Abnormal)
        | (Some(Failure::Closed), Failure::Abnormal | Failure::Closed) => {
            Err(PhaseError::ignore("the order already notes this"))
        }
    }
}
