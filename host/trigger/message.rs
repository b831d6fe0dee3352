//! A callback as it goes over the wire, and what can be wrong with it on purpose.

use callgate_core::time::Timestamp;

use crate::channel::{Channel, Gateway};
use crate::draw::Draw;
use crate::keys::Keys;
use crate::{alipay, wechat_v2, wechat_v3};

/// A callback, ready to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it is sent to.
    pub channel: Channel,
    /// The path, such as `/callback/wechat-v3-main`.
    pub path: String,
    /// Headers in the order sent; a name can stand there twice.
    pub headers: Vec<(String, String)>,
    /// The exact body.
    pub body: Vec<u8>,
    /// What the engine should make of it.
    pub expect: Expectation,
}

impl Message {
    /// The value of a header that stands there, the first where there are several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn set_header(&mut self, name: &str, value: String) {
        for (header, old) in &mut self.headers {
            if header == name {
                old.clone_from(&value);
            }
        }
    }
}

/// What the engine should make of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Stored, and answered with the gateway's success.
    Accepted,
    /// Not stored, and answered with the gateway's failure.
    Refused {
        /// The code of the refusal in logs and metrics.
        code: &'static str,
    },
}

/// One thing to tell, with an identity that stays the same however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Told by WeChat Pay v3.
    WechatV3(wechat_v3::Notice),
    /// Told by WeChat Pay v2.
    WechatV2(wechat_v2::Notice),
    /// Told by Alipay.
    Alipay(alipay::Notice),
}

impl Notice {
    /// The gateway that tells it.
    #[must_use]
    pub const fn gateway(&self) -> Gateway {
        match self {
            Self::WechatV3(_) => Gateway::WechatV3,
            Self::WechatV2(_) => Gateway::WechatV2,
            Self::Alipay(_) => Gateway::Alipay,
        }
    }

    /// Signs, and where the gateway does so encrypts, the notice for one try of sending it.
    ///
    /// Each try has a time, nonce and ciphertext of its own, as a gateway's own tries have.
    ///
    /// # Errors
    /// [`CannotSign::NoSuchFlaw`] where this gateway's messages cannot have the flaw, or
    /// [`CannotSign::Cryptography`].
    pub fn sign(
        &self,
        keys: &Keys,
        sending: Sending,
        draw: &mut Draw,
    ) -> Result<Message, CannotSign> {
        match self {
            Self::WechatV3(notice) => notice.sign(keys, sending, draw),
            Self::WechatV2(notice) => notice.sign(keys, sending, draw),
            Self::Alipay(notice) => notice.sign(keys, sending),
        }
    }
}

/// One try of sending a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// When it is sent.
    pub at: Timestamp,
    /// What is wrong with it, if anything.
    pub flaw: Option<Flaw>,
}

impl Sending {
    /// A try with nothing wrong.
    #[must_use]
    pub const fn genuine(at: Timestamp) -> Self {
        Self { at, flaw: None }
    }

    /// A try with one thing wrong.
    #[must_use]
    pub const fn flawed(at: Timestamp, flaw: Flaw) -> Self {
        Self { at, flaw: Some(flaw) }
    }
}

/// One thing that is wrong with a message; everything else about it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Signed ten minutes ago (v3).
    Stale,
    /// Signed ten minutes from now (v3).
    Ahead,
    /// One bit of the body flipped after signing; where the body is readable, of the amount.
    FlippedBit,
    /// Signed with a key that no channel knows; a v2 refund is encrypted with it instead.
    WrongKey,
    /// Names a certificate that no channel knows (v3, Alipay in certificate mode).
    UnknownSerial,
    /// Names a signature algorithm that is unknown (v3) or weaker than the channel's.
    WeakAlgorithm,
    /// Rightly signed, but the tag of the encrypted resource is wrong (v3).
    BadTag,
    /// Announces itself as a probe: `WECHATPAY/SIGNTEST/` and a wrong signature (v3).
    Probe,
    /// A signature header stands there twice with the same value (v3).
    RepeatedHeader,
    /// A header that the signature needs is absent (v3).
    MissingHeader,
    /// A field stands there twice (v2, Alipay).
    RepeatedField,
    /// An XML document type that names a file of the host (v2).
    ExternalEntity,
    /// The browser's return, rightly signed, posted as if it were a notice (Alipay).
    BrowserReturn,
}

