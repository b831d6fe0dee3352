//! Keys that sign, and the platform certificates with their rotation.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_core::time::Timestamp;
use callgate_trigger::keys::{Accounts, Keys};
use serde_json::{Value, json};

use crate::house::keys;

/// A private key and the name that it goes by.
pub(crate) struct Signer {
    pub(crate) serial: String,
    key: KeyPair,
}

impl Signer {
    /// The key in a file of a key folder.
    pub(crate) fn of(keys: &Keys, file: &str, serial: &str) -> Self {
        let lines = content(keys, file);
        let base64: String = lines.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(base64).expect("PEM");
        let key = KeyPair::from_pkcs8(&der).expect("an RSA key");
        Self { serial: serial.to_owned(), key }
    }

    /// RSA with SHA-256, in base64.
    pub(super) fn sign(&self, text: &[u8]) -> String {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)
            .expect("a signature");
        STANDARD.encode(signature)
    }

    /// Whether this key signed a text.
    pub(super) fn signed(&self, text: &[u8], signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        let public = self.key.public_key().as_ref();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(text, &signature).is_ok()
    }
}

fn content(keys: &Keys, name: &str) -> String {
    let files = keys.files().expect("key files");
    files.into_iter().find(|file| file.name == name).expect("a file of this name").content
}

/// The platform certificates, the newest last.
pub(super) struct Certificates {
    issued: Vec<Issued>,
}

struct Issued {
    keys: Arc<Keys>,
    signer: Signer,
    pem: String,
    from: Timestamp,
}

impl Certificates {
    /// The one that every house knows.
    pub(super) fn first() -> Self {
        let keys = again(|name| content(keys().0, name));
        Self { issued: vec![Issued::new(keys, crate::house::now())] }
    }

    /// The keys with the newest certificate; all else is as every house knows it.
    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.newest().keys)
    }

    /// The newest, as PEM.
    pub(super) fn pem(&self) -> String {
        self.newest().pem.clone()
    }

    /// The newest signs.
    pub(super) fn signer(&self) -> &Signer {
        &self.newest().signer
    }

    pub(super) fn rotate(&mut self, now: Timestamp) -> String {
        let other = Keys::generate(now).expect("keys");
        let serial = other.accounts.wechat_certificate_serial.clone();
        let mixed = again(|name| match name {
            CERTIFICATE | CERTIFICATE_KEY => content(&other, name),
            "accounts.json" => {
                let mut accounts: Accounts = keys().0.accounts.clone();
                accounts.wechat_certificate_serial.clone_from(&serial);
                serde_json::to_string(&accounts).expect("JSON")
            }
            _ => content(keys().0, name),
        });
        self.issued.push(Issued::new(mixed, now));
        serial
    }

    /// The answer to `GET /v3/certificates`.
    pub(super) fn listed(&self) -> Value {
        let api_key = content(keys().0, "wechat-v3-api.key");
        let list: Vec<Value> = self.issued.iter().map(|one| one.listed(&api_key)).collect();
        json!({ "data": list })
    }

    fn newest(&self) -> &Issued {
        self.issued.last().expect("there is one from the start")
    }
}

impl Issued {
    fn new(keys: Keys, from: Timestamp) -> Self {
        let serial = keys.accounts.wechat_certificate_serial.clone();
        Self {
            signer: Signer::of(&keys, CERTIFICATE_KEY, &serial),
            pem: content(&keys, CERTIFICATE),
            keys: Arc::new(keys),
            from,
        }
    }

    fn listed(&self, api_key: &str) -> Value {
        let nonce = "0123456789ab";
        let key = UnboundKey::new(&AES_256_GCM, api_key.as_bytes()).expect("a key");
        let mut sealed = self.pem.clone().into_bytes();
        let nonce_bytes = Nonce::try_assume_unique_for_key(nonce.as_bytes()).expect("a nonce");
        LessSafeKey::new(key)
            .seal_in_place_append_tag(nonce_bytes, Aad::from(b"certificate"), &mut sealed)
            .expect("sealed");
        json!({
            "serial_no": self.signer.serial,
            "effective_time": self.from.plus_ms(-DAY_MS).format_beijing_rfc3339(),
            "expire_time": self.from.plus_ms(YEARS * DAY_MS).format_beijing_rfc3339(),
            "encrypt_certificate": {
                "algorithm": "AEAD_AES_256_GCM",
                "nonce": nonce,
                "associated_data": "certificate",
                "ciphertext": STANDARD.encode(sealed),
            },
        })
    }
}

/// Keys read back from files.
fn again(text: impl Fn(&str) -> String) -> Keys {
    Keys::from_files(|name| Some(text(name))).expect("the files of keys")
}

const CERTIFICATE: &str = "wechat-v3-platform.crt.pem";
const CERTIFICATE_KEY: &str = "wechat-v3-platform.key.pem";

const DAY_MS: i64 = 86_400_000;

/// Days that a certificate is valid.
const YEARS: i64 = 1_824;
