//! Callgate's packages: a plugin travels as one component file and one signed manifest.
//!
//! The manifest is TOML that a person can read and diff; below it stand the signatures, as lines
//! of comment, so that the whole file is TOML still. A signature covers every byte above the first
//! of them. Nothing of the manifest is read before a signature holds, except where the host's
//! policy lets in what nobody signed.
//!
//! This crate does no I/O and knows no time: bytes and a policy in, a verdict out. A manifest has
//! no date of expiry, because a host that is started again at night must start: a key is taken out
//! of the configuration instead.
//!
//! Reading order: [`signed`] (the file), [`key`], [`manifest`] (what it says), [`schema`] (what it
//! says of its configuration), [`policy`] (what the host allows), [`admit`] (the verdict),
//! [`draft`] (what is signed), [`refused`] (why not).

pub mod admit;
pub mod draft;
pub mod key;
pub mod manifest;
pub mod policy;
pub mod refused;
pub mod schema;
pub mod signed;

mod read;

pub use admit::{Admitted, admit};
pub use manifest::Manifest;
pub use policy::{Policies, Policy};
pub use refused::Refused;
pub use signed::{SignedManifest, Signer};
