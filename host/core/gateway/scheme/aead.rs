//! AES-256-GCM with nonce and associated data from the message. Wrong lengths are errors before
//! the cipher sees them, never a panic.

use std::fmt;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};

/// A key with its schedule made. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Key(Aes256Gcm);

impl Key {
    /// Makes the schedule of a key of exactly 32 bytes.
    ///
    /// # Errors
    /// [`KeyLength`] with the length found: a shorter key must not silently mean a weaker cipher.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyLength> {
        Aes256Gcm::new_from_slice(bytes).map(Self).map_err(|_| KeyLength { found: bytes.len() })
    }

    /// Opens a sealed text and gives the plaintext.
    ///
    /// # Errors
    /// [`OpenError`] where a length is impossible or the tag does not match.
    pub fn open(&self, sealed: Sealed<'_>) -> Result<Vec<u8>, OpenError> {
        let nonce: &[u8; NONCE_BYTES] = sealed
            .nonce
            .try_into()
            .map_err(|_| OpenError::NonceLength { found: sealed.nonce.len() })?;
        if sealed.ciphertext.len() < TAG_BYTES {
            return Err(OpenError::TooShort { found: sealed.ciphertext.len() });
        }
        let payload = Payload { msg: sealed.ciphertext, aad: sealed.associated_data };
        self.0.decrypt(&Nonce::from(*nonce), payload).map_err(|_| OpenError::Tag)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(AES-256-GCM key)")
    }
}

/// What a message carries beside the key.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    /// Exactly 12 bytes.
    pub nonce: &'a [u8],
    /// Bound to the ciphertext but not encrypted; may be empty.
    pub associated_data: &'a [u8],
    /// The ciphertext followed by its tag of 16 bytes.
    pub ciphertext: &'a [u8],
}

/// A key of the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key has {found} bytes, expected exactly 32")]
pub struct KeyLength {
    /// The length found.
    pub found: usize,
}

/// Why a sealed text does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The nonce has not the one length that the cipher takes.
    #[error("nonce has {found} bytes, expected exactly 12")]
    NonceLength {
        /// The length found.
        found: usize,
    },
    /// The ciphertext cannot hold its tag.
    #[error("ciphertext has {found} bytes, expected at least 16")]
    TooShort {
        /// The length found.
        found: usize,
    },
    /// Another key, or changed bytes.
    #[error("tag does not match")]
    Tag,
}

const NONCE_BYTES: usize = 12;

const TAG_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use aes_gcm::aead::{Aead as _, Payload};
    use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
    use proptest::prelude::*;

    use super::{Key, KeyLength, OpenError, Sealed};

    const KEY: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
    const NONCE: &[u8; 12] = b"nonce-of-12b";

    fn seal(plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        let cipher = Aes256Gcm::new_from_slice(KEY).unwrap();
        cipher.encrypt(&Nonce::from(*NONCE), Payload { msg: plaintext, aad }).unwrap()
    }

    fn open(nonce: &[u8], associated_data: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, OpenError> {
        Key::new(KEY).unwrap().open(Sealed { nonce, associated_data, ciphertext })
    }

    /// AES-256-GCM test case 16 of "The Galois/Counter Mode of Operation", McGrew and Viega.
    #[test]
    fn the_published_test_case_opens() {
        let key: Vec<u8> = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let sealed = Sealed {
            nonce: &hex("cafebabefacedbaddecaf888"),
            associated_data: &hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
            ciphertext: &hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
                 76fc6ece0f4e1768cddf8853bb2d551b"),
        };
        let expected = hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
        assert_eq!(Key::new(&key).unwrap().open(sealed), Ok(expected));
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(text.get(at..at.saturating_add(2)).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn only_a_key_of_32_bytes_is_taken() {
        assert!(Key::new(&[7; 32]).is_ok());
        for found in [0, 1, 16, 24, 31, 33, 64] {
            assert_eq!(Key::new(&vec![7; found]).err(), Some(KeyLength { found }));
        }
    }

    #[test]
    fn only_a_nonce_of_12_bytes_is_taken() {
        let sealed = seal(b"text", b"");
        assert_eq!(open(NONCE, b"", &sealed), Ok(b"text".to_vec()));
        for found in [0, 8, 11, 13, 16] {
            let wrong = open(&vec![b'n'; found], b"", &sealed);
            assert_eq!(wrong, Err(OpenError::NonceLength { found }));
        }
    }

    #[test]
    fn a_ciphertext_without_room_for_its_tag_is_an_error() {
        assert_eq!(open(NONCE, b"", &seal(b"", b"")), Ok(Vec::new()));
        for found in 0..16 {
            assert_eq!(open(NONCE, b"", &vec![0; found]), Err(OpenError::TooShort { found }));
        }
    }

    #[test]
    fn any_flipped_bit_closes_it() {
        let sealed = seal(b"one plaintext", b"data");
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1_u8 << bit;
                assert_eq!(open(NONCE, b"data", &changed), Err(OpenError::Tag), "{at}.{bit}");
            }
        }
        assert_eq!(open(NONCE, b"Data", &sealed), Err(OpenError::Tag));
        assert_eq!(open(b"Nonce-of-12b", b"data", &sealed), Err(OpenError::Tag));
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        assert_eq!(format!("{:?}", Key::new(KEY).unwrap()), "(AES-256-GCM key)");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(plaintext: Vec<u8>, aad: Vec<u8>) {
            prop_assert_eq!(open(NONCE, &aad, &seal(&plaintext, &aad)), Ok(plaintext));
        }

        #[test]
        fn anything_is_opened_without_panic(nonce: Vec<u8>, aad: Vec<u8>, sealed: Vec<u8>) {
            prop_assert!(open(&nonce, &aad, &sealed).is_err());
        }
    }
}
