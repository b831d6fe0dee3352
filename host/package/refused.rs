//! Why a package is not let in, in words that its author can act on.

use callgate_sandbox::text;

/// Why a package, or its configuration, is refused. Each kind has a code of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Code `package.too-large`.
    #[error("{what} has {found} bytes, limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Code `package.format`.
    #[error("{0}")]
    Format(String),
    /// Code `package.signature-line`.
    #[error("line {line}: {problem}")]
    SignatureLine {
        /// Where in the file, from 1.
        line: usize,
        /// What was found and what was expected.
        problem: String,
    },
    /// Code `package.signature`.
    #[error(
        "the signature of `{signer}` does not fit the manifest: it was changed after it was \
         signed, or signed with another private key; sign it again"
    )]
    Signature {
        /// Business and key.
        signer: String,
    },
    /// Code `package.unsigned`.
    #[error(
        "the manifest is not signed for {business}: sign it with a key of that business; only a \
         host that sets `allow_unsigned = true` for it takes it as it is"
    )]
    Unsigned {
        /// Whose signature is missing.
        business: String,
    },
    /// Code `package.key-unknown`.
    #[error(
        "the manifest is signed by {found} alone, and this host has no such key: {known}; sign it \
         with a key that the host knows, or ask the platform team to add the public key"
    )]
    KeyUnknown {
        /// The signers of the file.
        found: String,
        /// The keys that the host has for the business.
        known: String,
    },
    /// Code `package.other-business`.
    #[error(
        "the manifest has routes of business {business} and is signed by {signed_by} alone: add a \
         signature with a key of {business}, or take its routes out"
    )]
    OtherBusiness {
        /// Whose signature is missing.
        business: String,
        /// Who has signed.
        signed_by: String,
    },
    /// Code `package.syntax`.
    #[error("line {line}: {problem}")]
    Syntax {
        /// Where in the file, from 1.
        line: usize,
        /// What was found and what was expected.
        problem: String,
    },
    /// Code `package.field`.
    #[error("line {line}: `{field}`: {problem}")]
    Field {
        /// Where in the file, from 1.
        line: usize,
        /// The field, with dots.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// Code `package.contract`.
    #[error("line {line}: `contract` is {found}, this host serves {serves}: {advice}")]
    Contract {
        /// Where in the file, from 1.
        line: usize,
        /// As the manifest has it.
        found: String,
        /// What the host serves.
        serves: String,
        /// What to do.
        advice: &'static str,
    },
    /// Code `package.hash`.
    #[error(
        "line {line}: `sha256` is {expected}, the component's is {found}: this manifest was signed \
         for another build; sign a manifest for this one"
    )]
    Hash {
        /// Where in the file, from 1.
        line: usize,
        /// As the manifest has it.
        expected: String,
        /// Of the component.
        found: String,
    },
    /// Code `package.business`.
    #[error(
        "line {line}: a route names business `{business}`, which this host does not have: correct \
         the name, or ask the platform team for [businesses.{business}]"
    )]
    Business {
        /// Where in the file, from 1.
        line: usize,
        /// The business.
        business: String,
    },
    /// Code `package.grant`.
    #[error(
        "line {line}: asks for {grant}, policy of {business} allows {allowed}: take it out or \
         ask the platform team"
    )]
    Grant {
        /// Where in the file, from 1.
        line: usize,
        /// What is asked for.
        grant: String,
        /// Whose policy says no.
        business: String,
        /// What it allows instead.
        allowed: String,
    },
    /// Code `package.limit`.
    #[error(
        "line {line}: asks for {limit} {asked}, policy of {business} allows {allowed}: lower it or \
         ask the platform team"
    )]
    Limit {
        /// Where in the file, from 1.
        line: usize,
        /// The limit's name.
        limit: String,
        /// As asked for.
        asked: u64,
        /// Whose policy says no.
        business: String,
        /// The maximum of that policy.
        allowed: u64,
    },
    /// Code `package.schema`.
    #[error("`{path}`: {problem}")]
    Schema {
        /// Where in the schema, with dots.
        path: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// Code `package.config`.
    #[error("`{path}`: {problem}")]
    Config {
        /// Where in the configuration, with dots.
        path: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// Code `package.descriptor`.
    #[error("the component does not keep to its manifest: {0}")]
    Descriptor(String),
    /// Code `package.key`.
    #[error("{0}")]
    Key(&'static str),
}

impl Refused {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "package.too-large",
            Self::Format(_) => "package.format",
            Self::SignatureLine { .. } => "package.signature-line",
            Self::Signature { .. } => "package.signature",
            Self::Unsigned { .. } => "package.unsigned",
            Self::KeyUnknown { .. } => "package.key-unknown",
            Self::OtherBusiness { .. } => "package.other-business",
            Self::Syntax { .. } => "package.syntax",
            Self::Field { .. } => "package.field",
            Self::Contract { .. } => "package.contract",
            Self::Hash { .. } => "package.hash",
            Self::Business { .. } => "package.business",
            Self::Grant { .. } => "package.grant",
            Self::Limit { .. } => "package.limit",
            Self::Schema { .. } => "package.schema",
            Self::Config { .. } => "package.config",
            Self::Descriptor(_) => "package.descriptor",
            Self::Key(_) => "package.key",
        }
    }
}

/// A text of the file, cut and made safe to print.
pub(crate) fn shown(text: &str) -> String {
    text::printable(text, SHOWN_BYTES)
}

const SHOWN_BYTES: usize = 128;
