//! Certificates that the gateway hands out: who is believed, and every way not to be.

use aws_lc_rs::rsa::KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, PKCS_RSA_SHA256,
    SerialNumber,
};
use serde_json::{Value, json};

use super::inquiry::{asker_with, private_pem, stamp};
use super::{
    API_V3_KEY, Callback, KEY_ID, NOW_S, PAID, Settings, WechatV3, envelope, seal, transaction,
};
use crate::gateway::inquiry::Incoming;
use crate::gateway::known::{KeyKind, KnownKey, Origin};
use crate::gateway::platform::{Admitted, HandedOut, Platform, Unfetched};
use crate::gateway::{Gateway, Refusal, SettingsError};
use crate::request::Request;
use crate::time::Timestamp;

type Authority = CertifiedIssuer<'static, rcgen::KeyPair>;

/// A certificate of the gateway's, with its private key.
struct Made {
    serial: String,
    pem: String,
    pair: KeyPair,
}

fn terms(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut terms = CertificateParams::new(Vec::new()).unwrap();
    terms.distinguished_name.push(DnType::CommonName, name);
    terms.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    terms.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    terms
}

fn authority() -> Authority {
    let mut terms = terms("Tenpay.com Root CA", (2020, 2040));
    terms.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    CertifiedIssuer::self_signed(terms, key).unwrap()
}

fn made(by: &Authority, serial: &[u8], years: (i32, i32)) -> Made {
    let key = rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let mut terms = terms("Tenpay.com sign", years);
    terms.serial_number = Some(SerialNumber::from_slice(serial));
    let pem = terms.signed_by(&key, by).unwrap().pem();
    let serial = serial.iter().map(|byte| format!("{byte:02X}")).collect();
    Made { serial, pem, pair: KeyPair::from_pkcs8(&key.serialize_der()).unwrap() }
}

/// A member of the answer, as the gateway writes it.
fn entry(serial: &str, text: &str) -> Value {
    json!({
        "serial_no": serial,
        "effective_time": "2026-06-08T10:34:56+08:00",
        "expire_time": "2031-06-08T10:34:56+08:00",
        "encrypt_certificate": {
            "algorithm": "AEAD_AES_256_GCM",
            "nonce": "Nn235e741233",
            "associated_data": "data",
            "ciphertext": STANDARD.encode(seal(API_V3_KEY, text.as_bytes())),
        },
    })
}

fn list(entries: &[Value]) -> String {
    json!({ "data": entries }).to_string()
}

/// An answer signed by one of its keys.
fn signed(body: String, by: &Made) -> Callback {
    let mut answer = Callback::signed(body).with("Wechatpay-Serial", &by.serial);
    answer.sign(&by.pair);
    answer
}

/// A channel that has no key of the gateway yet.
fn fetcher(change: impl FnOnce(&mut Settings)) -> WechatV3 {
    asker_with(|settings| {
        settings.fetch_certificates = true;
        settings.public_keys.clear();
        change(settings);
    })
}

fn hear(gateway: &WechatV3, answer: &Callback) -> Result<HandedOut, Unfetched> {
    hear_status(gateway, answer, 200)
}

fn hear_status(gateway: &WechatV3, answer: &Callback, status: u16) -> Result<HandedOut, Unfetched> {
    let incoming = Incoming { status, headers: &answer.headers, body: &answer.body };
    Platform::hear(gateway, &incoming, answer.now)
}

fn serials(heard: &HandedOut) -> Vec<&str> {
    heard.admitted.iter().map(Admitted::serial).collect()
}

fn refused(heard: &HandedOut) -> Vec<&'static str> {
    heard.refused.iter().map(|(_, bad)| bad.code()).collect()
}

fn now() -> Timestamp {
    Timestamp::from_seconds(NOW_S)
}

