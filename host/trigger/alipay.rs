//! Alipay asynchronous notifications: a form whose fields are signed in the charset they are sent.
//!
//! Source: opendocs.alipay.com, "asynchronous notification" and "self-made verification", read
//! 2026-11-21.

use std::borrow::Cow;

use callgate_core::money::format_decimal;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::channel::{Channel, Gateway};
use crate::draw::Draw;
use crate::keys::{Keys, Merchant};
use crate::message::{
    CannotSign, Flaw, Message, Sending, flip_lowest_bit, other_last, place_after,
};
use crate::purchase::{Purchase, Refund};
use crate::rsa::RsaKey;

/// One thing to tell. Its `notify_id` stays the same for every try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    channel: Channel,
    charset: Charset,
    fields: Vec<Field>,
}

type Field = (&'static str, String);

/// The charset of a notice, in which it is signed as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Charset {
    /// UTF-8.
    Utf8,
    /// GBK.
    Gbk,
}

impl Charset {
    const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Gbk => "GBK",
        }
    }

    fn encode(self, text: &str) -> Cow<'_, [u8]> {
        match self {
            Self::Utf8 => Cow::Borrowed(text.as_bytes()),
            Self::Gbk => encoding_rs::GBK.encode(text).0,
        }
    }
}

/// Which key of Alipay signs, each on a channel of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyMode {
    /// The key that is configured as such.
    Key,
    /// The key of the configured certificate.
    Certificate,
}

impl KeyMode {
    /// The channel that is configured for it.
    #[must_use]
    pub const fn channel(self) -> Channel {
        match self {
            Self::Key => Channel::AlipayMain,
            Self::Certificate => Channel::AlipayCert,
        }
    }
}

impl Notice {
    /// A payment that succeeded.
    #[must_use]
    pub fn payment(merchant: &Merchant, purchase: &Purchase, draw: &mut Draw) -> Self {
        Self::paid("TRADE_SUCCESS", (merchant, purchase), draw)
    }

    /// A payment that can be refunded no more.
    #[must_use]
    pub fn payment_finished(merchant: &Merchant, purchase: &Purchase, draw: &mut Draw) -> Self {
        Self::paid("TRADE_FINISHED", (merchant, purchase), draw)
    }

    /// A payment that was closed before anybody paid.
    #[must_use]
    pub fn payment_closed(merchant: &Merchant, purchase: &Purchase, draw: &mut Draw) -> Self {
        let mut fields = trade("TRADE_CLOSED", (merchant, purchase), draw);
        fields.push(("gmt_close", purchase.at.format_beijing()));
        Self::of(fields)
    }

    /// A refund: as the gateway does, a payment notice with the total given back so far.
    ///
    /// The trade stays `TRADE_SUCCESS` until everything went back, then it is `TRADE_CLOSED`.
    #[must_use]
    pub fn refund(
        merchant: &Merchant,
        purchase: &Purchase,
        refund: &Refund,
        draw: &mut Draw,
    ) -> Self {
        let whole = refund.refunded_total.minor >= purchase.amount.minor;
        let status = if whole { "TRADE_CLOSED" } else { "TRADE_SUCCESS" };
        let mut made = Self::paid(status, (merchant, purchase), draw);
        made.fields.extend([
            ("refund_fee", yuan(refund.refunded_total.minor)),
            ("gmt_refund", format!("{}.299", refund.at.format_beijing())),
            ("out_biz_no", refund.refund_no.clone()),
        ]);
        if whole {
            made.fields.push(("gmt_close", refund.at.format_beijing()));
        }
        made
    }

    /// The same notice in another charset.
    #[must_use]
    pub fn in_charset(mut self, charset: Charset) -> Self {
        self.charset = charset;
        for (name, value) in &mut self.fields {
            if *name == "charset" {
                charset.name().clone_into(value);
            }
        }
        self
    }

    /// The same notice on the channel of another kind of key.
    #[must_use]
    pub fn signed_by(mut self, mode: KeyMode) -> Self {
        self.channel = mode.channel();
        self
    }

    fn paid(
        status: &'static str,
        (merchant, purchase): (&Merchant, &Purchase),
        draw: &mut Draw,
    ) -> Self {
        let total = yuan(purchase.amount.minor);
        let bills = serde_json::json!([{"amount": total, "fundChannel": "ALIPAYACCOUNT"}]);
        let mut fields = trade(status, (merchant, purchase), draw);
        fields.extend([
            ("gmt_payment", purchase.at.format_beijing()),
            ("buyer_id", purchase.payer.clone()),
            ("invoice_amount", total.clone()),
            ("fund_bill_list", bills.to_string()),
            ("receipt_amount", total.clone()),
            ("point_amount", "0.00".to_owned()),
            ("buyer_pay_amount", total),
        ]);
        Self::of(fields)
    }

    fn of(fields: Vec<Field>) -> Self {
        Self { channel: Channel::AlipayMain, charset: Charset::Utf8, fields }
    }

