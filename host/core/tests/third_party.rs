//! Callbacks made by others: real messages and the samples of official clients.
//!
//! They are not part of the project. `CALLGATE_THIRD_PARTY_VECTORS` names the folder that holds
//! them; without it the one test here says loudly that it checks nothing. Every file of the three
//! gateways must have its check below, so a new file cannot stay unread.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::io::Write as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_core::gateway::scheme::aead::{Key, Sealed};
use callgate_core::gateway::scheme::chain::{NoChain, Roots};
use callgate_core::gateway::scheme::rsa::{Certificate, Digest, PublicKey, decode_signature};
use callgate_core::gateway::{Gateway, Refusal, SettingsError, alipay, wechat_v2, wechat_v3};
use callgate_core::notification::{EventType, Verified};
use callgate_core::request::Request;
use callgate_core::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use md5::Digest as _;
use serde_json::{Value, json};

#[path = "third_party/signing.rs"]
mod signing;

#[test]
fn every_message_of_others_is_judged_as_its_note_says() {
    let Some(folder) = std::env::var_os("CALLGATE_THIRD_PARTY_VECTORS").map(PathBuf::from) else {
        // Past the capture of passing tests: what is skipped must be seen.
        let note = "SKIPPED third_party: CALLGATE_THIRD_PARTY_VECTORS is not set, nothing checked";
        writeln!(std::io::stderr(), "{note}").unwrap();
        return;
    };
    let mut checked = 0_u32;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_ours = ["wechat-v3-", "wechat-v2-", "alipay-"].iter().any(|g| name.starts_with(g));
        if !is_ours || path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let vector = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        eprintln!("checking {name}");
        check(&name, &vector);
        checked = checked.saturating_add(1);
    }
    assert!(checked > 0, "{} holds no message of a known gateway", folder.display());
}

fn check(name: &str, vector: &Value) {
    match name {
        "wechat-v3-01-go-payscore-callback" => key_of_16_bytes(vector),
        "wechat-v3-02-php-escaped-slash-callback" => escaped_slashes(vector),
        "wechat-v3-03-api-response" => assert!(signature_holds(vector)),
        "wechat-v3-08-oracle-signed-callbacks" => official_java_key(vector),
        "wechat-v3-09-request-signing" => signing::official_request(vector),
        "wechat-v2-04-must-reject" => strange_xml(vector),
        "alipay-01-sandbox-notify-plus-sign" => sandbox_notice(vector),
        "alipay-02-sandbox-return-url" => browser_return(vector),
        "alipay-03-production-trade-notify" => production_notice(vector),
        "alipay-04-production-servicemarket-notify" => service_market(vector),
        "alipay-05-production-sync-response" => synchronous_answer(vector),
        "alipay-06-must-reject" => wrong_signature(vector),
        "alipay-07-cert-sn" => certificate_numbers(vector),
        other => panic!("{other} has no check here"),
    }
}

fn text<'a>(vector: &'a Value, pointer: &str) -> &'a str {
    vector.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}"))
}

/// A request of a vector, with what may be changed.
#[derive(Clone)]
struct Message {
    method: String,
    query: String,
    headers: HeaderMap,
    body: String,
    now: Timestamp,
}

