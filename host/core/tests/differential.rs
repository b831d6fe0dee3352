//! Two libraries, one verdict: whatever `aws-lc-rs` says of a signature, `rsa` says too.
//!
//! The server verifies with the first; the second is the reference. Keys are made anew in every
//! run; a failing case prints the key it failed with.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::convert::Infallible;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_core::gateway::scheme::rsa::{Digest, PublicKey};
use proptest::prelude::*;
use rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _};
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha2::Digest as _;

/// One key as both libraries hold it.
struct Key {
    private: RsaPrivateKey,
    reference: RsaPublicKey,
    ours: PublicKey,
}

impl Key {
    fn new(private: RsaPrivateKey) -> Self {
        let der = private.to_public_key().to_public_key_der().unwrap();
        let ours = PublicKey::from_pem(&STANDARD.encode(der.as_bytes())).unwrap();
        assert_eq!(ours.spki_der(), der.as_bytes());
        let reference = RsaPublicKey::from_public_key_der(ours.spki_der()).unwrap();
        Self { private, reference, ours }
    }

    /// A key of the library that verifies; it makes none under 2048 bits.
    fn made_by_ours(size: KeySize) -> Self {
        let pair = KeyPair::generate(size).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        Self::new(RsaPrivateKey::from_pkcs8_der(der.as_ref()).unwrap())
    }
}

fn keys() -> &'static [Key; 3] {
    static KEYS: OnceLock<[Key; 3]> = OnceLock::new();
    KEYS.get_or_init(|| {
        [
            Key::new(RsaPrivateKey::new(&mut Random, 1024).unwrap()),
            Key::made_by_ours(KeySize::Rsa2048),
            Key::made_by_ours(KeySize::Rsa3072),
        ]
    })
}

/// The random numbers of the operating system.
struct Random;

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        aws_lc_rs::rand::fill(bytes).unwrap();
        Ok(())
    }
}

impl TryCryptoRng for Random {}

/// What is done to a signature or its message after signing.
#[derive(Debug, Clone)]
enum Change {
    None,
    FlippedBit(prop::sample::Index),
    FlippedMessage,
    Truncated(prop::sample::Index),
    ZeroBefore,
    ZeroAfter,
    Empty,
    Arbitrary(Vec<u8>),
    AllOnes,
    OtherDigest,
    OtherKey,
    /// A digest without the name of its algorithm.
    Unnamed,
    /// A name without its `NULL` parameters: a structure that lenient readers take.
    WithoutParameters,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => Just(Change::None),
        2 => any::<prop::sample::Index>().prop_map(Change::FlippedBit),
        1 => any::<prop::sample::Index>().prop_map(Change::Truncated),
        1 => prop::collection::vec(any::<u8>(), 0..600).prop_map(Change::Arbitrary),
        6 => prop::sample::select(vec![
            Change::FlippedMessage,
            Change::ZeroBefore,
            Change::ZeroAfter,
            Change::Empty,
            Change::AllOnes,
            Change::OtherDigest,
            Change::OtherKey,
            Change::Unnamed,
            Change::WithoutParameters,
        ]),
    ]
}

/// `DigestInfo` up to the digest (RFC 8017, section 9.2, note 1).
fn prefix(kind: Digest) -> &'static [u8] {
    match kind {
        Digest::Sha1 => b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
        Digest::Sha256 => {
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
        }
    }
}

fn prefix_without_parameters(kind: Digest) -> &'static [u8] {
    match kind {
        Digest::Sha1 => b"\x30\x1f\x30\x07\x06\x05\x2b\x0e\x03\x02\x1a\x04\x14",
        Digest::Sha256 => b"\x30\x2f\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x20",
    }
}

fn hash(kind: Digest, message: &[u8]) -> Vec<u8> {
    match kind {
        Digest::Sha1 => digest(&SHA1_FOR_LEGACY_USE_ONLY, message).as_ref().to_vec(),
        Digest::Sha256 => sha2::Sha256::digest(message).to_vec(),
    }
}

fn scheme(prefix: &[u8]) -> Pkcs1v15Sign {
    Pkcs1v15Sign { hash_len: None, prefix: prefix.into() }
}

fn other(kind: Digest) -> Digest {
    match kind {
        Digest::Sha1 => Digest::Sha256,
        Digest::Sha256 => Digest::Sha1,
    }
}

/// Signs and then changes; `message` is what will be verified.
fn sign(key: &Key, kind: Digest, message: &mut Vec<u8>, change: &Change) -> Vec<u8> {
    let (signed_kind, signed_prefix) = match change {
        Change::OtherDigest => (other(kind), prefix(other(kind))),
        Change::Unnamed => (kind, &b""[..]),
        Change::WithoutParameters => (kind, prefix_without_parameters(kind)),
        Change::None
        | Change::FlippedBit(_)
        | Change::FlippedMessage
        | Change::Truncated(_)
        | Change::ZeroBefore
        | Change::ZeroAfter
        | Change::Empty
        | Change::Arbitrary(_)
        | Change::AllOnes
        | Change::OtherKey => (kind, prefix(kind)),
    };
    let digest = hash(signed_kind, message);
    let mut signature = key.private.sign(scheme(signed_prefix), &digest).unwrap();
    match change {
        Change::FlippedBit(at) => {
            let bit = at.index(signature.len().saturating_mul(8));
            signature[bit / 8] ^= 1_u8 << (bit % 8);
        }
        Change::FlippedMessage => message.push(0),
        Change::Truncated(at) => signature.truncate(at.index(signature.len())),
        Change::ZeroBefore => signature.insert(0, 0),
        Change::ZeroAfter => signature.push(0),
        Change::Empty => signature.clear(),
        Change::Arbitrary(bytes) => signature.clone_from(bytes),
        Change::AllOnes => signature.fill(0xff),
        Change::None
        | Change::OtherDigest
        | Change::OtherKey
        | Change::Unnamed
        | Change::WithoutParameters => {}
    }
    signature
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(240))]

    #[test]
    fn both_libraries_agree_and_are_right(
        place in 0_usize..3,
        kind in prop::sample::select(vec![Digest::Sha1, Digest::Sha256]),
        mut message in prop::collection::vec(any::<u8>(), 0..300),
        change in any_change(),
    ) {
        let key = &keys()[place];
        let signature = sign(key, kind, &mut message, &change);
        let is_other = matches!(change, Change::OtherKey);
        let verifier = if is_other { &keys()[2_usize.abs_diff(place)] } else { key };
        let scheme = scheme(prefix(kind));
        let reference =
            verifier.reference.verify(scheme, &hash(kind, &message), &signature).is_ok();
        let ours = verifier.ours.verify(kind, &message, &signature);
        let is_same_key = is_other && place == 1;
        prop_assert_eq!(ours, reference, "{}", STANDARD.encode(verifier.ours.spki_der()));
        prop_assert_eq!(ours, matches!(change, Change::None) || is_same_key);
        let (head, tail) = message.split_at(message.len() / 2);
        let in_parts = verifier.ours.verify_parts(kind, &[head, b"", tail], &signature);
        prop_assert_eq!(in_parts, ours);
    }
}
