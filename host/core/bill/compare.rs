//! A row of a bill against what is stored. Pure: whoever reads the store brings the facts.

use serde::{Deserialize, Serialize};

use super::{Row, RowKind, RowState};
use crate::money::Money;
use crate::notification::EventType;

/// What is stored about the order that a row names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ours {
    /// What the order was registered with; none where it was not.
    pub registered: Option<Money>,
    /// What was heard of it.
    pub heard: Vec<Fact>,
}

/// One notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What happened.
    pub event_type: String,
    /// The gateway's number of the payment.
    pub transaction_id: Option<String>,
    /// The gateway's number of the refund.
    pub refund_id: Option<String>,
    /// The merchant's number of the refund.
    pub refund_no: Option<String>,
    /// What moved.
    pub amount: Option<Money>,
    /// The order's total, as the gateway has it.
    pub order_amount: Option<Money>,
    /// Everything refunded so far, where the gateway tells that.
    pub refunded_total: Option<Money>,
    /// How far it is.
    pub progress: Progress,
}

/// How far a notification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It had its effect, or was found to need none.
    Done,
    /// It waits for its turn or its order.
    Open,
    /// It waits for a person.
    Review,
}

/// How the bill and the store differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// The bill has it, and nothing of it was heard.
    MissingCallback,
    /// The bill has it, and no such order was registered.
    MissingOrder,
    /// The amounts differ.
    Amount,
    /// The states differ.
    State,
    /// It was heard, and had no effect yet.
    Unfinished,
    /// It is stored as paid, and the bill does not have it.
    NotInBill,
}

impl Difference {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::MissingCallback,
        Self::MissingOrder,
        Self::Amount,
        Self::State,
        Self::Unfinished,
        Self::NotInBill,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingCallback => "missing-callback",
            Self::MissingOrder => "missing-order",
            Self::Amount => "amount",
            Self::State => "state",
            Self::Unfinished => "unfinished",
            Self::NotInBill => "not-in-bill",
        }
    }
}

/// A difference in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which one.
    pub difference: Difference,
    /// What the bill says, and what is stored.
    pub text: String,
}

impl Finding {
    fn new(difference: Difference, text: impl Into<String>) -> Self {
        Self { difference, text: text.into() }
    }
}

/// Holds a row against what is stored; none where they agree. A missing order that was never heard
/// of is both.
#[must_use]
pub fn compare(row: &Row, ours: &Ours) -> Vec<Finding> {
    if row.state == RowState::Revoked {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if ours.registered.is_none() {
        let text = "the bill has it, and no such order is registered";
        findings.push(Finding::new(Difference::MissingOrder, text));
    }
    let same: Vec<&Fact> = ours.heard.iter().filter(|fact| is_of(row, fact)).collect();
    findings.extend(heard(row, ours, &same));
    if row.kind == RowKind::Payment
        && let Some(registered) = ours.registered.filter(|registered| *registered != row.amount)
    {
        let text =
            format!("the bill has {}, the order was registered with {registered}", row.amount);
        findings.push(Finding::new(Difference::Amount, text));
    }
    findings
}

/// What was heard of this very movement.
fn heard(row: &Row, ours: &Ours, same: &[&Fact]) -> Option<Finding> {
    let wanted: &[EventType] = match (row.kind, row.state) {
        (RowKind::Payment, _) => &[
            EventType::PAYMENT_SUCCEEDED,
            EventType::PAYMENT_FINISHED,
            EventType::PAYMENT_REFUNDED,
        ],
        (RowKind::Refund, RowState::Done) => &[EventType::REFUND_SUCCEEDED],
        (RowKind::Refund, RowState::Failed) => {
            &[EventType::REFUND_ABNORMAL, EventType::REFUND_CLOSED]
        }
        // It is on its way: the next bill does not have it, but its callback will come.
        (RowKind::Refund, RowState::Pending | RowState::Revoked) => return None,
    };
    let agrees = |fact: &&&Fact| wanted.iter().any(|event| event.as_str() == fact.event_type);
    let good: Vec<&&Fact> = same.iter().filter(agrees).collect();
    if good.is_empty() {
        let other = same.last().or(None).map(|fact| fact.event_type.as_str());
        return Some(match other {
            Some(event) => Finding::new(
                Difference::State,
                format!("the bill says {}, heard was {event}", said(row)),
            ),
            None => Finding::new(
                Difference::MissingCallback,
                format!("the bill says {}, nothing of it was heard", said(row)),
            ),
        });
    }
    if let Some(amount) = good.iter().find_map(|fact| other_amount(row, fact)) {
        let text = format!("the bill has {}, heard was {amount}", row.amount);
        return Some(Finding::new(Difference::Amount, text));
    }
    if good.iter().any(|fact| fact.progress == Progress::Done) {
        return None;
    }
    let text = match good.iter().any(|fact| fact.progress == Progress::Review) {
        true => "it was heard, and waits for a person",
        // An order that is missing says why it waits.
        false if ours.registered.is_none() => return None,
        false => "it was heard, and had no effect yet",
    };
    Some(Finding::new(Difference::Unfinished, text))
}

fn said(row: &Row) -> &'static str {
    match (row.kind, row.state) {
        (RowKind::Payment, _) => "paid",
        (RowKind::Refund, RowState::Failed) => "a refund that failed",
        (RowKind::Refund, _) => "refunded",
    }
}

/// Whether a notification speaks of the movement of a row.
fn is_of(row: &Row, fact: &Fact) -> bool {
    let refund = fact.event_type.starts_with("refund.");
    let payment = fact.transaction_id.as_deref() == Some(row.transaction_id.as_str());
    match row.kind {
        // One that failed or closed may have no number of a payment.
        RowKind::Payment => !refund && (payment || fact.transaction_id.is_none()),
        RowKind::Refund if refund => {
            let known =
                |ours: &Option<String>, bill: &Option<String>| ours.is_some() && bill.is_some();
            let numbered =
                known(&fact.refund_no, &row.refund_no) || known(&fact.refund_id, &row.refund_id);
            let same = (known(&fact.refund_no, &row.refund_no) && fact.refund_no == row.refund_no)
                || (known(&fact.refund_id, &row.refund_id) && fact.refund_id == row.refund_id);
            // Where one side has no number, the payment and the total must do.
            same || (!numbered && payment && covers(row, fact))
        }
        RowKind::Refund => false,
    }
}

/// Whether a total that was told covers this refund.
fn covers(row: &Row, fact: &Fact) -> bool {
    let told = fact.refunded_total.or(fact.amount);
    told.is_none_or(|told| told.currency == row.amount.currency && told.minor >= row.amount.minor)
}

/// The amount that a notification told, where it is another one than the row's.
fn other_amount(row: &Row, fact: &Fact) -> Option<Money> {
    let told = match row.kind {
        RowKind::Payment => fact.order_amount.or(fact.amount),
        RowKind::Refund => fact.amount,
    };
    told.filter(|told| *told != row.amount)
}

#[cfg(test)]
mod tests;
