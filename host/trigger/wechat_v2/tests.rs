//! Sums and ciphertexts held against samples made with openssl, bodies byte for byte.

use callgate_core::notification::EventType;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Field, Notice, SignType, body, element, seal, sum};
use crate::channel::Gateway;
use crate::draw::Draw;
use crate::keys::{Keys, Merchant};
use crate::message::{CannotSign, Flaw, Message, Sending};
use crate::proof::{NOW, keys, open, verify};
use crate::purchase::{Purchase, RefundResult};

const PAYMENT: &str = include_str!("../../core/gateway/vectors/wechat-v2/payment-md5.json");
const REFUND: &str = include_str!("../../core/gateway/vectors/wechat-v2/refund.json");

fn sample(text: &str) -> (Value, String, String) {
    let sample: Value = serde_json::from_str(text).unwrap();
    let body = sample["body"].as_str().unwrap().to_owned();
    let key = sample["keys"]["api_key"].as_str().unwrap().to_owned();
    (sample, body, key)
}

/// Names and values of CDATA elements in their order.
fn elements(xml: &str) -> Vec<Field> {
    let found = xml.split("]]></").filter_map(|piece| {
        let (before, value) = piece.split_once("><![CDATA[")?;
        let (_, name) = before.rsplit_once('<')?;
        Some((&*name.to_owned().leak(), value.to_owned()))
    });
    found.collect()
}

fn names(xml: &str) -> Vec<&'static str> {
    elements(xml).into_iter().map(|(name, _)| name).collect()
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.body).unwrap()
}

fn merchant(keys: &Keys) -> Merchant {
    keys.accounts.merchant(Gateway::WechatV2)
}

fn purchase() -> Purchase {
    Purchase::draw(Gateway::WechatV2, NOW, &mut Draw::seeded(1))
}

#[test]
fn the_sum_and_body_of_the_sample_come_out_again() {
    let (sample, sent, key) = sample(PAYMENT);
    let mut fields = elements(&sent);
    let (name, sign) = fields.pop().unwrap();
    assert_eq!((name, sign.as_str()), ("sign", sample["expected"]["sign"].as_str().unwrap()));
    assert_eq!(sum(&fields, &key), sign);
    fields.push((name, sign));
    assert_eq!(String::from_utf8(body("", &fields, None)).unwrap(), sent);
}

#[test]
fn the_ciphertext_and_body_of_the_sample_come_out_again() {
    let (sample, sent, key) = sample(REFUND);
    let plaintext = sample["expected"]["plaintext"].as_str().unwrap();
    let fields = elements(&sent);
    let sealed = base64::Engine::encode(&super::STANDARD, seal(plaintext, &key).unwrap());
    assert_eq!(fields.last(), Some(&("req_info", sealed)));
    let lead = "<return_code>SUCCESS</return_code>";
    assert_eq!(String::from_utf8(body(lead, &fields, None)).unwrap(), sent);
    let lines: String = elements(plaintext).iter().map(|f| format!("{}\n", element(f))).collect();
    assert_eq!(format!("<root>\n{lines}</root>"), plaintext);
}

#[test]
fn messages_have_the_fields_of_the_samples_in_their_order() {
    let keys = keys();
    let (merchant, bought) = (merchant(keys), purchase());
    let mut draw = Draw::seeded(2);
    let refund = bought.full_refund(&mut draw);
    let payment = Notice::payment(SignType::Md5, &merchant, &bought);
    let refund = Notice::refund(SignType::Md5, &merchant, &bought, &refund);
    let super::Content::Refund { secret, .. } = &refund.content else { panic!("a refund") };
    let (refund_sample, refund_sent, _) = sample(REFUND);
    let plaintext = refund_sample["expected"]["plaintext"].as_str().unwrap();
    assert_eq!(names(secret), names(plaintext));
    for (notice, sent) in [(&payment, sample(PAYMENT).1), (&refund, refund_sent)] {
        let message = notice.sign(keys, Sending::genuine(NOW), &mut draw).unwrap();
        assert_eq!(names(text(&message)), names(&sent));
        assert_eq!(message.header("content-type"), Some("text/xml"));
    }
}

