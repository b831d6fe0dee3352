//! Asking a gateway what became of a payment or a refund: pure, as verifying is.
//!
//! An order that heard nothing may be paid all the same, because callbacks get lost. What the
//! gateway answers walks the same line as a callback: it is believed only once its signature
//! holds, and it has the meaning key that the callback would have had, so that whichever of the
//! two is late has no second effect.

use std::fmt::Debug;

use http::HeaderMap;

use crate::gateway::Refusal;
use crate::notification::{Notification, Verified};
use crate::time::Timestamp;

/// A gateway that can be asked, with the keys to sign a question. No clock, no I/O.
pub trait Inquiry: Send + Sync + Debug {
    /// Where questions go: scheme and host, without a path.
    fn base_url(&self) -> &str;

    /// As whom it is asked: the same text on every channel of one merchant, however it is
    /// configured otherwise. Gateways count questions by that.
    fn merchant(&self) -> String;

    /// The signed request that asks a question.
    ///
    /// # Errors
    /// [`CannotAsk`] where the question cannot be put to this gateway.
    fn ask(&self, question: Question<'_>, stamp: Stamp<'_>) -> Result<Outgoing, CannotAsk>;

    /// What the gateway answered, believed only where its signature holds.
    ///
    /// # Errors
    /// [`Silence`] says why there is no answer, and whether asking again is worth it.
    fn hear(
        &self,
        question: Question<'_>,
        answer: &Incoming<'_>,
        now: Timestamp,
    ) -> Result<Told, Silence>;
}

/// What a gateway is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// What became of the payment of an order.
    Payment {
        /// The number that the gateway was given (`out_trade_no`).
        order_no: &'a str,
    },
    /// What became of a refund.
    Refund {
        /// The number of the order.
        order_no: &'a str,
        /// The merchant's own number of the refund.
        refund_no: &'a str,
    },
}

impl<'a> Question<'a> {
    /// The number of the order that is asked about.
    #[must_use]
    pub fn order_no(self) -> &'a str {
        match self {
            Self::Payment { order_no } | Self::Refund { order_no, .. } => order_no,
        }
    }
}

/// What makes one signed question differ from the next.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// The time that is signed.
    pub now: Timestamp,
    /// Up to 32 letters and digits, never used twice.
    pub nonce: &'a str,
}

/// A request to send, to the byte: the signature covers it.
#[derive(Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The method.
    pub method: &'static str,
    /// Path and query, already percent-encoded.
    pub target: String,
    /// Headers beside those that HTTP itself needs.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for none.
    pub body: String,
}

impl Debug for Outgoing {
    /// Leaves out the headers and the body: they hold signatures.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// What came back, undecoded and unbelieved.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The whole body, already bounded.
    pub body: &'a [u8],
}

/// What a gateway told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Something that happened, as a callback would have told it.
    Fact(Verified),
    /// It knows the payment or the refund, and nothing is decided yet.
    Pending,
    /// It knows of no such payment or refund: nobody began to pay.
    Unknown,
}

impl Told {
    /// A fact from an answer. Its delivery key is made of its meaning, so that asking again and
    /// hearing the same is a repeat and not another notification.
    pub(crate) fn fact(notification: Notification) -> Self {
        let delivery_key = format!("query:{}", notification.meaning_key);
        Self::Fact(Verified::one(delivery_key, notification))
    }
}

/// Why a question cannot be put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotAsk {
    /// The gateway has no such question, or needs what the channel does not say.
    #[error("{0}")]
    NotPossible(&'static str),
    /// The number cannot be one that the gateway was given.
    #[error("number is malformed, expected 1 to 64 visible ASCII characters")]
    Number,
    /// The signature could not be made.
    #[error("the question could not be signed with the configured private key")]
    Signing,
}

impl CannotAsk {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotPossible(_) => "inquiry.not-possible",
            Self::Number => "inquiry.number",
            Self::Signing => "inquiry.signing",
        }
    }
}

/// Why a gateway did not answer a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// The answer is not believed.
    #[error("the answer is not believed: {0}")]
    Refused(#[from] Refusal),
    /// The answer speaks of something else than was asked.
    #[error("the answer speaks of another order or refund")]
    Another,
    /// It cannot answer now; asking again later is worth it.
    #[error("the gateway cannot answer now: {code}")]
    Busy {
        /// The gateway's own code, in characters that are safe to print.
        code: String,
    },
    /// It will not answer this merchant until somebody mends something.
    #[error("the gateway refuses the question: {code}")]
    Denied {
        /// The gateway's own code, in characters that are safe to print.
        code: String,
    },
}

impl Silence {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "inquiry.refused",
            Self::Another => "inquiry.another",
            Self::Busy { .. } => "inquiry.busy",
            Self::Denied { .. } => "inquiry.denied",
        }
    }
}

/// A gateway's own code as far as it can be shown: it came from outside.
pub(crate) fn shown(code: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    code.chars().filter(plain).take(CODE_CHARS).collect()
}

/// The name of a merchant among those of all gateways.
pub(crate) fn merchant(company: &str, id: &str) -> String {
    let id: String = id.chars().take(MERCHANT_CHARS).collect();
    format!("{company}:{id}")
}

/// Whether a text can be a number that a gateway was given.
pub(crate) fn is_number(text: &str) -> bool {
    (1..=NUMBER_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

const CODE_CHARS: usize = 64;

/// Longer than the id of any merchant.
const MERCHANT_CHARS: usize = 128;

const NUMBER_BYTES: usize = 64;
