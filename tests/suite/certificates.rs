//! Platform certificates that a gateway hands out: a stand-in that signs and seals them, and hosts
//! that ask it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_trigger::keys::Keys;
use callgate_trigger::message::Message;
use serde_json::{Value, json};

use crate::house::{House, OPERATOR, keys, now};
use crate::reload::{callback, configuration, count_when, house, logged, shown, wechat};
use crate::standin::signer::Signer;
use crate::standin::wechat_v3::authorized;

/// What the stand-in does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answers,
    SignsWrongly,
    Refuses,
}

struct Inner {
    mood: Mood,
    /// Serials and texts, in the order of the answer.
    handed: Vec<(String, String)>,
    signer: Arc<Keys>,
    /// Who may ask: the key, and the number that it goes by.
    merchant: (Signer, String),
    asked: u64,
}

/// WeChat Pay's side of `GET /v3/certificates`.
struct Platform {
    url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Platform {
    /// Hands out the certificate of some keys, and signs with them.
    async fn start(signer: &Arc<Keys>) -> Self {
        let inner = Inner {
            mood: Mood::Answers,
            handed: vec![certificate(signer)],
            signer: Arc::clone(signer),
            merchant: (
                Signer::of(signer, "stranger.key.pem", MERCHANT_SERIAL),
                signer.accounts.wechat_merchant_id.clone(),
            ),
            asked: 0,
        };
        let inner = Arc::new(Mutex::new(inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = axum::Router::new()
            .route("/v3/certificates", get(answer))
            .with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, inner }
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.lock().expect("the stand-in"));
    }

    fn asked(&self) -> u64 {
        self.inner.lock().expect("the stand-in").asked
    }

    /// The channel that asks it.
    fn channel(&self, keys: &Keys, more: &str) -> String {
        let url = &self.url;
        wechat(
            keys,
            &format!(
                "api_v3_key_file = \"keys/old-wechat-v3-api.key\"\nfetch_certificates = true\n\
                 {more}\n[channels.wechat-v3-main.ask]\nallow_private = true\n\
                 [channels.wechat-v3-main.inquiry]\nbase_url = \"{url}\"\n\
                 merchant_serial = \"{MERCHANT_SERIAL}\"\n\
                 merchant_private_key_file = \"keys/old-stranger.key.pem\"\n"
            ),
        )
    }
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, headers: HeaderMap) -> Response {
    let mut inner = inner.lock().expect("the stand-in");
    inner.asked = inner.asked.saturating_add(1);
    let said = headers.get("authorization").and_then(|value| value.to_str().ok());
    let (merchant, merchant_id) = &inner.merchant;
    let request = ("GET", "/v3/certificates", "");
    let signed = authorized(said.unwrap_or_default(), request, (merchant, merchant_id), now());
    if signed.is_none() || inner.mood == Mood::Refuses {
        let body = json!({ "code": "SIGN_ERROR", "message": "no" });
        return (http::StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
    }
    let api_key = file(&inner.signer, "wechat-v3-api.key");
    let api_key = &api_key;
    let data: Vec<Value> = inner
        .handed
        .iter()
        .map(|(serial, text)| {
            json!({
                "serial_no": serial,
                "effective_time": "2026-06-08T10:34:56+08:00",
                "expire_time": "2031-06-08T10:34:56+08:00",
                "encrypt_certificate": {
                    "algorithm": "AEAD_AES_256_GCM",
                    "nonce": "0123456789ab",
                    "associated_data": "certificate",
                    "ciphertext": seal(api_key, text),
                },
            })
        })
        .collect();
    let body = json!({ "data": data }).to_string();
    let timestamp = (now().as_ms() / 1000).to_string();
    let text = format!("{timestamp}\nnonce-of-the-answer\n{body}\n");
    let text = if inner.mood == Mood::SignsWrongly { format!("{text} ") } else { text };
    let headers = [
        ("Wechatpay-Timestamp", timestamp),
        ("Wechatpay-Nonce", "nonce-of-the-answer".to_owned()),
        ("Wechatpay-Serial", certificate(&inner.signer).0),
        ("Wechatpay-Signature", sign(&inner.signer, &text)),
    ];
    (headers, body).into_response()
}

/// The serial of the merchant's own certificate.
const MERCHANT_SERIAL: &str = "1DDE55AD98ED71D6";

/// A file of a set of keys.
fn file(keys: &Keys, name: &str) -> String {
    let files = keys.files().expect("key files");
    files.into_iter().find(|file| file.name == name).expect("a file").content.trim().to_owned()
}

/// Serial and text of the platform certificate.
fn certificate(keys: &Keys) -> (String, String) {
    (keys.accounts.wechat_certificate_serial.clone(), file(keys, "wechat-v3-platform.crt.pem"))
}

fn sign(keys: &Keys, text: &str) -> String {
    let pem = file(keys, "wechat-v3-platform.key.pem");
    let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(lines).expect("base64");
    let key = RsaKeyPair::from_pkcs8(&der).expect("a key");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .expect("a signature");
    STANDARD.encode(signature)
}

fn seal(key: &str, text: &str) -> String {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_bytes()).expect("a key"));
    let nonce = Nonce::assume_unique_for_key(*b"0123456789ab");
    let mut sealed = text.as_bytes().to_vec();
    key.seal_in_place_append_tag(nonce, Aad::from(b"certificate"), &mut sealed).expect("sealed");
    STANDARD.encode(sealed)
}

