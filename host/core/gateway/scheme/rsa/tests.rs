//! Keys and certificates that are taken and that are not. Signatures themselves are tested
//! against a second library in `tests/differential.rs`.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rsa::pkcs1::{RsaPublicKeyRef, UintRef};
use x509_cert::der::Encode as _;

use super::{Certificate, KeyError, PublicKey, decode_signature};
use crate::time::Timestamp;

fn sample(vector: &str, name: &str) -> String {
    let vector: serde_json::Value = serde_json::from_str(vector).unwrap();
    vector["keys"][name].as_str().unwrap().to_owned()
}

fn spki_pem() -> String {
    let vector = include_str!("../../vectors/wechat-v3/payment-public-key.json");
    sample(vector, "wechatpay_public_key_pem")
}

fn certificate_pem() -> String {
    let vector = include_str!("../../vectors/wechat-v3/refund-platform-cert.json");
    sample(vector, "platform_certificate_pem")
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn der(pem: &str) -> Vec<u8> {
    let lines: Vec<_> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(lines.concat()).unwrap()
}

/// A PKCS#1 key of this modulus and exponent.
fn key(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey, KeyError> {
    let key = RsaPublicKeyRef {
        modulus: UintRef::new(modulus).unwrap(),
        public_exponent: UintRef::new(exponent).unwrap(),
    };
    PublicKey::from_pem(&pem("RSA PUBLIC KEY", &key.to_der().unwrap()))
}

const F4: &[u8] = &[1, 0, 1];

#[test]
fn a_key_is_the_same_in_every_form() {
    let text = spki_pem();
    let spki = der(&text);
    for text in [
        text.clone(),
        text.replace('\n', "\r\n"),
        format!("Some: text before\n{text}and after\n"),
        pem("PUBLIC KEY", &spki),
        STANDARD.encode(&spki),
        format!("  {}\n", STANDARD.encode(&spki)),
        // The PKCS#1 structure stands in the SPKI behind 24 bytes of header.
        pem("RSA PUBLIC KEY", &spki[24..]),
    ] {
        let key = PublicKey::from_pem(&text).unwrap();
        assert_eq!((key.spki_der(), key.bits()), (spki.as_slice(), 2048));
    }
}

#[test]
fn other_texts_are_no_key() {
    let text = spki_pem();
    let spki = der(&text);
    let check = |text: &str, expected: KeyError| {
        assert_eq!(PublicKey::from_pem(text).unwrap_err(), expected, "{text:?}");
    };
    let label = |found: &str| {
        let expected = "PUBLIC KEY or RSA PUBLIC KEY";
        KeyError::Label { found: found.to_owned(), expected }
    };
    check(&certificate_pem(), label("CERTIFICATE"));
    check(&pem("PRIVATE KEY", b"secret"), label("PRIVATE KEY"));
    check(&pem(&"X".repeat(33), b""), label(&"X".repeat(32)));
    check("", KeyError::Empty);
    check(" \n", KeyError::Empty);
    check("not base64!", KeyError::Base64);
    check("YWJj", KeyError::Der("SPKI"));
    check(&format!("{text}{text}"), KeyError::Several);
    check("-----BEGIN PUBLIC KEY-----\nYWJj\n", KeyError::Armour);
    check("-----BEGIN PUBLIC KEY", KeyError::Armour);
    check(&text.replace("END PUBLIC", "END RSA PUBLIC"), KeyError::Armour);
    check(&pem("RSA PUBLIC KEY", &spki), KeyError::Der("RSA public key"));
    check(&STANDARD.encode(&spki[..spki.len() / 2]), KeyError::Der("SPKI"));
    let mut longer = spki;
    longer.push(0);
    check(&STANDARD.encode(longer), KeyError::Der("SPKI"));
}

#[test]
fn a_key_of_another_algorithm_is_refused() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let text = STANDARD.encode(spki.as_ref());
    assert_eq!(PublicKey::from_pem(&text).unwrap_err(), KeyError::Algorithm);
    // id-RSASSA-PSS differs from rsaEncryption in the last byte of the identifier.
    let mut pss = der(&spki_pem());
    let at = pss.windows(3).position(|bytes| bytes == [0x01, 0x01, 0x01]).unwrap();
    pss[at.saturating_add(2)] = 0x0a;
    let text = STANDARD.encode(pss);
    assert_eq!(PublicKey::from_pem(&text).unwrap_err(), KeyError::Algorithm);
}

#[test]
fn the_size_is_1024_to_8192_bits() {
    for bytes in [128, 256, 512, 1024] {
        let bits = u32::try_from(bytes).unwrap().saturating_mul(8);
        assert_eq!(key(&vec![0xc3; bytes], F4).map(|key| key.bits()), Ok(bits));
    }
    for (modulus, bits) in [
        (vec![0xc3; 127], 1016),
        ([&[0x7f_u8][..], &[0xc3; 127]].concat(), 1023),
        ([&[0x01_u8][..], &[0xc3; 1024]].concat(), 8193),
        (vec![0xc3; 4096], 32768),
        (vec![1], 1),
    ] {
        assert_eq!(key(&modulus, F4).unwrap_err(), KeyError::Size { bits });
    }
}

#[test]
fn impossible_numbers_are_refused() {
    let odd = [0xc3; 256];
    let even = [0xc2; 256];
    assert!(key(&odd, &[3]).is_ok());
    assert!(key(&odd, &[1, 0xff, 0xff, 0xff, 0xff]).is_ok());
    for exponent in [&[0][..], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1], &[0xc3; 256]] {
        assert_eq!(key(&odd, exponent).unwrap_err(), KeyError::Numbers, "{exponent:?}");
    }
    assert_eq!(key(&even, F4).unwrap_err(), KeyError::Numbers);
}

