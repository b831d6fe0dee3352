//! Alipay against committed callbacks and against messages signed here.

mod vectors;

mod refused;

mod inquiry;

mod meaning;

mod settings;

mod any;

mod certificates;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use rsa::pkcs8::DecodePrivateKey as _;
use serde_json::{Value, json};

use super::*;
use crate::notification::Notification;

static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

/// The console's form: base64 without armour.
fn public_key() -> String {
    STANDARD.encode(KEY.public_key().as_der().unwrap().as_ref())
}

fn gateway_with(extra: &Value) -> Alipay {
    let mut settings = json!({
        "application_ids": ["2021000000000001"],
        "seller_ids": ["2088000000000002"],
        "public_key": public_key(),
    });
    for (name, value) in extra.as_object().unwrap() {
        settings[name] = value.clone();
    }
    Alipay::new(serde_json::from_value(settings).unwrap()).unwrap()
}

fn gateway() -> Alipay {
    gateway_with(&json!({}))
}

fn verify_with(gateway: &Alipay, body: &[u8]) -> Result<Verified, Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    let request =
        Request { method: "POST", path: "/callback/a", query: "", headers: &headers, body };
    gateway.verify(&request, Timestamp::from_ms(0))
}

fn verify(body: &str) -> Result<Verified, Refusal> {
    verify_with(&gateway(), body.as_bytes())
}

fn only(verified: Result<Verified, Refusal>) -> Notification {
    verified.unwrap().notifications()[0].clone()
}

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A payment in full; what a test changes stands behind it.
fn paid(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut payment = fields(&[
        ("app_id", "2021000000000001"),
        ("buyer_id", "2088000000000001"),
        ("charset", "utf-8"),
        ("gmt_create", "2026-11-21 10:00:00"),
        ("gmt_payment", "2026-11-21 10:00:05"),
        ("notify_id", "n1"),
        ("notify_time", "2026-11-21 10:00:06"),
        ("notify_type", "trade_status_sync"),
        ("out_trade_no", "CG3"),
        ("seller_id", "2088000000000002"),
        ("subject", "A+B 100% 正品"),
        ("total_amount", "19.99"),
        ("trade_no", "T3"),
        ("trade_status", "TRADE_SUCCESS"),
    ]);
    payment.extend(fields(changes));
    payment
}

fn without(name: &str) -> BTreeMap<String, String> {
    let mut payment = paid(&[]);
    payment.remove(name);
    payment
}

/// The rule of the documentation, written a second time.
fn joined(fields: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in fields {
        text.extend([b"&".as_slice(), name, b"=", value].concat());
    }
    text.drain(..1);
    text
}

fn bytes(fields: &BTreeMap<String, String>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let pair =
        |(name, value): (&String, &String)| (name.clone().into_bytes(), value.clone().into_bytes());
    fields.iter().map(pair).collect()
}

fn rsa2(text: &[u8]) -> String {
    let mut signature = vec![0; KEY.public_modulus_len()];
    KEY.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).unwrap();
    STANDARD.encode(signature)
}

/// `aws-lc-rs` verifies SHA-1 but does not sign with it.
fn rsa1(text: &[u8]) -> String {
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&*KEY).unwrap();
    let key = rsa::RsaPrivateKey::from_pkcs8_der(der.as_ref()).unwrap();
    let prefix = b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14";
    let scheme = rsa::Pkcs1v15Sign { hash_len: Some(20), prefix: Box::from(prefix.as_slice()) };
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text);
    STANDARD.encode(key.sign(scheme, hash.as_ref()).unwrap())
}

fn encode(fields: &[(Vec<u8>, Vec<u8>)]) -> String {
    let escape = |bytes: &[u8]| bytes.iter().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pair = |(name, value): &(Vec<u8>, Vec<u8>)| format!("{}={}", escape(name), escape(value));
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// A body of these fields, `sign_type` and a signature over the fields alone.
fn signed_bytes(fields: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
    let sign = rsa2(&joined(fields));
    let mut sent: Vec<_> = fields.clone().into_iter().collect();
    sent.push((b"sign_type".to_vec(), b"RSA2".to_vec()));
    sent.push((b"sign".to_vec(), sign.into_bytes()));
    encode(&sent)
}

fn signed(fields: &BTreeMap<String, String>) -> String {
    signed_bytes(&bytes(fields))
}

/// A body of these fields and whatever `sign` and `sign_type` are given, none of it checked.
fn sent(fields: &BTreeMap<String, String>, extra: &[(&str, &str)]) -> String {
    let extra =
        extra.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    encode(&bytes(fields).into_iter().chain(extra).collect::<Vec<_>>())
}