impl Flaw {
    /// The code of the refusal that a message of this gateway with the flaw meets, or `None`
    /// where its messages cannot have it.
    ///
    /// A v2 refund has no signature: [`Flaw::WrongKey`] there is `gateway.decrypt`, and
    /// [`Flaw::FlippedBit`] cannot be told, for nothing protects the whole. An Alipay notice
    /// names no certificate in key mode, so [`Flaw::UnknownSerial`] is for certificate mode.
    #[must_use]
    pub const fn refusal(self, gateway: Gateway) -> Option<&'static str> {
        match (self, gateway) {
            (Self::FlippedBit | Self::WrongKey, _) => Some("gateway.signature"),
            (Self::WeakAlgorithm, _) => Some("gateway.algorithm"),
            (Self::Stale, Gateway::WechatV3) => Some("gateway.stale"),
            (Self::Ahead, Gateway::WechatV3) => Some("gateway.ahead"),
            (Self::UnknownSerial, Gateway::WechatV3 | Gateway::Alipay) => {
                Some("gateway.key-unknown")
            }
            (Self::BadTag, Gateway::WechatV3) => Some("gateway.decrypt"),
            (Self::Probe, Gateway::WechatV3) => Some("gateway.probe"),
            (Self::RepeatedHeader, Gateway::WechatV3) => Some("gateway.header-repeated"),
            (Self::MissingHeader, Gateway::WechatV3) => Some("gateway.header-missing"),
            (Self::RepeatedField, Gateway::WechatV2 | Gateway::Alipay)
            | (Self::ExternalEntity, Gateway::WechatV2) => Some("gateway.malformed"),
            (Self::BrowserReturn, Gateway::Alipay) => Some("gateway.not-a-notification"),
            (
                Self::Stale
                | Self::Ahead
                | Self::UnknownSerial
                | Self::BadTag
                | Self::Probe
                | Self::RepeatedHeader
                | Self::MissingHeader
                | Self::RepeatedField
                | Self::ExternalEntity
                | Self::BrowserReturn,
                _,
            ) => None,
        }
    }

    /// The expectation of a message with or without a flaw.
    pub(crate) fn expectation(
        flaw: Option<Self>,
        gateway: Gateway,
    ) -> Result<Expectation, CannotSign> {
        let Some(flaw) = flaw else { return Ok(Expectation::Accepted) };
        let code = flaw.refusal(gateway).ok_or(CannotSign::NoSuchFlaw { flaw, gateway })?;
        Ok(Expectation::Refused { code })
    }
}

/// Why there is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotSign {
    /// The gateway's messages cannot have this flaw.
    #[error("{gateway} sends no message with the flaw {flaw:?}")]
    NoSuchFlaw {
        /// The flaw.
        flaw: Flaw,
        /// The gateway.
        gateway: Gateway,
    },
    /// The cryptographic library failed.
    #[error("signing or encrypting failed")]
    Cryptography,
}

/// Flips the lowest bit of one byte: a digit stays a digit, so the message stays readable.
pub(crate) fn flip_lowest_bit(body: &mut [u8], place: usize) {
    if let Some(byte) = body.get_mut(place) {
        *byte ^= 1;
    }
}

/// Where a text ends inside a body, if it is in there.
pub(crate) fn place_after(body: &[u8], text: &str) -> Option<usize> {
    let found = body.windows(text.len()).position(|window| window == text.as_bytes())?;
    found.checked_add(text.len())
}

/// The same text with another last digit, whatever the last one was.
pub(crate) fn other_last(text: &str) -> String {
    let mut other = text.to_owned();
    let digit = if other.pop() == Some('7') { '8' } else { '7' };
    other.push(digit);
    other
}
