//! Orders: states, the table of permitted steps, and the host's own check of a notification.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::money::Money;
use crate::notification::{AccountMismatch, EventType, Notification};
use crate::outcome::Reason;

/// A state of a document, such as `TO_BE_PAID`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct State(String);

impl State {
    /// Reads a state: 1 to 64 of `A-Z a-z 0-9 _ -`.
    ///
    /// # Errors
    /// [`BadState`] for any other text.
    pub fn parse(text: &str) -> Result<Self, BadState> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadState)
        }
    }

    /// The state as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for State {
    type Error = BadState;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<State> for String {
    fn from(state: State) -> Self {
        state.0
    }
}

/// A text that cannot name a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a state is 1 to 64 of A-Z a-z 0-9 _ -")]
pub struct BadState;

/// The steps that one processor declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table(BTreeSet<(State, State)>);

impl Table {
    /// Makes a table of edges.
    #[must_use]
    pub fn new(edges: impl IntoIterator<Item = (State, State)>) -> Self {
        Self(edges.into_iter().collect())
    }

    /// Permits a step, or says why not. The only way to a [`Transition`].
    ///
    /// # Errors
    /// [`Illegal`] where the processor did not declare the edge.
    pub fn step(&self, from: &State, to: &State) -> Result<Transition, Illegal> {
        let edge = (from.clone(), to.clone());
        if self.0.contains(&edge) {
            Ok(Transition { from: edge.0, to: edge.1 })
        } else {
            Err(Illegal { from: Some(edge.0), to: edge.1 })
        }
    }
}

/// A step the table allows. Made by [`Table::step`] and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    from: State,
    to: State,
}

impl Transition {
    /// The state before.
    #[must_use]
    pub fn from(&self) -> &State {
        &self.from
    }

    /// The state after.
    #[must_use]
    pub fn to(&self) -> &State {
        &self.to
    }
}

/// A step that the processor did not declare.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the processor chose {} to {to}, which it did not declare", from.as_ref().map_or("no order", State::as_str))]
pub struct Illegal {
    from: Option<State>,
    to: State,
}

impl Illegal {
    /// A step of an order that is not there.
    pub(crate) fn without_order(to: State) -> Self {
        Self { from: None, to }
    }
}

/// What the host knows of an order for its own check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderTerms<'a> {
    /// The registered total.
    pub amount: Money,
    /// The channel that the order is paid through; any of the business where none is set.
    pub channel: Option<&'a str>,
}

/// Holds a notification against channel and order, before any processor runs.
///
/// The account fields are compared by the gateway; here the outcome is judged together with
/// channel, amount and currency. A payment or refund without the order's total cannot be
/// checked and does not agree; other kinds of event need none.
///
/// # Errors
/// The reason for review: `order.merchant-mismatch`, `order.application-mismatch`,
/// `order.channel-mismatch`, `order.currency-mismatch`, `order.amount-mismatch`,
/// `order.amount-missing` or `order.amount-exceeds-order`.
pub fn agree(
    notification: &Notification,
    channel: &str,
    order: OrderTerms<'_>,
) -> Result<(), Reason> {
    is_ours(notification)?;
    if let Some(expected) = order.channel.filter(|expected| *expected != channel) {
        let text = format!("notification came through {channel}, the order expects {expected}");
        return Err(Reason::new("order.channel-mismatch", text));
    }
    amounts_agree(notification, order.amount)
}

/// Holds a notification against the channel alone: whose account it speaks of.
///
/// # Errors
/// The reason for review: `order.merchant-mismatch` or `order.application-mismatch`.
pub fn is_ours(notification: &Notification) -> Result<(), Reason> {
    match notification.mismatch {
        None => Ok(()),
        Some(AccountMismatch::Merchant) => Err(Reason::new(
            "order.merchant-mismatch",
            "notification names another merchant than the channel",
        )),
        Some(AccountMismatch::Application) => Err(Reason::new(
            "order.application-mismatch",
            "notification names another application than the channel",
        )),
    }
}

