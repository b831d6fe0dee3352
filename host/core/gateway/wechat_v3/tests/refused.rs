//! What must not be believed.

use aws_lc_rs::rsa::{KeyPair, KeySize};
use serde_json::{Value, json};

use super::vectors::{VECTORS, load};
use super::{
    API_V3_KEY, Callback, NOW_S, PAID, Refusal, Timestamp, callback, envelope, gateway, seal,
    transaction, with,
};
use crate::gateway::Refusal::{
    Ahead, Algorithm, HeaderMalformed, HeaderMissing, HeaderRepeated, KeyUnknown, Malformed,
    NotItsRequest, Probe, Signature, Stale, TooLarge,
};

const REQUIRED: [&str; 4] =
    ["Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Serial", "Wechatpay-Signature"];

fn genuine() -> Callback {
    callback(PAID, transaction().to_string().as_bytes())
}

fn refusal(callback: &Callback) -> Refusal {
    callback.send(&gateway()).unwrap_err()
}

/// The code of the refusal of a correctly signed body.
fn signed(body: impl Into<Vec<u8>>) -> Refusal {
    refusal(&Callback::signed(body))
}

#[test]
fn the_unchanged_callback_is_believed() {
    assert!(genuine().send(&gateway()).is_ok());
}

#[test]
fn every_header_of_the_signature_must_be_there() {
    for name in REQUIRED {
        assert_eq!(refusal(&genuine().without(name)), HeaderMissing { name });
    }
    assert!(genuine().without("Wechatpay-Signature-Type").send(&gateway()).is_ok());
}

#[test]
fn a_header_that_stands_there_twice_is_refused() {
    for name in REQUIRED.into_iter().chain(["Wechatpay-Signature-Type"]) {
        let mut callback = genuine();
        let copy = callback.headers.get(name).unwrap().clone();
        callback.headers.append(name, copy);
        assert_eq!(refusal(&callback), HeaderRepeated { name });
    }
}

#[test]
fn an_empty_header_is_refused() {
    for name in REQUIRED {
        let refusal = refusal(&genuine().with(name, ""));
        assert!(matches!(refusal, HeaderMalformed { name: found, .. } if found == name));
    }
}

#[test]
fn another_method_is_refused() {
    for method in ["GET", "PUT", "post", ""] {
        let callback = Callback { method: method.to_owned(), ..genuine() };
        assert_eq!(refusal(&callback), NotItsRequest { expected: "POST" });
    }
}