#[test]
fn the_question_is_signed_and_names_the_public_key_where_there_is_one() {
    let asked = Platform::ask(&fetcher(|_| {}), stamp()).unwrap();
    assert_eq!((asked.method, asked.target.as_str()), ("GET", "/v3/certificates"));
    let names: Vec<_> = asked.headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["accept", "authorization"]);
    let both = asker_with(|settings| settings.fetch_certificates = true);
    let asked = Platform::ask(&both, stamp()).unwrap();
    assert!(asked.headers.contains(&("wechatpay-serial", KEY_ID.to_owned())));
}

#[test]
fn a_first_answer_is_believed_by_the_certificate_that_it_brings() {
    let root = authority();
    let (old, new) = (made(&root, &[0x51, 1], (2022, 2027)), made(&root, &[0x52], (2026, 2031)));
    let body = list(&[entry(&old.serial, &old.pem), entry(&new.serial, &new.pem)]);
    for by in [&old, &new] {
        let heard = hear(&fetcher(|_| {}), &signed(body.clone(), by)).unwrap();
        assert_eq!(serials(&heard), [old.serial.as_str(), new.serial.as_str()]);
        assert!(heard.refused.is_empty());
    }
}

#[test]
fn what_was_fetched_verifies_callbacks_beside_what_is_configured() {
    let root = authority();
    let new = made(&root, &[0x52], (2026, 2031));
    let gateway = asker_with(|settings| settings.fetch_certificates = true);
    let heard = hear(&gateway, &signed(list(&[entry(&new.serial, &new.pem)]), &new)).unwrap();
    let mut callback = Callback::signed(
        envelope(PAID, &seal(API_V3_KEY, transaction().to_string().as_bytes())).to_string(),
    );
    let verify = |gateway: &dyn Gateway, callback: &Callback| {
        let (headers, body) = (&callback.headers, callback.body.as_slice());
        let request = Request { method: "POST", path: "", query: "", headers, body };
        gateway.verify(&request, callback.now).map(drop)
    };
    let both = Platform::with(&gateway, &heard.admitted);
    assert_eq!(verify(&*both, &callback), Ok(()));
    callback.set("Wechatpay-Serial", "0052");
    callback.sign(&new.pair);
    assert_eq!(verify(&gateway, &callback), Err(Refusal::KeyUnknown));
    assert_eq!(verify(&*both, &callback), Ok(()));
    let keys = both.keys();
    let fetched = keys.iter().find(|key| key.origin == Origin::Fetched).unwrap();
    assert_eq!((fetched.id.as_str(), fetched.kind), ("52", KeyKind::Certificate));
    assert_eq!(fetched.valid, Some(heard.admitted[0].valid()));
    let named = |key: &KnownKey| key.id.clone();
    assert!(keys.iter().map(named).any(|id| id == KEY_ID));
}

#[test]
fn a_known_key_decides_over_whatever_the_answer_brings() {
    let root = authority();
    let known = made(&root, &[0x51], (2022, 2031));
    let impostor = made(&root, &[0x51], (2022, 2031));
    let gateway = fetcher(|settings| settings.platform_certificates = vec![known.pem.clone()]);
    let body = list(&[entry(&impostor.serial, &impostor.pem)]);
    let heard = hear(&gateway, &signed(body.clone(), &impostor));
    assert_eq!(heard.unwrap_err().code(), "certificates.signature");
    // Even one that the gateway did sign for does not push a configured one aside.
    let heard = hear(&gateway, &signed(body, &known)).unwrap();
    let both = Platform::with(&gateway, &heard.admitted);
    let mut callback = super::callback(PAID, transaction().to_string().as_bytes())
        .with("Wechatpay-Serial", &known.serial);
    callback.sign(&known.pair);
    let (headers, body) = (&callback.headers, callback.body.as_slice());
    let request = Request { method: "POST", path: "", query: "", headers, body };
    assert!(both.verify(&request, callback.now).is_ok());
}

