//! What a believed callback means.

use serde_json::{Value, json};

use super::{
    PAID, REFUNDED, Refusal, Secret, Timestamp, callback, envelope, gateway, notification, refund,
    seal, settings, transaction, verify, with,
};
use crate::gateway::{Answer, Gateway as _, wechat_v3::WechatV3};
use crate::money::{Currency, Money};
use crate::notification::{AccountMismatch, EventType};

fn yuan(minor: i64) -> Option<Money> {
    Some(Money { minor, currency: Currency::CNY })
}

#[test]
fn a_payment_says_what_was_paid_by_whom() {
    let paid = notification(&gateway(), PAID, &transaction());
    assert_eq!(paid.event_type, EventType::PAYMENT_SUCCEEDED);
    assert_eq!(paid.meaning_key, "payment:4200001234202611210000000001:SUCCESS");
    assert_eq!(paid.order_no.as_deref(), Some("CG20261121000001"));
    assert_eq!(paid.transaction_id.as_deref(), Some("4200001234202611210000000001"));
    assert_eq!(paid.payer.as_deref(), Some("oSelfMade0000000000000000001"));
    assert_eq!((paid.amount, paid.order_amount), (yuan(1999), yuan(1999)));
    assert_eq!(paid.occurred_at, Timestamp::parse_rfc3339("2026-11-21T10:00:05+08:00"));
    assert_eq!((paid.refund_id, paid.refund_no, paid.mismatch), (None, None, None));
    assert_eq!(paid.body, transaction().to_string());
}

#[test]
fn each_trade_state_has_its_event() {
    for (state, event) in [
        ("SUCCESS", EventType::PAYMENT_SUCCEEDED),
        ("CLOSED", EventType::PAYMENT_CLOSED),
        ("REVOKED", EventType::PAYMENT_CLOSED),
        ("PAYERROR", EventType::PAYMENT_FAILED),
        ("USERPAYING", EventType::PAYMENT_PENDING),
        ("NOTPAY", EventType::PAYMENT_PENDING),
        ("REFUND", EventType::other("wechat-v3", "trade-state.refund")),
        ("NEW_STATE", EventType::other("wechat-v3", "trade-state.new_state")),
    ] {
        let plaintext = with(transaction(), "/trade_state", json!(state));
        let told = notification(&gateway(), PAID, &plaintext);
        assert_eq!(told.event_type, event, "{state}");
        assert!(told.meaning_key.ends_with(&format!(":{state}")));
    }
}

#[test]
fn an_order_that_nobody_paid_needs_no_transaction() {
    for state in ["NOTPAY", "CLOSED", "PAYERROR", "NEW_STATE"] {
        for value in [Value::Null, json!("")] {
            let plaintext = with(transaction(), "/trade_state", json!(state));
            let plaintext = with(plaintext, "/transaction_id", value);
            let told = notification(&gateway(), PAID, &plaintext);
            assert_eq!(told.meaning_key, format!("payment-order:CG20261121000001:{state}"));
            assert_eq!(told.transaction_id, None);
        }
        let plaintext = with(transaction(), "/trade_state", json!(state));
        let strange = with(plaintext, "/transaction_id", json!("a b"));
        assert!(matches!(verify(&gateway(), PAID, &strange), Err(Refusal::Malformed { .. })));
    }
    let refunded = with(transaction(), "/trade_state", json!("REFUND"));
    for plaintext in [transaction(), refunded] {
        let plaintext = with(plaintext, "/transaction_id", Value::Null);
        assert!(matches!(verify(&gateway(), PAID, &plaintext), Err(Refusal::Malformed { .. })));
    }
}

#[test]
fn an_unpaid_part_does_not_hold_up_the_paid_one() {
    let plaintext = with(combined(), "/sub_orders/0/trade_state", json!("NOTPAY"));
    let plaintext = with(plaintext, "/sub_orders/0/transaction_id", Value::Null);
    let verified = verify(&gateway(), PAID, &plaintext).unwrap();
    let [unpaid, paid] = verified.notifications() else { panic!("not two parts") };
    assert_eq!(unpaid.meaning_key, "payment-order:CG-10:NOTPAY");
    assert_eq!(unpaid.event_type, EventType::PAYMENT_PENDING);
    assert_eq!(paid.meaning_key, "payment:4200020:SUCCESS");
    let plaintext = with(combined(), "/sub_orders/0/transaction_id", Value::Null);
    assert!(matches!(verify(&gateway(), PAID, &plaintext), Err(Refusal::Malformed { .. })));
}

