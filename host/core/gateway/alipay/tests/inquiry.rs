//! Questions and answers.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::gateway::inquiry::{Incoming, Question, Silence, Stamp, Told};
use crate::gateway::scheme::form::Form;
use crate::notification::EventType;

const PAYMENT: Question<'_> = Question::Payment { order_no: "CG3" };
const REFUND: Question<'_> = Question::Refund { order_no: "CG3", refund_no: "CGR3" };

fn private_key() -> String {
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&*KEY).unwrap();
    STANDARD.encode(der.as_ref())
}

fn asker() -> Alipay {
    gateway_with(&json!({"inquiry": {"application_private_key": private_key()}}))
}

/// An answer as the gateway writes it, signed over the raw text of its content.
fn answer(member: &str, content: &str) -> String {
    let sign = rsa2(content.as_bytes());
    format!(r#"{{"{member}":{content},"sign":"{sign}"}}"#)
}

fn heard(question: Question<'_>, body: &str) -> Result<Told, Silence> {
    let headers = HeaderMap::new();
    let incoming = Incoming { status: 200, headers: &headers, body: body.as_bytes() };
    asker().hear(question, &incoming, Timestamp::from_ms(0))
}

fn trade(changes: &[(&str, &str)]) -> Result<Told, Silence> {
    let mut content = json!({
        "code": "10000", "msg": "Success", "trade_no": "T3", "out_trade_no": "CG3",
        "trade_status": "TRADE_SUCCESS", "total_amount": "19.99", "buyer_user_id": "2088",
        "send_pay_date": "2026-11-21 10:00:05", "fund_bill_list": [{"amount": "19.99"}],
    });
    for (name, value) in changes {
        content[*name] = json!(value);
    }
    heard(PAYMENT, &answer("alipay_trade_query_response", &content.to_string()))
}

fn fact(told: Result<Told, Silence>) -> Notification {
    let Ok(Told::Fact(verified)) = told else { panic!("{told:?}") };
    verified.notifications()[0].clone()
}

#[test]
fn a_question_is_signed_over_all_its_fields_but_the_signature() {
    let stamp = Stamp { now: Timestamp::from_seconds(1_795_226_406), nonce: "n" };
    let asked = asker().ask(PAYMENT, stamp).unwrap();
    assert_eq!((asked.method, asked.target.as_str()), ("POST", "/gateway.do"));
    let form = Form::parse(asked.body.as_bytes()).unwrap();
    let mut fields: BTreeMap<_, _> =
        form.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let sign = fields.remove(b"sign".as_slice()).unwrap();
    assert_eq!(String::from_utf8(sign).unwrap(), rsa2(&joined(&fields)));
    assert_eq!(fields[b"timestamp".as_slice()], b"2026-11-21 10:00:06");
    assert_eq!(fields[b"biz_content".as_slice()], br#"{"out_trade_no":"CG3"}"#);
    assert_eq!(fields[b"app_id".as_slice()], b"2021000000000001");
}

#[test]
fn an_answer_has_the_meaning_of_the_callback() {
    let told = fact(trade(&[]));
    assert_eq!(told.meaning_key, only(verify(&signed(&paid(&[])))).meaning_key);
    assert_eq!(told.event_type, EventType::PAYMENT_SUCCEEDED);
    assert_eq!(told.amount.unwrap().minor, 1999);
    let content = r#"{"code":"10000","trade_no":"T3","out_trade_no":"CG3","out_request_no":"CGR3",
        "refund_status":"REFUND_SUCCESS","refund_amount":"5.00","total_amount":"19.99"}"#;
    let told = fact(heard(REFUND, &answer("alipay_trade_fastpay_refund_query_response", content)));
    let notice = paid(&[("refund_fee", "5.00"), ("out_biz_no", "CGR3")]);
    assert_eq!(told.meaning_key, only(verify(&signed(&notice))).meaning_key);
    assert_eq!(told.amount.unwrap().minor, 500);
}

#[test]
fn a_closed_trade_that_was_paid_is_told_apart() {
    let closed = fact(trade(&[("trade_status", "TRADE_CLOSED")]));
    assert_eq!(closed.event_type, EventType::PAYMENT_REFUNDED);
    let unpaid = fact(trade(&[("trade_status", "TRADE_CLOSED"), ("send_pay_date", "")]));
    assert_eq!(unpaid.event_type, EventType::PAYMENT_CLOSED);
}

#[test]
fn what_is_not_decided_is_no_fact() {
    assert_eq!(trade(&[("trade_status", "WAIT_BUYER_PAY")]), Ok(Told::Pending));
    let refund =
        |content| heard(REFUND, &answer("alipay_trade_fastpay_refund_query_response", content));
    let open = r#"{"code":"10000","trade_no":"T3","out_trade_no":"CG3","out_request_no":"CGR3"}"#;
    assert_eq!(refund(open), Ok(Told::Pending));
    assert_eq!(refund(r#"{"code":"10000"}"#), Ok(Told::Unknown));
}

#[test]
fn the_signature_covers_the_text_as_it_stands() {
    let member = "alipay_trade_query_response";
    let content = "{ \"code\":\"10000\", \"trade_no\":\"T\\/3\",\"out_trade_no\":\"CG3\",\
                   \"trade_status\":\"WAIT_BUYER_PAY\" }";
    assert_eq!(heard(PAYMENT, &answer(member, content)), Ok(Told::Pending));
    let refused = Err(Silence::Refused(Refusal::Signature));
    let tidied = answer(member, content).replace("{ \"code\"", "{\"code\"");
    assert_eq!(heard(PAYMENT, &tidied), refused);
    let unsigned = format!(r#"{{"{member}":{content}}}"#);
    assert_eq!(heard(PAYMENT, &unsigned), refused);
    assert_eq!(trade(&[("out_trade_no", "CG4")]), Err(Silence::Another));
}

#[test]
fn failures_are_sorted_by_what_helps() {
    let failed = |code, sub| trade(&[("code", code), ("sub_code", sub)]);
    assert_eq!(failed("40004", "ACQ.TRADE_NOT_EXIST"), Ok(Told::Unknown));
    assert!(matches!(failed("40004", "ACQ.SYSTEM_ERROR"), Err(Silence::Busy { .. })));
    assert!(matches!(failed("20000", "isp.unknow-error"), Err(Silence::Busy { .. })));
    assert!(matches!(
        failed("40006", "isv.insufficient-isv-permissions"),
        Err(Silence::Denied { .. })
    ));
    let outer = r#"{"error_response":{"code":"40002","sub_code":"isv.invalid-signature"}}"#;
    assert_eq!(
        heard(PAYMENT, outer),
        Err(Silence::Denied { code: "isv.invalid-signature".to_owned() })
    );
}

#[test]
fn certificate_mode_needs_both_certificates() {
    let wrong = |inquiry: Value| {
        let mut settings = json!({"application_ids": ["1"], "public_key": public_key()});
        settings["inquiry"] = inquiry;
        Alipay::new(serde_json::from_value(settings).unwrap()).err().map(|it| it.field.into_owned())
    };
    let key = private_key();
    assert_eq!(wrong(json!({"application_private_key": key})), None);
    let certificate = "inquiry.application_certificate";
    assert_eq!(
        wrong(json!({"application_private_key": key, "root_certificate": "x"})).as_deref(),
        Some(certificate)
    );
    assert_eq!(
        wrong(json!({"application_private_key": "x"})).as_deref(),
        Some("inquiry.application_private_key")
    );
}