/// The keys of `files`, but for the APIv3 key, which is that of `of`: the same merchant after the
/// gateway has changed its certificate.
fn same_merchant(of: &Keys, other: &Keys) -> Arc<Keys> {
    let mut files: BTreeMap<String, String> = other
        .files()
        .expect("key files")
        .into_iter()
        .map(|file| (file.name.to_owned(), file.content))
        .collect();
    files.insert("wechat-v3-api.key".to_owned(), file(of, "wechat-v3-api.key"));
    Arc::new(Keys::from_files(|name| files.get(name).cloned()).expect("keys"))
}

fn generated() -> Arc<Keys> {
    Arc::new(Keys::generate(now()).expect("keys"))
}

fn settings(again_ms: u32) -> String {
    format!(
        "[reload]\nwatch_ms = 0\n[keys]\nlook_ms = 100\n\
         fetch_again_ms = {again_ms}\n"
    )
}

const ANSWERED: &str =
    "callgate_certificates_asked_total{channel=\"wechat-v3-main\",outcome=\"answered\"}";

/// Posts a callback again, as a gateway does, until it is taken.
async fn taken_at_last(house: &House, message: impl Fn() -> Message) {
    for _ in 0..1500 {
        if house.send(&message()).await.0 == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("never taken:\n{}", house.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_begins_without_a_certificate_and_keeps_what_it_was_handed() {
    let old = generated();
    let platform = Platform::start(&old).await;
    let text = configuration(OPERATOR, &platform.channel(&old, ""), &settings(600_000));
    let house = house(&old, &text, &[]);
    taken_at_last(&house, || callback(&old)).await;
    assert_eq!(platform.asked(), 1);
    let shown = shown(&house, "keys").await;
    let rows = shown["keys"].as_array().expect("a list").clone();
    let row = rows.iter().find(|row| row["source"] == "fetched").expect("a fetched one");
    assert_eq!(row["id"], json!(old.accounts.wechat_certificate_serial));
    assert_eq!((&row["kind"], &row["state"]), (&json!("certificate"), &json!("good")));
    let line = format!(
        "callgate_key_expires_seconds{{channel=\"wechat-v3-main\",key=\"{}\"}}",
        old.accounts.wechat_certificate_serial
    );
    let end = row["valid_to_ms"].as_u64().expect("an end") / 1000;
    count_when(&house, &line, end).await;
    assert_eq!(house.metric(&line).await, end, "seconds since 1970");

    // The next start needs nobody: the certificate lies in the store.
    platform.change(|inner| inner.mood = Mood::Refuses);
    let house = house.kill_and_restart();
    assert_eq!(house.send(&callback(&old)).await.0, 200, "{}", house.log());
    assert_eq!(platform.asked(), 1);
    assert!(house.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_fetched_when_a_callback_names_it() {
    let old = generated();
    let new = same_merchant(&old, &generated());
    let platform = Platform::start(&old).await;
    let text = configuration(OPERATOR, &platform.channel(&old, ""), &settings(1000));
    let house = house(&old, &text, &[]);
    taken_at_last(&house, || callback(&old)).await;
    platform.change(|inner| {
        inner.handed.push(certificate(&new));
        inner.signer = Arc::clone(&new);
    });
    assert_eq!(house.send(&callback(&new)).await.0, 401, "refused without waiting");
    taken_at_last(&house, || callback(&new)).await;
    assert_eq!(house.send(&callback(&old)).await.0, 200, "both for a while");
    // What is handed out no longer stays to its end.
    platform.change(|inner| drop(inner.handed.remove(0)));
    assert_eq!(house.send(&callback(&old)).await.0, 200);
    assert!(house.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forged_serials_asks_no_more_often_than_is_named() {
    let old = generated();
    let stranger = same_merchant(&old, &generated());
    let platform = Platform::start(&old).await;
    let text = configuration(OPERATOR, &platform.channel(&old, ""), &settings(600_000));
    let house = house(&old, &text, &[]);
    taken_at_last(&house, || callback(&old)).await;
    for _ in 0..300 {
        assert_eq!(house.send(&callback(&stranger)).await.0, 401);
    }
    assert_eq!(platform.asked(), 1);
    assert_eq!(house.send(&callback(&old)).await.0, 200);
    assert!(house.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_out_wrongly_is_counted_and_nothing_is_lost_for_it() {
    let (old, _) = keys();
    let old = Arc::new(
        Keys::from_files(|name| {
            old.files()
                .expect("files")
                .into_iter()
                .find(|file| file.name == name)
                .map(|it| it.content)
        })
        .expect("keys"),
    );
    let new = same_merchant(&old, &generated());
    let platform = Platform::start(&old).await;
    let known = "platform_certificate_files = [\"keys/old-wechat-v3-platform.crt.pem\"]";
    let text = configuration(OPERATOR, &platform.channel(&old, known), &settings(1000));
    platform.change(|inner| {
        let (_, text) = certificate(&new);
        inner.handed = vec![
            ("0BAD".to_owned(), text.clone()),
            ("0C".to_owned(), text[..text.len() / 2].to_owned()),
        ];
    });
    let house = house(&old, &text, &[]);
    for code in ["certificates.serial", "certificates.not-a-certificate"] {
        let line = format!(
            "callgate_certificates_refused_total{{channel=\"wechat-v3-main\",code=\"{code}\"}}"
        );
        count_when(&house, &line, 1).await;
        logged(&house, code).await;
    }
    assert_eq!(house.send(&callback(&old)).await.0, 200, "what works goes on");
    assert_eq!(house.send(&callback(&new)).await.0, 401, "what failed a check is not used");
    for (mood, code) in
        [(Mood::SignsWrongly, "certificates.signature"), (Mood::Refuses, "certificates.denied")]
    {
        platform.change(|inner| {
            inner.mood = mood;
            inner.handed = vec![certificate(&new)];
        });
        let line = format!(
            "callgate_certificates_asked_total{{channel=\"wechat-v3-main\",outcome=\"{code}\"}}"
        );
        while house.metric(&line).await == 0 {
            // An unknown serial asks, once in a second here.
            assert_eq!(house.send(&callback(&new)).await.0, 401);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(house.send(&callback(&old)).await.0, 200, "{code}: what works goes on");
    }
    platform.change(|inner| inner.mood = Mood::Answers);
    taken_at_last(&house, || callback(&new)).await;
    assert!(house.metric(ANSWERED).await >= 2);
    assert!(house.stop());
}
