//! The books: what became of every payment and refund, whatever was told of it.

use std::collections::BTreeMap;

use callgate_trigger::purchase::{Purchase, Refund};

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paid {
    /// Nobody paid yet.
    Not,
    /// The payer paid.
    Success,
    /// Nobody can pay any more.
    Closed,
}

/// A refund in the books.
#[derive(Debug, Clone)]
pub(crate) struct Booked {
    pub(crate) order_no: String,
    pub(crate) refund: Refund,
    /// Whether it has come to its result.
    pub(crate) ended: bool,
}

/// Payments by order number, refunds by their own.
#[derive(Debug, Default)]
pub(crate) struct Books {
    payments: BTreeMap<String, (Purchase, Paid)>,
    refunds: BTreeMap<String, Booked>,
}

impl Books {
    pub(super) fn order(&mut self, purchase: &Purchase) {
        self.payments.insert(purchase.order_no.clone(), (purchase.clone(), Paid::Not));
    }

    pub(super) fn set(&mut self, order_no: &str, paid: Paid) {
        self.payments.get_mut(order_no).expect("an order of the books").1 = paid;
    }

    pub(super) fn refund(&mut self, order_no: &str, refund: &Refund) {
        let booked = Booked { order_no: order_no.to_owned(), refund: refund.clone(), ended: false };
        self.refunds.insert(refund.refund_no.clone(), booked);
    }

    pub(super) fn refund_ends(&mut self, refund_no: &str) {
        self.refunds.get_mut(refund_no).expect("a refund of the books").ended = true;
    }

    /// A payment that somebody began, and what became of it.
    pub(super) fn payment(&self, order_no: &str) -> Option<(Purchase, Paid)> {
        self.payments.get(order_no).cloned()
    }

    /// A refund, and the purchase that it belongs to.
    pub(super) fn refunded(&self, refund_no: &str) -> Option<(Booked, Purchase)> {
        let booked = self.refunds.get(refund_no)?;
        Some((booked.clone(), self.payment(&booked.order_no)?.0))
    }
}
