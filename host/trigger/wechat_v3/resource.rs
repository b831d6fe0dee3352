//! The plaintexts inside the envelope, with fields named and ordered as the gateway writes them.

use serde::Serialize;

use super::Partner;
use crate::keys::Merchant;
use crate::purchase::{Purchase, Refund, RefundResult};

pub(super) fn transaction(merchant: &Merchant, purchase: &Purchase, state: &str) -> String {
    let parties = Parties {
        merchants: Merchants::Own { mchid: &merchant.merchant_id },
        applications: Applications::Own { appid: &merchant.application_id },
        payer: Payer::Own { openid: &purchase.payer },
    };
    text(&Transaction::of(purchase, state, parties))
}

pub(super) fn partner_transaction(partner: Partner<'_>, purchase: &Purchase) -> String {
    let Partner { provider, sub } = partner;
    let parties = Parties {
        merchants: Merchants::Partner {
            sp_mchid: &provider.merchant_id,
            sub_mchid: &sub.merchant_id,
        },
        applications: Applications::Partner {
            sp_appid: &provider.application_id,
            sub_appid: &sub.application_id,
        },
        payer: Payer::Partner { sp_openid: &purchase.payer, sub_openid: &purchase.payer },
    };
    text(&Transaction::of(purchase, "SUCCESS", parties))
}

pub(super) fn combined(
    merchant: &Merchant,
    combine_order_no: &str,
    purchases: &[Purchase],
) -> String {
    let sub_order = |purchase| SubOrder::of(merchant, purchase);
    text(&Combined {
        combine_appid: &merchant.application_id,
        combine_mchid: &merchant.merchant_id,
        combine_out_trade_no: combine_order_no,
        scene_info: SceneInfo { device_id: "POS1:1" },
        sub_orders: purchases.iter().map(sub_order).collect(),
        combine_payer_info: PayerInfo {
            openid: purchases.first().map_or("", |purchase| &purchase.payer),
        },
    })
}

pub(super) fn refund(merchant: &Merchant, purchase: &Purchase, refund: &Refund) -> String {
    let (refund_status, reached) = match refund.result {
        RefundResult::Success => ("SUCCESS", Some(refund.at.format_beijing_rfc3339())),
        RefundResult::Closed => ("CLOSED", None),
        RefundResult::Abnormal => ("ABNORMAL", None),
    };
    text(&RefundOf {
        mchid: &merchant.merchant_id,
        transaction_id: &purchase.transaction_id,
        out_trade_no: &purchase.order_no,
        refund_id: &refund.refund_id,
        out_refund_no: &refund.refund_no,
        refund_status,
        success_time: reached,
        user_received_account: "支付用户零钱",
        amount: RefundAmount {
            total: purchase.amount.minor,
            refund: refund.amount.minor,
            payer_total: purchase.amount.minor,
            payer_refund: refund.amount.minor,
        },
    })
}

/// Structs of texts and numbers always have a JSON text.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[derive(Serialize)]
struct Transaction<'a> {
    transaction_id: &'a str,
    amount: Amount<'a>,
    #[serde(flatten)]
    merchants: Merchants<'a>,
    trade_state: &'a str,
    bank_type: &'static str,
    success_time: String,
    payer: Payer<'a>,
    out_trade_no: &'a str,
    #[serde(flatten)]
    applications: Applications<'a>,
    trade_state_desc: &'static str,
    trade_type: &'static str,
    attach: &'a str,
}

impl<'a> Transaction<'a> {
    fn of(purchase: &'a Purchase, state: &'a str, parties: Parties<'a>) -> Self {
        let currency = purchase.amount.currency.as_str();
        Self {
            transaction_id: &purchase.transaction_id,
            amount: Amount {
                payer_total: purchase.amount.minor,
                total: purchase.amount.minor,
                currency,
                payer_currency: currency,
            },
            merchants: parties.merchants,
            trade_state: state,
            bank_type: "OTHERS",
            success_time: purchase.at.format_beijing_rfc3339(),
            payer: parties.payer,
            out_trade_no: &purchase.order_no,
            applications: parties.applications,
            trade_state_desc: if state == "SUCCESS" { "支付成功" } else { "订单已关闭" },
            trade_type: "NATIVE",
            attach: &purchase.subject,
        }
    }
}

#[derive(Serialize)]
struct Amount<'a> {
    payer_total: i64,
    total: i64,
    currency: &'a str,
    payer_currency: &'a str,
}

/// Who takes part; the gateway writes their fields in three places.
struct Parties<'a> {
    merchants: Merchants<'a>,
    applications: Applications<'a>,
    payer: Payer<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Merchants<'a> {
    Own { mchid: &'a str },
    Partner { sp_mchid: &'a str, sub_mchid: &'a str },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Applications<'a> {
    Own { appid: &'a str },
    Partner { sp_appid: &'a str, sub_appid: &'a str },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payer<'a> {
    Own { openid: &'a str },
    Partner { sp_openid: &'a str, sub_openid: &'a str },
}

#[derive(Serialize)]
struct Combined<'a> {
    combine_appid: &'a str,
    combine_mchid: &'a str,
    combine_out_trade_no: &'a str,
    scene_info: SceneInfo,
    sub_orders: Vec<SubOrder<'a>>,
    combine_payer_info: PayerInfo<'a>,
}

#[derive(Serialize)]
struct SceneInfo {
    device_id: &'static str,
}

#[derive(Serialize)]
struct PayerInfo<'a> {
    openid: &'a str,
}

#[derive(Serialize)]
struct SubOrder<'a> {
    mchid: &'a str,
    trade_type: &'static str,
    trade_state: &'static str,
    bank_type: &'static str,
    attach: &'a str,
    success_time: String,
    transaction_id: &'a str,
    out_trade_no: &'a str,
    amount: SubAmount<'a>,
}

impl<'a> SubOrder<'a> {
    fn of(merchant: &'a Merchant, purchase: &'a Purchase) -> Self {
        let currency = purchase.amount.currency.as_str();
        Self {
            mchid: &merchant.merchant_id,
            trade_type: "JSAPI",
            trade_state: "SUCCESS",
            bank_type: "OTHERS",
            attach: &purchase.subject,
            success_time: purchase.at.format_beijing_rfc3339(),
            transaction_id: &purchase.transaction_id,
            out_trade_no: &purchase.order_no,
            amount: SubAmount {
                total_amount: purchase.amount.minor,
                currency,
                payer_amount: purchase.amount.minor,
                payer_currency: currency,
            },
        }
    }
}

#[derive(Serialize)]
struct SubAmount<'a> {
    total_amount: i64,
    currency: &'a str,
    payer_amount: i64,
    payer_currency: &'a str,
}

#[derive(Serialize)]
struct RefundOf<'a> {
    mchid: &'a str,
    transaction_id: &'a str,
    out_trade_no: &'a str,
    refund_id: &'a str,
    out_refund_no: &'a str,
    refund_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    success_time: Option<String>,
    user_received_account: &'static str,
    amount: RefundAmount,
}

#[derive(Serialize)]
struct RefundAmount {
    total: i64,
    refund: i64,
    payer_total: i64,
    payer_refund: i64,
}