#[test]
fn an_answer_that_is_not_the_gateways_is_not_believed() {
    let root = authority();
    let (one, other) = (made(&root, &[0x51], (2022, 2031)), made(&root, &[0x52], (2022, 2031)));
    let body = list(&[entry(&one.serial, &one.pem)]);
    let code = |answer: &Callback| hear(&fetcher(|_| {}), answer).unwrap_err().code();
    assert_eq!(code(&signed(body.clone(), &other)), "certificates.signer-unknown");
    let mut forged = signed(body.clone(), &one);
    forged.sign(&other.pair);
    assert_eq!(code(&forged), "certificates.signature");
    let mut changed = signed(body.clone(), &one);
    changed.body.push(b' ');
    assert_eq!(code(&changed), "certificates.signature");
    let probe = signed(body.clone(), &one).with("Wechatpay-Signature", "WECHATPAY/SIGNTEST/x");
    assert_eq!(code(&probe), "certificates.signature");
    let late = signed(body.clone(), &one).at(now().plus_ms(301_000));
    assert_eq!(code(&late), "certificates.time");
    let bare = signed(body, &one).without("Wechatpay-Nonce");
    assert_eq!(code(&bare), "certificates.answer");
    for text in ["", "[]", "{}", r#"{"data":{}}"#, r#"{"data":[{"serial_no":"51"}]}"#] {
        assert_eq!(code(&signed(text.to_owned(), &one)), "certificates.answer", "{text}");
    }
    let many = vec![entry(&one.serial, &one.pem); 33];
    assert_eq!(code(&signed(list(&many), &one)), "certificates.answer");
}

#[test]
fn a_certificate_that_fails_a_check_is_left_out_and_its_neighbours_are_not() {
    let (root, stranger) = (authority(), authority());
    let good = made(&root, &[0x51], (2022, 2031));
    let past = made(&root, &[0x61], (2015, 2020));
    let foreign = made(&stranger, &[0x62], (2022, 2031));
    let renamed = made(&root, &[0x63], (2022, 2031));
    let ahead = made(&root, &[0x64], (2027, 2032));
    let mut sealed_by_another = entry("65", &good.pem);
    let ciphertext = seal("012345abcdefghijklmnopqrstuvwxyz", good.pem.as_bytes());
    sealed_by_another["encrypt_certificate"]["ciphertext"] = json!(STANDARD.encode(ciphertext));
    let mut other_cipher = entry("66", &good.pem);
    other_cipher["encrypt_certificate"]["algorithm"] = json!("AEAD_SM4_GCM");
    let truncated = &good.pem[..good.pem.len() / 2];
    let body = list(&[
        entry(&past.serial, &past.pem),
        entry(&foreign.serial, &foreign.pem),
        entry("99", &renamed.pem),
        sealed_by_another,
        other_cipher,
        entry("67", truncated),
        entry("68", "no certificate at all"),
        entry(&ahead.serial, &ahead.pem),
        entry(&good.serial, &good.pem),
    ]);
    let gateway = fetcher(|it| it.platform_root_certificates = vec![root.pem()]);
    let heard = hear(&gateway, &signed(body, &good)).unwrap();
    assert_eq!(serials(&heard), [ahead.serial.as_str(), good.serial.as_str()]);
    let expected = [
        "certificates.expired",
        "certificates.chain",
        "certificates.serial",
        "certificates.decrypt",
        "certificates.decrypt",
        "certificates.not-a-certificate",
        "certificates.not-a-certificate",
    ];
    assert_eq!(refused(&heard), expected);
}

#[test]
fn a_certificate_that_is_refused_cannot_vouch_for_the_answer() {
    let (root, stranger) = (authority(), authority());
    let foreign = made(&stranger, &[0x62], (2022, 2031));
    let gateway = fetcher(|it| it.platform_root_certificates = vec![root.pem()]);
    let answer = signed(list(&[entry(&foreign.serial, &foreign.pem)]), &foreign);
    assert_eq!(hear(&gateway, &answer).unwrap_err().code(), "certificates.signer-unknown");
}

