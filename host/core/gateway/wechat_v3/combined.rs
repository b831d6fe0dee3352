//! Combined orders: one message settles several orders, each with its own notification.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::gateway::Refusal;
use crate::notification::Notification;
use crate::time::Timestamp;

use super::account::{Account, Addressee};
use super::resource::{
    Payer, fields, moment, money, payment_event, payment_key, required, transaction,
};

#[derive(Deserialize)]
struct Combined<'a> {
    combine_mchid: Option<String>,
    combine_appid: Option<String>,
    combine_payer_info: Option<Payer>,
    #[serde(borrow)]
    sub_orders: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct SubOrder {
    mchid: Option<String>,
    sub_mchid: Option<String>,
    out_trade_no: Option<String>,
    transaction_id: Option<String>,
    trade_state: Option<String>,
    success_time: Option<String>,
    amount: Option<SubAmount>,
}

#[derive(Deserialize)]
struct SubAmount {
    total_amount: Option<i64>,
    currency: Option<String>,
}

/// Reads a combined order, one notification for each of its parts in their order.
pub(super) fn read(
    text: &str,
    created_at: Option<Timestamp>,
    account: &Account,
) -> Result<Vec<Notification>, Refusal> {
    let said: Combined<'_> = serde_json::from_str(text).map_err(|_| Refusal::Malformed {
        what: "combined transaction, expected its documented fields",
    })?;
    if said.sub_orders.len() > SUB_ORDERS_MAX {
        return Err(Refusal::Malformed { what: "sub_orders, expected at most 50" });
    }
    let combiner = Addressee {
        merchant: said.combine_mchid.as_deref(),
        application: said.combine_appid.as_deref(),
        ..Addressee::default()
    };
    let payer = said.combine_payer_info.and_then(Payer::into_name);
    let mut common = fields(text);
    common.remove("sub_orders");
    let mut parts = Vec::with_capacity(said.sub_orders.len());
    for raw in said.sub_orders {
        let mut part = part(raw, created_at)?;
        part.notification.mismatch = account.check_combined(combiner, part.addressee());
        part.notification.payer.clone_from(&payer);
        part.notification.body = body(&common, raw);
        parts.push(part.notification);
    }
    Ok(parts)
}

struct Part {
    merchant: Option<String>,
    sub_merchant: Option<String>,
    notification: Notification,
}

impl Part {
    fn addressee(&self) -> Addressee<'_> {
        Addressee {
            merchant: self.merchant.as_deref(),
            sub_merchant: self.sub_merchant.as_deref(),
            ..Addressee::default()
        }
    }
}

fn part(raw: &RawValue, created_at: Option<Timestamp>) -> Result<Part, Refusal> {
    let said: SubOrder = serde_json::from_str(raw.get())
        .map_err(|_| Refusal::Malformed { what: "sub_orders, expected their documented fields" })?;
    let order_no = required(said.out_trade_no, "out_trade_no, expected an order number")?;
    let state = required(said.trade_state, "trade_state, expected a state")?;
    let transaction_id = transaction(said.transaction_id, &state)?;
    let total = match said.amount {
        Some(amount) => money(amount.total_amount, amount.currency.as_deref())?,
        None => None,
    };
    let notification = Notification {
        event_type: payment_event(&state),
        meaning_key: payment_key(transaction_id.as_deref(), &order_no, &state),
        order_no: Some(order_no),
        transaction_id,
        refund_id: None,
        refund_no: None,
        payer: None,
        amount: total,
        refunded_total: None,
        order_amount: total,
        occurred_at: moment(said.success_time.as_deref(), created_at),
        mismatch: None,
        body: String::new(),
    };
    Ok(Part { merchant: said.mchid, sub_merchant: said.sub_mchid, notification })
}

/// The fields that all parts share, as they stand there, and this part as `sub_order`.
fn body(common: &BTreeMap<String, &RawValue>, part: &RawValue) -> String {
    let mut fields = common.clone();
    fields.insert("sub_order".to_owned(), part);
    // Names and raw values of a parsed object always print.
    serde_json::to_string(&fields).unwrap_or_default()
}

/// As many as the gateway combines (page on combined orders, read 2026-11).
const SUB_ORDERS_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::super::tests::Silent;
    use super::{Combined, SubAmount, SubOrder};

    #[test]
    fn nothing_read_from_a_combined_plaintext_can_be_printed() {
        <Combined<'_> as Silent<_>>::holds();
        <SubOrder as Silent<_>>::holds();
        <SubAmount as Silent<_>>::holds();
    }
}
