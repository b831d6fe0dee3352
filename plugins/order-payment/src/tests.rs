//! The mall's stories, told to the processor through a host in memory.

use callgate_processor::testing::{House, Notification, Outcome, Run};
use callgate_processor::{Money, PhaseError};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::OrderPayment;

const PAID_AT_MS: u64 = 1_767_225_000_000;

fn told(event: &str, transaction: &str) -> Notification {
    Notification::new(format!("n-{event}-{transaction}"), event, "PRODUCT_ORDER")
        .scene("WE_CHAT_PAY")
        .channel("wechat-main")
        .order_no("1001")
        .transaction_id(transaction)
        .payer("o-payer")
        .amount(Money::new(1_999, "CNY"))
        .order_amount(Money::new(1_999, "CNY"))
        .occurred_at_ms(PAID_AT_MS)
}

fn paid(transaction: &str) -> Notification {
    told("payment.succeeded", transaction)
}

fn house(state: &str) -> House {
    let mut house = House::new();
    house.order("1001", state, &json!({ "buyer": "b-7" }));
    house
}

fn run(house: &mut House, notification: &Notification) -> Run {
    house.run::<OrderPayment>(notification)
}

fn order(house: &House) -> Value {
    house.body("orders", "1001").unwrap_or_default()
}

#[test]
fn a_payment_on_time_makes_the_order_deliverable() {
    let mut house = house("TO_BE_PAID");
    let run = run(&mut house, &paid("T1"));
    assert_eq!(run.topics(), ["order.paid"]);
    assert_eq!(run.events[0].key, "1001");
    assert_eq!(house.state("1001"), Some("TO_BE_DELIVERED"));
    assert_eq!(
        order(&house),
        json!({
            "buyer": "b-7",
            "payment": {
                "transaction_id": "T1",
                "amount": { "minor": 1_999, "currency": "CNY" },
                "paid_at_ms": PAID_AT_MS,
                "payer": "o-payer",
                "channel": "wechat-main",
                "scene": "WE_CHAT_PAY",
            },
        })
    );
    assert_eq!(
        house.body("ledger", "T1"),
        Some(json!({
            "kind": "payment",
            "order_no": "1001",
            "transaction_id": "T1",
            "amount": { "minor": 1_999, "currency": "CNY" },
            "occurred_at_ms": PAID_AT_MS,
            "notification_id": "n-payment.succeeded-T1",
        }))
    );
}

#[test]
fn the_payer_is_in_no_event() {
    let mut house = house("TO_BE_PAID");
    let run = run(&mut house, &paid("T1"));
    assert!(!run.events[0].payload.contains("o-payer"), "{}", run.events[0].payload);
}

#[test]
fn both_scenes_and_both_names_of_a_payment_are_answered() {
    for scene in ["WE_CHAT_PAY", "ALI_PAY"] {
        for event in ["payment.succeeded", "payment.finished"] {
            let mut house = house("TO_BE_PAID");
            let run = run(&mut house, &told(event, "T1").scene(scene));
            assert_eq!(run.topics(), ["order.paid"], "{scene} {event}");
        }
    }
    let mut house = house("TO_BE_PAID");
    assert_eq!(run(&mut house, &paid("T1").scene("CASH")).outcome, Outcome::NoRoute);
}

#[test]
fn an_order_spoken_of_by_its_payment_number_is_told_by_its_own() {
    let mut house = house("TO_BE_PAID");
    house.alias("pay-5", "1001");
    let run = run(&mut house, &paid("T1").order_no("pay-5"));
    assert_eq!(run.events[0].key, "1001");
    assert_eq!(house.body("ledger", "T1").unwrap_or_default()["order_no"], "1001");
}