#[test]
fn a_failure_is_told_apart_from_a_refusal() {
    let gateway = fetcher(|_| {});
    let said = |status: u16, body: &str| {
        let answer = Callback::signed(body.to_owned());
        let error = hear_status(&gateway, &answer, status).unwrap_err();
        (error.code(), error.to_string())
    };
    let (code, text) = said(403, r#"{"code":"NO_AUTH","message":"x"}"#);
    assert!(code == "certificates.denied" && text.contains("NO_AUTH"), "{text}");
    assert_eq!(said(429, r#"{"code":"FREQUENCY_LIMITED"}"#).0, "certificates.busy");
    assert_eq!(said(502, "<html>").0, "certificates.busy");
    assert_eq!(said(204, "").0, "certificates.denied");
}

#[test]
fn what_was_kept_is_held_against_the_rules_of_today() {
    let (root, other) = (authority(), authority());
    let one = made(&root, &[0x51], (2022, 2027));
    let admit = |gateway: &WechatV3, serial: &str, at: Timestamp| {
        gateway.admit(&one.pem, serial, at).map_err(|bad| bad.code()).map(drop)
    };
    let plain = fetcher(|_| {});
    assert_eq!(admit(&plain, "0051", now()), Ok(()));
    assert_eq!(admit(&plain, "52", now()), Err("certificates.serial"));
    let late = Timestamp::parse_rfc3339("2027-01-02T00:00:00Z").unwrap();
    assert_eq!(admit(&plain, "51", late), Err("certificates.expired"));
    let rooted = fetcher(|it| it.platform_root_certificates = vec![other.pem()]);
    assert_eq!(admit(&rooted, "51", now()), Err("certificates.chain"));
    assert!(!plain.can_verify(now()));
}

#[test]
fn the_settings_of_fetching_name_their_mistake() {
    let wrong = |change: fn(&mut Settings)| -> SettingsError {
        let mut settings = super::settings();
        change(&mut settings);
        WechatV3::new(settings).unwrap_err()
    };
    let alone = wrong(|it| it.fetch_certificates = true);
    assert_eq!((alone.field.as_ref(), alone.code), ("fetch_certificates", "config.invalid"));
    let roots = wrong(|it| it.platform_root_certificates = vec!["x".to_owned()]);
    assert_eq!((roots.field.as_ref(), roots.code), ("platform_root_certificates", "config.key"));
}

#[test]
fn the_merchants_certificate_must_fit_its_key_and_its_serial() {
    let root = authority();
    let own = rcgen::KeyPair::from_pem(&private_pem()).unwrap();
    let mut terms = terms("merchant", (2022, 2027));
    terms.serial_number = Some(SerialNumber::from_slice(&[0x1d, 0xde]));
    let own = terms.signed_by(&own, &root).unwrap().pem();
    let another = made(&root, &[0x1d, 0xde], (2022, 2027)).pem;
    let open = |certificate: &str, serial: &str| {
        let mut settings = super::settings();
        settings.inquiry = Some(crate::gateway::wechat_v3::InquirySettings {
            merchant_private_key: crate::secret::Secret::new(private_pem()),
            merchant_serial: serial.to_owned(),
            merchant_certificate: Some(certificate.to_owned()),
            base_url: "https://api.mch.weixin.qq.com".to_owned(),
        });
        WechatV3::new(settings).map_err(|error| error.code)
    };
    assert_eq!(open(&own, "1DDF").err(), Some("config.serial"));
    assert_eq!(open(&another, "1dde").err(), Some("config.pair"));
    assert_eq!(open("x", "1dde").err(), Some("config.key"));
    let keys = open(&own, "01dde").unwrap().keys();
    let own = keys.iter().find(|key| key.kind == KeyKind::OwnCertificate).unwrap();
    assert!(own.valid.is_some() && own.id == "01DDE");
    assert!(!format!("{keys:?}").contains(API_V3_KEY));
}
