//! Checked fields of Alipay as notifications.

use std::collections::BTreeMap;

use encoding_rs::{Encoding, GB18030, GBK, UTF_8};

use crate::gateway::Refusal;
use crate::gateway::scheme::form::Form;
use crate::money::{Currency, Money, parse_decimal};
use crate::notification::{AccountMismatch, EventType, Notification, Verified};
use crate::time::Timestamp;

use super::CERTIFICATE_SN;

/// The account names of a channel.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) application_ids: Vec<String>,
    pub(super) seller_ids: Vec<String>,
}

impl Account {
    fn mismatch_of_trade(&self, fields: &Fields) -> Option<AccountMismatch> {
        let seller = fields.filled("seller_id").or_else(|| fields.filled("seller_email"));
        let is_ours = self.seller_ids.is_empty() || is_listed(&self.seller_ids, seller);
        self.mismatch_of_other(fields).or_else(|| (!is_ours).then_some(AccountMismatch::Merchant))
    }

    /// What is no trade has no seller.
    fn mismatch_of_other(&self, fields: &Fields) -> Option<AccountMismatch> {
        let is_ours = is_listed(&self.application_ids, fields.filled("app_id"));
        (!is_ours).then_some(AccountMismatch::Application)
    }
}

fn is_listed(known: &[String], name: Option<&str>) -> bool {
    name.is_some_and(|name| known.iter().any(|known| known == name))
}