#[test]
fn one_transaction_is_booked_once_under_either_name() {
    let mut house = house("TO_BE_PAID");
    run(&mut house, &paid("T1"));
    for again in [paid("T1"), told("payment.finished", "T1")] {
        let run = run(&mut house, &again);
        assert!(matches!(run.outcome, Outcome::Stopped(PhaseError::Ignore(_))), "{run:?}");
    }
    assert_eq!(house.keys("ledger"), ["T1"]);
}

#[test]
fn a_second_payment_of_a_paid_order_is_told_and_noted_and_keeps_the_state() {
    let mut house = house("TO_BE_PAID");
    run(&mut house, &paid("T1"));
    let run = run(&mut house, &paid("T2"));
    assert_eq!(run.topics(), ["order.paid-twice"]);
    assert_eq!(run.outcome, Outcome::Committed { moved_to: None });
    assert_eq!(house.state("1001"), Some("TO_BE_DELIVERED"));
    assert_eq!(house.keys("ledger"), ["T1", "T2"]);
    assert_eq!(order(&house)["payment"]["transaction_id"], "T1");
    assert_eq!(order(&house)["extra_payments"]["T2"]["transaction_id"], "T2");
}

#[test]
fn a_payment_after_the_close_keeps_the_order_closed_and_does_not_vanish() {
    let mut house = house("CLOSED");
    assert_eq!(run(&mut house, &paid("T1")).topics(), ["order.paid-after-close"]);
    assert_eq!(house.state("1001"), Some("CLOSED"));
    assert_eq!(order(&house)["payment"]["transaction_id"], "T1");
    assert_eq!(house.keys("ledger"), ["T1"]);
    assert_eq!(run(&mut house, &paid("T2")).topics(), ["order.paid-twice"]);
}

#[test]
fn a_second_payment_in_a_state_of_the_malls_own_does_not_vanish() {
    let mut house = House::new();
    house.order("1001", "DELIVERED", &json!({ "payment": { "transaction_id": "T1" } }));
    assert_eq!(run(&mut house, &paid("T2")).topics(), ["order.paid-twice"]);
    assert_eq!(house.state("1001"), Some("DELIVERED"));
}

#[test]
fn what_the_shop_wrote_about_payment_is_no_payment() {
    let mut house = House::new();
    house.order("1001", "TO_BE_PAID", &json!({ "payment": { "method": "wechat" } }));
    assert_eq!(run(&mut house, &paid("T1")).topics(), ["order.paid"]);
    assert_eq!(house.state("1001"), Some("TO_BE_DELIVERED"));
}

#[test]
fn a_payment_that_nothing_explains_goes_to_a_person() {
    let mut house = house("DELIVERED");
    assert_eq!(run(&mut house, &paid("T1")).code(), Some("payment-unexpected"));
    assert!(house.keys("ledger").is_empty());
}

#[test]
fn a_transaction_of_another_order_goes_to_a_person() {
    let mut house = house("TO_BE_PAID");
    house.order("1002", "TO_BE_PAID", &json!({}));
    run(&mut house, &paid("T1"));
    let run = run(&mut house, &paid("T1").order_no("1002"));
    assert_eq!(run.code(), Some("transaction-of-another-order"));
    assert_eq!(house.state("1002"), Some("TO_BE_PAID"));
}

#[test]
fn a_closed_payment_closes_an_unpaid_order_only() {
    let mut house = house("TO_BE_PAID");
    assert_eq!(run(&mut house, &told("payment.closed", "T1")).topics(), ["order.closed"]);
    assert_eq!(house.state("1001"), Some("CLOSED"));
    assert_eq!(order(&house)["closed_at_ms"], PAID_AT_MS);
    assert!(house.keys("ledger").is_empty());

    let mut house = self::house("TO_BE_DELIVERED");
    let run = run(&mut house, &told("payment.closed", "T1"));
    assert_eq!(run.outcome, Outcome::NoRoute);
}