fn amounts_agree(notification: &Notification, order: Money) -> Result<(), Reason> {
    let Some(total) = notification.order_amount else {
        return if moves_money(&notification.event_type) {
            Err(Reason::new("order.amount-missing", "notification states no order amount"))
        } else {
            Ok(())
        };
    };
    if total.currency != order.currency {
        let text =
            format!("notification is in {}, the order in {}", total.currency, order.currency);
        return Err(Reason::new("order.currency-mismatch", text));
    }
    if total.minor != order.minor {
        let text = format!("notification states {total}, the order {order}");
        return Err(Reason::new("order.amount-mismatch", text));
    }
    match notification.amount.or(notification.refunded_total) {
        Some(moved) if moved.minor < 0 || moved.minor > order.minor => {
            let text = format!("notification moves {moved}, the order has {order}");
            Err(Reason::new("order.amount-exceeds-order", text))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether an event says that money came or went, so that nobody may overlook it.
#[must_use]
pub fn moves_money(event_type: &EventType) -> bool {
    [
        EventType::PAYMENT_SUCCEEDED,
        EventType::PAYMENT_FINISHED,
        EventType::PAYMENT_REFUNDED,
        EventType::REFUND_SUCCEEDED,
    ]
    .contains(event_type)
}

#[cfg(test)]
mod tests {
    use super::{OrderTerms, State, Table, agree};
    use crate::money::{Currency, Money};
    use crate::notification::{AccountMismatch, EventType, Notification};

    fn state(name: &str) -> State {
        State::parse(name).expect("a state")
    }

    fn fen(minor: i64) -> Money {
        Money { minor, currency: Currency::CNY }
    }

    fn payment() -> Notification {
        Notification {
            event_type: EventType::PAYMENT_SUCCEEDED,
            meaning_key: "payment:1:SUCCESS".to_owned(),
            order_no: Some("N1".to_owned()),
            transaction_id: Some("1".to_owned()),
            refund_id: None,
            refund_no: None,
            payer: None,
            amount: Some(fen(1999)),
            refunded_total: None,
            order_amount: Some(fen(1999)),
            occurred_at: None,
            mismatch: None,
            body: "{}".to_owned(),
        }
    }

    /// The order is 19.99 yuan, to be paid through `main`.
    fn check(change: impl FnOnce(&mut Notification), expected: Option<&str>) {
        let mut notification = payment();
        change(&mut notification);
        let order = OrderTerms { amount: fen(1999), channel: Some("main") };
        let found = agree(&notification, "main", order).err();
        assert_eq!(found.as_ref().map(|reason| reason.code.as_ref()), expected);
    }

    #[test]
    fn only_what_agrees_with_the_order_passes() {
        check(|_| {}, None);
        check(|told| told.order_amount = Some(fen(1998)), Some("order.amount-mismatch"));
        check(|told| told.order_amount = None, Some("order.amount-missing"));
        check(|told| told.amount = Some(fen(2000)), Some("order.amount-exceeds-order"));
        check(|told| told.amount = Some(fen(-1)), Some("order.amount-exceeds-order"));
        check(
            |told| told.mismatch = Some(AccountMismatch::Merchant),
            Some("order.merchant-mismatch"),
        );
        check(
            |told| told.mismatch = Some(AccountMismatch::Application),
            Some("order.application-mismatch"),
        );
        let dollars = Currency::parse("USD").expect("a currency");
        check(
            |told| told.order_amount = Some(Money { minor: 1999, currency: dollars }),
            Some("order.currency-mismatch"),
        );
    }

    #[test]
    fn a_part_of_the_order_may_be_refunded_and_no_more_than_all_of_it() {
        let refund = |amount, total| {
            move |told: &mut Notification| {
                told.event_type = EventType::REFUND_SUCCEEDED;
                told.amount = amount;
                told.refunded_total = total;
            }
        };
        check(refund(Some(fen(1)), None), None);
        check(refund(None, Some(fen(1999))), None);
        check(refund(Some(fen(2000)), None), Some("order.amount-exceeds-order"));
        check(refund(None, Some(fen(2000))), Some("order.amount-exceeds-order"));
    }

    #[test]
    fn another_channel_than_the_orders_does_not_agree() {
        let order = OrderTerms { amount: fen(1999), channel: Some("other") };
        let reason = agree(&payment(), "main", order).expect_err("another channel");
        assert_eq!(reason.code, "order.channel-mismatch");
        assert!(agree(&payment(), "main", OrderTerms { channel: None, ..order }).is_ok());
    }

    #[test]
    fn only_declared_steps_are_permitted() {
        let table = Table::new([(state("A"), state("B"))]);
        assert_eq!(table.step(&state("A"), &state("B")).expect("declared").to(), &state("B"));
        for (from, to) in [("B", "A"), ("A", "A"), ("A", "C")] {
            assert!(table.step(&state(from), &state(to)).is_err(), "{from} to {to}");
        }
    }

    #[test]
    fn a_state_has_no_blanks_and_an_end() {
        assert!(State::parse("TO_BE_PAID").is_ok() && State::parse(&"x".repeat(64)).is_ok());
        for text in ["", " ", "A B", "A\n", "人", &"x".repeat(65)] {
            assert!(State::parse(text).is_err(), "{text:?}");
        }
    }
}