    /// Signs one try.
    ///
    /// # Errors
    /// As [`crate::message::Notice::sign`].
    pub fn sign(&self, keys: &Keys, sending: Sending) -> Result<Message, CannotSign> {
        let expect = Flaw::expectation(sending.flaw, Gateway::Alipay)?;
        let mut fields = match sending.flaw {
            Some(Flaw::BrowserReturn) => self.returned(),
            Some(_) | None => self.fields.clone(),
        };
        let told_at = match sending.flaw {
            Some(Flaw::BrowserReturn) => "timestamp",
            Some(_) | None => "notify_time",
        };
        fields.push((told_at, sending.at.format_beijing()));
        fields.extend(self.certificate_sn(keys, sending.flaw)?);
        let signature = self.key(keys, sending.flaw).sign_base64(&self.signed_text(&fields))?;
        if sending.flaw == Some(Flaw::RepeatedField) {
            fields.extend(fields.first().cloned());
        }
        let algorithm = if sending.flaw == Some(Flaw::WeakAlgorithm) { "RSA" } else { "RSA2" };
        fields.extend([("sign_type", algorithm.to_owned()), ("sign", signature)]);
        let mut body = self.form(&fields).into_bytes();
        if sending.flaw == Some(Flaw::FlippedBit)
            && let Some(place) = place_after(&body, "total_amount=")
        {
            flip_lowest_bit(&mut body, place);
        }
        let charset = self.charset.name();
        let content_type = format!("application/x-www-form-urlencoded; charset={charset}");
        let agent = ("User-Agent".to_owned(), "Mozilla/4.0".to_owned());
        Ok(Message {
            channel: self.channel,
            path: self.channel.path(),
            headers: vec![("Content-Type".to_owned(), content_type), agent],
            body,
            expect,
        })
    }

    fn key<'a>(&self, keys: &'a Keys, flaw: Option<Flaw>) -> &'a RsaKey {
        match flaw {
            Some(Flaw::WrongKey) => &keys.stranger.key,
            Some(_) | None if self.channel == Channel::AlipayCert => &keys.alipay.certificate_key,
            Some(_) | None => &keys.alipay.key,
        }
    }

    /// In certificate mode the notice names the certificate, as part of what is signed.
    fn certificate_sn(&self, keys: &Keys, flaw: Option<Flaw>) -> Result<Option<Field>, CannotSign> {
        let known = &keys.accounts.alipay_certificate_sn;
        match (self.channel, flaw) {
            (Channel::AlipayCert, Some(Flaw::UnknownSerial)) => {
                Ok(Some(("alipay_cert_sn", other_last(known))))
            }
            (Channel::AlipayCert, _) => Ok(Some(("alipay_cert_sn", known.clone()))),
            (_, Some(flaw @ Flaw::UnknownSerial)) => {
                Err(CannotSign::NoSuchFlaw { flaw, gateway: Gateway::Alipay })
            }
            (_, _) => Ok(None),
        }
    }

    /// Names sorted by bytes, `name=value` joined by `&`, in the notice's charset.
    fn signed_text(&self, fields: &[Field]) -> Vec<u8> {
        let mut sorted: Vec<&Field> = fields.iter().collect();
        sorted.sort_unstable();
        let pair = |(name, value): &&Field| {
            [name.as_bytes(), b"=", self.charset.encode(value).as_ref()].concat()
        };
        sorted.iter().map(pair).collect::<Vec<_>>().join(&b'&')
    }

    fn form(&self, fields: &[Field]) -> String {
        let pair = |(name, value): &Field| {
            let value = self.charset.encode(value);
            let escaped = percent_encode(&value, ESCAPED).to_string().replace(' ', "+");
            format!("{name}={escaped}")
        };
        fields.iter().map(pair).collect::<Vec<_>>().join("&")
    }

    /// What the payer's browser carries back: signed alike, but no notice.
    fn returned(&self) -> Vec<Field> {
        let kept = |(name, _): &&Field| RETURNED.contains(name);
        let method = ("method", "alipay.trade.page.pay.return".to_owned());
        self.fields.iter().filter(kept).cloned().chain([method]).collect()
    }
}

/// The fields that every trade notice has.
fn trade(
    status: &'static str,
    (merchant, purchase): (&Merchant, &Purchase),
    draw: &mut Draw,
) -> Vec<Field> {
    let day: String = purchase.at.format_beijing_compact().chars().take(8).collect();
    vec![
        ("gmt_create", purchase.at.plus_ms(-5000).format_beijing()),
        ("charset", Charset::Utf8.name().to_owned()),
        ("subject", purchase.subject.clone()),
        ("version", "1.0".to_owned()),
        ("notify_id", format!("{day}00222{}", draw.digits(21))),
        ("notify_type", "trade_status_sync".to_owned()),
        ("out_trade_no", purchase.order_no.clone()),
        ("total_amount", yuan(purchase.amount.minor)),
        ("trade_status", status.to_owned()),
        ("trade_no", purchase.transaction_id.clone()),
        ("auth_app_id", merchant.application_id.clone()),
        ("app_id", merchant.application_id.clone()),
        ("seller_id", merchant.merchant_id.clone()),
        ("passback_params", "a%3D1%26b%3D2".to_owned()),
    ]
}

fn yuan(minor: i64) -> String {
    format_decimal(minor, 2)
}

/// What a form leaves as it is, besides letters and digits. A blank becomes `+` afterwards.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b' ').remove(b'*').remove(b'-').remove(b'.').remove(b'_');

const RETURNED: [&str; 8] = [
    "charset",
    "out_trade_no",
    "total_amount",
    "trade_no",
    "auth_app_id",
    "version",
    "app_id",
    "seller_id",
];

#[cfg(test)]
mod tests;