#[test]
fn one_closed_attempt_of_several_leaves_the_order_open() {
    let mut house = house("TO_BE_PAID");
    house.alias("PAY-1", "1001");
    let closed = run(&mut house, &told("payment.closed", "T1").order_no("PAY-1"));
    assert!(matches!(closed.outcome, Outcome::Stopped(PhaseError::Ignore(_))), "{closed:?}");
    assert_eq!(house.state("1001"), Some("TO_BE_PAID"));
}

#[test]
fn what_cannot_be_booked_is_rejected_by_name() {
    let money = |minor| Money::new(minor, "CNY");
    let without = |change: fn(Notification) -> Notification| {
        run(&mut house("TO_BE_PAID"), &change(paid("T1"))).code()
    };
    assert_eq!(without(|notice| notice.transaction_id("")), Some("transaction-missing"));
    assert_eq!(without(|notice| notice.amount(Money::new(1, "CNY"))), Some("amount-mismatch"));
    assert_eq!(without(|notice| notice.amount(Money::new(1_999, "USD"))), Some("amount-mismatch"));
    assert_eq!(without(|notice| notice.amount(Money::new(0, "CNY"))), Some("amount-not-positive"));
    let missing = super::notice::amount(None, Some(money(1)));
    assert!(matches!(missing, Err(PhaseError::Reject { code: "amount-missing", .. })));
    assert_eq!(super::notice::amount(Some(money(1)), None), Ok(money(1)));
}

#[test]
fn two_payments_at_once_are_booked_as_a_payment_and_a_second_payment() {
    let mut house = house("TO_BE_PAID");
    let run = house.run_against::<OrderPayment>(&paid("T2"), |house| {
        run(house, &paid("T1"));
    });
    assert_eq!(run.attempts, 2);
    assert_eq!(run.topics(), ["order.paid-twice"]);
    assert_eq!(order(&house)["payment"]["transaction_id"], "T1");
    assert_eq!(house.keys("ledger"), ["T1", "T2"]);
}

#[test]
fn the_same_payment_at_once_is_booked_once() {
    let mut house = house("TO_BE_PAID");
    let run = house.run_against::<OrderPayment>(&paid("T1"), |house| {
        run(house, &told("payment.finished", "T1"));
    });
    assert!(matches!(run.outcome, Outcome::Stopped(PhaseError::Ignore(_))), "{run:?}");
    assert_eq!(house.keys("ledger"), ["T1"]);
}

proptest! {
    #[test]
    fn in_any_order_each_transaction_is_booked_once_and_one_pays(
        steps in prop::collection::vec((0_u8..3, 0_u8..4), 0..24),
    ) {
        let mut house = house("TO_BE_PAID");
        let mut transactions = std::collections::BTreeSet::new();
        let mut topics = Vec::new();
        for (event, transaction) in steps {
            let transaction = format!("T{transaction}");
            let event = ["payment.succeeded", "payment.finished", "payment.closed"]
                [usize::from(event)];
            let run = run(&mut house, &told(event, &transaction));
            topics.extend(run.events.into_iter().map(|event| event.topic));
            if event != "payment.closed" {
                transactions.insert(transaction);
            }
            prop_assert!(!matches!(run.outcome, Outcome::Refused(_)), "{:?}", run.outcome);
        }
        let keys: Vec<_> = transactions.iter().map(String::as_str).collect();
        prop_assert_eq!(house.keys("ledger"), keys);
        let count = |topic: &str| topics.iter().filter(|told| *told == topic).count();
        let first = usize::from(!transactions.is_empty());
        let paid = topics.iter().filter(|told| told.as_str() != "order.closed");
        let paid_first = paid.filter(|told| told.as_str() != "order.paid-twice").count();
        prop_assert_eq!(paid_first, first);
        prop_assert_eq!(count("order.paid-twice"), transactions.len().saturating_sub(1));
        let closed = house.state("1001") == Some("CLOSED");
        prop_assert_eq!(count("order.closed"), usize::from(closed));
    }
}
