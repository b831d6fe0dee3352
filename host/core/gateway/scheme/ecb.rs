//! AES-256 in ECB mode with PKCS#7 padding, for gateways that have nothing better.
//!
//! ECB proves nothing about who wrote a text: blocks of two texts under one key can be mixed.
//! Only that the result reads as the protocol's content says that the key holder wrote it.

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt as _, KeyInit as _};
use subtle::{Choice, ConstantTimeEq as _, ConstantTimeGreater as _};

/// Decrypts and reads a text; `None` where any step fails, without saying which.
///
/// `read` runs whether or not the padding is sound, so neither the answer nor the time tells a
/// stranger about the padding.
pub fn open<T>(
    key: &[u8; 32],
    ciphertext: &[u8],
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<T> {
    let (blocks, rest) = ciphertext.as_chunks::<16>();
    if blocks.is_empty() || !rest.is_empty() {
        return None;
    }
    let cipher = Aes256::new(key.into());
    let mut plaintext = Vec::with_capacity(ciphertext.len());
    for block in blocks {
        let mut block = (*block).into();
        cipher.decrypt_block(&mut block);
        plaintext.extend_from_slice(&block);
    }
    let padding = padding(&plaintext);
    let end = plaintext.len().saturating_sub(padding.unwrap_or(0));
    let content = plaintext.get(..end).and_then(read);
    padding.and(content)
}

/// The length of a sound padding, found without a branch on the bytes.
fn padding(plaintext: &[u8]) -> Option<usize> {
    let (_, last) = plaintext.as_chunks::<16>().0.split_last().map(|(last, rest)| (rest, last))?;
    let length = *last.last()?;
    let mut is_sound = !length.ct_eq(&0) & !length.ct_gt(&16);
    for (distance, byte) in (0_u8..16).zip(last.iter().rev()) {
        let is_content: Choice = !length.ct_gt(&distance);
        is_sound &= is_content | byte.ct_eq(&length);
    }
    bool::from(is_sound).then_some(usize::from(length))
}

#[cfg(test)]
mod tests {
    use aes::Aes256;
    use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
    use proptest::prelude::*;

    use super::open;

    const KEY: [u8; 32] = *b"0123456789abcdef0123456789abcdef";

    fn encrypt(padded: &[u8]) -> Vec<u8> {
        let cipher = Aes256::new(&KEY.into());
        let mut ciphertext = Vec::new();
        for block in padded.as_chunks::<16>().0 {
            let mut block = (*block).into();
            cipher.encrypt_block(&mut block);
            ciphertext.extend_from_slice(&block);
        }
        ciphertext
    }

    fn check(padded: &[u8], expected: Option<&[u8]>) {
        let content = open(&KEY, &encrypt(padded), |bytes| Some(bytes.to_vec()));
        assert_eq!(content.as_deref(), expected, "{padded:?}");
    }

    #[test]
    fn sound_padding_is_cut_off() {
        check(b"callback\x08\x08\x08\x08\x08\x08\x08\x08", Some(b"callback"));
        check(&[16; 16], Some(b""));
        check(b"0123456789abcde\x01", Some(b"0123456789abcde"));
    }

    #[test]
    fn unsound_padding_is_refused() {
        check(b"callback\x08\x08\x08\x07\x08\x08\x08\x08", None);
        check(b"0123456789abcde\x00", None);
        check(b"0123456789abcd\x01\x02", None);
        check(&[17; 32], None);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for length in [0, 1, 15, 17, 31] {
            assert_eq!(open(&KEY, &vec![0; length], |_| Some(())), None, "{length}");
        }
    }

    #[test]
    fn content_that_does_not_read_is_refused() {
        assert_eq!(open(&KEY, &encrypt(&[16; 16]), |_| None::<()>), None);
    }

    proptest! {
        #[test]
        fn what_is_encrypted_opens(content in proptest::collection::vec(any::<u8>(), 0..70)) {
            let missing = 16_usize.saturating_sub(content.len() % 16);
            let mut padded = content.clone();
            padded.resize(content.len().saturating_add(missing), u8::try_from(missing).unwrap());
            let opened = open(&KEY, &encrypt(&padded), |bytes| Some(bytes.to_vec()));
            prop_assert_eq!(opened, Some(content));
        }
    }
}
