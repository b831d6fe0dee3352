//! Why a phase stops: the three answers of the contract, and what failed imports become.

use std::fmt;

use crate::money::MoneyError;

/// What a phase returns.
pub type PhaseResult<T = ()> = Result<T, PhaseError>;

/// Why a phase stops here. What the host does next hangs on the case alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhaseError {
    /// Genuine, but nothing to do. Recorded as done.
    Ignore(String),
    /// Genuine, but wrong for this business. Goes to the review queue; never retried by itself.
    Reject {
        /// Stable, `^[a-z][a-z0-9-]{0,62}$`. Operators build alerts on it.
        code: &'static str,
        /// For a person, cut at 1 KiB. No personal data.
        message: String,
    },
    /// Cannot be decided now. The host runs the notification again, from `prepare`.
    Retry {
        /// Same form as the code of a rejection.
        code: &'static str,
        /// For a person.
        message: String,
        /// A wish in milliseconds; the host's own back-off and maximum win.
        after_ms: Option<u32>,
    },
}

impl PhaseError {
    /// Genuine, but nothing to do.
    #[must_use]
    pub fn ignore(message: impl Into<String>) -> Self {
        Self::Ignore(message.into())
    }

    /// A person must look. The code is stable and fits `^[a-z][a-z0-9-]{0,62}$`.
    #[must_use]
    pub fn reject(code: &'static str, message: impl Into<String>) -> Self {
        Self::Reject { code, message: message.into() }
    }

    /// Cannot be decided now; the host chooses when to try again.
    #[must_use]
    pub fn retry(code: &'static str, message: impl Into<String>) -> Self {
        Self::Retry { code, message: message.into(), after_ms: None }
    }

    /// Cannot be decided now, and asks the host to wait for so many milliseconds.
    #[must_use]
    pub fn retry_after_ms(code: &'static str, message: impl Into<String>, after_ms: u32) -> Self {
        Self::Retry { code, message: message.into(), after_ms: Some(after_ms) }
    }
}

impl fmt::Display for PhaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignore(message) => write!(f, "ignored: {message}"),
            Self::Reject { code, message } => write!(f, "rejected, {code}: {message}"),
            Self::Retry { code, message, .. } => write!(f, "to be tried again, {code}: {message}"),
        }
    }
}

impl std::error::Error for PhaseError {}

/// What the host answers where it does not do what an import asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// Not granted to this plugin, or not in this phase.
    Denied(String),
    /// Too many calls or bytes for one run.
    Quota(String),
    /// Not a JSON text, a key too long and the like.
    Invalid(String),
    /// The store cannot be reached.
    Unavailable(String),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "denied: {text}"),
            Self::Quota(text) => write!(f, "over quota: {text}"),
            Self::Invalid(text) => write!(f, "invalid: {text}"),
            Self::Unavailable(text) => write!(f, "unavailable: {text}"),
        }
    }
}

impl std::error::Error for Denial {}

/// An unreachable store is tried again; the other denials are mistakes that a person must see.
impl From<Denial> for PhaseError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Denied(text) => Self::reject("import-denied", text),
            Denial::Quota(text) => Self::reject("import-quota", text),
            Denial::Invalid(text) => Self::reject("import-invalid", text),
            Denial::Unavailable(text) => Self::retry("store-unavailable", text),
        }
    }
}

/// Amounts that cannot be combined are wrong for any business.
impl From<MoneyError> for PhaseError {
    fn from(error: MoneyError) -> Self {
        let code = match &error {
            MoneyError::Currencies { .. } => "currency-mismatch",
            MoneyError::Range => "amount-out-of-range",
        };
        Self::reject(code, error.to_string())
    }
}
