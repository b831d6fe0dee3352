//! Tests of [`super::Robot`]: what is posted, how it is signed, and what answers mean. Expected
//! signatures were computed with another program.

use callgate_core::secret::Secret;
use callgate_core::time::Timestamp;
use callgate_store::{Notice, Severity, Turn};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{
    Answer, Message, Reach, Robot, RobotKind, Said, Sender, SigningSecret, WebhookSettings, cut,
    dingtalk_sign, feishu_sign, judge, message,
};

fn settings(kind: RobotKind, secret: Option<&str>) -> WebhookSettings {
    WebhookSettings {
        name: "duty".to_owned(),
        kind,
        url: "https://robot.example.com/hook?key=sesame".parse().expect("a URL"),
        secret: secret.map(|text| Secret::new(text.to_owned())),
        least: Severity::Warning,
        per_minute: 18,
        timeout_ms: 5_000,
        reach: Reach::Public,
        roots: Vec::new(),
    }
}

fn notice(turn: Turn) -> Notice {
    Notice {
        turn,
        condition: "sink-lag:erp".to_owned(),
        severity: Severity::Critical,
        summary: "sink erp is behind by 20 min 0 s, limit 15 min 0 s".to_owned(),
        since: Timestamp::from_ms(1_795_226_405_000),
        raised_at: Timestamp::from_ms(1_795_226_465_000),
        at: Timestamp::from_ms(1_795_226_705_000),
    }
}

fn posted(kind: RobotKind, secret: Option<&str>, turn: Turn) -> (Message, Value) {
    let (settings, notice) = (settings(kind, secret), notice(turn));
    let signing = (kind == RobotKind::Json).then(|| SigningSecret::parse(secret?).ok()).flatten();
    let now = Timestamp::from_ms(1_599_360_473_789);
    let sender = Sender { host: "pay-1", id: "n1", now };
    let message = message(&settings, signing.as_ref(), (Said::Notice(&notice), sender));
    let body = serde_json::from_slice(&message.body).expect("JSON");
    (message, body)
}

#[test]
fn feishu_is_signed_in_the_body() {
    let (message, body) = posted(RobotKind::Feishu, Some("demo"), Turn::Raised);
    assert!(message.query.is_empty() && message.headers.is_empty());
    assert_eq!(body.pointer("/msg_type"), Some(&"text".into()));
    assert_eq!(body.pointer("/timestamp"), Some(&"1599360473".into()));
    let sign = body.pointer("/sign").and_then(Value::as_str);
    assert_eq!(sign, Some(feishu_sign("demo", 1_599_360_473).as_str()));
    let text = body.pointer("/content/text").and_then(Value::as_str).expect("a text");
    assert!(text.starts_with("[Callgate] critical: sink-lag:erp\nsink erp is behind"), "{text}");
}

#[test]
fn signatures_are_those_of_another_program() {
    assert_eq!(feishu_sign("demo", 1_599_360_473), "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8=");
    assert_eq!(
        dingtalk_sign("this is secret", 1_599_360_473_789),
        "ms6jvWfaLBQKTvYyieHpGQDJ6eL7jR4WZeMZxcs53ps="
    );
}

#[test]
fn dingtalk_is_signed_in_the_query() {
    let (message, body) = posted(RobotKind::Dingtalk, Some("SECabc"), Turn::Lasting);
    let sign = dingtalk_sign("SECabc", 1_599_360_473_789);
    let expected = vec![("timestamp", "1599360473789".to_owned()), ("sign", sign)];
    assert_eq!(message.query, expected);
    let text = body.pointer("/text/content").and_then(Value::as_str).expect("a text");
    assert!(text.starts_with("[Callgate] still critical: sink-lag:erp\n"), "{text}");
    assert!(text.contains("for 5 min"), "{text}");
}

#[test]
fn a_recovery_says_how_long_it_lasted_and_nothing_more() {
    let (message, body) = posted(RobotKind::Wecom, None, Turn::Recovered);
    assert!(message.query.is_empty() && message.headers.is_empty());
    let text = body.pointer("/text/content").and_then(Value::as_str).expect("a text");
    assert!(text.starts_with("[Callgate] recovered: sink-lag:erp\nlasted 5 min"), "{text}");
}

#[test]
fn plain_json_is_signed_as_standard_webhooks_are() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let (message, body) = posted(RobotKind::Json, Some(secret), Turn::Raised);
    assert_eq!(message.headers.get("webhook-id").expect("an id"), "n1");
    assert!(message.headers.contains_key("webhook-signature"));
    assert_eq!(body.pointer("/type"), Some(&"callgate.alert".into()));
    assert_eq!(body.pointer("/turn"), Some(&"raised".into()));
    assert_eq!(body.pointer("/severity"), Some(&"critical".into()));
    let (bare, _) = posted(RobotKind::Json, None, Turn::Raised);
    assert!(bare.headers.is_empty());
}

#[test]
fn neither_address_nor_secret_shows() {
    let robot = Robot::new(settings(RobotKind::Feishu, Some("open"))).expect("a robot");
    let shown = format!("{robot:?} {:?}", robot.settings());
    assert!(!shown.contains("sesame") && !shown.contains("open"), "{shown}");
}

#[test]
fn a_secret_of_the_wrong_kind_is_refused_without_showing_it() {
    for (kind, secret) in
        [(RobotKind::Wecom, "abcdef"), (RobotKind::Json, "abcdef"), (RobotKind::Feishu, "")]
    {
        let (field, problem) = Robot::new(settings(kind, Some(secret))).expect_err("refused");
        assert_eq!(field, "secret");
        assert!(!problem.contains("abcdef"), "{problem}");
    }
}

fn check(kind: RobotKind, (status, body): (u16, &str), expected: Result<(), (&str, Option<u32>)>) {
    let answer = Answer {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec(),
    };
    let found = judge(kind, &answer);
    let found = found.as_ref().map_err(|error| (error.reason.code.as_ref(), error.wait_ms));
    assert_eq!(found, expected.as_ref().copied().map(|()| &()).map_err(|error| *error), "{body}");
}

#[test]
fn a_robot_that_answers_200_may_have_taken_nothing() {
    check(RobotKind::Feishu, (200, r#"{"code":0,"msg":"success"}"#), Ok(()));
    check(RobotKind::Feishu, (200, r#"{"StatusCode":0,"StatusMessage":"success"}"#), Ok(()));
    let refused = Err(("alerts.refused", None));
    check(RobotKind::Feishu, (200, r#"{"code":19021,"msg":"sign match fail"}"#), refused);
    check(RobotKind::Feishu, (200, r#"{"code":11232}"#), Err(("alerts.refused", Some(60_000))));
    check(RobotKind::Dingtalk, (200, r#"{"errcode":0,"errmsg":"ok"}"#), Ok(()));
    check(RobotKind::Dingtalk, (200, r#"{"errcode":310000}"#), refused);
    check(
        RobotKind::Dingtalk,
        (200, r#"{"errcode":130101}"#),
        Err(("alerts.refused", Some(60_000))),
    );
    check(RobotKind::Wecom, (200, r#"{"errcode":45009}"#), Err(("alerts.refused", Some(60_000))));
    check(RobotKind::Wecom, (200, "<html>"), refused);
    check(RobotKind::Json, (204, ""), Ok(()));
    check(RobotKind::Json, (429, ""), Err(("alerts.status", Some(60_000))));
    check(RobotKind::Json, (302, ""), Err(("alerts.status", None)));
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let text = "告警".repeat(2_000);
    assert!(cut(&text).len() <= 2_000 && text.starts_with(cut(&text)));
    assert_eq!(cut("short"), "short");
}