#[test]
fn a_refund_says_what_went_back_and_its_status_is_its_event() {
    for (status, event) in [
        ("SUCCESS", EventType::REFUND_SUCCEEDED),
        ("CLOSED", EventType::REFUND_CLOSED),
        ("ABNORMAL", EventType::REFUND_ABNORMAL),
        ("PROCESSING", EventType::other("wechat-v3", "refund-status.processing")),
    ] {
        let plaintext = with(refund(), "/refund_status", json!(status));
        let told = notification(&gateway(), REFUNDED, &plaintext);
        assert_eq!(told.event_type, event, "{status}");
        assert_eq!(told.meaning_key, format!("refund:50300001232026112100000000001:{status}"));
        assert_eq!((told.amount, told.order_amount), (yuan(999), yuan(1999)));
        assert_eq!(told.refunded_total, None);
        assert_eq!(told.refund_id.as_deref(), Some("50300001232026112100000000001"));
        assert_eq!(told.refund_no.as_deref(), Some("CGR20261121000001"));
    }
}

#[test]
fn without_a_time_of_success_the_time_of_the_message_counts() {
    let plaintext = with(refund(), "/success_time", Value::Null);
    let told = notification(&gateway(), REFUNDED, &plaintext);
    assert_eq!(told.occurred_at, Timestamp::parse_rfc3339("2026-11-21T10:00:06+08:00"));
}