#[test]
fn a_certificate_tells_serial_issuer_and_validity() {
    let read = Certificate::from_pem(&certificate_pem()).unwrap();
    assert_eq!(read.serial_hex, "4A3C0F5E1B2D69788796A5B4C3D2E1F001122334");
    assert_eq!(read.serial_decimal, "423804700459832377600837333641734761701501444916");
    assert_eq!(read.issuer, "CN=Callgate self-made platform cert,O=Callgate self-made test,C=CN");
    let moment = |text| Timestamp::parse_rfc3339(text).unwrap();
    assert_eq!(read.not_before, moment("2026-11-21T19:54:54Z"));
    assert_eq!(read.not_after, moment("2036-11-18T19:54:54Z"));
    assert_eq!(read.key.bits(), 2048);
}

#[test]
fn a_serial_is_told_without_leading_zeros() {
    let mut changed = der(&certificate_pem());
    let at = changed.windows(2).position(|bytes| bytes == [0x4a, 0x3c]).unwrap();
    changed[at] = 0x0a;
    let read = Certificate::from_pem(&pem("CERTIFICATE", &changed)).unwrap();
    assert_eq!(read.serial_hex, "A3C0F5E1B2D69788796A5B4C3D2E1F001122334");
    // A first byte of zero keeps a number positive whose next byte has its top bit set.
    changed[at] = 0x00;
    changed[at.saturating_add(1)] = 0x8c;
    let read = Certificate::from_pem(&pem("CERTIFICATE", &changed)).unwrap();
    assert_eq!(read.serial_hex, "8C0F5E1B2D69788796A5B4C3D2E1F001122334");
}

#[test]
fn of_a_bundle_the_first_certificate_counts() {
    let text = certificate_pem();
    let bundle = format!("{text}{}", pem("CERTIFICATE", b"another"));
    assert_eq!(
        Certificate::from_pem(&bundle).unwrap().serial_hex,
        Certificate::from_pem(&text).unwrap().serial_hex
    );
}

#[test]
fn other_texts_are_no_certificate() {
    let error = |text: &str| Certificate::from_pem(text).unwrap_err();
    assert!(matches!(error(&spki_pem()), KeyError::Label { .. }));
    assert_eq!(error(""), KeyError::Empty);
    assert_eq!(error(&pem("CERTIFICATE", b"abc")), KeyError::Der("X.509"));
    let whole = der(&certificate_pem());
    assert_eq!(error(&pem("CERTIFICATE", &whole[..whole.len() / 2])), KeyError::Der("X.509"));
}

#[test]
fn debug_shows_the_size_alone() {
    let key = PublicKey::from_pem(&spki_pem()).unwrap();
    assert_eq!(format!("{key:?}"), "PublicKey(2048 bits)");
}

#[test]
fn a_signature_is_padded_standard_base64() {
    assert_eq!(decode_signature("YWI="), Some(b"ab".to_vec()));
    assert_eq!(decode_signature("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
    // The last: bits under the padding that are not zero.
    for text in ["YWI", "YW I=", "YWI=\n", "-_-_", "YWI==", "=", "YWJ="] {
        assert_eq!(decode_signature(text), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "(-----BEGIN |-----END |-----|[ -~\n]){0,6}") {
        prop_assert!(PublicKey::from_pem(&text).is_err());
        prop_assert!(Certificate::from_pem(&text).is_err());
    }

    #[test]
    fn any_changed_byte_is_read_without_panic(at: prop::sample::Index, byte: u8) {
        let mut spki = der(&spki_pem());
        let at_key = at.index(spki.len());
        spki[at_key] = byte;
        let _ = PublicKey::from_pem(&STANDARD.encode(spki));
        let mut certificate = der(&certificate_pem());
        let at_certificate = at.index(certificate.len());
        certificate[at_certificate] = byte;
        let _ = Certificate::from_pem(&pem("CERTIFICATE", &certificate));
    }
}
