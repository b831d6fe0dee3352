//! What an author writes, made into what is signed.
//!
//! An author keeps a manifest beside the source, without the hash, which changes with every build.
//! Signing puts first line and hash on top and leaves every other byte as it is.

use crate::admit::sha256_text;
use crate::manifest::Manifest;
use crate::refused::Refused;
use crate::signed::{FILE_BYTES_MAX, FIRST_LINE, SignedManifest};

/// A manifest for one component: signed already, or a draft with or without first line and hash.
///
/// # Errors
/// [`Refused`] where the draft breaks a rule of manifests, or has the hash of another component.
pub fn manifest_for(draft: &[u8], component: &[u8]) -> Result<SignedManifest, Refused> {
    let limit = FILE_BYTES_MAX;
    if draft.len() > limit {
        return Err(Refused::TooLarge { what: "the manifest", found: draft.len(), limit });
    }
    let sha256 = sha256_text(component);
    let rest = draft.strip_prefix(FIRST_LINE.as_bytes()).unwrap_or(draft);
    let mut file = FIRST_LINE.as_bytes().to_vec();
    if !has_hash(rest) {
        file.extend_from_slice(format!("sha256 = \"{sha256}\"\n").as_bytes());
    }
    file.extend_from_slice(rest);
    if !file.ends_with(b"\n") {
        file.push(b'\n');
    }
    let signed = SignedManifest::parse(&file)?;
    Manifest::parse(signed.body())?.check_hash(component)?;
    Ok(signed)
}

/// Whether the author has put the hash there.
fn has_hash(draft: &[u8]) -> bool {
    let text = std::str::from_utf8(draft).unwrap_or_default();
    text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("sha256"))
}
