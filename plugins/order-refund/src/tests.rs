//! The mall's stories of refunds, told to the processor through a host in memory.

use std::collections::BTreeMap;

use callgate_processor::testing::{House, Notification, Outcome, Run};
use callgate_processor::{Money, PhaseError};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::OrderRefund;

const PAID: i64 = 10_000;

fn cny(minor: i64) -> Money {
    Money::new(minor, "CNY")
}

fn told(id: &str, event: &str) -> Notification {
    Notification::new(id, event, "PRODUCT_ORDER")
        .scene("WE_CHAT_PAY")
        .channel("wechat-main")
        .order_no("1001")
        .transaction_id("T1")
        .order_amount(cny(PAID))
        .occurred_at_ms(1_767_225_000_000)
}

/// A refund as WeChat Pay tells it: its own number and amount.
fn refund(refund_id: &str, minor: i64) -> Notification {
    told(&format!("n-{refund_id}"), "refund.succeeded").refund_id(refund_id).amount(cny(minor))
}

/// A refund as Alipay tells it: the merchant's number and the total so far.
fn total(refund_no: &str, minor: i64) -> Notification {
    told(&format!("n-{refund_no}"), "refund.succeeded")
        .scene("ALI_PAY")
        .refund_no(refund_no)
        .refunded_total(cny(minor))
}

fn failed(event: &str, refund_id: &str) -> Notification {
    told(&format!("n-{event}"), event).refund_id(refund_id)
}

fn house(state: &str) -> House {
    house_with(state, &json!({ "payment": { "transaction_id": "T1", "amount": cny(PAID) } }))
}

fn house_with(state: &str, body: &Value) -> House {
    let mut house = House::new();
    house.order("1001", state, body);
    house
}

fn run(house: &mut House, notification: &Notification) -> Run {
    house.run::<OrderRefund>(notification)
}

fn order(house: &House) -> Value {
    house.body("orders", "1001").unwrap_or_default()
}

fn is_ignored(run: &Run) -> bool {
    matches!(run.outcome, Outcome::Stopped(PhaseError::Ignore(_)))
}

fn waits(run: &Run) -> bool {
    matches!(run.outcome, Outcome::Stopped(PhaseError::Retry { code: "payment-not-here-yet", .. }))
}

#[test]
fn parts_add_up_to_the_whole() {
    let mut house = house("TO_BE_DELIVERED");
    assert_eq!(run(&mut house, &refund("R1", 2_500)).topics(), ["order.refunded-in-part"]);
    assert_eq!(house.state("1001"), Some("REFUNDING"));
    assert_eq!(run(&mut house, &refund("R2", 2_500)).topics(), ["order.refunded-in-part"]);
    assert_eq!(house.state("1001"), Some("REFUNDING"));
    let last = run(&mut house, &refund("R3", 5_000));
    assert_eq!(last.topics(), ["order.refunded"]);
    assert_eq!(last.events[0].key, "1001");
    assert_eq!(house.state("1001"), Some("REFUNDED"));
    assert_eq!(order(&house)["refunded"], json!(cny(PAID)));
    assert_eq!(order(&house)["refunds"]["R2"]["amount"], json!(cny(2_500)));
    assert_eq!(house.keys("ledger"), ["refund:R1", "refund:R2", "refund:R3"]);
    let entry = house.body("ledger", "refund:R3").unwrap_or_default();
    assert_eq!(entry["amount"], json!(cny(5_000)));
    assert_eq!(entry["kind"], "refund");
    assert_eq!(entry["order_no"], "1001");
}

#[test]
fn a_whole_refund_at_once_needs_no_step_between() {
    for state in ["TO_BE_DELIVERED", "REFUNDING", "CLOSED"] {
        let mut house = house(state);
        assert_eq!(run(&mut house, &refund("R1", PAID)).topics(), ["order.refunded"], "{state}");
        assert_eq!(house.state("1001"), Some("REFUNDED"), "{state}");
    }
}

#[test]
fn a_repeat_counts_nothing() {
    let mut house = house("TO_BE_DELIVERED");
    run(&mut house, &refund("R1", 2_500));
    assert!(is_ignored(&run(&mut house, &refund("R1", 2_500))));
    assert_eq!(order(&house)["refunded"], json!(cny(2_500)));
}

#[test]
fn a_refund_that_changes_its_amount_goes_to_a_person() {
    let mut house = house_with(
        "REFUNDING",
        &json!({
            "payment": { "transaction_id": "T1", "amount": cny(PAID) },
            "refunds": { "R1": { "transaction_id": "T1", "amount": cny(1) } },
        }),
    );
    assert_eq!(run(&mut house, &refund("R1", 2)).code(), Some("refund-changed"));
}

