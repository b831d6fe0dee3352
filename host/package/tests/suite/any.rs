//! Whatever comes in, nothing panics and nothing forged is let in.

use std::sync::LazyLock;

use callgate_package::schema::Schema;
use callgate_package::signed::FIRST_LINE;
use callgate_package::{Manifest, SignedManifest};
use proptest::prelude::*;

use crate::package::{MANIFEST, Place, and};

static PLACE: LazyLock<Place> = LazyLock::new(Place::new);

/// A signed file to change.
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| PLACE.signed(&and("# the end")).to_bytes());

/// Pieces that manifests are made of, so that what is drawn gets past the first checks.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(FIRST_LINE.to_owned()),
        Just(MANIFEST.to_owned()),
        Just("# signature: ed25519 PRODUCT_ORDER/main ".to_owned()),
        Just("[[routes]]\n".to_owned()),
        Just("[grants]\nread = [\n".to_owned()),
        Just("[config_schema]\n".to_owned()),
        Just("'''\n".to_owned()),
        Just("\n".to_owned()),
        "\\PC{0,20}",
        "[a-z]{1,8} = [0-9\"\\[{]{1,4}\n",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let file = [FIRST_LINE.as_bytes(), &bytes].concat();
        let _ = PLACE.admit(&bytes);
        let _ = PLACE.admit(&file);
        let _ = Manifest::parse(&file);
    }

    #[test]
    fn any_pieces_are_read_or_refused(text in pieces()) {
        let _ = PLACE.admit(text.as_bytes());
        if let Ok(signed) = SignedManifest::parse(format!("{FIRST_LINE}{text}").as_bytes()) {
            let _ = Manifest::parse(signed.body());
            let again = SignedManifest::parse(&signed.to_bytes());
            prop_assert_eq!(again, Ok(signed));
        }
        if let Ok(table) = text.parse() {
            let _ = Schema::from_toml(table);
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_refused(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut file = FILE.clone();
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        prop_assert!(PLACE.admit(&file).is_err());
    }

    #[test]
    fn a_file_that_was_cut_off_is_refused(at in any::<prop::sample::Index>()) {
        prop_assert!(PLACE.admit(&FILE[..at.index(FILE.len())]).is_err());
    }
}
