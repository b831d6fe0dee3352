//! What a believed notice means.

use super::*;
use crate::money::{Currency, Money};
use crate::notification::{AccountMismatch, EventType};

fn told(changes: &[(&str, &str)]) -> Notification {
    only(verify(&signed(&paid(changes))))
}

fn cny(minor: i64) -> Option<Money> {
    Some(Money { minor, currency: Currency::CNY })
}

fn at(text: &str) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(&format!("2026-11-21T{text}+08:00"))
}

#[test]
fn states_of_a_trade_are_named() {
    let check = |state: &str, expected: (EventType, Option<Money>, Option<Timestamp>)| {
        let notification = told(&[("trade_status", state), ("gmt_close", "2026-11-21 12:00:00")]);
        let meaning_key = format!("payment:T3:{state}");
        assert_eq!(notification.meaning_key, meaning_key);
        assert_eq!(notification.order_amount, cny(1999));
        let read = (notification.event_type, notification.amount, notification.occurred_at);
        assert_eq!(read, expected, "{state}");
    };
    let closed = at("12:00:00");
    check("TRADE_SUCCESS", (EventType::PAYMENT_SUCCEEDED, cny(1999), at("10:00:05")));
    check("TRADE_FINISHED", (EventType::PAYMENT_FINISHED, cny(1999), closed));
    check("TRADE_CLOSED", (EventType::PAYMENT_CLOSED, None, closed));
    check("WAIT_BUYER_PAY", (EventType::PAYMENT_PENDING, None, at("10:00:00")));
    check("TRADE_PENDING", (EventType::other("alipay", "TRADE_PENDING"), None, at("10:00:06")));
}

#[test]
fn a_refund_is_told_by_its_fee_whether_open_or_closed() {
    for state in ["TRADE_SUCCESS", "TRADE_CLOSED"] {
        let notification = told(&[
            ("trade_status", state),
            ("refund_fee", "5.00"),
            ("out_biz_no", "CGR3"),
            ("gmt_refund", "2026-11-21 11:00:00.299"),
        ]);
        assert_eq!(notification.event_type, EventType::REFUND_SUCCEEDED);
        assert_eq!(notification.meaning_key, "refund:T3:CGR3");
        assert_eq!((notification.amount, notification.refunded_total), (None, cny(500)));
        assert_eq!(notification.order_amount, cny(1999));
        assert_eq!(notification.refund_no.as_deref(), Some("CGR3"));
        assert_eq!(notification.refund_id, None);
        assert_eq!(notification.occurred_at, at("11:00:00.299"));
    }
    assert_eq!(told(&[("refund_fee", "5")]).meaning_key, "refund:T3::500");
}

#[test]
fn a_finished_trade_is_no_refund_whatever_went_back_before() {
    let finished = [("trade_status", "TRADE_FINISHED"), ("gmt_close", "2026-11-21 12:00:00")];
    let refunded =
        [("refund_fee", "5.00"), ("out_biz_no", "X"), ("gmt_refund", "2026-11-21 11:00:00")];
    for (changes, total) in
        [(finished.to_vec(), None), ([&finished[..], &refunded].concat(), cny(500))]
    {
        let notification = told(&changes);
        assert_eq!(notification.event_type, EventType::PAYMENT_FINISHED);
        assert_eq!(notification.meaning_key, "payment:T3:TRADE_FINISHED");
        assert_eq!((notification.refunded_total, notification.amount), (total, cny(1999)));
        assert_eq!((notification.refund_no, notification.occurred_at), (None, at("12:00:00")));
    }
}

#[test]
fn a_refund_of_nothing_is_the_payment() {
    for fee in ["0.00", "0", ""] {
        let notification = told(&[("refund_fee", fee), ("out_biz_no", "X")]);
        assert_eq!(notification.event_type, EventType::PAYMENT_SUCCEEDED, "{fee:?}");
        assert_eq!((notification.refunded_total, notification.refund_no), (None, None));
    }
}

#[test]
fn a_notice_keeps_its_id_as_delivery_key() {
    let verified = verify(&signed(&paid(&[]))).unwrap();
    assert_eq!(verified.delivery_key(), "n1");
}