#[test]
fn a_genuine_message_without_what_identifies_it_is_malformed() {
    let malformed = |pair, plaintext: Value| {
        let refusal = verify(&gateway(), pair, &plaintext).unwrap_err();
        assert!(matches!(refusal, Refusal::Malformed { .. }), "{refusal:?} {plaintext}");
    };
    let strange = [Value::Null, json!(""), json!("a b"), json!("x".repeat(65)), json!("a\u{0}")];
    for value in &strange {
        for name in ["/out_trade_no", "/transaction_id", "/trade_state"] {
            malformed(PAID, with(transaction(), name, value.clone()));
        }
        for name in
            ["/out_trade_no", "/transaction_id", "/refund_id", "/refund_status", "/out_refund_no"]
        {
            malformed(REFUNDED, with(refund(), name, value.clone()));
        }
    }
    malformed(PAID, json!([transaction()]));
    malformed(PAID, json!("text"));
    let text = callback(PAID, b"-----BEGIN CERTIFICATE-----").send(&gateway()).unwrap_err();
    assert!(matches!(text, Refusal::Malformed { .. }));
    let twice = transaction().to_string().replacen('{', r#"{"trade_state":"CLOSED","#, 1);
    let twice = callback(PAID, twice.as_bytes()).send(&gateway()).unwrap_err();
    assert!(matches!(twice, Refusal::Malformed { .. }));
}

#[test]
fn an_amount_that_is_no_count_of_minor_units_is_malformed() {
    for value in [json!(-1), json!(19.99), json!("1999"), json!(1e30), json!(u64::MAX)] {
        for (pair, plaintext, name) in [
            (PAID, transaction(), "/amount/total"),
            (REFUNDED, refund(), "/amount/total"),
            (REFUNDED, refund(), "/amount/refund"),
        ] {
            let refusal = verify(&gateway(), pair, &with(plaintext, name, value.clone()));
            assert!(matches!(refusal, Err(Refusal::Malformed { .. })), "{name} {value}");
        }
    }
    let plaintext = with(transaction(), "/amount/currency", json!("cny"));
    assert!(verify(&gateway(), PAID, &plaintext).is_err());
}

#[test]
fn the_currency_is_the_named_one_or_the_yuan() {
    let hkd = with(transaction(), "/amount/currency", json!("HKD"));
    let told = notification(&gateway(), PAID, &hkd);
    assert_eq!(told.amount.map(|amount| amount.currency.to_string()).as_deref(), Some("HKD"));
    let unnamed = with(transaction(), "/amount/currency", Value::Null);
    assert_eq!(notification(&gateway(), PAID, &unnamed).amount, yuan(1999));
    let none = with(transaction(), "/amount", Value::Null);
    assert_eq!(notification(&gateway(), PAID, &none).order_amount, None);
}

#[test]
fn another_account_is_a_mismatch_and_no_refusal() {
    let mismatch = |pair, plaintext: &Value| notification(&gateway(), pair, plaintext).mismatch;
    let other = json!("1900000002");
    for (pair, plaintext) in [(PAID, transaction()), (REFUNDED, refund())] {
        for value in [other.clone(), Value::Null] {
            let plaintext = with(plaintext.clone(), "/mchid", value);
            assert_eq!(mismatch(pair, &plaintext), Some(AccountMismatch::Merchant));
        }
        let both = with(plaintext, "/sp_mchid", other.clone());
        assert_eq!(mismatch(pair, &both), Some(AccountMismatch::Merchant));
    }
    for value in [json!("wxother"), Value::Null] {
        let plaintext = with(transaction(), "/appid", value);
        assert_eq!(mismatch(PAID, &plaintext), Some(AccountMismatch::Application));
    }
}

fn partner_gateway() -> WechatV3 {
    let mut settings = settings();
    settings.sub_merchant_ids = vec!["1900000109".to_owned()];
    WechatV3::new(settings).unwrap()
}

fn partner_transaction() -> Value {
    let mut document = with(transaction(), "/mchid", Value::Null);
    document = with(document, "/appid", Value::Null);
    document = with(document, "/sp_mchid", json!("1900000001"));
    document = with(document, "/sp_appid", json!("wxselfmade00000001"));
    document = with(document, "/sub_mchid", json!("1900000109"));
    with(document, "/payer", json!({ "sp_openid": "oPartner", "sub_openid": "oSub" }))
}

#[test]
fn a_partner_names_itself_and_a_merchant_of_the_list() {
    let told = notification(&partner_gateway(), PAID, &partner_transaction());
    assert_eq!((told.mismatch, told.payer.as_deref()), (None, Some("oPartner")));
    for (field, value, expected) in [
        ("/sp_mchid", json!("1900000002"), AccountMismatch::Merchant),
        ("/sub_mchid", json!("1900000110"), AccountMismatch::Merchant),
        ("/sub_mchid", Value::Null, AccountMismatch::Merchant),
        ("/sp_appid", json!("wxother"), AccountMismatch::Application),
    ] {
        let plaintext = with(partner_transaction(), field, value);
        let told = notification(&partner_gateway(), PAID, &plaintext);
        assert_eq!(told.mismatch, Some(expected), "{field}");
    }
}

fn combined() -> Value {
    let part = |number: u32| {
        json!({
            "mchid": "1900000001",
            "out_trade_no": format!("CG-{number}"),
            "transaction_id": format!("42000{number}"),
            "trade_state": "SUCCESS",
            "success_time": "2026-11-21T10:00:05+08:00",
            "amount": { "total_amount": number, "currency": "CNY", "payer_amount": 1 },
        })
    };
    json!({
        "combine_mchid": "1900000001",
        "combine_appid": "wxselfmade00000001",
        "combine_out_trade_no": "CG-ALL",
        "combine_payer_info": { "openid": "oCombined" },
        "sub_orders": [part(10), part(20)],
    })
}

#[test]
fn a_combined_order_tells_each_of_its_orders() {
    let verified = verify(&gateway(), PAID, &combined()).unwrap();
    let [first, second] = verified.notifications() else { panic!("not two parts") };
    assert_eq!(first.meaning_key, "payment:4200010:SUCCESS");
    assert_eq!(second.meaning_key, "payment:4200020:SUCCESS");
    assert_eq!((first.amount, second.order_amount), (yuan(10), yuan(20)));
    assert_eq!(second.order_no.as_deref(), Some("CG-20"));
    assert_eq!(second.payer.as_deref(), Some("oCombined"));
    assert_eq!((first.mismatch, second.mismatch), (None, None));
    let body: Value = serde_json::from_str(&second.body).unwrap();
    let mut expected = with(combined(), "/sub_orders", Value::Null);
    expected = with(expected, "/sub_order", combined()["sub_orders"][1].clone());
    assert_eq!(body, expected);
}

#[test]
fn a_combined_order_of_another_account_is_a_mismatch() {
    let mismatch = |pointer: &str, value: Value| {
        let verified = verify(&gateway(), PAID, &with(combined(), pointer, value)).unwrap();
        verified.notifications().iter().map(|part| part.mismatch).collect::<Vec<_>>()
    };
    let merchant = Some(AccountMismatch::Merchant);
    let other = json!("1900000002");
    assert_eq!(mismatch("/combine_mchid", other.clone()), [merchant, merchant]);
    assert_eq!(mismatch("/combine_mchid", Value::Null), [merchant, merchant]);
    let application = Some(AccountMismatch::Application);
    assert_eq!(mismatch("/combine_appid", json!("wxother")), [application, application]);
    assert_eq!(mismatch("/sub_orders/1/mchid", other), [None, merchant]);
}

#[test]
fn a_combined_order_has_one_to_fifty_parts() {
    let count = |parts: usize| {
        let part = combined()["sub_orders"][0].clone();
        let plaintext = with(combined(), "/sub_orders", json!(vec![part; parts]));
        verify(&gateway(), PAID, &plaintext).map(|verified| verified.notifications().len())
    };
    assert_eq!(count(1), Ok(1));
    assert_eq!(count(50), Ok(50));
    for parts in [0, 51] {
        assert!(matches!(count(parts), Err(Refusal::Malformed { .. })), "{parts}");
    }
}

#[test]
fn a_payment_event_with_another_resource_is_no_payment() {
    let plaintext = json!({
        "mchid": "1900000001",
        "transaction_id": "42000",
        "out_order_no": "P2015",
        "receiver": { "amount": 888 },
    });
    let told = notification(&gateway(), ("TRANSACTION.SUCCESS", "profitsharing"), &plaintext);
    assert_eq!(told.event_type.as_str(), "wechat-v3.profitsharing.transaction.success");
    assert_eq!(told.meaning_key, "b1f3a3a0-5e0f-5d8e-9b1e-0f5a6d1c2b3a");
    assert_eq!(told.order_no.as_deref(), Some("P2015"));
    assert_eq!((told.amount, told.order_amount, told.mismatch), (None, None, None));
    assert_eq!(told.body, plaintext.to_string());
    let other = with(plaintext, "/mchid", json!("1900000002"));
    let told = notification(&gateway(), ("TRANSACTION.SUCCESS", "profitsharing"), &other);
    assert_eq!(told.mismatch, Some(AccountMismatch::Merchant));
}

#[test]
fn a_plaintext_of_an_unknown_kind_need_not_be_an_object() {
    let body = |plaintext: &[u8]| {
        let verified = callback(("PAPAY.SIGN", "other"), plaintext).send(&gateway()).unwrap();
        verified.notifications()[0].body.clone()
    };
    assert_eq!(body(b"-----BEGIN\n"), r#"{"text":"-----BEGIN\n"}"#);
    assert_eq!(body(b"[1]"), r#"{"text":"[1]"}"#);
    assert_eq!(body(b""), r#"{"text":""}"#);
    assert_eq!(body(&[0xff, 0x00]), r#"{"base64":"/wA="}"#);
    assert_eq!(body(br#"{ "n":1e2 }"#), r#"{ "n":1e2 }"#);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    assert_eq!(body(deep.as_bytes()), json!({ "text": deep }).to_string());
}

#[test]
fn what_was_sealed_with_the_previous_key_still_opens() {
    let previous = "the-previous-key-of-32-bytes-...";
    let sealed = seal(previous, transaction().to_string().as_bytes());
    let callback = super::Callback::signed(envelope(PAID, &sealed).to_string());
    assert_eq!(callback.send(&gateway()).err(), Some(Refusal::Decrypt));
    let mut settings = settings();
    settings.previous_api_v3_key = Some(Secret::new(previous.to_owned()));
    assert!(callback.send(&WechatV3::new(settings).unwrap()).is_ok());
}

#[test]
fn the_answer_is_what_the_gateway_reads() {
    fn reply(answer: Answer<'_>) -> (u16, Option<&'static str>, String) {
        let ack = gateway().reply(answer);
        (ack.status, ack.content_type, ack.body.into_owned())
    }
    assert_eq!(reply(Answer::Accepted), (200, None, String::new()));
    let json = Some("application/json");
    for (refusal, status) in [
        (Refusal::Signature, 401),
        (Refusal::Probe, 401),
        (Refusal::KeyUnknown, 401),
        (Refusal::Decrypt, 401),
        (Refusal::HeaderMissing { name: "x" }, 401),
        (Refusal::Malformed { what: "x" }, 400),
        (Refusal::NotItsRequest { expected: "x" }, 400),
        (Refusal::TooLarge { limit_bytes: 1 }, 413),
        (Refusal::Incomplete, 408),
        (Refusal::Encoded, 415),
    ] {
        let body = format!(r#"{{"code":"FAIL","message":"{}"}}"#, refusal.code());
        assert_eq!(reply(Answer::Refused(&refusal)), (status, json, body));
    }
    let body = r#"{"code":"FAIL","message":"unavailable"}"#.to_owned();
    assert_eq!(reply(Answer::Unavailable), (503, json, body));
}
