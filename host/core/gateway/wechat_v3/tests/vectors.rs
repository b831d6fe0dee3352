//! The project's own sample callbacks.

use serde_json::Value;

use super::inquiry::asker_with;
use super::{Callback, PublicKeySettings, Secret, Settings, Timestamp, WechatV3};
use crate::gateway::inquiry::{Inquiry, Question, Stamp};
use crate::gateway::wechat_v3::InquirySettings;
use crate::money::{Currency, Money};
use crate::notification::EventType;

pub(super) const VECTORS: [&str; 2] = [
    include_str!("../../vectors/wechat-v3/payment-public-key.json"),
    include_str!("../../vectors/wechat-v3/refund-platform-cert.json"),
];

/// A gateway with the keys of a sample, and the sample.
pub(super) fn load(text: &str) -> (WechatV3, Callback, Value) {
    let vector: Value = serde_json::from_str(text).unwrap();
    let key = |name: &str| vector["keys"][name].as_str().map(str::to_owned);
    let public_key = key("wechatpay_public_key_pem")
        .zip(key("wechatpay_public_key_id"))
        .map(|(key, id)| PublicKeySettings { id, key });
    let gateway = WechatV3::new(Settings {
        merchant_id: "1900000001".to_owned(),
        application_ids: vec!["wxselfmade00000001".to_owned()],
        sub_merchant_ids: Vec::new(),
        api_v3_key: Secret::new(key("api_v3_key").unwrap()),
        previous_api_v3_key: None,
        platform_certificates: key("platform_certificate_pem").into_iter().collect(),
        public_keys: public_key.into_iter().collect(),
        fetch_certificates: false,
        platform_root_certificates: Vec::new(),
        tolerance_s: 300,
        inquiry: None,
    })
    .unwrap();
    let mut callback = Callback {
        method: "POST".to_owned(),
        headers: http::HeaderMap::new(),
        body: vector["body"].as_str().unwrap().as_bytes().to_vec(),
        now: Timestamp::from_seconds(vector["clock_unix"].as_i64().unwrap()),
    };
    for (name, value) in vector["headers"].as_object().unwrap() {
        callback.set(name, value.as_str().unwrap());
    }
    (gateway, callback, vector)
}

#[test]
fn every_sample_is_believed_and_its_plaintext_kept_as_it_is() {
    for text in VECTORS {
        let (gateway, callback, vector) = load(text);
        let verified = callback.send(&gateway).unwrap();
        assert_eq!(Some(verified.delivery_key()), vector["expected"]["dedup_key"].as_str());
        let [notification] = verified.notifications() else { panic!("not one part") };
        assert_eq!(Some(notification.body.as_str()), vector["expected"]["plaintext"].as_str());
        assert_eq!(notification.mismatch, None);
        let signed = vector["headers"]["Wechatpay-Timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(verified.signed_at(), Some(Timestamp::from_seconds(signed)));
    }
}

#[test]
fn the_payment_sample_says_what_was_paid() {
    let (gateway, callback, _) = load(VECTORS[0]);
    let verified = callback.send(&gateway).unwrap();
    let paid = &verified.notifications()[0];
    let amount = Some(Money { minor: 1999, currency: Currency::CNY });
    assert_eq!(paid.event_type, EventType::PAYMENT_SUCCEEDED);
    assert_eq!(paid.meaning_key, "payment:4200001234202611210000000001:SUCCESS");
    assert_eq!(paid.order_no.as_deref(), Some("CG20261121000001"));
    assert_eq!(paid.payer.as_deref(), Some("oSelfMade0000000000000000001"));
    assert_eq!((paid.amount, paid.order_amount), (amount, amount));
    assert_eq!(paid.occurred_at, Timestamp::parse_rfc3339("2026-11-21T10:00:05+08:00"));
}

#[test]
fn the_refund_sample_says_what_went_back() {
    let (gateway, callback, _) = load(VECTORS[1]);
    let verified = callback.send(&gateway).unwrap();
    let refunded = &verified.notifications()[0];
    let yuan = |minor| Some(Money { minor, currency: Currency::CNY });
    assert_eq!(refunded.event_type, EventType::REFUND_SUCCEEDED);
    assert_eq!(refunded.meaning_key, "refund:50300001232026112100000000001:SUCCESS");
    assert_eq!(refunded.refund_no.as_deref(), Some("CGR20261121000001"));
    assert_eq!((refunded.amount, refunded.order_amount), (yuan(999), yuan(1999)));
}

#[test]
fn questions_have_the_authorization_that_another_program_computes_to_the_byte() {
    let text = include_str!("../../vectors/wechat-v3/request-signing.json");
    let vector: Value = serde_json::from_str(text).unwrap();
    let own = |pointer: &str| vector.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    let gateway = asker_with(|settings| {
        settings.merchant_id = own("/merchant_id");
        settings.inquiry = Some(InquirySettings {
            merchant_private_key: Secret::new(own("/keys/merchant_private_key_pem")),
            merchant_serial: own("/merchant_serial"),
            merchant_certificate: None,
            base_url: "https://api.mch.weixin.qq.com".to_owned(),
        });
    });
    let requests = vector["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 3);
    for request in requests {
        let order_no = request["order_no"].as_str().unwrap();
        let question = match request["refund_no"].as_str() {
            None => Question::Payment { order_no },
            Some(refund_no) => Question::Refund { order_no, refund_no },
        };
        let now = Timestamp::from_seconds(request["timestamp_s"].as_i64().unwrap());
        let stamp = Stamp { now, nonce: request["nonce"].as_str().unwrap() };
        let asked = Inquiry::ask(&gateway, question, stamp).unwrap();
        assert_eq!(Some(asked.target.as_str()), request["target"].as_str());
        let found = asked.headers.iter().find(|(name, _)| *name == "authorization").unwrap();
        assert_eq!(Some(found.1.as_str()), request["authorization"].as_str());
    }
}
