//! What a channel may be configured with.

use super::*;

/// A public key of 1024 bits; nobody has the private one.
const SMALL: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDSJBbk6mUZXrtoaa6dhqkYY3ySJM1Gocc\
    cWcIawRGvzF0vK3it2Com1x7sZy53z5yc+VsseHMtbe9cOuD+cTS22Gzs3CvG1qx9UaLTQ2bcuICrNAbXetIJwVntdP1X\
    fIDG1JVsSEv0TVhPSEajZSOR8fOEAd3sCcuHTQG+56XEEQIDAQAB";

fn field(changes: &Value) -> Option<String> {
    let mut settings = json!({"application_ids": ["1"], "public_key": public_key()});
    for (name, value) in changes.as_object().unwrap() {
        settings[name] = value.clone();
    }
    let settings = serde_json::from_value(settings).unwrap();
    Alipay::new(settings).err().map(|error| error.field.into_owned())
}

#[test]
fn wrong_settings_name_their_field() {
    let check = |changes: Value, expected: Option<&str>| {
        assert_eq!(field(&changes).as_deref(), expected, "{changes}");
    };
    check(json!({}), None);
    check(json!({"application_ids": []}), Some("application_ids"));
    check(json!({"application_ids": [""]}), Some("application_ids"));
    check(json!({"seller_ids": [""]}), Some("seller_ids"));
    check(json!({"public_key": null}), Some("public_key"));
    check(json!({"public_key": ""}), Some("public_key"));
    check(json!({"public_key": "AAAA"}), Some("public_key"));
    check(json!({"certificates": ["x"]}), Some("certificates"));
    check(json!({"public_key": null, "certificates": ["x"]}), Some("certificates"));
}

#[test]
fn the_number_of_certificates_is_bounded() {
    let text = include_str!("../../vectors/alipay/trade-notify-certificate.json");
    let vector: Value = serde_json::from_str(text).unwrap();
    let certificate = &vector["keys"]["alipay_certificate_pem"];
    let count = |count: usize| {
        field(&json!({"public_key": null, "certificates": vec![certificate.clone(); count]}))
    };
    assert_eq!(count(1), None);
    assert_eq!(count(4), None);
    assert_eq!(count(5).as_deref(), Some("certificates"));
}

#[test]
fn a_small_key_is_taken_for_rsa_alone() {
    let check = |sign_type: &str, expected: Option<&str>| {
        let found = field(&json!({"public_key": SMALL, "sign_type": sign_type}));
        assert_eq!(found.as_deref(), expected, "{sign_type}");
    };
    check("rsa", None);
    check("rsa2", Some("public_key"));
}

#[test]
fn unknown_fields_and_types_are_refused() {
    for settings in [
        json!({"application_ids": ["1"], "public_key": "x", "key": "y"}),
        json!({"application_ids": ["1"], "public_key": "x", "sign_type": "RSA2"}),
        json!({"public_key": "x"}),
    ] {
        assert!(serde_json::from_value::<Settings>(settings.clone()).is_err(), "{settings}");
    }
}
