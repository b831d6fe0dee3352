//! Forms and signed texts held against samples made with openssl, signatures against another
//! library.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_core::notification::EventType;
use rsa::pkcs8::DecodePublicKey as _;
use serde_json::Value;
use x509_cert::der::{DecodePem as _, Encode as _};

use super::{Charset, Field, KeyMode, Notice};
use crate::channel::{Channel, Gateway};
use crate::draw::Draw;
use crate::keys::{Keys, Merchant};
use crate::message::{CannotSign, Flaw, Message, Sending};
use crate::proof::{NOW, keys, open, verify};
use crate::purchase::{Part, Purchase};

const UTF8: &str = include_str!("../../core/gateway/vectors/alipay/trade-notify-rsa2.json");
const GBK: &str = include_str!("../../core/gateway/vectors/alipay/trade-notify-gbk.json");

fn merchant(keys: &Keys) -> Merchant {
    keys.accounts.merchant(Gateway::Alipay)
}

fn purchase() -> Purchase {
    Purchase::draw(Gateway::Alipay, NOW, &mut Draw::seeded(1))
}

/// Name and still escaped value of each field.
fn pairs(body: &str) -> Vec<(&str, &str)> {
    body.split('&').map(|pair| pair.split_once('=').unwrap()).collect()
}

fn decoded(value: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(&value.replace('+', " ")).collect()
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.body).unwrap()
}

#[test]
fn the_form_and_signed_text_of_the_samples_come_out_again() {
    for (sample, charset) in [(UTF8, Charset::Utf8), (GBK, Charset::Gbk)] {
        let sample: Value = serde_json::from_str(sample).unwrap();
        let body = sample["body"].as_str().unwrap();
        let values = sample["expected"]["fields_utf8"].as_object().unwrap();
        let signed = |(name, _): &(&str, &str)| *name != "sign" && *name != "sign_type";
        let fields: Vec<Field> = pairs(body)
            .into_iter()
            .filter(signed)
            .map(|(name, _)| (&*name.to_owned().leak(), values[name].as_str().unwrap().to_owned()))
            .collect();
        let notice = Notice { channel: Channel::AlipayMain, charset, fields: fields.clone() };
        let expected = STANDARD.decode(sample["signing_string_base64"].as_str().unwrap()).unwrap();
        assert_eq!(notice.signed_text(&fields), expected);
        let (sent, _) = body.split_once("&sign_type=").unwrap();
        assert_eq!(notice.form(&fields), sent);
    }
}

#[test]
fn a_payment_has_the_fields_of_the_sample() {
    let keys = keys();
    let sample: Value = serde_json::from_str(UTF8).unwrap();
    let notice = Notice::payment(&merchant(keys), &purchase(), &mut Draw::seeded(2));
    let message = notice.sign(keys, Sending::genuine(NOW)).unwrap();
    let names = |body| pairs(body).into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
    assert_eq!(names(text(&message)), names(sample["body"].as_str().unwrap()));
    let content_type = sample["headers"]["Content-Type"].as_str();
    assert_eq!(message.header("content-type"), content_type);
}

#[test]
fn both_keys_sign_what_another_library_verifies_in_both_charsets() {
    let keys = keys();
    let files = keys.files().unwrap();
    let file = |name| files.iter().find(|file| file.name == name).unwrap().content.as_str();
    let bare = rsa::RsaPublicKey::from_public_key_pem(file("alipay.pub.pem")).unwrap();
    let read = x509_cert::Certificate::from_pem(file("alipay-certificate.crt.pem")).unwrap();
    let der = read.tbs_certificate().subject_public_key_info().to_der().unwrap();
    let certified = rsa::RsaPublicKey::from_public_key_der(&der).unwrap();
    let notice = Notice::payment(&merchant(keys), &purchase(), &mut Draw::seeded(3));
    for (mode, key) in [(KeyMode::Key, bare), (KeyMode::Certificate, certified)] {
        for charset in [Charset::Utf8, Charset::Gbk] {
            let notice = notice.clone().signed_by(mode).in_charset(charset);
            let message = notice.sign(keys, Sending::genuine(NOW)).unwrap();
            let mut fields: BTreeMap<_, _> = pairs(text(&message)).into_iter().collect();
            let sign = STANDARD.decode(decoded(fields.remove("sign").unwrap())).unwrap();
            assert_eq!(fields.remove("sign_type"), Some("RSA2"));
            let joined: Vec<Vec<u8>> = fields
                .iter()
                .map(|(name, value)| [name.as_bytes(), b"=", &decoded(value)].concat())
                .collect();
            let digest = <sha2::Sha256 as sha2::Digest>::digest(joined.join(&b'&'));
            let scheme = rsa::Pkcs1v15Sign::new::<sha2::Sha256>();
            assert_eq!(key.verify(scheme, &digest, &sign), Ok(()));
        }
    }
}

