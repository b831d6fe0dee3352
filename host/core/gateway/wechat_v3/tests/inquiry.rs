//! Questions and answers.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{
    Callback, KEY_ID, NOW_S, Settings, WechatV3, refund, settings, signer, transaction, with,
};
use crate::gateway::inquiry::{CannotAsk, Incoming, Inquiry, Question, Silence, Stamp, Told};
use crate::gateway::wechat_v3::InquirySettings;
use crate::gateway::{Gateway as _, Refusal};
use crate::notification::{EventType, Notification};
use crate::secret::Secret;
use crate::time::Timestamp;

const NONCE: &str = "593BEC0C930BF1AFEB40B4A08C8FB242";
const PAYMENT: Question<'_> = Question::Payment { order_no: "CG20261121000001" };
const REFUND: Question<'_> =
    Question::Refund { order_no: "CG20261121000001", refund_no: "CGR20261121000001" };

pub(super) fn private_pem() -> String {
    let der: Pkcs8V1Der<'_> = signer().as_der().unwrap();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    )
}

pub(super) fn asker_with(change: impl FnOnce(&mut Settings)) -> WechatV3 {
    let mut settings = settings();
    settings.inquiry = Some(InquirySettings {
        merchant_private_key: Secret::new(private_pem()),
        merchant_serial: "1dde55ad98ed71d6edd4a4a16996de7b47773a8c".to_owned(),
        merchant_certificate: None,
        base_url: "https://api.mch.weixin.qq.com/".to_owned(),
    });
    change(&mut settings);
    WechatV3::new(settings).unwrap()
}

fn asker() -> WechatV3 {
    asker_with(|_| {})
}

pub(super) fn stamp() -> Stamp<'static> {
    Stamp { now: Timestamp::from_seconds(NOW_S), nonce: NONCE }
}

/// The members of an `Authorization` value.
fn member(authorization: &str, name: &str) -> String {
    let (_, rest) = authorization.split_once(&format!("{name}=\"")).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

fn hear(question: Question<'_>, content: &Value) -> Result<Told, Silence> {
    let answer = Callback::signed(content.to_string());
    answered(question, &answer, 200)
}

fn answered(question: Question<'_>, answer: &Callback, status: u16) -> Result<Told, Silence> {
    let incoming = Incoming { status, headers: &answer.headers, body: &answer.body };
    asker().hear(question, &incoming, answer.now)
}

fn fact(told: Result<Told, Silence>) -> (String, Notification) {
    let Ok(Told::Fact(verified)) = told else { panic!("{told:?}") };
    (verified.delivery_key().to_owned(), verified.notifications()[0].clone())
}

fn refund_answer() -> Value {
    let mut answer = with(refund(), "/refund_status", Value::Null);
    answer["status"] = json!("SUCCESS");
    with(answer, "/mchid", Value::Null)
}

#[test]
fn a_question_is_signed_over_five_lines() {
    let asked = asker().ask(PAYMENT, stamp()).unwrap();
    let target = "/v3/pay/transactions/out-trade-no/CG20261121000001?mchid=1900000001";
    assert_eq!((asked.method, asked.target.as_str(), asked.body.as_str()), ("GET", target, ""));
    let header = |name| asked.headers.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    let authorization = header("authorization");
    assert!(authorization.starts_with("WECHATPAY2-SHA256-RSA2048 mchid=\"1900000001\","));
    assert_eq!(member(&authorization, "nonce_str"), NONCE);
    assert_eq!(member(&authorization, "timestamp"), NOW_S.to_string());
    assert_eq!(member(&authorization, "serial_no"), "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C");
    let text = format!("GET\n{target}\n{NOW_S}\n{NONCE}\n\n");
    let signature = STANDARD.decode(member(&authorization, "signature")).unwrap();
    use aws_lc_rs::signature::KeyPair as _;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, signer().public_key().as_ref());
    key.verify(text.as_bytes(), &signature).unwrap();
    assert_eq!(header("wechatpay-serial"), KEY_ID);
}

#[test]
fn a_partner_asks_for_its_sub_merchant_and_numbers_are_escaped() {
    let partner = asker_with(|it| it.sub_merchant_ids = vec!["1900000109".to_owned()]);
    let odd = Question::Refund { order_no: "CG1", refund_no: "R/1?x=%2" };
    assert_eq!(
        partner.ask(odd, stamp()).unwrap().target,
        "/v3/refund/domestic/refunds/R%2F1%3Fx%3D%252?sub_mchid=1900000109"
    );
    assert_eq!(
        partner.ask(PAYMENT, stamp()).unwrap().target,
        "/v3/pay/partner/transactions/out-trade-no/CG20261121000001\
         ?sp_mchid=1900000001&sub_mchid=1900000109"
    );
    let several = asker_with(|it| it.sub_merchant_ids = vec!["1".to_owned(), "2".to_owned()]);
    assert!(matches!(several.ask(PAYMENT, stamp()), Err(CannotAsk::NotPossible(_))));
    for number in ["", "a b", "a\nb", &"n".repeat(65)] {
        let question = Question::Payment { order_no: number };
        assert_eq!(asker().ask(question, stamp()), Err(CannotAsk::Number), "{number:?}");
    }
}

