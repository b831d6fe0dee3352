//! WeChat Pay v3: questions signed by the merchant, answers by the platform.

use axum::body::Body;
use axum::response::Response;
use callgate_core::time::Timestamp;
use callgate_trigger::purchase::{Purchase, RefundResult};
use serde_json::{Value, json};

use super::books::{Booked, Paid};
use super::signer::Signer;
use super::{Asked, Heard, Manner, StandIn, What};
use crate::house::keys;

impl StandIn {
    pub(super) fn v3_question(&self, heard: &Heard) -> Option<(What, bool)> {
        let path = heard.uri.path();
        let what = if path == "/v3/certificates" {
            What::Certificates
        } else if let Some(number) = path.strip_prefix("/v3/pay/transactions/out-trade-no/") {
            What::Payment(number.to_owned())
        } else {
            What::Refund(path.strip_prefix("/v3/refund/domestic/refunds/")?.to_owned())
        };
        Some((what, self.v3_genuine(heard)))
    }

    fn v3_genuine(&self, heard: &Heard) -> bool {
        let target = heard.uri.path_and_query().map_or("", |target| target.as_str());
        let request = (heard.method.as_str(), target, heard.text());
        let merchant = (&self.merchant, keys().0.accounts.wechat_merchant_id.as_str());
        let nonce = authorized(heard.header("authorization"), request, merchant, self.clock.now());
        nonce.is_some_and(|nonce| self.is_new(&nonce))
    }

    pub(super) fn v3_answer(&self, asked: &Asked, heard: &Heard, manner: Manner) -> Response {
        let refused = |status, code: &str| (status, json!({ "code": code, "message": "no" }));
        let (status, body) = if !asked.genuine {
            refused(401, "SIGN_ERROR")
        } else {
            match &asked.what {
                What::Certificates => {
                    (200, self.certificates.lock().expect("certificates").listed())
                }
                What::Payment(number) => {
                    let found = self.books.lock().expect("books").payment(number);
                    let answer = found.map(|(purchase, paid)| transaction(&purchase, paid));
                    answer.map_or_else(|| refused(404, "ORDER_NOT_EXIST"), |body| (200, body))
                }
                What::Refund(number) => {
                    let found = self.books.lock().expect("books").refunded(number);
                    let answer = found.map(|(booked, purchase)| refund(&booked, &purchase));
                    answer.map_or_else(|| refused(404, "RESOURCE_NOT_EXISTS"), |body| (200, body))
                }
            }
        };
        self.v3_signed((status, body), heard, manner)
    }

    fn v3_signed(&self, (status, body): (u16, Value), heard: &Heard, manner: Manner) -> Response {
        let mut body = body;
        if manner == Manner::Another {
            body["out_trade_no"] = json!("CG-ANOTHER");
        }
        let timestamp = (self.clock.now().as_ms() / 1000).to_string();
        let nonce = uuid::Uuid::now_v7().simple().to_string();
        let text = body.to_string();
        let signed = format!("{timestamp}\n{nonce}\n{text}\n");
        let certificates = self.certificates.lock().expect("certificates");
        let signer = if heard.header("wechatpay-serial") == self.public.serial {
            &self.public
        } else {
            certificates.signer()
        };
        let signer_of = if manner == Manner::Forged { &self.merchant } else { signer };
        let signature = signer_of.sign(signed.as_bytes());
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .header("wechatpay-timestamp", timestamp)
            .header("wechatpay-nonce", nonce)
            .header("wechatpay-serial", &signer.serial)
            .header("wechatpay-signature", signature)
            .body(Body::from(text))
            .expect("a response")
    }
}

/// Checks `Authorization` as the gateway does: the merchant's key signed method, target, time, nonce
/// and body of this request, a moment ago, and says so under its own number and serial. Tells the
/// nonce.
pub(crate) fn authorized(
    authorization: &str,
    (method, target, body): (&str, &str, &str),
    (merchant, merchant_id): (&Signer, &str),
    now: Timestamp,
) -> Option<String> {
    let rest = authorization.strip_prefix("WECHATPAY2-SHA256-RSA2048 ")?;
    let member = |name: &str| {
        let found = rest.split(',').find_map(|one| one.strip_prefix(&format!("{name}=\"")));
        found.and_then(|value| value.strip_suffix('"')).unwrap_or_default()
    };
    let (timestamp, nonce) = (member("timestamp"), member("nonce_str"));
    let text = format!("{method}\n{target}\n{timestamp}\n{nonce}\n{body}\n");
    let age = timestamp.parse::<i64>().unwrap_or(0).abs_diff(now.as_ms() / 1000);
    let genuine = merchant.signed(text.as_bytes(), member("signature"))
        && member("mchid") == merchant_id
        && member("serial_no") == merchant.serial
        && age <= 300;
    genuine.then(|| nonce.to_owned())
}

fn transaction(purchase: &Purchase, paid: Paid) -> Value {
    let accounts = &keys().0.accounts;
    let mut body = json!({
        "appid": accounts.wechat_application_id,
        "mchid": accounts.wechat_merchant_id,
        "out_trade_no": purchase.order_no,
        "trade_state_desc": "x",
        "amount": { "total": purchase.amount.minor, "currency": purchase.amount.currency },
    });
    body["trade_state"] = json!(match paid {
        Paid::Not => "NOTPAY",
        Paid::Success => "SUCCESS",
        Paid::Closed => "CLOSED",
    });
    if paid == Paid::Success {
        body["transaction_id"] = json!(purchase.transaction_id);
        body["success_time"] = json!(purchase.at.format_beijing_rfc3339());
        body["payer"] = json!({ "openid": purchase.payer });
        body["trade_type"] = json!("NATIVE");
    }
    body
}

fn refund(booked: &Booked, purchase: &Purchase) -> Value {
    let Booked { order_no, refund, ended } = booked;
    let status = match refund.result {
        _ if !ended => "PROCESSING",
        RefundResult::Success => "SUCCESS",
        RefundResult::Closed => "CLOSED",
        RefundResult::Abnormal => "ABNORMAL",
    };
    json!({
        "refund_id": refund.refund_id,
        "out_refund_no": refund.refund_no,
        "transaction_id": purchase.transaction_id,
        "out_trade_no": order_no,
        "channel": "ORIGINAL",
        "status": status,
        "success_time": refund.at.format_beijing_rfc3339(),
        "amount": {
            "total": purchase.amount.minor,
            "refund": refund.amount.minor,
            "currency": purchase.amount.currency,
        },
    })
}
