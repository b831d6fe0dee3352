//! Whatever comes: no panic, and nothing unsigned is believed.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    API_V3_KEY, Callback, NOW_S, PAID, REFUNDED, Timestamp, WechatV3, callback, envelope, gateway,
    refund, seal, transaction, with,
};
use crate::gateway::{Answer, Gateway as _, Refusal};

/// One gateway for all cases: reading keys is slow, verifying is not.
fn shared() -> &'static WechatV3 {
    static GATEWAY: std::sync::OnceLock<WechatV3> = std::sync::OnceLock::new();
    GATEWAY.get_or_init(gateway)
}

/// JSON as it could stand in a plaintext, with the names that the reader looks for.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        "(mchid|sp_mchid|sub_mchid|appid|out_trade_no|transaction_id|trade_state|refund_id)",
        "(refund_status|out_refund_no|success_time|payer|openid|amount|total|refund|currency)",
        "(sub_orders|combine_mchid|combine_appid|combine_payer_info|total_amount)",
        ".{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "(SUCCESS|CNY|1900000001|2026-11-21T10:00:05\\+08:00)".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_pair() -> impl Strategy<Value = (String, String)> {
    let event = "(TRANSACTION\\.[A-Z]{0,6}|REFUND\\.[A-Z]{0,6}|[!-~]{1,64}|.{0,8})";
    (event, "(transaction|refund|payscore|.{0,8})")
}

/// Whatever is believed names its delivery, has a part, and each part holds a JSON object.
fn check_believed(callback: &Callback) -> Result<(), TestCaseError> {
    match callback.send(shared()) {
        Ok(verified) => {
            prop_assert!(!verified.delivery_key().is_empty());
            prop_assert!(!verified.notifications().is_empty());
            for part in verified.notifications() {
                prop_assert!(!part.meaning_key.is_empty());
                prop_assert!(part.amount.is_none_or(|amount| amount.minor >= 0));
                let body: Value = serde_json::from_str(&part.body).unwrap();
                prop_assert!(body.is_object());
            }
        }
        Err(refusal) => {
            prop_assert_ne!(refusal.clone(), Refusal::Signature);
            prop_assert_ne!(shared().reply(Answer::Refused(&refusal)).status, 200);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_believed(
        body: Vec<u8>,
        headers in prop::collection::vec(
            (0_usize..5, prop::collection::vec(any::<u8>(), 0..64)), 0..8,
        ),
        method in "(POST|GET|.{0,5})",
        now_ms: i64,
    ) {
        let names = ["timestamp", "nonce", "serial", "signature", "signature-type"];
        let mut callback = Callback { method, body, ..Callback::signed("") };
        callback.now = Timestamp::from_ms(now_ms);
        callback.headers.clear();
        for (place, value) in headers {
            let name: HeaderName = format!("wechatpay-{}", names[place]).parse().unwrap();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                callback.headers.append(name, value);
            }
        }
        prop_assert!(callback.send(shared()).is_err());
    }

    #[test]
    fn an_arbitrary_body_with_the_headers_of_another_is_refused(body: Vec<u8>) {
        let mut callback = callback(PAID, b"{}");
        callback.body = body;
        prop_assert_eq!(callback.send(shared()).err(), Some(Refusal::Signature));
    }

    #[test]
    fn an_arbitrary_header_in_place_of_a_signed_one_is_refused(
        place in 0_usize..3,
        value in "[ -~]{0,400}",
    ) {
        let name = ["Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Signature"][place];
        let mut callback = callback(PAID, b"{}");
        prop_assume!(callback.get(name) != value);
        callback.set(name, &value);
        prop_assert!(callback.send(shared()).is_err());
    }

    #[test]
    fn one_flipped_bit_anywhere_in_the_body_is_refused(at: prop::sample::Index) {
        let mut callback = callback(REFUNDED, refund().to_string().as_bytes());
        let bit = at.index(callback.body.len().saturating_mul(8));
        callback.body[bit / 8] ^= 1_u8 << (bit % 8);
        prop_assert_eq!(callback.send(shared()).err(), Some(Refusal::Signature));
    }

    #[test]
    fn any_signed_bytes_are_read_without_panic(body: Vec<u8>) {
        check_believed(&Callback::signed(body))?;
    }

    #[test]
    fn any_signed_json_is_read_without_panic(body in any_json()) {
        check_believed(&Callback::signed(body.to_string()))?;
    }

    #[test]
    fn any_sealed_bytes_are_read_without_panic(pair in any_pair(), plaintext: Vec<u8>) {
        check_believed(&callback((&pair.0, &pair.1), &plaintext))?;
    }

    #[test]
    fn any_sealed_json_is_read_without_panic(pair in any_pair(), plaintext in any_json()) {
        check_believed(&callback((&pair.0, &pair.1), plaintext.to_string().as_bytes()))?;
    }

    #[test]
    fn any_value_in_a_known_field_is_read_without_panic(
        place in 0_usize..16,
        value in any_json(),
    ) {
        let value = if value.is_null() { json!({}) } else { value };
        let fields = [
            "mchid", "appid", "out_trade_no", "transaction_id", "trade_state", "success_time",
            "payer", "payer/openid", "amount", "amount/total", "amount/currency",
            "sub_orders", "sp_mchid", "sub_mchid", "out_refund_no", "amount/refund",
        ];
        let pointer = format!("/{}", fields[place]);
        let paid = with(transaction(), &pointer, value.clone());
        check_believed(&callback(PAID, paid.to_string().as_bytes()))?;
        if !pointer.starts_with("/payer") {
            let refunded = with(refund(), &pointer, value);
            check_believed(&callback(REFUNDED, refunded.to_string().as_bytes()))?;
        }
    }

    #[test]
    fn any_envelope_field_is_read_without_panic(
        id in ".{0,70}",
        algorithm in "(AEAD_AES_256_GCM|.{0,8})",
        nonce in "(Nn235e741233|.{0,14})",
        ciphertext in "([A-Za-z0-9+/]{4}){0,12}",
    ) {
        let mut body = envelope(PAID, &seal(API_V3_KEY, b"{}"));
        body["id"] = json!(id);
        body["resource"]["algorithm"] = json!(algorithm);
        body["resource"]["nonce"] = json!(nonce);
        body["resource"]["ciphertext"] = json!(ciphertext);
        check_believed(&Callback::signed(body.to_string()))?;
    }

    #[test]
    fn only_the_tolerance_decides_what_is_fresh(difference_ms in -400_000_i64..400_000) {
        let now = Timestamp::from_seconds(NOW_S).plus_ms(difference_ms);
        let fresh = callback(PAID, transaction().to_string().as_bytes()).at(now).send(shared());
        prop_assert_eq!(fresh.is_ok(), (-300_000..=300_000).contains(&difference_ms));
    }
}
