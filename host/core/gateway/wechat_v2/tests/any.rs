//! Properties: whatever comes, no panic, and nothing unsigned is believed.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_bytes_are_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..512)
    ) {
        let verified = verify_with(&gateway(&json!({})), &bytes);
        prop_assert!(verified.is_err());
    }

    #[test]
    fn a_changed_byte_is_never_believed_to_say_something_else(
        at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let (_, body) = vector(PAYMENT);
        let genuine = only(verify(&body));
        let mut bytes = body.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(verified) = verify_with(&gateway(&json!({})), &bytes) {
            prop_assert_eq!(&verified.notifications()[0], &genuine);
        }
    }

    #[test]
    fn any_signed_fields_are_read_without_panic(
        changes in proptest::collection::btree_map(
            prop_oneof![
                "[a-z_]{1,12}",
                prop::sample::select(notice::READ.map(str::to_owned).to_vec()),
            ],
            ".{0,24}",
            0..8,
        )
    ) {
        let mut fields = fields();
        fields.extend(changes);
        fields.remove("sign");
        let _ = verify(&signed(&fields, SignType::Md5));
    }

    #[test]
    fn any_encrypted_text_is_read_without_panic(
        text in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        prop_assert_eq!(verify(&refund_body(&encrypted(&text, KEY))), Err(Refusal::Decrypt));
    }

    #[test]
    fn any_encrypted_fields_are_read_without_panic(
        changes in proptest::collection::btree_map(
            prop_oneof![
                "[a-z_]{1,12}",
                prop::sample::select(refund_fields().into_keys().collect::<Vec<_>>()),
            ],
            ".{0,24}",
            0..6,
        )
    ) {
        let mut fields = refund_fields();
        fields.extend(changes);
        let _ = refund_of(&fields);
    }
}
