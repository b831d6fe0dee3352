//! The committed callbacks.

use super::*;
use crate::notification::EventType;

#[test]
fn the_payment_vector_is_believed_and_read() {
    let (vector, body) = vector(PAYMENT);
    let verified = verify(&body).unwrap();
    assert_eq!(verified.delivery_key(), "payment:4200001234202611210000000002");
    let notification = &verified.notifications()[0];
    let body: Value = serde_json::from_str(&notification.body).unwrap();
    assert_eq!(body, vector["expected"]["fields"]);
    let expected = Notification {
        event_type: EventType::PAYMENT_SUCCEEDED,
        meaning_key: "payment:4200001234202611210000000002:SUCCESS".to_owned(),
        order_no: Some("CG20261121000002".to_owned()),
        transaction_id: Some("4200001234202611210000000002".to_owned()),
        refund_id: None,
        refund_no: None,
        payer: Some("oSelfMade0000000000000000001".to_owned()),
        amount: cny(1999),
        refunded_total: None,
        order_amount: cny(1999),
        occurred_at: Timestamp::parse_rfc3339("2026-11-21T10:00:05+08:00"),
        mismatch: None,
        body: notification.body.clone(),
    };
    assert_eq!(*notification, expected);
}

#[test]
fn the_refund_vector_is_decrypted_and_read() {
    let (vector, body) = vector(REFUND);
    let plaintext = vector["expected"]["plaintext"].as_str().unwrap();
    let verified = verify(&body).unwrap();
    assert_eq!(verified.delivery_key(), "refund:50300001232026112100000000002:SUCCESS");
    let notification = &verified.notifications()[0];
    assert_eq!(notification.meaning_key, verified.delivery_key());
    assert_eq!(notification.event_type, EventType::REFUND_SUCCEEDED);
    assert_eq!(notification.amount, cny(999));
    assert_eq!(notification.order_amount, cny(1999));
    assert_eq!(notification.refund_no.as_deref(), Some("CGR20261121000002"));
    assert_eq!(notification.mismatch, None);
    let at = Timestamp::parse_rfc3339("2026-11-21T11:00:00+08:00");
    assert_eq!(notification.occurred_at, at);
    let body: Value = serde_json::from_str(&notification.body).unwrap();
    assert_eq!(body["refund_recv_accout"], "支付用户零钱");
    assert_eq!(body["mch_id"], "1900000001");
    assert_eq!(body.get("req_info"), None);
    for (name, value) in Flat::parse(plaintext.as_bytes(), "root").unwrap().iter() {
        assert_eq!(body[name], value, "{name}");
    }
}

#[test]
fn answers_are_the_gateways_words() {
    let gateway = gateway(&json!({}));
    let (vector, _) = vector(PAYMENT);
    let ack = &vector["expected"]["ack"];
    let accepted = gateway.reply(Answer::Accepted);
    assert_eq!(accepted.status, 200);
    assert_eq!(accepted.content_type, ack["content_type"].as_str());
    assert_eq!(accepted.body, ack["body"].as_str().unwrap());
    for (answer, code) in [
        (Answer::Refused(&Refusal::Signature), "gateway.signature"),
        (Answer::Unavailable, "store.unavailable"),
    ] {
        let ack = gateway.reply(answer);
        let said = Flat::parse(ack.body.as_bytes(), "xml").unwrap();
        assert_eq!((ack.status, said.get("return_code")), (200, Some("FAIL")));
        assert_eq!(said.get("return_msg"), Some(code));
    }
}
