//! Tests of comparing: every kind of difference, and what is none.

use super::super::{Row, RowKind, RowState};
use super::{Difference, Fact, Ours, Progress, compare};
use crate::money::{Currency, Money};
use crate::time::Timestamp;

fn yuan(minor: i64) -> Money {
    Money { minor, currency: Currency::CNY }
}

fn paid() -> Row {
    Row {
        line: 2,
        kind: RowKind::Payment,
        order_no: "CG1".to_owned(),
        transaction_id: "T1".to_owned(),
        refund_no: None,
        refund_id: None,
        amount: yuan(1999),
        state: RowState::Done,
        at: Timestamp::from_ms(0),
    }
}

fn refunded() -> Row {
    let (kind, refund_no) = (RowKind::Refund, Some("R1".to_owned()));
    Row { kind, refund_no, amount: yuan(500), ..paid() }
}

fn fact(event_type: &str) -> Fact {
    Fact {
        event_type: event_type.to_owned(),
        transaction_id: Some("T1".to_owned()),
        refund_id: None,
        refund_no: None,
        amount: Some(yuan(1999)),
        order_amount: Some(yuan(1999)),
        refunded_total: None,
        progress: Progress::Done,
    }
}

fn back(event_type: &str) -> Fact {
    Fact { refund_no: Some("R1".to_owned()), amount: Some(yuan(500)), ..fact(event_type) }
}

fn check(row: &Row, heard: Vec<Fact>, expected: &[Difference]) {
    let ours = Ours { registered: Some(yuan(1999)), heard };
    let found = compare(row, &ours);
    let differences: Vec<_> = found.iter().map(|one| one.difference).collect();
    assert_eq!(differences, expected, "{found:?}");
}

#[test]
fn what_agrees_makes_no_finding() {
    check(&paid(), vec![fact("payment.succeeded")], &[]);
    check(&paid(), vec![fact("payment.closed"), fact("payment.succeeded")], &[]);
    check(&paid(), vec![fact("payment.finished")], &[]);
    check(&refunded(), vec![fact("payment.succeeded"), back("refund.succeeded")], &[]);
    let failed = Row { state: RowState::Failed, ..refunded() };
    check(&failed, vec![back("refund.abnormal")], &[]);
    for state in [RowState::Pending, RowState::Revoked] {
        check(&Row { state, ..refunded() }, vec![], &[]);
    }
}

#[test]
fn what_was_not_heard_is_missing() {
    check(&paid(), vec![], &[Difference::MissingCallback]);
    let other = Fact { transaction_id: Some("T2".to_owned()), ..fact("payment.succeeded") };
    check(&paid(), vec![other], &[Difference::MissingCallback]);
    check(&refunded(), vec![fact("payment.succeeded")], &[Difference::MissingCallback]);
    let other = Fact { refund_no: Some("R2".to_owned()), ..back("refund.succeeded") };
    check(&refunded(), vec![other], &[Difference::MissingCallback]);
}

#[test]
fn an_order_that_is_not_registered_is_missing() {
    let found = |heard| {
        let found = compare(&paid(), &Ours { registered: None, heard });
        found.into_iter().map(|one| one.difference).collect::<Vec<_>>()
    };
    assert_eq!(found(vec![]), [Difference::MissingOrder, Difference::MissingCallback]);
    let parked = Fact { progress: Progress::Open, ..fact("payment.succeeded") };
    assert_eq!(found(vec![parked]), [Difference::MissingOrder]);
}

#[test]
fn other_amounts_are_told() {
    let more = Fact { order_amount: Some(yuan(2000)), ..fact("payment.succeeded") };
    check(&paid(), vec![more], &[Difference::Amount]);
    let less = Row { amount: yuan(1), ..paid() };
    check(
        &less,
        vec![Fact { order_amount: Some(yuan(1)), ..fact("payment.succeeded") }],
        &[Difference::Amount],
    );
    let part = Fact { amount: Some(yuan(400)), ..back("refund.succeeded") };
    check(&refunded(), vec![part], &[Difference::Amount]);
}

#[test]
fn other_states_are_told() {
    check(&paid(), vec![fact("payment.closed")], &[Difference::State]);
    let nameless = Fact { transaction_id: None, ..fact("payment.failed") };
    check(&paid(), vec![nameless], &[Difference::State]);
    check(&refunded(), vec![back("refund.closed")], &[Difference::State]);
    let failed = Row { state: RowState::Failed, ..refunded() };
    check(&failed, vec![back("refund.succeeded")], &[Difference::State]);
}

#[test]
fn what_had_no_effect_yet_is_unfinished() {
    for progress in [Progress::Open, Progress::Review] {
        let waits = Fact { progress, ..fact("payment.succeeded") };
        check(&paid(), vec![waits.clone()], &[Difference::Unfinished]);
        check(&paid(), vec![waits, fact("payment.succeeded")], &[]);
    }
}

#[test]
fn a_gateway_that_tells_totals_is_understood() {
    // Alipay repeats the trade with everything given back so far, some without a number.
    let total = |minor| Fact {
        refund_no: None,
        amount: None,
        refunded_total: Some(yuan(minor)),
        ..fact("refund.succeeded")
    };
    check(&refunded(), vec![total(500)], &[]);
    check(&refunded(), vec![total(1200)], &[]);
    check(&refunded(), vec![total(499)], &[Difference::MissingCallback]);
}
