//! Settings that open and settings that do not.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::vectors::{VECTORS, load};
use super::{
    API_V3_KEY, KEY_ID, PublicKeySettings, Secret, Settings, WechatV3, public_pem, settings, signer,
};

/// The field that a change of the settings makes wrong, if any.
fn wrong(change: impl FnOnce(&mut Settings)) -> Option<String> {
    let mut settings = settings();
    change(&mut settings);
    WechatV3::new(settings).err().map(|error| error.field.into_owned())
}

fn certificate() -> String {
    let vector: Value = serde_json::from_str(VECTORS[1]).unwrap();
    vector["keys"]["platform_certificate_pem"].as_str().unwrap().to_owned()
}

#[test]
fn a_certificate_and_a_public_key_are_used_at_once() {
    let (_, refunded, vector) = load(VECTORS[1]);
    let mut both = settings();
    both.platform_certificates = vec![certificate()];
    both.api_v3_key = Secret::new(vector["keys"]["api_v3_key"].as_str().unwrap().to_owned());
    both.previous_api_v3_key = Some(Secret::new(API_V3_KEY.to_owned()));
    let gateway = WechatV3::new(both).unwrap();
    assert!(refunded.send(&gateway).is_ok());
    let paid = super::callback(super::PAID, super::transaction().to_string().as_bytes());
    assert!(paid.send(&gateway).is_ok());
}

#[test]
fn a_serial_is_found_in_any_case_and_with_leading_zeros() {
    let (gateway, refunded, _) = load(VECTORS[1]);
    let serial = refunded.get("Wechatpay-Serial");
    for text in [serial.to_lowercase(), format!("00{serial}")] {
        assert!(refunded.clone().with("Wechatpay-Serial", &text).send(&gateway).is_ok());
    }
}

#[test]
fn an_api_v3_key_has_exactly_32_bytes() {
    for length in [0, 16, 24, 31, 33] {
        let key = || Secret::new("k".repeat(length));
        assert_eq!(wrong(|it| it.api_v3_key = key()).as_deref(), Some("api_v3_key"));
        let found = wrong(|it| it.previous_api_v3_key = Some(key()));
        assert_eq!(found.as_deref(), Some("previous_api_v3_key"));
    }
}

#[test]
fn a_channel_without_a_key_does_not_open() {
    assert_eq!(wrong(|it| it.public_keys.clear()).as_deref(), Some("public_keys"));
}

#[test]
fn a_key_twice_does_not_open() {
    let twice = wrong(|it| {
        it.public_keys.push(PublicKeySettings { id: KEY_ID.to_owned(), key: public_pem(signer()) });
    });
    assert_eq!(twice.as_deref(), Some("public_keys[1]"));
    let twice = wrong(|it| it.platform_certificates = vec![certificate(), certificate()]);
    assert_eq!(twice.as_deref(), Some("platform_certificates[1]"));
}

#[test]
fn an_id_of_another_form_does_not_open() {
    for id in ["", "PUB_KEY_ID_", "4A3C0F5E1B2D", "PUB_KEY_ID_1 2", "pub_key_id_1"] {
        let found = wrong(|it| it.public_keys[0].id = id.to_owned());
        assert_eq!(found.as_deref(), Some("public_keys[0].id"), "{id}");
    }
}

#[test]
fn the_wrong_kind_of_text_does_not_open() {
    let swapped = wrong(|it| it.public_keys[0].key = certificate());
    assert_eq!(swapped.as_deref(), Some("public_keys[0]"));
    let swapped = wrong(|it| it.platform_certificates = vec![public_pem(signer())]);
    assert_eq!(swapped.as_deref(), Some("platform_certificates[0]"));
    let empty = wrong(|it| it.platform_certificates = vec![String::new()]);
    assert_eq!(empty.as_deref(), Some("platform_certificates[0]"));
}

#[test]
fn a_key_of_2048_bits_opens_and_a_smaller_does_not() {
    assert_eq!(wrong(|_| ()), None);
    let modulus = rsa::BoxedUint::from_be_slice_vartime(&[0xc3; 255]);
    let small = rsa::RsaPublicKey::new(modulus, 65_537_u32.into()).unwrap();
    let der = rsa::pkcs8::EncodePublicKey::to_public_key_der(&small).unwrap();
    let found = wrong(|it| it.public_keys[0].key = STANDARD.encode(der.as_bytes()));
    assert_eq!(found.as_deref(), Some("public_keys[0]"));
    let large = KeyPair::generate(KeySize::Rsa3072).unwrap();
    let der: PublicKeyX509Der<'_> = large.public_key().as_der().unwrap();
    assert_eq!(wrong(|it| it.public_keys[0].key = STANDARD.encode(der.as_ref())), None);
}

#[test]
fn a_channel_names_its_accounts() {
    assert_eq!(wrong(|it| it.merchant_id.clear()).as_deref(), Some("merchant_id"));
    assert_eq!(wrong(|it| it.application_ids.clear()).as_deref(), Some("application_ids"));
    let partner = |it: &mut Settings| {
        it.application_ids.clear();
        it.sub_merchant_ids.push("1900000109".to_owned());
    };
    assert_eq!(wrong(partner), None);
    assert_eq!(
        wrong(|it| it.sub_merchant_ids.push(String::new())).as_deref(),
        Some("sub_merchant_ids")
    );
}

#[test]
fn the_tolerance_is_one_second_to_an_hour() {
    for seconds in [1, 300, 3600] {
        assert_eq!(wrong(|it| it.tolerance_s = seconds), None);
    }
    for seconds in [0, 3601, u32::MAX] {
        assert_eq!(wrong(|it| it.tolerance_s = seconds).as_deref(), Some("tolerance_s"));
    }
}

#[test]
fn settings_have_defaults_and_know_their_fields() {
    let minimal = json!({ "merchant_id": "1", "api_v3_key": API_V3_KEY });
    let read: Settings = serde_json::from_value(minimal.clone()).unwrap();
    assert_eq!((read.tolerance_s, read.application_ids.len()), (300, 0));
    let mut strange = minimal;
    strange["tolerance"] = json!(300);
    assert!(serde_json::from_value::<Settings>(strange).is_err());
}

#[test]
fn debug_shows_no_key() {
    let text = format!("{:?} {:?}", settings(), super::gateway());
    assert!(!text.contains(API_V3_KEY), "{text}");
}
