//! WeChat Pay v2, signed both ways with what the question names: MD5 or HMAC-SHA256.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use axum::response::{IntoResponse, Response};
use callgate_trigger::purchase::{Purchase, RefundResult};
use md5::{Digest as _, Md5};

use super::books::{Booked, Paid};
use super::{Asked, Heard, Manner, StandIn, What};
use crate::house::keys;

type Fields = BTreeMap<String, String>;

impl StandIn {
    pub(super) fn v2_question(&self, heard: &Heard) -> Option<(What, bool)> {
        let mut fields = elements(heard.text());
        let sign = fields.remove("sign").unwrap_or_default();
        let genuine = sum(&fields, &api_key()).is_some_and(|sum| sum == sign)
            && fields.get("mch_id") == Some(&keys().0.accounts.wechat_merchant_id)
            && self.is_new(fields.get("nonce_str").map_or("", String::as_str));
        let what = match heard.uri.path() {
            "/pay/orderquery" => What::Payment(fields.remove("out_trade_no")?),
            _ => What::Refund(fields.remove("out_refund_no")?),
        };
        Some((what, genuine))
    }

    pub(super) fn v2_answer(&self, asked: &Asked, heard: &Heard, manner: Manner) -> Response {
        if !asked.genuine {
            let text =
                "<xml><return_code>FAIL</return_code><return_msg>SIGNERROR</return_msg></xml>";
            return text.into_response();
        }
        let books = self.books.lock().expect("books");
        let (found, missing) = match &asked.what {
            What::Payment(number) => {
                (books.payment(number).map(|(of, paid)| payment(&of, paid)), "ORDERNOTEXIST")
            }
            What::Refund(number) => {
                (books.refunded(number).map(|(it, of)| refund(&it, &of)), "REFUNDNOTEXIST")
            }
            What::Certificates => (None, "SYSTEMERROR"),
        };
        let mut fields =
            found.unwrap_or_else(|| fields(&[("result_code", "FAIL"), ("err_code", missing)]));
        let accounts = &keys().0.accounts;
        fields.insert("return_code".to_owned(), "SUCCESS".to_owned());
        fields.insert("appid".to_owned(), accounts.wechat_application_id.clone());
        fields.insert("mch_id".to_owned(), accounts.wechat_merchant_id.clone());
        fields.insert("nonce_str".to_owned(), uuid::Uuid::now_v7().simple().to_string());
        if let Some(sign_type) = elements(heard.text()).remove("sign_type") {
            fields.insert("sign_type".to_owned(), sign_type);
        }
        if manner == Manner::Another {
            fields.insert("out_trade_no".to_owned(), "CG-ANOTHER".to_owned());
        }
        let key = if manner == Manner::Forged { "f".repeat(32) } else { api_key() };
        let sign = sum(&fields, &key).expect("the question was rightly signed");
        fields.insert("sign".to_owned(), sign);
        let elements: String = fields
            .iter()
            .map(|(name, value)| format!("<{name}><![CDATA[{value}]]></{name}>"))
            .collect();
        format!("<xml>{elements}</xml>").into_response()
    }
}

fn payment(of: &Purchase, paid: Paid) -> Fields {
    let total = of.amount.minor.to_string();
    let state = match paid {
        Paid::Not => "NOTPAY",
        Paid::Success => "SUCCESS",
        Paid::Closed => "CLOSED",
    };
    let mut found = fields(&[
        ("result_code", "SUCCESS"),
        ("out_trade_no", &of.order_no),
        ("trade_state", state),
        ("total_fee", &total),
        ("fee_type", of.amount.currency.as_str()),
    ]);
    if paid == Paid::Success {
        found.extend(fields(&[
            ("transaction_id", &of.transaction_id),
            ("time_end", &of.at.format_beijing_compact()),
            ("openid", &of.payer),
            ("trade_type", "NATIVE"),
            ("bank_type", "OTHERS"),
            ("cash_fee", &total),
        ]));
    }
    found
}

fn refund(booked: &Booked, of: &Purchase) -> Fields {
    let status = match booked.refund.result {
        _ if !booked.ended => "PROCESSING",
        RefundResult::Success => "SUCCESS",
        RefundResult::Closed => "REFUNDCLOSE",
        RefundResult::Abnormal => "CHANGE",
    };
    fields(&[
        ("result_code", "SUCCESS"),
        ("out_trade_no", &of.order_no),
        ("transaction_id", &of.transaction_id),
        ("total_fee", &of.amount.minor.to_string()),
        ("fee_type", of.amount.currency.as_str()),
        ("refund_count", "1"),
        ("out_refund_no_0", &booked.refund.refund_no),
        ("refund_id_0", &booked.refund.refund_id),
        ("refund_fee_0", &booked.refund.amount.minor.to_string()),
        ("refund_status_0", status),
        ("refund_success_time_0", &booked.refund.at.format_beijing()),
    ])
}

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Elements of a flat document whose values hold no markup.
fn elements(text: &str) -> Fields {
    let inside = text.trim_start_matches("<xml>").trim_end_matches("</xml>");
    let mut found = Fields::new();
    let mut rest = inside;
    while let Some((name, after)) = rest.strip_prefix('<').and_then(|it| it.split_once('>')) {
        let Some((value, more)) = after.split_once(&format!("</{name}>")) else { break };
        found.insert(name.to_owned(), value.to_owned());
        rest = more;
    }
    found
}

fn api_key() -> String {
    let files = keys().0.files().expect("key files");
    let found = files.into_iter().find(|file| file.name == "wechat-v2-api.key");
    found.expect("an API key").content
}

/// The signature of fields, in the way that they name; `None` where there is none of that name.
fn sum(fields: &Fields, key: &str) -> Option<String> {
    let pairs: String = fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={value}&"))
        .collect();
    let text = format!("{pairs}key={key}");
    let tag = match fields.get("sign_type").map(String::as_str) {
        None | Some("MD5") => Md5::digest(text.as_bytes()).to_vec(),
        Some("HMAC-SHA256") => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        }
        Some(_) => return None,
    };
    Some(tag.iter().map(|byte| format!("{byte:02X}")).collect())
}
