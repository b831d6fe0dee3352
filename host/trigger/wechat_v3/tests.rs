//! What is signed and sealed, checked without the code that signed and sealed it.

use std::collections::BTreeSet;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_core::notification::EventType;
use rsa::pkcs8::DecodePublicKey as _;
use serde_json::Value;
use x509_cert::der::{DecodePem as _, Encode as _};

use super::{KeyMode, Notice, Partner, SERIAL, SIGNATURE, TIMESTAMP};
use crate::channel::{Channel, Gateway};
use crate::draw::Draw;
use crate::keys::{Keys, Merchant};
use crate::message::{CannotSign, Flaw, Message, Sending};
use crate::proof::{NOW, keys, open, verify};
use crate::purchase::{Purchase, RefundResult};

const PAYMENT: &str = include_str!("../../core/gateway/vectors/wechat-v3/payment-public-key.json");
const REFUND: &str = include_str!("../../core/gateway/vectors/wechat-v3/refund-platform-cert.json");

fn merchant(keys: &Keys) -> Merchant {
    keys.accounts.merchant(Gateway::WechatV3)
}

fn purchase(draw: &mut Draw) -> Purchase {
    Purchase::draw(Gateway::WechatV3, NOW, draw)
}

fn file(keys: &Keys, name: &str) -> String {
    keys.files().unwrap().into_iter().find(|file| file.name == name).unwrap().content
}

fn public_key(keys: &Keys, mode: KeyMode) -> rsa::RsaPublicKey {
    match mode {
        KeyMode::PublicKey => {
            let pem = file(keys, "wechat-v3-public.pub.pem");
            rsa::RsaPublicKey::from_public_key_pem(&pem).unwrap()
        }
        KeyMode::Certificate => {
            let pem = file(keys, "wechat-v3-platform.crt.pem");
            let read = x509_cert::Certificate::from_pem(pem).unwrap();
            let der = read.tbs_certificate().subject_public_key_info().to_der().unwrap();
            rsa::RsaPublicKey::from_public_key_der(&der).unwrap()
        }
    }
}

fn signature_holds(message: &Message, key: &rsa::RsaPublicKey) -> bool {
    let header = |name| message.header(name).unwrap();
    let body = std::str::from_utf8(&message.body).unwrap();
    let text = format!("{}\n{}\n{body}\n", header(TIMESTAMP), header(super::NONCE));
    let digest = <sha2::Sha256 as sha2::Digest>::digest(text);
    let signature = STANDARD.decode(header(SIGNATURE)).unwrap();
    key.verify(rsa::Pkcs1v15Sign::new::<sha2::Sha256>(), &digest, &signature).is_ok()
}

fn unsealed(keys: &Keys, message: &Message) -> String {
    let envelope: Value = serde_json::from_slice(&message.body).unwrap();
    let text = |name: &str| envelope["resource"][name].as_str().unwrap();
    let key = file(keys, "wechat-v3-api.key");
    let cipher = Aes256Gcm::new_from_slice(key.as_bytes()).unwrap();
    let nonce: [u8; 12] = text("nonce").as_bytes().try_into().unwrap();
    let sealed = STANDARD.decode(text("ciphertext")).unwrap();
    let payload = Payload { msg: &sealed, aad: text("associated_data").as_bytes() };
    String::from_utf8(cipher.decrypt(&nonce.into(), payload).unwrap()).unwrap()
}

/// The names of a JSON text in their order; good for texts without escaped quotes.
fn field_names(json: &str) -> Vec<String> {
    let pieces: Vec<&str> = json.split('"').collect();
    let names = pieces.windows(2).skip(1).step_by(2).filter(|pair| pair[1].starts_with(':'));
    names.map(|pair| pair[0].to_owned()).collect()
}

#[test]
fn both_keys_sign_what_another_library_verifies_and_decrypts() {
    let keys = keys();
    let mut draw = Draw::seeded(1);
    let notice = Notice::payment(&merchant(keys), &purchase(&mut draw), &mut draw);
    for mode in [KeyMode::Certificate, KeyMode::PublicKey] {
        let notice = notice.clone().signed_by(mode);
        let message = notice.sign(keys, Sending::genuine(NOW), &mut draw).unwrap();
        assert!(signature_holds(&message, &public_key(keys, mode)));
        assert_eq!(unsealed(keys, &message), notice.resource);
        let serial = message.header(SERIAL).unwrap();
        assert_eq!(serial.starts_with("PUB_KEY_ID_"), mode == KeyMode::PublicKey);
    }
}

#[test]
fn a_retry_keeps_its_id_and_changes_time_nonce_and_ciphertext() {
    let keys = keys();
    let mut draw = Draw::seeded(2);
    let notice = Notice::payment(&merchant(keys), &purchase(&mut draw), &mut draw);
    let mut send = |at| notice.sign(keys, Sending::genuine(at), &mut draw).unwrap();
    let (first, second) = (send(NOW), send(NOW.plus_ms(15_000)));
    let field = |message: &Message, pointer: &str| {
        let envelope: Value = serde_json::from_slice(&message.body).unwrap();
        envelope.pointer(pointer).unwrap().clone()
    };
    for same in ["/id", "/create_time", "/event_type"] {
        assert_eq!(field(&first, same), field(&second, same));
    }
    for fresh in ["/resource/nonce", "/resource/ciphertext"] {
        assert_ne!(field(&first, fresh), field(&second, fresh));
    }
    assert_ne!(first.header(TIMESTAMP), second.header(TIMESTAMP));
    assert_ne!(first.header(super::NONCE), second.header(super::NONCE));
    assert_eq!(unsealed(keys, &first), unsealed(keys, &second));
}

