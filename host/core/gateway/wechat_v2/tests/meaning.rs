//! What a believed notice means.

use super::*;
use crate::notification::{AccountMismatch, EventType};

#[test]
fn a_failed_payment_is_told_apart() {
    let failed = verify(&signed(&with(&[("result_code", "FAIL")]), SignType::Md5)).unwrap();
    assert_eq!(failed.delivery_key(), "payment:4200001234202611210000000002:FAIL");
    let notification = &failed.notifications()[0];
    assert_eq!(notification.event_type, EventType::PAYMENT_FAILED);
    assert_eq!((notification.amount, notification.order_amount), (None, cny(1999)));
    let mut fields = with(&[("result_code", "FAIL")]);
    fields.remove("transaction_id");
    let failed = verify(&signed(&fields, SignType::Md5)).unwrap();
    assert_eq!(failed.delivery_key(), "payment-order:CG20261121000002:FAIL");
}

#[test]
fn a_trade_state_decides_what_became_of_a_debit() {
    let other = |name| EventType::other("wechat-v2", name);
    let subject = "payment:4200001234202611210000000002";
    for (state, expected) in [
        ("PAY_FAIL", EventType::PAYMENT_FAILED),
        ("ACCEPT", EventType::PAYMENT_PENDING),
        ("NOTPAY", EventType::PAYMENT_PENDING),
        ("CLOSED", EventType::PAYMENT_CLOSED),
        ("REFUND", other("trade-state.refund")),
        ("success", other("trade-state.success")),
    ] {
        let body = signed(&with(&[("trade_state", state)]), SignType::Md5);
        let verified = verify(&body).unwrap();
        let notification = &verified.notifications()[0];
        assert_eq!(notification.event_type, expected, "{state}");
        assert_eq!(notification.meaning_key, format!("{subject}:{state}"));
        assert_eq!(verified.delivery_key(), format!("{subject}:{state}"));
        assert_eq!((notification.amount, notification.order_amount), (None, cny(1999)), "{state}");
    }
    for state in ["", "SUCCESS"] {
        let verified = verify(&signed(&with(&[("trade_state", state)]), SignType::Md5)).unwrap();
        let notification = &verified.notifications()[0];
        assert_eq!(notification.event_type, EventType::PAYMENT_SUCCEEDED);
        assert_eq!(notification.meaning_key, format!("{subject}:SUCCESS"));
        assert_eq!((verified.delivery_key(), notification.amount), (subject, cny(1999)));
    }
    let mut open = with(&[("trade_state", "ACCEPT")]);
    open.remove("transaction_id");
    let verified = verify(&signed(&open, SignType::Md5)).unwrap();
    assert_eq!(verified.delivery_key(), "payment-order:CG20261121000002:ACCEPT");
}

fn contract(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = [
        ("return_code", "SUCCESS"),
        ("result_code", "SUCCESS"),
        ("mch_id", "1900000001"),
        ("contract_id", "Wx15463511252015071056489715"),
        ("contract_code", "100001256"),
        ("plan_id", "123"),
        ("openid", "oSelfMade0000000000000000001"),
        ("change_type", "ADD"),
        ("operate_time", "2026-11-21 10:00:00"),
        ("request_serial", "1695"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    fields.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    fields
}

#[test]
fn a_signed_notice_that_is_no_payment_is_passed_on() {
    let told = |changes: &[(&str, &str)]| {
        let verified = verify(&signed(&contract(changes), SignType::Md5)).unwrap();
        let notification = verified.notifications()[0].clone();
        assert_eq!(verified.delivery_key(), notification.meaning_key);
        notification
    };
    let text: Vec<_> =
        contract(&[]).iter().map(|(name, value)| format!("{name}={value}")).collect();
    let hash = hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(text.join("&")));
    let added = told(&[]);
    assert_eq!(added.meaning_key, format!("notice:{hash}"));
    assert_eq!(added.event_type.as_str(), "wechat-v2.contract.add");
    assert_eq!((added.amount, added.order_amount, added.mismatch), (None, None, None));
    let at = Timestamp::parse_rfc3339("2026-11-21T10:00:00+08:00");
    assert_eq!((added.occurred_at, &added.order_no), (at, &None));
    let body: Value = serde_json::from_str(&added.body).unwrap();
    assert_eq!(body, serde_json::to_value(contract(&[])).unwrap());
    let ended = told(&[("change_type", "DELETE")]);
    assert_eq!(ended.event_type.as_str(), "wechat-v2.contract.delete");
    assert_ne!(ended.meaning_key, added.meaning_key);
    assert_eq!(told(&[("change_type", "")]).event_type.as_str(), "wechat-v2.notice");
    assert_eq!(told(&[("mch_id", "19")]).mismatch, Some(AccountMismatch::Merchant));
    assert_eq!(told(&[("appid", "wx2")]).mismatch, Some(AccountMismatch::Application));
}

#[test]
fn a_notice_with_a_part_of_a_payment_is_malformed() {
    for part in ["out_trade_no", "total_fee", "transaction_id"] {
        let refused = verify(&signed(&contract(&[(part, "42")]), SignType::Md5));
        assert!(matches!(refused, Err(Refusal::Malformed { .. })), "{part} {refused:?}");
    }
    let mut hidden = contract(&[("contract_code", "1&contract_id=2")]);
    hidden.remove("contract_id");
    let refused = verify(&signed(&hidden, SignType::Md5));
    assert!(matches!(refused, Err(Refusal::Malformed { .. })), "{refused:?}");
}

#[test]
fn another_account_is_kept_as_a_mismatch() {
    let mismatch = |gateway: &Value, changes: &[(&str, &str)]| {
        let body = signed(&with(changes), SignType::Md5);
        only(verify_with(&self::gateway(gateway), body.as_bytes())).mismatch
    };
    let served = json!({"sub_merchant_ids": ["1900000009"]});
    let none = json!({});
    let merchant = Some(AccountMismatch::Merchant);
    assert_eq!(mismatch(&none, &[("mch_id", "1900000002")]), merchant);
    assert_eq!(mismatch(&none, &[("appid", "wx2")]), Some(AccountMismatch::Application));
    assert_eq!(mismatch(&none, &[("appid", "")]), Some(AccountMismatch::Application));
    assert_eq!(mismatch(&none, &[("sub_mch_id", "1900000009")]), None);
    assert_eq!(mismatch(&served, &[("sub_mch_id", "1900000009")]), None);
    assert_eq!(mismatch(&served, &[("sub_mch_id", "1900000008")]), merchant);
    assert_eq!(mismatch(&served, &[]), merchant);
}

#[test]
fn refund_states_are_named() {
    let event = |status: &str| {
        let mut fields = refund_fields();
        fields.insert("refund_status".to_owned(), status.to_owned());
        only(refund_of(&fields)).event_type
    };
    assert_eq!(event("SUCCESS"), EventType::REFUND_SUCCEEDED);
    assert_eq!(event("CHANGE"), EventType::REFUND_ABNORMAL);
    assert_eq!(event("REFUNDCLOSE"), EventType::REFUND_CLOSED);
    assert_eq!(event("NEW").as_str(), "wechat-v2.refund.new");
}