#[test]
fn a_flipped_bit_in_the_body_is_refused() {
    for text in VECTORS {
        let (gateway, callback, _) = load(text);
        for at in (0..callback.body.len().saturating_mul(8)).step_by(37) {
            let mut changed = callback.clone();
            changed.body[at / 8] ^= 1_u8 << (at % 8);
            assert_eq!(changed.send(&gateway).err(), Some(Signature), "bit {at}");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_signed_header_is_refused() {
    let gateway = gateway();
    for name in ["Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Signature"] {
        let value = genuine().get(name).into_bytes();
        for at in 0..value.len().saturating_mul(8) {
            let mut changed = value.clone();
            changed[at / 8] ^= 1_u8 << (at % 8);
            let Ok(changed) = http::HeaderValue::from_bytes(&changed) else { continue };
            let mut callback = genuine();
            callback.headers.insert(name, changed);
            assert!(callback.send(&gateway).is_err(), "bit {at} of {name}");
        }
    }
}

#[test]
fn a_body_with_something_added_or_taken_away_is_refused() {
    let mut longer = genuine();
    longer.body.push(b'\n');
    assert_eq!(refusal(&longer), Signature);
    let mut shorter = genuine();
    shorter.body.pop();
    assert_eq!(refusal(&shorter), Signature);
    let parsed: Value = serde_json::from_slice(&genuine().body).unwrap();
    let printed = serde_json::to_vec_pretty(&parsed).unwrap();
    assert_eq!(refusal(&Callback { body: printed, ..genuine() }), Signature);
}

#[test]
fn what_is_moved_between_nonce_and_body_is_refused() {
    let mut callback = genuine();
    let nonce = callback.get("Wechatpay-Nonce");
    let (kept, moved) = nonce.split_at(16);
    callback.set("Wechatpay-Nonce", kept);
    callback.body.splice(0..0, moved.bytes());
    assert_eq!(refusal(&callback), Signature);
}

#[test]
fn a_difference_of_the_tolerance_passes_and_more_does_not() {
    let at = |ms| {
        let now = Timestamp::from_seconds(NOW_S).plus_ms(ms);
        genuine().at(now).send(&gateway())
    };
    assert!(at(300_000).is_ok());
    assert!(at(-300_000).is_ok());
    assert_eq!(at(300_001).err(), Some(Stale { age_s: 301, limit_s: 300 }));
    assert_eq!(at(301_000).err(), Some(Stale { age_s: 301, limit_s: 300 }));
    assert_eq!(at(-300_001).err(), Some(Ahead { ahead_s: 301, limit_s: 300 }));
    assert_eq!(at(-301_000).err(), Some(Ahead { ahead_s: 301, limit_s: 300 }));
}

#[test]
fn a_timestamp_of_another_form_is_refused_though_signed() {
    for text in ["01795226406", "+1795226406", "-1", "1795226406.0", "1e9", "now"] {
        let mut callback = genuine().with("Wechatpay-Timestamp", text);
        callback.sign(super::signer());
        let refusal = refusal(&callback);
        assert!(matches!(refusal, HeaderMalformed { name: "Wechatpay-Timestamp", .. }), "{text}");
    }
}

#[test]
fn the_signature_of_another_key_is_refused() {
    let mut callback = genuine();
    callback.sign(&KeyPair::generate(KeySize::Rsa2048).unwrap());
    assert_eq!(refusal(&callback), Signature);
}

#[test]
fn a_serial_that_is_not_configured_is_refused() {
    for serial in ["PUB_KEY_ID_0", "pub_key_id_0100000000002026112100000000000001", "4A3C", "0"] {
        assert_eq!(refusal(&genuine().with("Wechatpay-Serial", serial)), KeyUnknown);
    }
}

#[test]
fn an_expired_certificate_is_as_good_as_none() {
    let (gateway, mut callback, _) = load(VECTORS[1]);
    assert!(callback.send(&gateway).is_ok());
    callback.now = Timestamp::parse_rfc3339("2036-11-18T19:54:54Z").unwrap();
    callback.set("Wechatpay-Timestamp", &callback.now.as_ms().div_euclid(1000).to_string());
    assert_eq!(callback.send(&gateway).err(), Some(Signature));
    callback.now = callback.now.plus_ms(1);
    assert_eq!(callback.send(&gateway).err(), Some(KeyUnknown));
}

#[test]
fn a_signature_of_another_type_is_refused() {
    for kind in [
        "WECHATPAY2-SM2-WITH-SM3",
        "WECHATPAY-BRAND-SHA256-RSA2048",
        "WECHATPAY2-SHA1-RSA2048",
        "wechatpay2-sha256-rsa2048",
        "none",
    ] {
        let refusal = refusal(&genuine().with("Wechatpay-Signature-Type", kind));
        assert!(matches!(refusal, Algorithm { .. }), "{kind}");
    }
}

#[test]
fn a_probe_is_told_apart_and_never_believed() {
    let genuine = genuine();
    let value = format!("WECHATPAY/SIGNTEST/{}", genuine.get("Wechatpay-Signature"));
    assert_eq!(refusal(&genuine.clone().with("Wechatpay-Signature", &value)), Probe);
    let stale = genuine.at(Timestamp::default()).with("Wechatpay-Signature", &value);
    assert_eq!(refusal(&stale), Probe);
}

#[test]
fn a_signature_that_is_not_base64_is_refused() {
    let genuine = genuine();
    let value = genuine.get("Wechatpay-Signature");
    let unpadded = value.trim_end_matches('=').to_owned();
    for text in [&unpadded, "====", "!", "YQ==", &value.replace('+', "-"), &format!("{value}AAAA")]
    {
        if *text != value {
            assert_eq!(refusal(&genuine.clone().with("Wechatpay-Signature", text)), Signature);
        }
    }
}

#[test]
fn a_signed_body_that_is_no_envelope_is_malformed() {
    let good = envelope(PAID, &seal(API_V3_KEY, transaction().to_string().as_bytes()));
    let mut bodies = vec!["", "null", "[]", "{}", "not json", "{\"id\":", "\u{feff}{}"]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    bodies.push("[".repeat(200_000));
    bodies.push(format!("{good}{good}"));
    for pointer in ["/id", "/event_type", "/resource", "/resource/nonce", "/resource/ciphertext"] {
        bodies.push(with(good.clone(), pointer, Value::Null).to_string());
        bodies.push(with(good.clone(), pointer, json!(7)).to_string());
    }
    for id in ["", " ", "a b", "a\n", "ü", &"x".repeat(65)] {
        bodies.push(with(good.clone(), "/id", json!(id)).to_string());
    }
    bodies.push(good.to_string().replacen('{', r#"{"id":"other","#, 1));
    for body in bodies {
        let refusal = signed(body.clone());
        assert!(matches!(refusal, Malformed { .. }), "{refusal:?} {body:.80}");
    }
    assert!(matches!(signed([0xff, 0xfe, 0x00]), Malformed { .. }));
    let long = with(good, "/id", json!("x".repeat(64))).to_string();
    assert!(Callback::signed(long).send(&gateway()).is_ok());
}

#[test]
fn a_body_of_one_mebibyte_is_read_and_one_byte_more_is_not() {
    let small = envelope(PAID, &seal(API_V3_KEY, transaction().to_string().as_bytes()));
    let mut body = small.to_string().into_bytes();
    body.resize(1 << 20, b' ');
    assert!(Callback::signed(body.clone()).send(&gateway()).is_ok());
    body.push(b' ');
    assert_eq!(signed(body), TooLarge { limit_bytes: 1 << 20 });
}

#[test]
fn a_resource_that_does_not_open_is_refused() {
    let sealed = seal(API_V3_KEY, transaction().to_string().as_bytes());
    let with_resource = |field: &str, value: &str| {
        let body = with(envelope(PAID, &sealed), &format!("/resource/{field}"), json!(value));
        signed(body.to_string())
    };
    let mut flipped = sealed.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(signed(envelope(PAID, &flipped).to_string()), Refusal::Decrypt);
    assert_eq!(with_resource("associated_data", "date"), Refusal::Decrypt);
    assert_eq!(with_resource("nonce", "Nn235e741234"), Refusal::Decrypt);
    for nonce in ["", "Nn235e74123", "Nn235e7412333", "Nn235e74123ü"] {
        assert!(matches!(with_resource("nonce", nonce), Malformed { .. }), "{nonce}");
    }
    for ciphertext in ["", "!", "YWJj", "YWJ"] {
        assert!(matches!(with_resource("ciphertext", ciphertext), Malformed { .. }));
    }
    for algorithm in ["AEAD_SM4_GCM", "aead_aes_256_gcm", ""] {
        assert!(matches!(with_resource("algorithm", algorithm), Algorithm { .. }));
    }
    let other_key = seal("another-key-of-exactly-32-bytes!", b"{}");
    assert_eq!(signed(envelope(PAID, &other_key).to_string()), Refusal::Decrypt);
}
