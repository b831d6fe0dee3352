//! Questions and answers.

use serde_json::json;

use super::*;
use crate::gateway::inquiry::{CannotAsk, Incoming, Question, Silence, Stamp, Told};
use crate::notification::EventType;

const PAYMENT: Question<'_> = Question::Payment { order_no: "CG20261121000001" };
const REFUND_OF: Question<'_> = Question::Refund { order_no: "CG20261121000001", refund_no: "R1" };

fn asker(extra: &Value) -> WechatV2 {
    let mut settings = json!({"inquiry": {}});
    for (name, value) in extra.as_object().unwrap() {
        settings[name] = value.clone();
    }
    gateway(&settings)
}

fn ask(gateway: &WechatV2, question: Question<'_>) -> Result<BTreeMap<String, String>, CannotAsk> {
    let stamp = Stamp { now: Timestamp::from_ms(0), nonce: "5K8264ILTKCH16CQ2502SI8ZNMTM67VS" };
    let asked = gateway.ask(question, stamp)?;
    assert_eq!(asked.method, "POST");
    let fields = Flat::parse(asked.body.as_bytes(), "xml").unwrap();
    Ok(fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn answer(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut fields = with(changes);
    fields.remove("sign");
    fields.entry("out_trade_no".to_owned()).or_default().replace_range(.., "CG20261121000001");
    for (name, value) in changes {
        fields.insert((*name).to_owned(), (*value).to_owned());
    }
    fields
}

fn hear(question: Question<'_>, mut fields: BTreeMap<String, String>) -> Result<Told, Silence> {
    let sign = sign(&fields, SignType::Md5);
    fields.insert("sign".to_owned(), sign);
    heard(question, &xml("xml", &fields))
}

fn heard(question: Question<'_>, body: &str) -> Result<Told, Silence> {
    let headers = HeaderMap::new();
    let incoming = Incoming { status: 200, headers: &headers, body: body.as_bytes() };
    asker(&json!({})).hear(question, &incoming, Timestamp::from_ms(0))
}

fn fact(told: Result<Told, Silence>) -> Notification {
    let Ok(Told::Fact(verified)) = told else { panic!("{told:?}") };
    verified.notifications()[0].clone()
}

#[test]
fn a_question_is_signed_with_the_type_of_the_channel() {
    for (name, sign_type) in [("md5", SignType::Md5), ("hmac-sha256", SignType::HmacSha256)] {
        let mut fields = ask(&asker(&json!({"sign_type": name})), PAYMENT).unwrap();
        let found = fields.remove("sign").unwrap();
        assert_eq!(found, sign(&fields, sign_type));
        assert_eq!(fields["out_trade_no"], "CG20261121000001");
        assert_eq!(fields["mch_id"], "1900000001");
    }
}

#[test]
fn odd_numbers_are_escaped_or_refused() {
    let odd = Question::Refund { order_no: "CG1", refund_no: "a<b>&c" };
    assert_eq!(ask(&asker(&json!({})), odd).unwrap()["out_refund_no"], "a<b>&c");
    let bad = Question::Payment { order_no: "a b" };
    assert_eq!(ask(&asker(&json!({})), bad), Err(CannotAsk::Number));
}

#[test]
fn an_answer_has_the_meaning_of_the_callback() {
    let told = fact(hear(PAYMENT, answer(&[("trade_state", "SUCCESS")])));
    let transaction = &fields()["transaction_id"];
    assert_eq!(told.meaning_key, format!("payment:{transaction}:SUCCESS"));
    assert_eq!(told.event_type, EventType::PAYMENT_SUCCEEDED);
    let refunded = answer(&[
        ("out_refund_no_0", "R0"),
        ("refund_id_0", "50"),
        ("refund_status_0", "SUCCESS"),
        ("refund_fee_0", "1"),
        ("out_refund_no_1", "R1"),
        ("refund_id_1", "51"),
        ("refund_status_1", "SUCCESS"),
        ("refund_fee_1", "7"),
        ("refund_success_time_1", "2026-11-21 11:00:00"),
    ]);
    let told = fact(hear(REFUND_OF, refunded));
    assert_eq!((told.meaning_key.as_str(), told.amount.unwrap().minor), ("refund:51:SUCCESS", 7));
}

#[test]
fn what_is_not_decided_is_no_fact() {
    for state in ["NOTPAY", "USERPAYING", "ACCEPT"] {
        assert_eq!(hear(PAYMENT, answer(&[("trade_state", state)])), Ok(Told::Pending));
    }
    let open = answer(&[
        ("out_refund_no_0", "R1"),
        ("refund_id_0", "50"),
        ("refund_status_0", "PROCESSING"),
        ("refund_fee_0", "1"),
    ]);
    assert_eq!(hear(REFUND_OF, open), Ok(Told::Pending));
    let back = fact(hear(PAYMENT, answer(&[("trade_state", "REFUND")])));
    assert_eq!(back.event_type, EventType::PAYMENT_REFUNDED);
    assert!(back.amount.is_some());
}

#[test]
fn an_answer_is_believed_only_under_its_signature() {
    let mut fields = answer(&[("trade_state", "SUCCESS")]);
    fields.insert("sign".to_owned(), sign(&fields, SignType::Md5));
    fields.insert("total_fee".to_owned(), "1".to_owned());
    let refused = Err(Silence::Refused(Refusal::Signature));
    assert_eq!(heard(PAYMENT, &xml("xml", &fields)), refused);
    fields.remove("sign");
    assert_eq!(heard(PAYMENT, &xml("xml", &fields)), refused);
    let other = answer(&[("trade_state", "SUCCESS"), ("out_trade_no", "CG2")]);
    assert_eq!(hear(PAYMENT, other), Err(Silence::Another));
}

#[test]
fn failures_are_sorted_by_what_helps() {
    let failed = |code| hear(PAYMENT, answer(&[("result_code", "FAIL"), ("err_code", code)]));
    assert_eq!(failed("ORDERNOTEXIST"), Ok(Told::Unknown));
    assert!(matches!(failed("SYSTEMERROR"), Err(Silence::Busy { .. })));
    assert!(matches!(failed("NOAUTH"), Err(Silence::Denied { .. })));
    let transport = "<xml><return_code>FAIL</return_code><return_msg>x y</return_msg></xml>";
    assert_eq!(heard(PAYMENT, transport), Err(Silence::Busy { code: "xy".to_owned() }));
}