#[test]
fn messages_have_the_fields_of_the_samples_in_their_order() {
    let keys = keys();
    let mut draw = Draw::seeded(3);
    let bought = purchase(&mut draw);
    let refund = bought.full_refund(&mut draw);
    let merchant = merchant(keys);
    let payment = Notice::payment(&merchant, &bought, &mut draw);
    let refund = Notice::refund(&merchant, &bought, &refund, &mut draw);
    for (notice, sample) in [(payment, PAYMENT), (refund, REFUND)] {
        let sample: Value = serde_json::from_str(sample).unwrap();
        let message = notice.sign(keys, Sending::genuine(NOW), &mut draw).unwrap();
        let body = std::str::from_utf8(&message.body).unwrap();
        assert_eq!(field_names(body), field_names(sample["body"].as_str().unwrap()));
        let plaintext = sample["expected"]["plaintext"].as_str().unwrap();
        assert_eq!(field_names(&notice.resource), field_names(plaintext));
        let sent: BTreeSet<&str> = message.headers.iter().map(|(name, _)| name.as_str()).collect();
        let known: BTreeSet<&str> =
            sample["headers"].as_object().unwrap().keys().map(String::as_str).collect();
        let more: Vec<&str> = sent.difference(&known).copied().collect();
        assert!(known.is_subset(&sent));
        assert_eq!(more, ["Pragma", "User-Agent"]);
    }
}

#[test]
fn every_kind_of_notice_is_understood() {
    let keys = keys();
    let mut draw = Draw::seeded(4);
    let (ours, bought) = (merchant(keys), purchase(&mut draw));
    let sub = Merchant { merchant_id: "1900000002".to_owned(), ..ours.clone() };
    let partner = Partner { provider: &ours, sub: &sub };
    let refunded = |result, draw: &mut Draw| {
        let mut refund = bought.full_refund(draw);
        refund.result = result;
        Notice::refund(&ours, &bought, &refund, draw)
    };
    let told = [
        (Notice::payment(&ours, &bought, &mut draw), EventType::PAYMENT_SUCCEEDED),
        (Notice::payment_closed(&ours, &bought, &mut draw), EventType::PAYMENT_CLOSED),
        (Notice::partner_payment(partner, &bought, &mut draw), EventType::PAYMENT_SUCCEEDED),
        (refunded(RefundResult::Success, &mut draw), EventType::REFUND_SUCCEEDED),
        (refunded(RefundResult::Closed, &mut draw), EventType::REFUND_CLOSED),
        (refunded(RefundResult::Abnormal, &mut draw), EventType::REFUND_ABNORMAL),
    ];
    let gateway = open(keys, Channel::WechatV3Main);
    for (notice, expected) in told {
        let message = notice.sign(keys, Sending::genuine(NOW), &mut draw).unwrap();
        let verified = verify(gateway.as_ref(), &message, NOW).unwrap();
        let [notification] = verified.notifications() else { panic!("one notification") };
        assert_eq!(verified.delivery_key(), notice.id);
        assert_eq!(notification.event_type, expected);
        assert_eq!(notification.order_no.as_ref(), Some(&bought.order_no));
        assert_eq!(notification.transaction_id.as_ref(), Some(&bought.transaction_id));
        assert_eq!(notification.order_amount, Some(bought.amount));
        assert_eq!(notification.mismatch, None);
    }
}

#[test]
fn a_probe_announces_itself_and_does_not_verify() {
    let keys = keys();
    let mut draw = Draw::seeded(5);
    let notice = Notice::payment(&merchant(keys), &purchase(&mut draw), &mut draw);
    let message = notice.sign(keys, Sending::flawed(NOW, Flaw::Probe), &mut draw).unwrap();
    let signature = message.header(SIGNATURE).unwrap();
    assert!(signature.starts_with("WECHATPAY/SIGNTEST/"));
    assert_eq!(signature.len(), 344, "as long as a genuine one");
    assert!(!signature_holds(&message, &public_key(keys, KeyMode::PublicKey)));
}

#[test]
fn a_bad_tag_is_under_a_good_signature() {
    let keys = keys();
    let mut draw = Draw::seeded(6);
    let notice = Notice::payment(&merchant(keys), &purchase(&mut draw), &mut draw);
    let message = notice.sign(keys, Sending::flawed(NOW, Flaw::BadTag), &mut draw).unwrap();
    assert!(signature_holds(&message, &public_key(keys, KeyMode::PublicKey)));
}

#[test]
fn a_flaw_of_another_gateway_is_refused() {
    let keys = keys();
    let mut draw = Draw::seeded(7);
    let notice = Notice::payment(&merchant(keys), &purchase(&mut draw), &mut draw);
    let flaw = Flaw::ExternalEntity;
    let signed = notice.sign(keys, Sending::flawed(NOW, flaw), &mut draw);
    assert_eq!(signed, Err(CannotSign::NoSuchFlaw { flaw, gateway: Gateway::WechatV3 }));
}
