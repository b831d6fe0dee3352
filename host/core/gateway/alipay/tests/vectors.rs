//! The committed callbacks.

use super::*;
use crate::money::{Currency, Money};
use crate::notification::EventType;

const UTF8: &str = include_str!("../../vectors/alipay/trade-notify-rsa2.json");
const GBK: &str = include_str!("../../vectors/alipay/trade-notify-gbk.json");
const CERTIFICATE: &str = include_str!("../../vectors/alipay/trade-notify-certificate.json");

fn read(text: &str) -> (Value, Alipay) {
    let vector: Value = serde_json::from_str(text).unwrap();
    let keys = &vector["keys"];
    let settings = match keys.get("alipay_certificate_pem") {
        Some(pem) => {
            let certificates = [&keys["previous_certificate_pem"], pem];
            json!({"public_key": null, "certificates": certificates})
        }
        None => json!({"public_key": keys["alipay_public_key_pem"]}),
    };
    let gateway = gateway_with(&settings);
    (vector, gateway)
}

fn body(vector: &Value) -> &[u8] {
    vector["body"].as_str().unwrap().as_bytes()
}

#[test]
fn a_payment_in_either_charset_is_believed_and_read() {
    for text in [UTF8, GBK] {
        let (vector, gateway) = read(text);
        let verified = verify_with(&gateway, body(&vector)).unwrap();
        assert_eq!(verified.delivery_key(), vector["expected"]["dedup_key"]);
        let signed = Timestamp::parse_rfc3339("2026-11-21T10:00:06+08:00");
        assert_eq!(verified.signed_at(), signed);
        let notification = &verified.notifications()[0];
        let content: Value = serde_json::from_str(&notification.body).unwrap();
        assert_eq!(content, vector["expected"]["fields_utf8"]);
        let paid = Some(Money { minor: 1999, currency: Currency::CNY });
        let expected = Notification {
            event_type: EventType::PAYMENT_SUCCEEDED,
            meaning_key: "payment:2026112122001400010500000001:TRADE_SUCCESS".to_owned(),
            order_no: Some("CG20261121000003".to_owned()),
            transaction_id: Some("2026112122001400010500000001".to_owned()),
            refund_id: None,
            refund_no: None,
            payer: Some("2088000000000001".to_owned()),
            amount: paid,
            refunded_total: None,
            order_amount: paid,
            occurred_at: Timestamp::parse_rfc3339("2026-11-21T10:00:05+08:00"),
            mismatch: None,
            body: notification.body.clone(),
        };
        assert_eq!(*notification, expected);
    }
}

#[test]
fn a_certificate_is_found_by_its_serial() {
    let (vector, gateway) = read(CERTIFICATE);
    let notification = only(verify_with(&gateway, body(&vector)));
    assert_eq!(notification.payer.as_deref(), Some("oSelfMadeAlipay01"));
    let text = vector["body"].as_str().unwrap();
    let named = vector["keys"]["alipay_certificate_sn"].as_str().unwrap();
    let previous = vector["keys"]["previous_certificate_sn"].as_str().unwrap();
    let renamed = text.replace(named, previous);
    assert_eq!(verify_with(&gateway, renamed.as_bytes()), Err(Refusal::Signature));
    let unknown = text.replace(named, &"0".repeat(32));
    assert_eq!(verify_with(&gateway, unknown.as_bytes()), Err(Refusal::KeyUnknown));
    let settings = json!({
        "public_key": null, "certificates": [vector["keys"]["previous_certificate_pem"]],
    });
    let refused = verify_with(&gateway_with(&settings), body(&vector));
    assert_eq!(refused, Err(Refusal::KeyUnknown));
}

#[test]
fn another_key_believes_nothing() {
    for text in [UTF8, GBK] {
        let (vector, _) = read(text);
        assert_eq!(verify_with(&gateway(), body(&vector)), Err(Refusal::Signature));
    }
}

#[test]
fn every_changed_byte_is_refused_or_changes_nothing() {
    for text in [UTF8, GBK, CERTIFICATE] {
        let (vector, gateway) = read(text);
        let genuine = verify_with(&gateway, body(&vector)).unwrap();
        for at in 0..body(&vector).len() {
            let mut changed = body(&vector).to_vec();
            changed[at] ^= 1;
            if let Ok(verified) = verify_with(&gateway, &changed) {
                assert_eq!(verified, genuine, "byte {at}");
            }
        }
    }
}

#[test]
fn answers_are_the_gateways_words() {
    let (vector, gateway) = read(UTF8);
    let expected = &vector["expected"]["ack"];
    let accepted = gateway.reply(Answer::Accepted);
    assert_eq!(accepted.status, 200);
    assert_eq!(accepted.content_type, expected["content_type"].as_str());
    assert_eq!(accepted.body, expected["body"].as_str().unwrap());
    for answer in [Answer::Refused(&Refusal::Signature), Answer::Unavailable] {
        let refused = gateway.reply(answer);
        assert_eq!((refused.status, refused.body.as_ref()), (200, "fail"));
    }
}