/// The signed fields as text.
pub(super) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Turns checked bytes into text, after the `charset` they name; UTF-8 where they name none.
    pub(super) fn decode(form: &Form) -> Result<Self, Refusal> {
        let charset = match form.get("charset") {
            Some(name) => charset(name).ok_or(Refusal::Malformed {
                what: "charset, expected utf-8, gbk, gb2312 or gb18030",
            })?,
            None => UTF_8,
        };
        let text = |bytes: &[u8]| {
            charset
                .decode_without_bom_handling_and_without_replacement(bytes)
                .map(std::borrow::Cow::into_owned)
                .ok_or(Refusal::Malformed { what: "a value is no text of its charset" })
        };
        form.iter()
            .filter(|(name, _)| !LEFT_OUT.iter().any(|left_out| left_out.as_bytes() == *name))
            .map(|(name, value)| Ok((text(name)?, text(value)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn filled(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn owned(&self, name: &str) -> Option<String> {
        self.filled(name).map(str::to_owned)
    }

    /// An amount in yuan with at most two decimals; `None` where the field is absent or empty.
    fn yuan(&self, name: &str) -> Result<Option<Money>, Refusal> {
        let malformed = |_| Refusal::Malformed { what: "amount, expected yuan with two decimals" };
        let read = |text| parse_decimal(text, 2).map_err(malformed);
        let minor = self.filled(name).map(read).transpose()?;
        Ok(minor.map(|minor| Money { minor, currency: Currency::CNY }))
    }

    /// The first of the times that is there, all in Beijing time.
    fn time(&self, names: &[&str]) -> Option<Timestamp> {
        names.iter().find_map(|name| self.filled(name).and_then(Timestamp::parse_beijing))
    }

    fn body(&self) -> String {
        serde_json::Value::from_iter(self.0.clone()).to_string()
    }
}

/// Alipay names GBK in three ways; the decoder of GBK reads GB 2312 as the subset it is.
fn charset(name: &[u8]) -> Option<&'static Encoding> {
    let known: [(&str, &Encoding); 4] =
        [("utf-8", UTF_8), ("gbk", GBK), ("gb2312", GBK), ("gb18030", GB18030)];
    known
        .into_iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
        .map(|(_, encoding)| encoding)
}

/// Reads a checked notice of any family.
pub(super) fn read(account: &Account, fields: &Fields) -> Result<Verified, Refusal> {
    let Some(notice) = fields.filled("notify_id") else {
        let is_return = fields.filled("method").is_some_and(|method| method.ends_with(".return"));
        return Err(match is_return && fields.filled("trade_status").is_none() {
            true => Refusal::NotANotification { what: "the return of the payer's browser" },
            false => Refusal::Malformed { what: "notify_id, expected one" },
        });
    };
    let family = fields.filled("notify_type").unwrap_or("trade_status_sync");
    let notification = match fields.filled("trade_status") {
        Some(state) if family == "trade_status_sync" => trade(account, fields, state)?,
        None if fields.filled("notify_type") == Some("trade_status_sync") => {
            return Err(Refusal::Malformed { what: "trade_status, expected one" });
        }
        Some(_) | None => other(account, fields, notice),
    };
    let verified = Verified::one(notice.to_owned(), notification);
    Ok(verified.signed_at_moment(fields.time(&["notify_time"])))
}

/// Alipay tells of a refund by repeating the state of the trade, with `refund_fee` beside it: the
/// total given back so far. A total of zero is none. A finished trade can be refunded no more:
/// there the total is what went back before, told already by notices of its own.
fn trade(account: &Account, fields: &Fields, state: &str) -> Result<Notification, Refusal> {
    let missing = Refusal::Malformed { what: "trade_no or out_trade_no, expected both" };
    let (Some(trade_no), Some(order_no)) =
        (fields.filled("trade_no"), fields.owned("out_trade_no"))
    else {
        return Err(missing);
    };
    let order_amount = fields.yuan("total_amount")?;
    let refunded_total = fields.yuan("refund_fee")?.filter(|total| total.minor > 0);
    let refund = refunded_total.filter(|_| state != "TRADE_FINISHED");
    let (event_type, time) = match (refund, state) {
        (Some(_), _) => (EventType::REFUND_SUCCEEDED, "gmt_refund"),
        (None, "TRADE_SUCCESS") => (EventType::PAYMENT_SUCCEEDED, "gmt_payment"),
        (None, "TRADE_FINISHED") => (EventType::PAYMENT_FINISHED, "gmt_close"),
        (None, "TRADE_CLOSED") => (EventType::PAYMENT_CLOSED, "gmt_close"),
        (None, "WAIT_BUYER_PAY") => (EventType::PAYMENT_PENDING, "gmt_create"),
        (None, _) => (EventType::other("alipay", state), "notify_time"),
    };
    let is_paid = refund.is_none() && matches!(state, "TRADE_SUCCESS" | "TRADE_FINISHED");
    if is_paid && order_amount.is_none() {
        return Err(Refusal::Malformed { what: "a payment without total_amount" });
    }
    let refund_no = fields.owned("out_biz_no").filter(|_| refund.is_some());
    let meaning_key = match (refund, &refund_no) {
        (Some(_), Some(number)) => refund_key(trade_no, number),
        (Some(total), None) => format!("refund:{trade_no}::{}", total.minor),
        (None, _) => payment_key(trade_no, state),
    };
    Ok(Notification {
        event_type,
        meaning_key,
        order_no: Some(order_no),
        transaction_id: Some(trade_no.to_owned()),
        refund_id: None,
        refund_no,
        payer: fields.owned("buyer_id").or_else(|| fields.owned("buyer_open_id")),
        amount: order_amount.filter(|_| is_paid),
        refunded_total,
        order_amount,
        occurred_at: fields.time(&[time, "notify_time"]),
        mismatch: account.mismatch_of_trade(fields),
        body: fields.body(),
    })
}

/// The business fact of a payment.
pub(super) fn payment_key(trade_no: &str, state: &str) -> String {
    format!("payment:{trade_no}:{state}")
}

/// The business fact of a refund: the merchant's number of it is the same in a notice, which tells
/// the total given back so far, and in an answer, which tells the amount of this one.
pub(super) fn refund_key(trade_no: &str, refund_no: &str) -> String {
    format!("refund:{trade_no}:{refund_no}")
}

/// A notice of another family, or one that says nothing of its family and is no trade.
fn other(account: &Account, fields: &Fields, notice: &str) -> Notification {
    let named = ["notify_type", "msg_method", "method"];
    let name = named.iter().find_map(|name| fields.filled(name)).unwrap_or("notice");
    Notification {
        event_type: EventType::other("alipay", name),
        meaning_key: format!("notice:{notice}"),
        order_no: fields.owned("out_trade_no"),
        transaction_id: fields.owned("trade_no"),
        refund_id: None,
        refund_no: None,
        payer: None,
        amount: None,
        refunded_total: None,
        order_amount: None,
        occurred_at: fields.time(&["notify_time"]),
        mismatch: account.mismatch_of_other(fields),
        body: fields.body(),
    }
}

/// What says how the rest is signed is no content, and not always signed itself.
const LEFT_OUT: [&str; 3] = ["sign", "sign_type", CERTIFICATE_SN];

/// The signed fields that anything here depends on.
pub(super) const READ: [&str; 21] = [
    "app_id",
    "buyer_id",
    "buyer_open_id",
    "charset",
    "gmt_close",
    "gmt_create",
    "gmt_payment",
    "gmt_refund",
    "method",
    "msg_method",
    "notify_id",
    "notify_time",
    "notify_type",
    "out_biz_no",
    "out_trade_no",
    "refund_fee",
    "seller_email",
    "seller_id",
    "total_amount",
    "trade_no",
    "trade_status",
];
