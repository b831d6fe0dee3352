//! Tests of the gateway: sample callbacks, and a signer of its own for every other case.

use std::sync::OnceLock;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::gateway::{Gateway as _, Refusal};
use crate::notification::{Notification, Verified};
use crate::request::Request;
use crate::secret::Secret;
use crate::time::Timestamp;

use super::{PublicKeySettings, Settings, WechatV3};

mod any;

mod certificates;

mod inquiry;

mod meaning;

mod refused;

mod settings;

mod vectors;

const API_V3_KEY: &str = "abcdefghijklmnopqrstuvwxyz012345";
const KEY_ID: &str = "PUB_KEY_ID_0100000000002026112100000000000001";
const NOW_S: i64 = 1_795_226_406;

/// Held by every type once, and by one with `Debug` twice: then `<Type as Silent<_>>` is
/// ambiguous and does not compile.
pub(super) trait Silent<Times> {
    fn holds() {}
}

impl<Type: ?Sized> Silent<()> for Type {}

impl<Type: ?Sized + std::fmt::Debug> Silent<u8> for Type {}

/// A key pair that lives as long as the test process.
fn signer() -> &'static KeyPair {
    static SIGNER: OnceLock<KeyPair> = OnceLock::new();
    SIGNER.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).unwrap())
}

/// The public half as PKCS#1 PEM.
fn public_pem(pair: &KeyPair) -> String {
    let der = STANDARD.encode(pair.public_key().as_ref());
    format!("-----BEGIN RSA PUBLIC KEY-----\n{der}\n-----END RSA PUBLIC KEY-----\n")
}

fn settings() -> Settings {
    Settings {
        merchant_id: "1900000001".to_owned(),
        application_ids: vec!["wxselfmade00000001".to_owned()],
        sub_merchant_ids: Vec::new(),
        api_v3_key: Secret::new(API_V3_KEY.to_owned()),
        previous_api_v3_key: None,
        platform_certificates: Vec::new(),
        public_keys: vec![PublicKeySettings { id: KEY_ID.to_owned(), key: public_pem(signer()) }],
        fetch_certificates: false,
        platform_root_certificates: Vec::new(),
        tolerance_s: 300,
        inquiry: None,
    }
}

fn gateway() -> WechatV3 {
    WechatV3::new(settings()).unwrap()
}

/// A callback on its way, to be changed before it is sent.
#[derive(Debug, Clone)]
struct Callback {
    method: String,
    headers: HeaderMap,
    body: Vec<u8>,
    now: Timestamp,
}

impl Callback {
    /// Signs a body with the test key.
    fn signed(body: impl Into<Vec<u8>>) -> Self {
        let mut callback = Self {
            method: "POST".to_owned(),
            headers: HeaderMap::new(),
            body: body.into(),
            now: Timestamp::from_seconds(NOW_S),
        };
        callback.set("Wechatpay-Timestamp", &NOW_S.to_string());
        callback.set("Wechatpay-Nonce", "917a2391cf100d98fdb70b945e9ce2f0");
        callback.set("Wechatpay-Serial", KEY_ID);
        callback.set("Wechatpay-Signature-Type", "WECHATPAY2-SHA256-RSA2048");
        callback.sign(signer());
        callback
    }

    /// Signs what stands there now.
    fn sign(&mut self, pair: &KeyPair) {
        let mut message = Vec::new();
        for part in [self.get("Wechatpay-Timestamp"), self.get("Wechatpay-Nonce")] {
            message.extend_from_slice(part.as_bytes());
            message.push(b'\n');
        }
        message.extend_from_slice(&self.body);
        message.push(b'\n');
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature).unwrap();
        self.set("Wechatpay-Signature", &STANDARD.encode(signature));
    }

    fn get(&self, name: &str) -> String {
        self.headers.get(name).unwrap().to_str().unwrap().to_owned()
    }

    fn set(&mut self, name: &str, value: &str) {
        let name: HeaderName = name.parse().unwrap();
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name).unwrap();
        self
    }

    fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    fn send(&self, gateway: &WechatV3) -> Result<Verified, Refusal> {
        let request = Request {
            method: &self.method,
            path: "/callback/wechat",
            query: "",
            headers: &self.headers,
            body: &self.body,
        };
        gateway.verify(&request, self.now)
    }
}

/// Encrypts a plaintext as the gateway does; gives the ciphertext.
fn seal(key: &str, plaintext: &[u8]) -> Vec<u8> {
    let cipher = Aes256Gcm::new_from_slice(key.as_bytes()).unwrap();
    let payload = Payload { msg: plaintext, aad: b"data" };
    cipher.encrypt(&Nonce::from(*b"Nn235e741233"), payload).unwrap()
}

fn envelope(pair: (&str, &str), ciphertext: &[u8]) -> Value {
    json!({
        "id": "b1f3a3a0-5e0f-5d8e-9b1e-0f5a6d1c2b3a",
        "create_time": "2026-11-21T10:00:06+08:00",
        "resource_type": "encrypt-resource",
        "event_type": pair.0,
        "summary": "支付成功",
        "resource": {
            "original_type": pair.1,
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": STANDARD.encode(ciphertext),
            "associated_data": "data",
            "nonce": "Nn235e741233",
        },
    })
}

/// A correctly signed callback with this plaintext.
fn callback(pair: (&str, &str), plaintext: &[u8]) -> Callback {
    Callback::signed(envelope(pair, &seal(API_V3_KEY, plaintext)).to_string())
}

const PAID: (&str, &str) = ("TRANSACTION.SUCCESS", "transaction");
const REFUNDED: (&str, &str) = ("REFUND.SUCCESS", "refund");

fn transaction() -> Value {
    json!({
        "mchid": "1900000001",
        "appid": "wxselfmade00000001",
        "out_trade_no": "CG20261121000001",
        "transaction_id": "4200001234202611210000000001",
        "trade_state": "SUCCESS",
        "success_time": "2026-11-21T10:00:05+08:00",
        "payer": { "openid": "oSelfMade0000000000000000001" },
        "amount": { "total": 1999, "payer_total": 1899, "currency": "CNY" },
        "attach": "a/b & ü",
    })
}

fn refund() -> Value {
    json!({
        "mchid": "1900000001",
        "out_trade_no": "CG20261121000001",
        "transaction_id": "4200001234202611210000000001",
        "out_refund_no": "CGR20261121000001",
        "refund_id": "50300001232026112100000000001",
        "refund_status": "SUCCESS",
        "success_time": "2026-11-21T11:00:00+08:00",
        "amount": { "total": 1999, "refund": 999, "payer_total": 1999, "payer_refund": 999 },
    })
}

/// A document with one field replaced; `Value::Null` takes it away.
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let fields = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        fields.remove(name).unwrap();
    } else {
        fields.insert(name.to_owned(), value);
    }
    document
}

fn verify(gateway: &WechatV3, pair: (&str, &str), plaintext: &Value) -> Result<Verified, Refusal> {
    callback(pair, plaintext.to_string().as_bytes()).send(gateway)
}

/// The one notification of a correctly signed callback.
fn notification(gateway: &WechatV3, pair: (&str, &str), plaintext: &Value) -> Notification {
    let verified = verify(gateway, pair, plaintext).unwrap();
    let [notification] = verified.notifications() else { panic!("not one part") };
    notification.clone()
}
