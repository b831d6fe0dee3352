//! Chains made here: who is believed, and every way not to be.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair,
    PKCS_RSA_SHA256,
};

use super::{NoChain, Roots};
use crate::gateway::scheme::rsa::KeyError;
use crate::time::Timestamp;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn rsa() -> KeyPair {
    KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap()
}

fn terms(name: &str, is_ca: IsCa) -> CertificateParams {
    let mut terms = CertificateParams::new(Vec::new()).unwrap();
    terms.distinguished_name.push(DnType::CommonName, name);
    terms.is_ca = is_ca;
    terms.not_before = rcgen::date_time_ymd(2026, 1, 1);
    terms.not_after = rcgen::date_time_ymd(2031, 1, 1);
    terms
}

const CA: IsCa = IsCa::Ca(BasicConstraints::Unconstrained);

fn root(name: &str) -> Authority {
    CertifiedIssuer::self_signed(terms(name, CA), rsa()).unwrap()
}

fn signed(name: &str, is_ca: IsCa, by: &Issuer<'_, KeyPair>) -> String {
    terms(name, is_ca).signed_by(&rsa(), by).unwrap().pem()
}

fn roots(of: &[&Authority]) -> Roots {
    Roots::from_pem(&of.iter().map(|one| one.pem()).collect::<Vec<_>>()).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn now() -> Timestamp {
    at("2026-11-21T10:00:00Z")
}

#[test]
fn what_a_root_signed_is_vouched_for_and_nothing_else() {
    let (ours, other) = (root("ours"), root("other"));
    let leaf = signed("Tenpay.com sign", IsCa::NoCa, &ours);
    assert_eq!(roots(&[&ours]).vouch(&leaf, now()), Ok(()));
    assert_eq!(roots(&[&other, &ours]).vouch(&leaf, now()), Ok(()));
    assert_eq!(roots(&[&other]).vouch(&leaf, now()), Err(NoChain::Stranger));
}

#[test]
fn a_root_of_the_same_name_is_not_the_same_root() {
    let (ours, twin) = (root("ours"), root("ours"));
    let leaf = signed("leaf", IsCa::NoCa, &twin);
    assert!(roots(&[&ours]).vouch(&leaf, now()).is_err());
}

#[test]
fn a_chain_needs_what_stands_between_and_that_must_be_an_authority() {
    let ours = root("ours");
    let between = CertifiedIssuer::signed_by(terms("between", CA), rsa(), &ours).unwrap();
    let leaf = signed("leaf", IsCa::NoCa, &between);
    let whole = format!("{leaf}{}", between.pem());
    assert_eq!(roots(&[&ours]).vouch(&whole, now()), Ok(()));
    assert_eq!(roots(&[&ours]).vouch(&leaf, now()), Err(NoChain::Stranger));
    // Somebody who has a certificate of his own signs another with it.
    let own = CertifiedIssuer::signed_by(terms("own", IsCa::NoCa), rsa(), &ours).unwrap();
    let forged = format!("{}{}", signed("leaf", IsCa::NoCa, &own), own.pem());
    assert!(roots(&[&ours]).vouch(&forged, now()).is_err());
}

#[test]
fn a_chain_holds_in_its_time() {
    let ours = root("ours");
    let leaf = signed("leaf", IsCa::NoCa, &ours);
    for late in ["2025-12-31T00:00:00Z", "2031-02-01T00:00:00Z"] {
        assert_eq!(roots(&[&ours]).vouch(&leaf, at(late)), Err(NoChain::Time));
    }
}

#[test]
fn what_is_no_bundle_is_refused() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let refused = |text: &str| Roots::from_pem(&[text.to_owned()]).err();
    assert_eq!(refused(""), Some(KeyError::Empty));
    assert_eq!(refused("no certificate"), Some(KeyError::Base64));
    assert_eq!(refused(&broken), Some(KeyError::Der("X.509")));
    let ours = root("ours");
    // One that cannot be read beside one that can.
    let both = Roots::from_pem(&[format!("{broken}{}", ours.pem())]).unwrap();
    assert_eq!(both.vouch(&signed("leaf", IsCa::NoCa, &ours), now()), Ok(()));
    assert_eq!(both.vouch(&broken, now()), Err(NoChain::Unreadable));
    assert_eq!(both.vouch("", now()), Err(NoChain::Unreadable));
}
