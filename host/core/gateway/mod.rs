//! Gateways: bytes and a time in, a verified notification out.
//!
//! One file each; what two of them share is in [`scheme`]. [`Settings`] is the one list of them.
//! A gateway holds keys and account names, nothing else: no clock, no I/O, no interior state.

use std::borrow::Cow;
use std::fmt::{self, Debug};
use std::sync::Arc;

use serde::Deserialize;

use crate::notification::Verified;
use crate::request::Request;
use crate::time::Timestamp;

use inquiry::Inquiry;
use known::KnownKey;
use platform::Platform;

pub mod inquiry;

pub mod known;

pub mod platform;

pub mod scheme;

pub mod wechat_v3;

pub mod wechat_v2;

pub mod alipay;

/// A gateway protocol with the keys of one account.
///
/// Every method is required: a gateway that forgets to verify must not compile.
pub trait Gateway: Send + Sync + Debug {
    /// Checks who sent the request and what it says.
    ///
    /// Nothing of the body is believed before the signature holds, but the fields that pick
    /// the key.
    ///
    /// # Errors
    /// A [`Refusal`] that says why the request is not believed.
    fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<Verified, Refusal>;

    /// This gateway's exact words for what became of the callback.
    fn reply(&self, answer: Answer<'_>) -> Ack;

    /// How to ask it about an order that heard nothing; `None` where the channel has no key to
    /// sign questions with.
    fn inquiry(&self) -> Option<&dyn Inquiry>;

    /// How to ask it for its certificates; `None` where the channel does not want that, or the
    /// gateway hands out none.
    fn platform(&self) -> Option<&dyn Platform>;

    /// Every key of the channel, as people may see it.
    fn keys(&self) -> Vec<KnownKey>;
}

/// The one list of gateways; in configuration the field `gateway` picks.
#[derive(Debug, Deserialize)]
#[serde(tag = "gateway", rename_all = "kebab-case")]
pub enum Settings {
    /// WeChat Pay API v3.
    WechatV3(wechat_v3::Settings),
    /// WeChat Pay v2 (XML).
    WechatV2(wechat_v2::Settings),
    /// Alipay asynchronous notifications.
    Alipay(alipay::Settings),
}

/// Builds the gateway that the settings describe, reading and validating every key.
///
/// # Errors
/// [`SettingsError`] names the field that is wrong and what was expected.
pub fn open(settings: Settings) -> Result<Arc<dyn Gateway>, SettingsError> {
    Ok(match settings {
        Settings::WechatV3(settings) => Arc::new(wechat_v3::WechatV3::new(settings)?),
        Settings::WechatV2(settings) => Arc::new(wechat_v2::WechatV2::new(settings)?),
        Settings::Alipay(settings) => Arc::new(alipay::Alipay::new(settings)?),
    })
}

/// What is wrong with a channel's settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SettingsError {
    /// The field of the channel.
    pub field: Cow<'static, str>,
    /// What was found and what was expected; never a secret.
    pub problem: String,
    /// The stable code.
    pub code: &'static str,
}

impl SettingsError {
    /// A value breaks a rule.
    pub const INVALID: &'static str = "config.invalid";
    /// A text is no key or certificate, or one that is not taken.
    pub const KEY: &'static str = "config.key";
    /// A certificate does not chain to the root beside it.
    pub const CHAIN: &'static str = "config.chain";
    /// A certificate is not the one that a serial number beside it says.
    pub const SERIAL: &'static str = "config.serial";
    /// A certificate is for another key than the one beside it.
    pub const PAIR: &'static str = "config.pair";

    pub(crate) fn new(field: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), code: Self::INVALID }
    }

    /// What was given is no key.
    pub(crate) fn key(field: impl Into<Cow<'static, str>>, error: &impl fmt::Display) -> Self {
        Self { field: field.into(), problem: error.to_string(), code: Self::KEY }
    }

    /// The same mistake under a code of its own.
    pub(crate) fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }
}

/// What became of a callback, to be put into the gateway's words.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    /// Stored, now or before: a repeat is answered exactly like the first.
    Accepted,
    /// Not believed.
    Refused(&'a Refusal),
    /// Believed, but could not be stored: the gateway must send it again.
    Unavailable,
}

