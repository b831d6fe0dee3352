//! Alipay: one address, form fields signed by the application, content signed by the gateway.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use callgate_core::money::format_decimal;
use callgate_trigger::purchase::{Purchase, RefundResult};
use serde_json::{Value, json};

use super::books::{Booked, Paid};
use super::{Asked, Heard, Manner, StandIn, What};
use crate::house::keys;

impl StandIn {
    pub(super) fn alipay_question(&self, heard: &Heard) -> Option<(What, bool)> {
        let url = reqwest::Url::parse(&format!("http://form/?{}", heard.text())).ok()?;
        let mut fields: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let sign = fields.remove("sign")?;
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let genuine = self.merchant.signed(pairs.join("&").as_bytes(), &sign)
            && fields.get("app_id") == Some(&keys().0.accounts.alipay_application_id);
        let content: Value = serde_json::from_str(fields.get("biz_content")?).ok()?;
        let text = |name: &str| content[name].as_str().map(str::to_owned);
        let what = match fields.get("method")?.as_str() {
            "alipay.trade.query" => What::Payment(text("out_trade_no")?),
            _ => What::Refund(text("out_request_no")?),
        };
        Some((what, genuine))
    }

    pub(super) fn alipay_answer(&self, asked: &Asked, manner: Manner) -> Response {
        let books = self.books.lock().expect("books");
        let (member, found) = match &asked.what {
            What::Payment(number) => (
                "alipay_trade_query_response",
                books.payment(number).map(|(of, paid)| payment(&of, paid)),
            ),
            What::Refund(number) => (
                "alipay_trade_fastpay_refund_query_response",
                books.refunded(number).map(|(it, of)| refund(&it, &of)),
            ),
            What::Certificates => ("error_response", None),
        };
        let failed = |code: &str| json!({ "code": "40004", "msg": "x", "sub_code": code });
        let mut content = match found {
            _ if !asked.genuine => failed("isv.invalid-signature"),
            Some(found) => found,
            None => failed("ACQ.TRADE_NOT_EXIST"),
        };
        if manner == Manner::Another {
            content["out_trade_no"] = json!("CG-ANOTHER");
        }
        let text = content.to_string();
        let signer = if manner == Manner::Forged { &self.merchant } else { &self.alipay };
        let sign = signer.sign(text.as_bytes());
        format!("{{\"{member}\":{text},\"sign\":\"{sign}\"}}").into_response()
    }
}

fn payment(of: &Purchase, paid: Paid) -> Value {
    // A trade begins where the payer is asked to pay; before that Alipay knows of none.
    let mut content = json!({
        "code": "10000", "msg": "Success",
        "trade_no": of.transaction_id,
        "out_trade_no": of.order_no,
        "total_amount": format_decimal(of.amount.minor, 2),
        "buyer_user_id": of.payer,
    });
    content["trade_status"] = json!(match paid {
        Paid::Not => "WAIT_BUYER_PAY",
        Paid::Success => "TRADE_SUCCESS",
        Paid::Closed => "TRADE_CLOSED",
    });
    if paid == Paid::Success {
        content["send_pay_date"] = json!(of.at.format_beijing());
    }
    content
}

fn refund(booked: &Booked, of: &Purchase) -> Value {
    let refund = &booked.refund;
    let mut content = json!({
        "code": "10000", "msg": "Success",
        "trade_no": of.transaction_id,
        "out_trade_no": of.order_no,
        "out_request_no": refund.refund_no,
        "total_amount": format_decimal(of.amount.minor, 2),
        "refund_amount": format_decimal(refund.amount.minor, 2),
    });
    if booked.ended && refund.result == RefundResult::Success {
        content["refund_status"] = json!("REFUND_SUCCESS");
        content["gmt_refund_pay"] = json!(refund.at.format_beijing());
    }
    content
}
