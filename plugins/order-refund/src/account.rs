//! What the order knows of its payments and refunds: the part of its document that counts here.

use std::collections::BTreeMap;

use callgate_processor::{Money, MoneyError};
use serde::{Deserialize, Serialize};

use crate::notice::Failure;

/// Payments and refunds as noted in the order's document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Account {
    /// The payment that the order counts as its own.
    pub(crate) payment: Option<NotedPayment>,
    /// Payments beside it, by transaction id.
    pub(crate) extra_payments: BTreeMap<String, NotedPayment>,
    /// Refunds, by key. The one source of every total.
    pub(crate) refunds: BTreeMap<String, NotedRefund>,
    /// Refunds that moved no money, by key.
    pub(crate) failed_refunds: BTreeMap<String, Failure>,
}

/// A noted payment. Either part may be missing where the mall, and not order-payment, noted it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct NotedPayment {
    pub(crate) transaction_id: Option<String>,
    pub(crate) amount: Option<Money>,
}

/// A noted refund.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct NotedRefund {
    pub(crate) transaction_id: Option<String>,
    pub(crate) amount: Money,
}

/// The payment that a refund belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// The order's own payment.
    Order,
    /// An extra payment, by transaction id.
    Extra(String),
}

impl Account {
    /// The noted payment of an origin.
    pub(crate) fn payment(&self, origin: &Origin) -> Option<&NotedPayment> {
        match origin {
            Origin::Order => self.payment.as_ref(),
            Origin::Extra(transaction_id) => self.extra_payments.get(transaction_id),
        }
    }

    /// Everything refunded so far of one payment.
    pub(crate) fn refunded(&self, origin: &Origin, currency: &str) -> Result<Money, MoneyError> {
        let of_origin = self.refunds.values().filter(|refund| self.origin(refund) == *origin);
        of_origin
            .map(|refund| &refund.amount)
            .try_fold(Money::new(0, currency), |sum, amount| sum.plus(amount))
    }

    fn origin(&self, refund: &NotedRefund) -> Origin {
        match &refund.transaction_id {
            Some(id) if self.extra_payments.contains_key(id) => Origin::Extra(id.clone()),
            Some(_) | None => Origin::Order,
        }
    }
}