/// The HTTP answer a gateway wants to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// HTTP status code.
    pub status: u16,
    /// `Content-Type`, where there is a body.
    pub content_type: Option<&'static str>,
    /// The exact body.
    pub body: Cow<'static, str>,
}

/// Why a callback is not believed. Facts as fields, no bytes of the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A header that the signature needs is absent.
    #[error("header {name} is missing")]
    HeaderMissing {
        /// The header.
        name: &'static str,
    },
    /// A header stands there more than once.
    #[error("header {name} stands there more than once")]
    HeaderRepeated {
        /// The header.
        name: &'static str,
    },
    /// A header's value is not of the form that the protocol wants.
    #[error("header {name} is malformed, expected {expected}")]
    HeaderMalformed {
        /// The header.
        name: &'static str,
        /// The form.
        expected: &'static str,
    },
    /// The body is longer than the listener takes (status 413 where the gateway looks at it).
    #[error("body is longer than {limit_bytes} bytes")]
    TooLarge {
        /// The listener's limit.
        limit_bytes: usize,
    },
    /// The body did not come whole and in time (status 408 where the gateway looks at it).
    #[error("body did not come whole and in time")]
    Incomplete,
    /// The body is compressed, which no gateway does (status 415 where the gateway looks at it).
    #[error("body has a content encoding, expected none")]
    Encoded,
    /// The method or content type is not the gateway's.
    #[error("request is not what this gateway sends, expected {expected}")]
    NotItsRequest {
        /// What the gateway sends.
        expected: &'static str,
    },
    /// The signed time is too far in the past.
    #[error("timestamp is {age_s} s old, limit is {limit_s} s")]
    Stale {
        /// Its age in seconds.
        age_s: i64,
        /// The limit in seconds.
        limit_s: i64,
    },
    /// The signed time is too far in the future.
    #[error("timestamp is {ahead_s} s ahead, limit is {limit_s} s")]
    Ahead {
        /// How far ahead, in seconds.
        ahead_s: i64,
        /// The limit in seconds.
        limit_s: i64,
    },
    /// No configured key has the id that the callback names.
    #[error("no key is configured for the serial that the callback names")]
    KeyUnknown,
    /// The signature's algorithm is unknown, or weaker than the channel allows.
    #[error("signature algorithm is not allowed, expected {expected}")]
    Algorithm {
        /// What the channel allows.
        expected: &'static str,
    },
    /// A deliberate probe of the gateway: a wrong signature that announces itself.
    #[error("the gateway probes whether signatures are checked")]
    Probe,
    /// The signature is absent or does not match the bytes received.
    #[error("signature does not match")]
    Signature,
    /// The signed or encrypted content is not of the protocol's form.
    #[error("content is malformed: {what}")]
    Malformed {
        /// Which part, and what was expected.
        what: &'static str,
    },
    /// The encrypted content does not decrypt with the channel's key.
    #[error("encrypted content does not decrypt with the configured key")]
    Decrypt,
    /// A genuine message that must never settle anything, such as a browser's return.
    #[error("message is genuine but no notification: {what}")]
    NotANotification {
        /// What it is instead.
        what: &'static str,
    },
}

impl Refusal {
    /// The stable code for logs, metrics and alerts. Codes never change meaning.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::HeaderMissing { .. } => "gateway.header-missing",
            Self::HeaderRepeated { .. } => "gateway.header-repeated",
            Self::HeaderMalformed { .. } => "gateway.header-malformed",
            Self::TooLarge { .. } => "gateway.too-large",
            Self::Incomplete => "gateway.incomplete",
            Self::Encoded => "gateway.encoded",
            Self::NotItsRequest { .. } => "gateway.not-its-request",
            Self::Stale { .. } => "gateway.stale",
            Self::Ahead { .. } => "gateway.ahead",
            Self::KeyUnknown => "gateway.key-unknown",
            Self::Algorithm { .. } => "gateway.algorithm",
            Self::Probe => "gateway.probe",
            Self::Signature => "gateway.signature",
            Self::Malformed { .. } => "gateway.malformed",
            Self::Decrypt => "gateway.decrypt",
            Self::NotANotification { .. } => "gateway.not-a-notification",
        }
    }
}
