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
