//! WeChat Pay v2 against committed callbacks and against messages signed here.

mod vectors;

mod refused;

mod inquiry;

mod meaning;

mod settings;

mod any;

use std::collections::BTreeMap;

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::money::{Currency, Money};
use crate::notification::Notification;

const KEY: &str = "15d12cdf3fa9c800ea1a4699d911d100";
const PAYMENT: &str = include_str!("../vectors/wechat-v2/payment-md5.json");
const REFUND: &str = include_str!("../vectors/wechat-v2/refund.json");

fn gateway(extra: &Value) -> WechatV2 {
    let mut settings = json!({
        "merchant_id": "1900000001", "application_ids": ["wxselfmade00000001"], "api_key": KEY,
    });
    for (name, value) in extra.as_object().unwrap() {
        settings[name] = value.clone();
    }
    WechatV2::new(serde_json::from_value(settings).unwrap()).unwrap()
}

fn hmac_gateway() -> WechatV2 {
    gateway(&json!({"sign_type": "hmac-sha256"}))
}

fn strict_gateway() -> WechatV2 {
    gateway(&json!({"sign_type": "hmac-sha256", "allow_md5_without_sign_type": false}))
}

fn verify_with(gateway: &WechatV2, body: &[u8]) -> Result<Verified, Refusal> {
    let headers = HeaderMap::new();
    let request =
        Request { method: "POST", path: "/callback/w", query: "", headers: &headers, body };
    gateway.verify(&request, Timestamp::from_ms(0))
}

fn verify(body: &str) -> Result<Verified, Refusal> {
    verify_with(&gateway(&json!({})), body.as_bytes())
}

fn only(verified: Result<Verified, Refusal>) -> Notification {
    verified.unwrap().notifications()[0].clone()
}

fn vector(text: &str) -> (Value, String) {
    let vector: Value = serde_json::from_str(text).unwrap();
    let body = vector["body"].as_str().unwrap().to_owned();
    (vector, body)
}

fn fields() -> BTreeMap<String, String> {
    let (vector, _) = vector(PAYMENT);
    let fields = vector["expected"]["fields"].as_object().unwrap().iter();
    fields.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn with(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut fields = fields();
    for (name, value) in changes {
        fields.insert((*name).to_owned(), (*value).to_owned());
    }
    fields
}

fn without(name: &str) -> BTreeMap<String, String> {
    let mut fields = fields();
    fields.remove(name);
    fields
}

/// The rule of the documentation, written a second time.
fn sign(fields: &BTreeMap<String, String>, sign_type: SignType) -> String {
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        text += &format!("{name}={value}&");
    }
    text += &format!("key={KEY}");
    let bytes = match sign_type {
        SignType::Md5 => Md5::digest(&text).to_vec(),
        SignType::HmacSha256 => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
            hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        }
    };
    hex::encode(&bytes).to_uppercase()
}

fn xml(root: &str, fields: &BTreeMap<String, String>) -> String {
    let children: String = fields
        .iter()
        .map(|(name, value)| {
            let value = value.replace('&', "&amp;").replace('<', "&lt;");
            format!("<{name}>{value}</{name}>")
        })
        .collect();
    format!("<{root}>{children}</{root}>")
}

fn signed(fields: &BTreeMap<String, String>, sign_type: SignType) -> String {
    let mut fields = fields.clone();
    fields.insert("sign".to_owned(), sign(&fields, sign_type));
    xml("xml", &fields)
}

fn encrypted(plaintext: &[u8], key: &str) -> String {
    let key = hex::encode(&Md5::digest(key));
    let cipher = Aes256::new_from_slice(key.as_bytes()).unwrap();
    let missing = 16_usize.saturating_sub(plaintext.len() % 16);
    let mut padded = plaintext.to_vec();
    padded.resize(plaintext.len().saturating_add(missing), u8::try_from(missing).unwrap());
    for block in padded.as_chunks_mut::<16>().0 {
        let mut turned = (*block).into();
        cipher.encrypt_block(&mut turned);
        *block = turned.into();
    }
    STANDARD.encode(padded)
}

fn refund_body(req_info: &str) -> String {
    format!(
        "<xml><return_code>SUCCESS</return_code><appid>wxselfmade00000001</appid>\
         <mch_id>1900000001</mch_id><req_info>{req_info}</req_info></xml>"
    )
}

fn refund_fields() -> BTreeMap<String, String> {
    [
        ("out_trade_no", "CG2"),
        ("out_refund_no", "CGR2"),
        ("transaction_id", "42"),
        ("refund_id", "503"),
        ("refund_status", "SUCCESS"),
        ("refund_fee", "999"),
        ("total_fee", "1999"),
        ("success_time", "2026-11-21 11:00:00"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn refund_of(fields: &BTreeMap<String, String>) -> Result<Verified, Refusal> {
    verify(&refund_body(&encrypted(xml("root", fields).as_bytes(), KEY)))
}

fn cny(minor: i64) -> Option<Money> {
    Some(Money { minor, currency: Currency::CNY })
}