#[test]
fn an_answer_has_the_meaning_of_the_callback() {
    let (delivery_key, told) = fact(hear(PAYMENT, &transaction()));
    assert_eq!(told.meaning_key, "payment:4200001234202611210000000001:SUCCESS");
    assert_eq!(delivery_key, format!("query:{}", told.meaning_key));
    assert_eq!(told.event_type, EventType::PAYMENT_SUCCEEDED);
    assert_eq!(told.amount.unwrap().minor, 1999);
    let (_, told) = fact(hear(REFUND, &refund_answer()));
    assert_eq!(told.meaning_key, "refund:50300001232026112100000000001:SUCCESS");
    assert_eq!(told.event_type, EventType::REFUND_SUCCEEDED);
    assert_eq!((told.amount.unwrap().minor, told.order_amount.unwrap().minor), (999, 1999));
}

#[test]
fn what_is_not_decided_is_no_fact() {
    for state in ["NOTPAY", "USERPAYING", "ACCEPT"] {
        let open = with(transaction(), "/trade_state", json!(state));
        assert_eq!(hear(PAYMENT, &open), Ok(Told::Pending));
    }
    let open = with(refund_answer(), "/status", json!("PROCESSING"));
    assert_eq!(hear(REFUND, &open), Ok(Told::Pending));
}

#[test]
fn a_payment_that_was_given_back_is_told_apart() {
    let back = with(transaction(), "/trade_state", json!("REFUND"));
    let (_, told) = fact(hear(PAYMENT, &back));
    assert_eq!(told.event_type, EventType::PAYMENT_REFUNDED);
}

#[test]
fn an_answer_about_something_else_is_not_taken() {
    let other = with(transaction(), "/out_trade_no", json!("CG2"));
    assert_eq!(hear(PAYMENT, &other), Err(Silence::Another));
    let other = with(refund_answer(), "/out_refund_no", json!("CGR2"));
    assert_eq!(hear(REFUND, &other), Err(Silence::Another));
}

#[test]
fn an_answer_is_believed_only_under_its_signature() {
    let good = Callback::signed(transaction().to_string());
    let mut forged = good.clone();
    forged.body = with(transaction(), "/amount/total", json!(1)).to_string().into_bytes();
    let refused = |refusal| Err(Silence::Refused(refusal));
    assert_eq!(answered(PAYMENT, &forged, 200), refused(Refusal::Signature));
    let unsigned = good.clone().without("Wechatpay-Signature");
    assert!(matches!(answered(PAYMENT, &unsigned, 200), Err(Silence::Refused(_))));
    let unknown = good.clone().with("Wechatpay-Serial", "ABCD");
    assert_eq!(answered(PAYMENT, &unknown, 200), refused(Refusal::KeyUnknown));
    let late = good.at(Timestamp::from_seconds(NOW_S.saturating_add(301)));
    assert!(matches!(answered(PAYMENT, &late, 200), Err(Silence::Refused(Refusal::Stale { .. }))));
}

#[test]
fn failures_are_sorted_by_what_helps() {
    let failed = |status, code: &str| {
        let answer = Callback::signed(json!({"code": code, "message": "m"}).to_string())
            .without("Wechatpay-Signature");
        answered(PAYMENT, &answer, status)
    };
    let busy = |code: &str| Err(Silence::Busy { code: code.to_owned() });
    let denied = |code: &str| Err(Silence::Denied { code: code.to_owned() });
    assert_eq!(failed(404, "ORDER_NOT_EXIST"), Ok(Told::Unknown));
    assert_eq!(failed(404, "RESOURCE_NOT_EXISTS"), Ok(Told::Unknown));
    assert_eq!(failed(404, "NOT_FOUND"), denied("NOT_FOUND"));
    assert_eq!(failed(401, "SIGN_ERROR"), denied("SIGN_ERROR"));
    assert_eq!(failed(429, "FREQUENCY_LIMITED"), busy("FREQUENCY_LIMITED"));
    assert_eq!(failed(500, "SYSTEM_ERROR"), busy("SYSTEM_ERROR"));
    assert_eq!(failed(502, "\u{1b}[31m<b>"), busy("31mb"));
}

#[test]
fn a_channel_asks_only_with_a_key() {
    assert!(super::gateway().inquiry().is_none());
    assert!(asker().inquiry().is_some());
    assert_eq!(asker().base_url(), "https://api.mch.weixin.qq.com");
    let wrong = |key: &str, serial: &str| {
        let mut settings = settings();
        settings.inquiry = Some(InquirySettings {
            merchant_private_key: Secret::new(key.to_owned()),
            merchant_serial: serial.to_owned(),
            merchant_certificate: None,
            base_url: String::new(),
        });
        WechatV3::new(settings).unwrap_err().field.into_owned()
    };
    assert_eq!(wrong("no key", "AB"), "inquiry.merchant_private_key");
    assert_eq!(wrong(&private_pem(), "no hex"), "inquiry.merchant_serial");
}
