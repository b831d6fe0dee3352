//! The floor's door: a WeChat Pay v3 payment and nothing else.

use std::fs;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use hyper::body::Bytes;
use serde::Deserialize;

/// The keys, parsed once.
pub(crate) struct Door {
    key: ParsedPublicKey,
    serial: String,
    sealing: LessSafeKey,
}

/// A payment that holds.
pub(crate) struct Paid {
    pub(crate) delivery_key: String,
    pub(crate) order_no: String,
    pub(crate) transaction_id: String,
    pub(crate) amount_minor: i64,
    pub(crate) raw: Bytes,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    id: &'a str,
    resource: Resource<'a>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    ciphertext: &'a str,
    nonce: &'a str,
    associated_data: &'a str,
}

#[derive(Deserialize)]
struct Transaction<'a> {
    out_trade_no: &'a str,
    transaction_id: &'a str,
    trade_state: &'a str,
    amount: Amount,
}

#[derive(Deserialize)]
struct Amount {
    total: i64,
}

impl Door {
    /// Reads the folder that `callgate trigger keys` made.
    pub(crate) fn open(keys: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(keys.join(name)).unwrap();
        let pem = read("wechat-v3-public.pub.pem");
        let solid: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(solid).unwrap();
        let accounts: serde_json::Value = serde_json::from_str(&read("accounts.json")).unwrap();
        let sealing = read("wechat-v3-api.key");
        let sealing = UnboundKey::new(&AES_256_GCM, sealing.trim_end().as_bytes()).unwrap();
        Self {
            key: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).unwrap(),
            serial: accounts["wechat_public_key_id"].as_str().unwrap().to_owned(),
            sealing: LessSafeKey::new(sealing),
        }
    }

    /// One signature over parts, as both doors check it.
    pub(crate) fn signed(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(part);
        }
        self.key.verify_digest_sig(&context.finish(), signature).is_ok()
    }

    pub(crate) fn verify(&self, headers: &HeaderMap, raw: Bytes, now_s: i64) -> Option<Paid> {
        let header = |name| headers.get(name)?.to_str().ok();
        let timestamp = header("wechatpay-timestamp")?;
        let nonce = header("wechatpay-nonce")?;
        let fresh = timestamp.parse::<i64>().ok()?.abs_diff(now_s) <= 300;
        if !fresh || header("wechatpay-serial")? != self.serial {
            return None;
        }
        let signature = STANDARD.decode(header("wechatpay-signature")?).ok()?;
        let parts = [timestamp.as_bytes(), b"\n", nonce.as_bytes(), b"\n", &raw, b"\n"];
        if !self.signed(&parts, &signature) {
            return None;
        }
        let envelope: Envelope<'_> = serde_json::from_slice(&raw).ok()?;
        let mut sealed = STANDARD.decode(envelope.resource.ciphertext).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(envelope.resource.nonce.as_bytes()).ok()?;
        let aad = Aad::from(envelope.resource.associated_data.as_bytes());
        let plain = self.sealing.open_in_place(nonce, aad, &mut sealed).ok()?;
        let told: Transaction<'_> = serde_json::from_slice(plain).ok()?;
        (told.trade_state == "SUCCESS").then(|| Paid {
            delivery_key: envelope.id.to_owned(),
            order_no: told.out_trade_no.to_owned(),
            transaction_id: told.transaction_id.to_owned(),
            amount_minor: told.amount.total,
            raw: raw.clone(),
        })
    }
}
