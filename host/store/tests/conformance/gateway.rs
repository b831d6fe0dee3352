//! A gateway that signs: real callbacks, verified by the core, are the only way to notifications.

use std::sync::{Arc, OnceLock};

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_core::gateway::{Gateway, Settings, open};
use callgate_core::notification::Verified;
use callgate_core::request::Request;
use callgate_core::time::Timestamp;
use callgate_store::Callback;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

/// The business that all stories play in.
pub(crate) const BUSINESS: &str = "PRODUCT_ORDER";

/// The channel that callbacks come through, unless a story says otherwise.
pub(crate) const CHANNEL: &str = "wechat-main";

/// What every order costs, in fen.
pub(crate) const AMOUNT: i64 = 8_800;

/// A payment of an order: `transaction` decides the meaning key, `delivery` the delivery key.
pub(crate) fn payment(delivery: &str, order: &str, transaction: &str) -> Callback {
    let part = json!({
        "mchid": "1900000001",
        "appid": "wxselfmade00000001",
        "out_trade_no": order,
        "transaction_id": transaction,
        "trade_state": "SUCCESS",
        "success_time": "2026-11-21T10:00:05+08:00",
        "payer": { "openid": "payer-1" },
        "amount": { "total": AMOUNT, "currency": "CNY" },
    });
    callback(delivery, &part)
}

/// One message that pays several orders.
pub(crate) fn combined(delivery: &str, orders: &[&str]) -> Callback {
    let sub_orders: Vec<Value> = orders
        .iter()
        .map(|order| {
            json!({
                "mchid": "1900000001",
                "out_trade_no": order,
                "transaction_id": format!("t-{order}"),
                "trade_state": "SUCCESS",
                "amount": { "total_amount": AMOUNT, "currency": "CNY" },
            })
        })
        .collect();
    let whole = json!({
        "combine_mchid": "1900000001",
        "combine_appid": "wxselfmade00000001",
        "combine_out_trade_no": "combined",
        "sub_orders": sub_orders,
    });
    callback(delivery, &whole)
}

fn callback(delivery: &str, resource: &Value) -> Callback {
    let nonce = "fdasflkja484";
    let sealed = Aes256Gcm::new_from_slice(API_V3_KEY.as_bytes())
        .unwrap()
        .encrypt(
            &Nonce::try_from(nonce.as_bytes()).unwrap(),
            Payload { msg: resource.to_string().as_bytes(), aad: b"transaction" },
        )
        .unwrap();
    let raw = json!({
        "id": delivery,
        "event_type": "TRANSACTION.SUCCESS",
        "create_time": "2026-11-21T10:00:05+08:00",
        "resource_type": "encrypt-resource",
        "resource": {
            "original_type": "transaction",
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": STANDARD.encode(sealed),
            "associated_data": "transaction",
            "nonce": nonce,
        },
    })
    .to_string()
    .into_bytes();
    Callback {
        channel: CHANNEL.to_owned(),
        business: BUSINESS.to_owned(),
        scene: "WE_CHAT_PAY".to_owned(),
        verified: verify(&raw),
        headers: r#"{"request-id":"1"}"#.to_owned(),
        raw,
    }
}

fn verify(raw: &[u8]) -> Verified {
    let signed = [NOW_S.to_string().as_bytes(), b"\nnonce\n", raw, b"\n"].concat();
    let mut signature = vec![0; signer().public_modulus_len()];
    signer().sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &signed, &mut signature).unwrap();
    let values = [
        ("wechatpay-timestamp", NOW_S.to_string()),
        ("wechatpay-nonce", "nonce".to_owned()),
        ("wechatpay-serial", KEY_ID.to_owned()),
        ("wechatpay-signature", STANDARD.encode(signature)),
    ];
    let headers: HeaderMap = values
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    let request =
        Request { method: "POST", path: "/callback/x", query: "", headers: &headers, body: raw };
    gateway().verify(&request, Timestamp::from_seconds(NOW_S)).unwrap()
}

fn signer() -> &'static KeyPair {
    static SIGNER: OnceLock<KeyPair> = OnceLock::new();
    SIGNER.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).unwrap())
}

fn gateway() -> &'static Arc<dyn Gateway> {
    static GATEWAY: OnceLock<Arc<dyn Gateway>> = OnceLock::new();
    GATEWAY.get_or_init(|| {
        let key = STANDARD.encode(signer().public_key().as_ref());
        let key = format!("-----BEGIN RSA PUBLIC KEY-----\n{key}\n-----END RSA PUBLIC KEY-----\n");
        let settings: Settings = serde_json::from_value(json!({
            "gateway": "wechat-v3",
            "merchant_id": "1900000001",
            "application_ids": ["wxselfmade00000001"],
            "api_v3_key": API_V3_KEY,
            "public_keys": [{ "id": KEY_ID, "key": key }],
        }))
        .unwrap();
        open(settings).unwrap()
    })
}

const API_V3_KEY: &str = "abcdefghijklmnopqrstuvwxyz012345";
const KEY_ID: &str = "PUB_KEY_ID_0100000000002026112100000000000001";
const NOW_S: i64 = 1_795_226_406;