#[test]
fn an_hmac_notice_names_its_type_and_has_the_sum_of_the_textbook() {
    let keys = keys();
    let notice = Notice::payment(SignType::HmacSha256, &merchant(keys), &purchase());
    let message = notice.sign(keys, Sending::genuine(NOW), &mut Draw::seeded(3)).unwrap();
    let mut fields = elements(text(&message));
    let (_, sign) = fields.pop().unwrap();
    assert!(fields.contains(&("sign_type", "HMAC-SHA256".to_owned())));
    fields.sort();
    let api_key = keys.wechat_v2_api_key.expose();
    let pairs: String = fields.iter().map(|(name, value)| format!("{name}={value}&")).collect();
    let signed = format!("{pairs}key={api_key}");
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(api_key.bytes()).for_each(|(pad, key)| *pad ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(signed).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    let expected: String = outer.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(sign, expected);
}

#[test]
fn every_kind_of_notice_is_understood() {
    let keys = keys();
    let (ours, bought) = (merchant(keys), purchase());
    let mut draw = Draw::seeded(4);
    let mut refund = bought.full_refund(&mut draw);
    for sign_type in [SignType::Md5, SignType::HmacSha256] {
        let mut refunded = |result| {
            refund.result = result;
            Notice::refund(sign_type, &ours, &bought, &refund)
        };
        let told = [
            (Notice::payment(sign_type, &ours, &bought), EventType::PAYMENT_SUCCEEDED),
            (Notice::payment_failed(sign_type, &ours, &bought), EventType::PAYMENT_FAILED),
            (refunded(RefundResult::Success), EventType::REFUND_SUCCEEDED),
            (refunded(RefundResult::Closed), EventType::REFUND_CLOSED),
            (refunded(RefundResult::Abnormal), EventType::REFUND_ABNORMAL),
        ];
        let gateway = open(keys, sign_type.channel());
        for (notice, expected) in told {
            let message = notice.sign(keys, Sending::genuine(NOW), &mut draw).unwrap();
            let verified = verify(gateway.as_ref(), &message, NOW).unwrap();
            let [notification] = verified.notifications() else { panic!("one notification") };
            assert_eq!(notification.event_type, expected);
            assert_eq!(notification.order_no.as_ref(), Some(&bought.order_no));
            assert_eq!(notification.order_amount, Some(bought.amount));
            assert_eq!(notification.mismatch, None);
        }
    }
}

#[test]
fn the_end_of_a_cdata_section_inside_a_value_does_not_end_it() {
    let keys = keys();
    let mut bought = purchase();
    bought.subject = "a]]>b".to_owned();
    let notice = Notice::payment(SignType::Md5, &merchant(keys), &bought);
    let message = notice.sign(keys, Sending::genuine(NOW), &mut Draw::seeded(5)).unwrap();
    assert!(text(&message).contains("a]]]]><![CDATA[>b"));
    let gateway = open(keys, SignType::Md5.channel());
    assert!(verify(gateway.as_ref(), &message, NOW).is_ok());
}

#[test]
fn an_unsigned_refund_cannot_have_a_flaw_of_a_signature() {
    let keys = keys();
    let bought = purchase();
    let refund = bought.full_refund(&mut Draw::seeded(6));
    let notice = Notice::refund(SignType::Md5, &merchant(keys), &bought, &refund);
    for flaw in [Flaw::FlippedBit, Flaw::WeakAlgorithm] {
        let signed = notice.sign(keys, Sending::flawed(NOW, flaw), &mut Draw::seeded(7));
        assert_eq!(signed, Err(CannotSign::NoSuchFlaw { flaw, gateway: Gateway::WechatV2 }));
    }
}