#[test]
fn more_than_was_paid_goes_to_a_person_and_the_exact_rest_does_not() {
    let mut house = house("TO_BE_DELIVERED");
    run(&mut house, &refund("R1", 9_999));
    assert_eq!(run(&mut house, &refund("R2", 2)).code(), Some("refund-exceeds-payment"));
    assert_eq!(house.keys("ledger"), ["refund:R1"]);
    assert_eq!(run(&mut house, &refund("R2", 1)).topics(), ["order.refunded"]);
}

#[test]
fn totals_replace_each_other_and_never_shrink() {
    let mut house = house("TO_BE_DELIVERED");
    assert_eq!(run(&mut house, &total("a", 3_000)).topics(), ["order.refunded-in-part"]);
    assert_eq!(run(&mut house, &total("c", 8_000)).topics(), ["order.refunded-in-part"]);
    assert!(is_ignored(&run(&mut house, &total("b", 5_000))), "told late");
    assert!(is_ignored(&run(&mut house, &total("c", 8_000))), "told twice");
    assert_eq!(order(&house)["refunded"], json!(cny(8_000)));
    assert_eq!(run(&mut house, &total("d", PAID)).topics(), ["order.refunded"]);
    assert_eq!(house.state("1001"), Some("REFUNDED"));
    assert_eq!(house.keys("ledger"), ["refund:T1:a:3000", "refund:T1:c:8000", "refund:T1:d:10000"]);
    let entry = house.body("ledger", "refund:T1:c:8000").unwrap_or_default();
    assert_eq!(entry["amount"], json!(cny(5_000)), "an entry has what it added");
}

#[test]
fn a_refund_before_its_payment_waits_for_it() {
    assert!(waits(&run(&mut house_with("TO_BE_PAID", &json!({})), &refund("R1", 1))));
    assert!(waits(&run(&mut house_with("CLOSED", &json!({})), &refund("R1", 1))));
    let of_another = refund("R1", 1).transaction_id("T2");
    assert!(waits(&run(&mut house("TO_BE_DELIVERED"), &of_another)));
}

#[test]
fn an_order_that_the_mall_registered_as_paid_needs_no_noted_payment() {
    let mut house = house_with("TO_BE_DELIVERED", &json!({}));
    assert_eq!(run(&mut house, &refund("R1", PAID)).topics(), ["order.refunded"]);
    assert_eq!(house.state("1001"), Some("REFUNDED"));
}

#[test]
fn a_refund_of_an_extra_payment_says_nothing_about_the_order() {
    let mut house = house_with(
        "TO_BE_DELIVERED",
        &json!({
            "payment": { "transaction_id": "T1", "amount": cny(PAID) },
            "extra_payments": { "T2": { "transaction_id": "T2", "amount": cny(PAID) } },
        }),
    );
    let extra = run(&mut house, &refund("R9", PAID).transaction_id("T2"));
    assert_eq!(extra.topics(), ["order.extra-payment-refunded"]);
    assert_eq!(house.state("1001"), Some("TO_BE_DELIVERED"));
    assert_eq!(order(&house)["extra_payments"]["T2"]["refunded"], json!(cny(PAID)));
    assert_eq!(run(&mut house, &refund("R1", PAID)).topics(), ["order.refunded"]);
    let more = refund("R10", 1).transaction_id("T2");
    assert_eq!(run(&mut house, &more).code(), Some("refund-exceeds-payment"));
    let nameless = refund("R11", 1).transaction_id("");
    assert_eq!(run(&mut house, &nameless).code(), Some("transaction-missing"));
}

#[test]
fn a_refund_in_a_state_of_the_malls_own_is_booked_and_keeps_it() {
    let mut house = house("DELIVERED");
    assert_eq!(run(&mut house, &refund("R1", PAID)).topics(), ["order.refunded"]);
    assert_eq!(house.state("1001"), Some("DELIVERED"));
}

#[test]
fn a_failed_refund_is_told_once_and_keeps_state_and_total() {
    let mut house = house("TO_BE_DELIVERED");
    let abnormal = failed("refund.abnormal", "R1");
    let closed = failed("refund.closed", "R1");
    assert_eq!(run(&mut house, &abnormal).topics(), ["order.refund-abnormal"]);
    assert!(is_ignored(&run(&mut house, &abnormal)));
    assert_eq!(run(&mut house, &closed).topics(), ["order.refund-closed"]);
    assert!(is_ignored(&run(&mut house, &abnormal)), "an abnormal refund told after its close");
    assert_eq!(house.state("1001"), Some("TO_BE_DELIVERED"));
    assert!(house.keys("ledger").is_empty());
}

