//! Certificate mode: chains, pairs, serial numbers and what is shown of them.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, PKCS_RSA_SHA256};
use serde_json::json;

use super::*;
use crate::gateway::SettingsError;
use crate::gateway::inquiry::Stamp;
use crate::gateway::known::KeyKind;
use crate::gateway::scheme::rsa::Certificate;

type Authority = CertifiedIssuer<'static, rcgen::KeyPair>;

fn terms(name: &str) -> CertificateParams {
    let mut terms = CertificateParams::new(Vec::new()).unwrap();
    terms.distinguished_name.push(DnType::CommonName, name);
    terms.not_before = rcgen::date_time_ymd(2022, 1, 1);
    terms.not_after = rcgen::date_time_ymd(2027, 1, 1);
    terms
}

fn key() -> rcgen::KeyPair {
    rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap()
}

fn authority(name: &str) -> Authority {
    let mut terms = terms(name);
    terms.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(terms, key()).unwrap()
}

/// A certificate of the class between root and leaf, as Alipay has one.
fn class(root: &Authority) -> Authority {
    let mut terms = terms("Class 2");
    terms.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::signed_by(terms, key(), root).unwrap()
}

fn private_pem() -> String {
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&*KEY).unwrap();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
        STANDARD.encode(der.as_ref())
    )
}

/// A certificate for the key of these tests.
fn ours(by: &Authority, name: &str) -> String {
    let own = rcgen::KeyPair::from_pem(&private_pem()).unwrap();
    terms(name).signed_by(&own, by).unwrap().pem()
}

fn open(changes: Value) -> Result<Alipay, SettingsError> {
    let mut settings = json!({"application_ids": ["2021000000000001"]});
    for (name, value) in changes.as_object().unwrap() {
        settings[name] = value.clone();
    }
    Alipay::new(serde_json::from_value(settings).unwrap())
}

#[test]
fn a_certificate_chains_to_the_root_through_what_stands_behind_it() {
    let (root, other) = (authority("R1"), authority("R1 of somebody else"));
    let class = class(&root);
    let leaf = ours(&class, "Alipay");
    let whole = format!("{leaf}{}", class.pem());
    let code = |certificate: &str, roots: &str| {
        let settings = json!({"certificates": [certificate], "root_certificate": roots});
        open(settings).map(drop).map_err(|error| (error.field.into_owned(), error.code))
    };
    let chain = || Err(("certificates".to_owned(), "config.chain"));
    assert_eq!(code(&whole, &root.pem()), Ok(()));
    assert_eq!(code(&whole, &format!("{}{}", other.pem(), root.pem())), Ok(()));
    assert_eq!(code(&leaf, &root.pem()), chain());
    assert_eq!(code(&whole, &other.pem()), chain());
    assert_eq!(code(&whole, "x"), Err(("root_certificate".to_owned(), "config.key")));
    assert!(open(json!({"certificates": [leaf]})).is_ok(), "without a root nothing is asked");
}

#[test]
fn old_and_new_stand_side_by_side_and_the_notice_picks() {
    let root = authority("R1");
    let mine = ours(&root, "Alipay");
    let foreign = terms("Alipay").signed_by(&key(), &root).unwrap().pem();
    let serial = |pem: &str| keys::serial(&Certificate::from_pem(pem).unwrap());
    let both = open(json!({
        "certificates": [foreign, mine], "root_certificate": root.pem(),
    }))
    .unwrap();
    let sent = |sn: &str| {
        let notice = paid(&[("alipay_cert_sn", sn)]);
        verify_with(&both, signed(&notice).as_bytes()).map(drop)
    };
    assert_eq!(sent(&serial(&mine)), Ok(()));
    assert_eq!(sent(&serial(&foreign)), Err(Refusal::Signature));
    assert_eq!(sent("00000000000000000000000000000000"), Err(Refusal::KeyUnknown));
    let keys = both.keys();
    assert_eq!(keys[1].id, serial(&mine));
    assert!(keys.iter().all(|key| key.kind == KeyKind::Certificate && key.valid.is_some()));
}

#[test]
fn the_applications_certificate_is_for_its_key_and_named_in_questions() {
    let root = authority("R1");
    let (mine, own) = (ours(&root, "Alipay"), ours(&root, "application"));
    let settings = |own: &str| {
        json!({
            "certificates": [mine], "root_certificate": root.pem(),
            "inquiry": {
                "application_private_key": private_pem(), "application_certificate": own,
            },
        })
    };
    let foreign = terms("application").signed_by(&key(), &root).unwrap().pem();
    assert_eq!(open(settings(&foreign)).unwrap_err().code, "config.pair");
    assert_eq!(open(settings("x")).unwrap_err().code, "config.key");
    let gateway = open(settings(&own)).unwrap();
    let question = crate::gateway::inquiry::Question::Payment { order_no: "CG3" };
    let stamp = Stamp { now: Timestamp::from_seconds(1_795_226_406), nonce: "n" };
    let asked = gateway.inquiry().unwrap().ask(question, stamp).unwrap();
    let serial = |pem: &str| keys::serial(&Certificate::from_pem(pem).unwrap());
    assert!(asked.body.contains(&format!("app_cert_sn={}", serial(&own))));
    assert!(asked.body.contains(&format!("alipay_root_cert_sn={}", serial(&root.pem()))));
    let keys = gateway.keys();
    assert_eq!(keys.last().map(|key| key.kind), Some(KeyKind::OwnCertificate));
}