#[test]
fn another_account_is_kept_as_a_mismatch() {
    let application = Some(AccountMismatch::Application);
    let merchant = Some(AccountMismatch::Merchant);
    assert_eq!(told(&[]).mismatch, None);
    assert_eq!(told(&[("app_id", "2021000000000002")]).mismatch, application);
    assert_eq!(told(&[("app_id", "")]).mismatch, application);
    assert_eq!(told(&[("seller_id", "2088000000000009")]).mismatch, merchant);
    assert_eq!(told(&[("seller_id", "")]).mismatch, merchant);
    assert_eq!(told(&[("auth_app_id", "2021000000000009")]).mismatch, None);
    let unchecked = gateway_with(&json!({"seller_ids": []}));
    let body = signed(&paid(&[("seller_id", "2088000000000009")]));
    assert_eq!(only(verify_with(&unchecked, body.as_bytes())).mismatch, None);
    let by_mail = gateway_with(&json!({"seller_ids": ["a@example.com"]}));
    let body = signed(&paid(&[("seller_id", ""), ("seller_email", "a@example.com")]));
    assert_eq!(only(verify_with(&by_mail, body.as_bytes())).mismatch, None);
}

#[test]
fn a_payer_is_named_by_either_id() {
    assert_eq!(told(&[]).payer.as_deref(), Some("2088000000000001"));
    let notification = told(&[("buyer_id", ""), ("buyer_open_id", "o1")]);
    assert_eq!(notification.payer.as_deref(), Some("o1"));
}

#[test]
fn a_trade_may_leave_its_family_out() {
    let mut payment = paid(&[]);
    payment.remove("notify_type");
    assert_eq!(only(verify(&signed(&payment))).event_type, EventType::PAYMENT_SUCCEEDED);
}

#[test]
fn other_families_sign_their_signature_type_or_not() {
    let order = fields(&[
        ("app_id", "2021000000000001"),
        ("notify_id", "n2"),
        ("notify_time", "2026-11-21 10:00:06"),
        ("notify_type", "servicemarket_order_notify"),
        ("out_trade_no", "CG4"),
        ("title", "x"),
    ]);
    let mut with_type = bytes(&order);
    with_type.insert(b"sign_type".to_vec(), b"RSA2".to_vec());
    let sign = rsa2(&joined(&with_type));
    let documented = sent(&order, &[("sign_type", "RSA2"), ("sign", &sign)]);
    for body in [documented, signed(&order)] {
        let verified = verify(&body).unwrap();
        assert_eq!(verified.delivery_key(), "n2");
        let notification = &verified.notifications()[0];
        assert_eq!(notification.event_type.as_str(), "alipay.servicemarket_order_notify");
        assert_eq!(notification.meaning_key, "notice:n2");
        assert_eq!(notification.order_no.as_deref(), Some("CG4"));
        assert_eq!((notification.mismatch, notification.amount), (None, None));
        let content: Value = serde_json::from_str(&notification.body).unwrap();
        assert_eq!(content, serde_json::to_value(&order).unwrap());
    }
    let mut payment = bytes(&paid(&[]));
    payment.insert(b"sign_type".to_vec(), b"RSA2".to_vec());
    let sign = rsa2(&joined(&payment));
    let body = sent(&paid(&[]), &[("sign_type", "RSA2"), ("sign", &sign)]);
    assert_eq!(verify(&body), Err(Refusal::Signature));
}

#[test]
fn messages_are_named_by_their_method() {
    let message = fields(&[
        ("app_id", "2021000000000001"),
        ("biz_content", "{\"a\":\"1\"}"),
        ("msg_method", "alipay.fund.trans.order.changed"),
        ("notify_id", "n3"),
    ]);
    let notification = only(verify(&signed(&message)));
    assert_eq!(notification.event_type.as_str(), "alipay.alipay.fund.trans.order.changed");
    assert_eq!(notification.occurred_at, None);
}

#[test]
fn spaces_are_repaired_in_the_signature_alone() {
    let (payment, sign) = (0..1000)
        .map(|at| paid(&[("subject", &format!("x{at}"))]))
        .map(|payment| (payment.clone(), rsa2(&joined(&bytes(&payment)))))
        .find(|(_, sign)| sign.contains('+'))
        .unwrap();
    let body = sent(&payment, &[("sign_type", "RSA2"), ("sign", &sign.replace('+', " "))]);
    assert!(verify(&body).is_ok());
    let payment = paid(&[("subject", "A B")]);
    let sign = rsa2(&joined(&bytes(&paid(&[("subject", "A+B")]))));
    let body = sent(&payment, &[("sign_type", "RSA2"), ("sign", &sign)]);
    assert_eq!(verify(&body), Err(Refusal::Signature));
}

#[test]
fn a_serial_that_the_sender_did_not_sign_is_left_out() {
    let payment = paid(&[]);
    let sign = rsa2(&joined(&bytes(&payment)));
    let extra = [("alipay_cert_sn", "00"), ("sign_type", "RSA2"), ("sign", sign.as_str())];
    let notification = only(verify(&sent(&payment, &extra)));
    assert!(!notification.body.contains("alipay_cert_sn"));
}