impl Message {
    /// Reads `headers` and `body` of a vector or of one of its cases.
    fn read(part: &Value, clock: Option<&Value>) -> Self {
        let mut message = Self {
            method: "POST".to_owned(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: text(part, "/body").to_owned(),
            now: Timestamp::from_seconds(clock.and_then(Value::as_i64).unwrap_or_default()),
        };
        for (name, value) in part["headers"].as_object().into_iter().flatten() {
            message.set(name, value.as_str().unwrap());
        }
        message
    }

    fn set(&mut self, name: &str, value: &str) {
        let name: HeaderName = name.parse().unwrap();
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }

    fn with(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.set(name, value);
        changed
    }

    fn later(&self, seconds: i64) -> Self {
        Self { now: self.now.plus_ms(seconds.saturating_mul(1000)), ..self.clone() }
    }

    fn with_body(&self, body: &str) -> Self {
        assert_ne!(self.body, body, "the change must change something");
        Self { body: body.to_owned(), ..self.clone() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn send(&self, gateway: &dyn Gateway) -> Result<Verified, Refusal> {
        let request = Request {
            method: &self.method,
            path: "/callback/third-party",
            query: &self.query,
            headers: &self.headers,
            body: self.body.as_bytes(),
        };
        gateway.verify(&request, self.now)
    }
}

fn wechat_v3(settings: Value) -> Result<wechat_v3::WechatV3, SettingsError> {
    wechat_v3::WechatV3::new(serde_json::from_value(settings).unwrap())
}

/// The signature of a vector in certificate mode, outside the gateway.
fn signature_holds(vector: &Value) -> bool {
    let certificate = text(vector, "/keys/platform_certificate_pem");
    let key = Certificate::from_pem(certificate).unwrap().key;
    let message = Message::read(vector, None);
    let signature = decode_signature(message.header("Wechatpay-Signature")).unwrap();
    let signed = format!(
        "{}\n{}\n{}\n",
        message.header("Wechatpay-Timestamp"),
        message.header("Wechatpay-Nonce"),
        message.body
    );
    let without_last_line_feed = signed.trim_end_matches('\n').as_bytes();
    assert!(!key.verify(Digest::Sha256, without_last_line_feed, &signature));
    assert!(!key.verify(Digest::Sha1, signed.as_bytes(), &signature));
    key.verify(Digest::Sha256, signed.as_bytes(), &signature)
}

fn key_of_16_bytes(vector: &Value) {
    assert!(signature_holds(vector));
    let settings = |key: &str| {
        json!({
            "merchant_id": "1234567890",
            "application_ids": ["054aa7d7a2a54ab5898df65bd96f001c"],
            "api_v3_key": key,
            "platform_certificates": [text(vector, "/keys/platform_certificate_pem")],
        })
    };
    let error = wechat_v3(settings(text(vector, "/keys/api_v3_key"))).unwrap_err();
    assert_eq!(error.field, "api_v3_key");
    // With another key everything up to the decryption is right.
    let gateway = wechat_v3(settings(&"k".repeat(32))).unwrap();
    let message = Message::read(vector, vector.get("clock_unix"));
    assert_eq!(message.send(&gateway).err(), Some(Refusal::Decrypt));
    assert!(matches!(message.later(301).send(&gateway), Err(Refusal::Stale { .. })));
    assert!(matches!(message.later(-301).send(&gateway), Err(Refusal::Ahead { .. })));
    let parsed: Value = serde_json::from_str(&message.body).unwrap();
    let printed = message.with_body(&parsed.to_string());
    assert_eq!(printed.send(&gateway).err(), Some(Refusal::Signature));
}

fn escaped_slashes(vector: &Value) {
    assert!(signature_holds(vector));
    let envelope: Value = serde_json::from_str(text(vector, "/body")).unwrap();
    let key = Key::new(text(vector, "/keys/api_v3_key").as_bytes()).unwrap();
    let ciphertext = STANDARD.decode(text(&envelope, "/resource/ciphertext")).unwrap();
    let sealed = Sealed {
        nonce: text(&envelope, "/resource/nonce").as_bytes(),
        associated_data: text(&envelope, "/resource/associated_data").as_bytes(),
        ciphertext: &ciphertext,
    };
    let plaintext = key.open(sealed).unwrap();
    assert_eq!(plaintext, text(vector, "/expected/plaintext").as_bytes());
    // The serial is not signed; the vector configures another than its certificate has.
    let gateway = wechat_v3(json!({
        "merchant_id": "1600314069",
        "application_ids": ["wx"],
        "api_v3_key": text(vector, "/keys/api_v3_key"),
        "platform_certificates": [text(vector, "/keys/platform_certificate_pem")],
    }))
    .unwrap();
    let message = Message::read(vector, vector.get("clock_unix"));
    assert_eq!(message.send(&gateway).err(), Some(Refusal::KeyUnknown));
    let serial = text(vector, "/expected/certificate_real_serial");
    let message = message.with("Wechatpay-Serial", serial);
    assert!(matches!(message.send(&gateway), Err(Refusal::Malformed { .. })));
    let unescaped = message.with_body(&message.body.replace("\\/", "/"));
    assert_eq!(unescaped.send(&gateway).err(), Some(Refusal::Signature));
}

fn official_java_key(vector: &Value) {
    let gateway = wechat_v3(json!({
        "merchant_id": "1230000109",
        "application_ids": ["wxd678efh567hg6787", "wx8888888888888888"],
        "api_v3_key": text(vector, "/keys/api_v3_key"),
        "platform_certificates": [text(vector, "/keys/platform_certificate_pem")],
        "public_keys": [{
            "id": text(vector, "/keys/serials/public_key"),
            "key": text(vector, "/keys/wechatpay_public_key_pem"),
        }],
    }))
    .unwrap();
    let cases = vector["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        for kind in ["cert", "public_key"] {
            let serial = text(vector, &format!("/keys/serials/{kind}"));
            let message = Message::read(case, vector.get("clock_unix"));
            official_case(&gateway, case, &message.with("Wechatpay-Serial", serial));
        }
    }
}

fn official_case(gateway: &wechat_v3::WechatV3, case: &Value, message: &Message) {
    let signature = message.header("Wechatpay-Signature");
    let probe = message.with("Wechatpay-Signature", &format!("WECHATPAY/SIGNTEST/{signature}"));
    assert_eq!(probe.send(gateway).err(), Some(Refusal::Probe));
    let unknown = message.with("Wechatpay-Serial", "00");
    assert_eq!(unknown.send(gateway).err(), Some(Refusal::KeyUnknown));
    let moved = message.with("Wechatpay-Timestamp", "1722850422");
    assert_eq!(moved.send(gateway).err(), Some(Refusal::Signature));
    if text(case, "/name") == "empty-body" {
        assert!(matches!(message.send(gateway), Err(Refusal::Malformed { .. })));
        return;
    }
    let verified = message.send(gateway).unwrap();
    assert_eq!(verified.delivery_key(), text(case, "/dedup_key"));
    let [told] = verified.notifications() else { panic!("not one part") };
    assert_eq!(told.body, text(case, "/expected_plaintext"));
    assert_eq!(told.mismatch, None);
    let expected = match (text(case, "/event_type"), text(case, "/original_type")) {
        (_, "transaction") => EventType::PAYMENT_SUCCEEDED,
        ("REFUND.SUCCESS", "refund") => EventType::REFUND_SUCCEEDED,
        ("REFUND.ABNORMAL", "refund") => EventType::REFUND_ABNORMAL,
        (event, kind) => EventType::other("wechat-v3", &format!("{kind}.{event}")),
    };
    assert_eq!(told.event_type, expected);
}

fn strange_xml(vector: &Value) {
    let settings = json!({
        "merchant_id": "10000100",
        "application_ids": ["wx2421b1c4370ec43b"],
        "api_key": text(vector, "/keys/api_key"),
    });
    let gateway = wechat_v2::WechatV2::new(serde_json::from_value(settings).unwrap()).unwrap();
    for case in vector["cases"].as_array().unwrap() {
        let mut message = Message::read(case, None);
        message.set("Content-Type", "text/xml");
        let refusal = message.send(&gateway).unwrap_err();
        match text(case, "/name") {
            "doc-sample-bad-sign" => assert_eq!(refusal, Refusal::Signature),
            name => assert!(matches!(refusal, Refusal::Malformed { .. }), "{name}: {refusal:?}"),
        }
    }
}

/// Alipay with the key of a vector, whatever kind it is.
fn alipay(vector: &Value, application: &str) -> alipay::Alipay {
    let mut settings = json!({ "application_ids": [application] });
    let keys = &vector["keys"];
    if let Some(certificate) = keys.get("alipay_public_cert_pem") {
        settings["certificates"] = json!([certificate]);
    } else {
        let names = ["alipay_public_key_pem", "alipay_public_key_base64"];
        let key = names.into_iter().find_map(|name| keys.get(name));
        settings["public_key"] = key.unwrap().clone();
    }
    alipay::Alipay::new(serde_json::from_value(settings).unwrap()).unwrap()
}

/// What holds for every genuine notice of Alipay.
fn genuine(vector: &Value, gateway: &alipay::Alipay) -> (Message, Verified) {
    let message = Message::read(vector, None);
    let verified = message.send(gateway).unwrap();
    assert_eq!(verified.delivery_key(), text(vector, "/expected/dedup_key"));
    for (from, to) in [("version=1.0", "version=1.1"), ("notify_id=2", "notify_id=3")] {
        let changed = message.with_body(&message.body.replace(from, to));
        assert_eq!(changed.send(gateway).err(), Some(Refusal::Signature));
    }
    (message, verified)
}

fn sandbox_notice(vector: &Value) {
    let gateway = alipay(vector, text(vector, "/keys/app_id"));
    let (message, verified) = genuine(vector, &gateway);
    let [told] = verified.notifications() else { panic!("not one part") };
    assert_eq!(told.event_type, EventType::PAYMENT_SUCCEEDED);
    assert_eq!((told.amount.map(|amount| amount.minor), told.mismatch), (Some(1), None));
    let changed =
        message.with_body(&message.body.replace("total_amount=0.01", "total_amount=0.02"));
    assert_eq!(changed.send(&gateway).err(), Some(Refusal::Signature));
    let decoded_twice = message.with_body(&message.body.replace("yansongda%2B", "yansongda+"));
    assert_eq!(decoded_twice.send(&gateway).err(), Some(Refusal::Signature));
    let other = message.send(&alipay(vector, "2021000000000000")).unwrap();
    assert!(other.notifications().iter().all(|told| told.mismatch.is_some()));
}

fn browser_return(vector: &Value) {
    let gateway = alipay(vector, "9021000122682882");
    let mut message = Message::read(vector, None);
    message.method = "GET".to_owned();
    message.query = text(vector, "/request/query").to_owned();
    assert!(message.send(&gateway).is_err());
    // Sent on as if it were a notice, by whoever saw the browser's address line.
    let mut forwarded = message.with_body(text(vector, "/request/query"));
    forwarded.method = "POST".to_owned();
    forwarded.set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    assert!(matches!(forwarded.send(&gateway), Err(Refusal::NotANotification { .. })));
}

fn production_notice(vector: &Value) {
    let gateway = alipay(vector, text(vector, "/expected/fields/app_id"));
    let (_, verified) = genuine(vector, &gateway);
    let [told] = verified.notifications() else { panic!("not one part") };
    assert_eq!(told.event_type, EventType::PAYMENT_SUCCEEDED);
    assert_eq!(told.order_no.as_deref(), Some("20190815155618536-564-57"));
    assert_eq!((told.amount.map(|amount| amount.minor), told.mismatch), (Some(10), None));
}

fn service_market(vector: &Value) {
    let gateway = alipay(vector, text(vector, "/expected/fields/app_id"));
    let (message, verified) = genuine(vector, &gateway);
    let [told] = verified.notifications() else { panic!("not one part") };
    assert!(told.event_type.as_str().starts_with("alipay."), "{:?}", told.event_type);
    assert_eq!((told.amount, told.mismatch), (None, None));
    let longer = message.body.replace("service_code=58621634", "service_code=58621634111");
    assert_eq!(message.with_body(&longer).send(&gateway).err(), Some(Refusal::Signature));
}

fn synchronous_answer(vector: &Value) {
    let key = PublicKey::from_pem(text(vector, "/keys/alipay_public_key_base64")).unwrap();
    for case in vector["cases"].as_array().unwrap() {
        let signature = decode_signature(text(case, "/sign")).unwrap();
        let content = text(case, "/signed_content");
        assert!(key.verify(Digest::Sha256, content.as_bytes(), &signature));
        let printed = serde_json::from_str::<Value>(content).unwrap().to_string();
        assert_ne!(printed, content);
        assert!(!key.verify(Digest::Sha256, printed.as_bytes(), &signature));
    }
}

fn wrong_signature(vector: &Value) {
    let refusal = Message::read(vector, None).send(&alipay(vector, "2015102700040153"));
    assert_eq!(refusal.err(), Some(Refusal::Signature));
}

/// The number of a certificate is the MD5 of issuer and decimal serial; that of a bundle joins
/// those of its RSA certificates.
fn certificate_numbers(vector: &Value) {
    let number = |pem: &str| {
        let read = Certificate::from_pem(pem).ok()?;
        let digest = md5::Md5::digest(format!("{}{}", read.issuer, read.serial_decimal));
        Some(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    for case in vector["cases"].as_array().unwrap() {
        if let Some(pem) = case["cert_pem"].as_str() {
            assert_eq!(number(pem).as_deref(), case["sn"].as_str());
            continue;
        }
        let bundle = text(case, "/root_bundle_pem");
        let numbers: Vec<_> = bundle.split_inclusive("-----END CERTIFICATE-----").collect();
        let numbers: Vec<_> = numbers.into_iter().filter_map(number).collect();
        assert_eq!(Some(numbers.join("_").as_str()), case["sn"].as_str());
    }
    real_chains(vector);
}

/// Real roots and certificates are read; the chains end where the class in between is missing.
fn real_chains(vector: &Value) {
    let cases = vector["cases"].as_array().unwrap();
    let bundles =
        cases.iter().filter_map(|case| Some(case["root_bundle_pem"].as_str()?.to_owned()));
    let roots = Roots::from_pem(&bundles.collect::<Vec<_>>()).unwrap();
    for pem in cases.iter().filter_map(|case| case["cert_pem"].as_str()) {
        let made_at = Certificate::from_pem(pem).unwrap().not_before;
        assert_eq!(roots.vouch(pem, made_at), Err(NoChain::Stranger));
    }
}
