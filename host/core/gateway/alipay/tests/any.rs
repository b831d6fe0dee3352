//! Properties: whatever comes, no panic, and nothing unsigned is believed.

use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,12}",
        prop::sample::select(notice::READ.map(str::to_owned).to_vec()),
        Just(CERTIFICATE_SN.to_owned()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_panic(
        body in proptest::collection::vec(any::<u8>(), 0..512)
    ) {
        let verified = verify_with(&gateway(), &body);
        prop_assert!(verified.is_err());
    }

    #[test]
    fn any_fields_with_any_signature_are_refused(
        changes in proptest::collection::btree_map(name(), ".{0,24}", 0..6),
        signature in proptest::collection::vec(any::<u8>(), 256),
    ) {
        let mut fields = paid(&[]);
        fields.extend(changes);
        let sign = STANDARD.encode(signature);
        let body = sent(&fields, &[("sign_type", "RSA2"), ("sign", &sign)]);
        prop_assert!(verify(&body).is_err());
    }

    #[test]
    fn any_signed_bytes_are_read_without_panic(
        changes in proptest::collection::btree_map(
            prop_oneof![
                name().prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 1..8),
            ],
            proptest::collection::vec(any::<u8>(), 0..24),
            0..8,
        ),
        charset in prop::sample::select(vec!["utf-8", "GBK", "gb18030"]),
    ) {
        let mut fields = bytes(&paid(&[("charset", charset)]));
        fields.extend(changes);
        fields.retain(|name, _| name != b"sign" && name != b"sign_type");
        let _ = verify(&signed_bytes(&fields));
    }
}