#[test]
fn an_abnormal_refund_may_succeed_later_and_then_fails_no_more() {
    let mut house = house("TO_BE_DELIVERED");
    run(&mut house, &failed("refund.abnormal", "R1"));
    assert_eq!(run(&mut house, &refund("R1", PAID)).topics(), ["order.refunded"]);
    assert_eq!(order(&house)["failed_refunds"], json!({}));
    assert!(is_ignored(&run(&mut house, &failed("refund.abnormal", "R1"))));
}

#[test]
fn what_cannot_be_booked_is_rejected_by_name() {
    let code = |notice: &Notification| run(&mut house("TO_BE_DELIVERED"), notice).code();
    let bare = told("n", "refund.succeeded");
    assert_eq!(code(&bare), Some("amount-missing"));
    assert_eq!(code(&bare.amount(cny(1))), Some("refund-unnamed"));
    assert_eq!(code(&refund("R1", 0)), Some("amount-not-positive"));
    assert_eq!(code(&refund("R1", -5)), Some("amount-not-positive"));
    assert_eq!(code(&refund("R1", 0).amount(Money::new(1, "USD"))), Some("currency-mismatch"));
    assert_eq!(code(&total("a", PAID + 1)), Some("refund-exceeds-payment"));
}

#[test]
fn a_refund_of_another_order_goes_to_a_person() {
    let mut house = house("TO_BE_DELIVERED");
    house.order("1002", "TO_BE_DELIVERED", &json!({}));
    run(&mut house, &refund("R1", 1));
    let elsewhere = refund("R1", 1).order_no("1002");
    assert_eq!(run(&mut house, &elsewhere).code(), Some("refund-of-another-order"));
}

#[test]
fn two_refunds_at_once_are_both_counted() {
    let mut house = house("TO_BE_DELIVERED");
    let run = house.run_against::<OrderRefund>(&refund("R2", 4_000), |house| {
        run(house, &refund("R1", 6_000));
    });
    assert_eq!((run.attempts, run.topics()), (2, vec!["order.refunded"]));
    assert_eq!(house.state("1001"), Some("REFUNDED"));
}

proptest! {
    #[test]
    fn in_any_order_with_repeats_the_total_is_the_sum_of_the_different_refunds(
        amounts in prop::collection::vec(1_i64..2_000, 1..8),
        order_of_arrival in prop::collection::vec(any::<prop::sample::Index>(), 0..32),
    ) {
        let mut house = house("TO_BE_DELIVERED");
        let mut counted = BTreeMap::new();
        for index in order_of_arrival {
            let number = index.index(amounts.len());
            let run = run(&mut house, &refund(&format!("R{number}"), amounts[number]));
            let sum: i64 = counted.values().sum();
            let fits = sum.saturating_add(amounts[number]) <= PAID;
            let expected = match (counted.contains_key(&number), fits) {
                (true, _) => is_ignored(&run),
                (false, false) => run.code() == Some("refund-exceeds-payment"),
                (false, true) => matches!(run.outcome, Outcome::Committed { .. }),
            };
            prop_assert!(expected, "{:?}", run.outcome);
            if fits {
                counted.entry(number).or_insert(amounts[number]);
            }
        }
        let sum: i64 = counted.values().sum();
        let expected = match sum {
            0 => "TO_BE_DELIVERED",
            PAID => "REFUNDED",
            _ => "REFUNDING",
        };
        prop_assert_eq!(house.state("1001"), Some(expected));
        prop_assert_eq!(house.keys("ledger").len(), counted.len());
        if sum > 0 {
            prop_assert_eq!(&order(&house)["refunded"], &json!(cny(sum)));
        }
    }

    #[test]
    fn totals_in_any_order_end_at_the_highest_and_the_ledger_sums_up_to_it(
        totals in prop::collection::vec(1_i64..=PAID, 1..16),
    ) {
        let mut house = house("TO_BE_DELIVERED");
        for told in &totals {
            run(&mut house, &total(&format!("no-{told}"), *told));
        }
        let highest = totals.iter().copied().max().unwrap_or_default();
        prop_assert_eq!(&order(&house)["refunded"], &json!(cny(highest)));
        let keys: Vec<String> = house.keys("ledger").into_iter().map(str::to_owned).collect();
        let entries = keys.iter().filter_map(|key| house.body("ledger", key));
        let sum: i64 = entries.filter_map(|entry| entry["amount"]["minor"].as_i64()).sum();
        prop_assert_eq!(sum, highest);
        let full = if highest == PAID { "REFUNDED" } else { "REFUNDING" };
        prop_assert_eq!(house.state("1001"), Some(full));
    }
}