#[test]
fn gbk_travels_as_gbk_and_reads_as_the_same_text() {
    let keys = keys();
    let notice = Notice::payment(&merchant(keys), &purchase(), &mut Draw::seeded(4));
    let gateway = open(keys, Channel::AlipayMain);
    let sent = |charset| {
        let notice = notice.clone().in_charset(charset);
        let message = notice.sign(keys, Sending::genuine(NOW)).unwrap();
        let verified = verify(gateway.as_ref(), &message, NOW).unwrap();
        let body: Value = serde_json::from_str(&verified.notifications()[0].body).unwrap();
        (message, body["subject"].clone())
    };
    let ((utf8, subject), (gbk, same)) = (sent(Charset::Utf8), sent(Charset::Gbk));
    assert_eq!(subject, same);
    assert_eq!(subject, Value::from(purchase().subject));
    assert!(text(&utf8).contains("%E6%B5%8B%E8%AF%95"));
    assert!(text(&gbk).contains("%B2%E2%CA%D4"));
}

#[test]
fn a_part_leaves_the_trade_paid_and_the_whole_closes_it() {
    let keys = keys();
    let (ours, bought) = (merchant(keys), purchase());
    let mut draw = Draw::seeded(5);
    let part = bought.partial_refund(Part { minor: 1, already_minor: 0 }, &mut draw);
    let whole = bought.full_refund(&mut draw);
    for (refund, status) in [(part, "TRADE_SUCCESS"), (whole, "TRADE_CLOSED")] {
        let notice = Notice::refund(&ours, &bought, &refund, &mut draw);
        let message = notice.sign(keys, Sending::genuine(NOW)).unwrap();
        let fields: BTreeMap<_, _> = pairs(text(&message)).into_iter().collect();
        assert_eq!(fields["trade_status"], status);
        let verified = verify(open(keys, Channel::AlipayMain).as_ref(), &message, NOW).unwrap();
        let notification = &verified.notifications()[0];
        assert_eq!(notification.event_type, EventType::REFUND_SUCCEEDED);
        assert_eq!(notification.refunded_total, Some(refund.refunded_total));
        assert_eq!(notification.refund_no.as_ref(), Some(&refund.refund_no));
    }
}

#[test]
fn every_kind_of_notice_is_understood() {
    let keys = keys();
    let (ours, bought) = (merchant(keys), purchase());
    let mut draw = Draw::seeded(6);
    let told = [
        (Notice::payment(&ours, &bought, &mut draw), EventType::PAYMENT_SUCCEEDED),
        (Notice::payment_finished(&ours, &bought, &mut draw), EventType::PAYMENT_FINISHED),
        (Notice::payment_closed(&ours, &bought, &mut draw), EventType::PAYMENT_CLOSED),
    ];
    let gateway = open(keys, Channel::AlipayMain);
    for (notice, expected) in told {
        let message = notice.sign(keys, Sending::genuine(NOW)).unwrap();
        let verified = verify(gateway.as_ref(), &message, NOW).unwrap();
        let notification = &verified.notifications()[0];
        assert_eq!(notification.event_type, expected);
        assert_eq!(notification.order_no.as_ref(), Some(&bought.order_no));
        assert_eq!(notification.transaction_id.as_ref(), Some(&bought.transaction_id));
        assert_eq!(notification.order_amount, Some(bought.amount));
        assert_eq!(notification.mismatch, None);
    }
}

#[test]
fn only_certificate_mode_names_a_certificate() {
    let keys = keys();
    let notice = Notice::payment(&merchant(keys), &purchase(), &mut Draw::seeded(7));
    let flaw = Flaw::UnknownSerial;
    let refused = notice.sign(keys, Sending::flawed(NOW, flaw));
    assert_eq!(refused, Err(CannotSign::NoSuchFlaw { flaw, gateway: Gateway::Alipay }));
    let certified = notice.signed_by(KeyMode::Certificate);
    let message = certified.sign(keys, Sending::genuine(NOW)).unwrap();
    let named = format!("alipay_cert_sn={}", keys.accounts.alipay_certificate_sn);
    assert!(text(&message).contains(&named));
}
