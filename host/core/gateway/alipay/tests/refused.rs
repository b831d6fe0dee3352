//! What must not be believed.

use super::*;
use crate::notification::EventType;

fn malformed(body: &str) -> bool {
    matches!(verify(body), Err(Refusal::Malformed { .. }))
}

#[test]
fn a_change_of_any_signed_field_is_refused() {
    let payment = paid(&[]);
    let sign = rsa2(&joined(&bytes(&payment)));
    let extra = [("sign_type", "RSA2"), ("sign", sign.as_str())];
    assert!(verify(&sent(&payment, &extra)).is_ok());
    for (name, value) in &payment {
        let changed = paid(&[(name, &format!("{value}0"))]);
        assert_eq!(verify(&sent(&changed, &extra)), Err(Refusal::Signature), "{name}");
        let missing = without(name);
        assert_eq!(verify(&sent(&missing, &extra)), Err(Refusal::Signature), "{name}");
    }
    for (name, value) in [("refund_fee", "1.00"), ("passback_params", "")] {
        let added = paid(&[(name, value)]);
        assert_eq!(verify(&sent(&added, &extra)), Err(Refusal::Signature), "{name}");
    }
}

#[test]
fn a_missing_or_broken_signature_is_refused() {
    let payment = paid(&[]);
    assert_eq!(verify(&sent(&payment, &[("sign_type", "RSA2")])), Err(Refusal::Signature));
    let right = rsa2(&joined(&bytes(&payment)));
    let doubled = format!("{right}{right}");
    for sign in ["", "=", "AAAA", " ", "人", &right[4..], &format!("{right}="), &doubled] {
        let body = sent(&payment, &[("sign_type", "RSA2"), ("sign", sign)]);
        assert_eq!(verify(&body), Err(Refusal::Signature), "{sign:?}");
    }
}

#[test]
fn the_signature_type_is_never_weakened() {
    let payment = paid(&[]);
    let text = joined(&bytes(&payment));
    let both = gateway_with(&json!({"sign_type": "rsa"}));
    let send =
        |sign_type: &str, sign: &str| sent(&payment, &[("sign_type", sign_type), ("sign", sign)]);
    let (weak, strong) = (send("RSA", &rsa1(&text)), send("RSA2", &rsa2(&text)));
    assert_eq!(verify(&weak), Err(Refusal::Algorithm { expected: "RSA2" }));
    assert!(verify(&strong).is_ok());
    assert!(verify_with(&both, weak.as_bytes()).is_ok());
    assert!(verify_with(&both, strong.as_bytes()).is_ok());
    let crossed = [send("RSA", &rsa2(&text)), send("RSA2", &rsa1(&text))];
    for body in crossed {
        assert_eq!(verify_with(&both, body.as_bytes()), Err(Refusal::Signature));
    }
    for name in ["", "rsa2", "RSA ", "MD5", "HMAC", "none"] {
        let expected = Err(Refusal::Algorithm { expected: "RSA or RSA2" });
        assert_eq!(verify_with(&both, send(name, &rsa1(&text)).as_bytes()), expected, "{name}");
    }
    let unnamed = sent(&payment, &[("sign", &rsa2(&text))]);
    assert_eq!(verify(&unnamed), Err(Refusal::Algorithm { expected: "RSA2" }));
}

#[test]
fn a_repeated_field_is_refused() {
    let body = signed(&paid(&[]));
    for (name, value) in [("trade_no", "T3"), ("total_amount", "0.01"), ("sign", "AAAA")] {
        assert!(malformed(&format!("{body}&{name}={value}")), "{name}");
        assert!(malformed(&format!("{name}={value}&{body}")), "{name}");
    }
}

#[test]
fn a_field_hidden_in_its_neighbour_is_refused() {
    let told = paid(&[("refund_fee", "5.00")]);
    let notification = only(verify(&signed(&told)));
    assert_eq!(notification.event_type, EventType::REFUND_SUCCEEDED);
    let hidden = paid(&[("out_trade_no", "CG3&refund_fee=5.00")]);
    assert_eq!(joined(&bytes(&told)), joined(&bytes(&hidden)));
    assert!(malformed(&signed(&hidden)));
    let mut renamed = without("seller_id");
    renamed.insert("refund_fee=5.00&seller_id".to_owned(), "2088000000000002".to_owned());
    assert_eq!(joined(&bytes(&told)), joined(&bytes(&renamed)));
    assert!(malformed(&signed(&renamed)));
    let harmless = paid(&[("body", "x&refund_fee=5.00&trade_no=9")]);
    assert_eq!(only(verify(&signed(&harmless))).refunded_total, None);
}

#[test]
fn a_browsers_return_is_no_notification() {
    let returned = fields(&[
        ("app_id", "2021000000000001"),
        ("charset", "utf-8"),
        ("method", "alipay.trade.page.pay.return"),
        ("out_trade_no", "CG3"),
        ("seller_id", "2088000000000002"),
        ("total_amount", "19.99"),
        ("trade_no", "T3"),
    ]);
    let refused = verify(&signed(&returned));
    assert!(matches!(refused, Err(Refusal::NotANotification { .. })), "{refused:?}");
    let unsigned = sent(&returned, &[("sign_type", "RSA2"), ("sign", "AAAA")]);
    assert_eq!(verify(&unsigned), Err(Refusal::Signature));
}

#[test]
fn signed_content_that_is_no_trade_is_refused() {
    let missing = ["notify_id", "out_trade_no", "trade_no", "total_amount", "trade_status"];
    for name in missing {
        assert!(malformed(&signed(&without(name))), "{name}");
        assert!(malformed(&signed(&paid(&[(name, "")]))), "{name}");
    }
    for amount in ["19.999", "-1", "1e2", "1,00", " 1", "92233720368547758.08", "NaN"] {
        assert!(malformed(&signed(&paid(&[("total_amount", amount)]))), "{amount}");
        assert!(malformed(&signed(&paid(&[("refund_fee", amount)]))), "{amount}");
    }
}

#[test]
fn a_charset_that_is_unknown_or_broken_is_refused() {
    for name in ["", "utf-16", "UTF-7", "latin1", "utf8 "] {
        assert!(malformed(&signed(&paid(&[("charset", name)]))), "{name:?}");
    }
    let mut broken = bytes(&paid(&[]));
    broken.insert(b"subject".to_vec(), vec![0xB2, 0xE2]);
    assert!(malformed(&signed_bytes(&broken)));
    for name in ["GBK", "gb2312", "GB18030"] {
        broken.insert(b"charset".to_vec(), name.as_bytes().to_vec());
        let notification = only(verify(&signed_bytes(&broken)));
        assert!(notification.body.contains("测"), "{name}");
    }
    broken.insert(b"subject".to_vec(), vec![0xB2]);
    assert!(malformed(&signed_bytes(&broken)));
}

#[test]
fn other_requests_and_broken_forms_are_refused() {
    let body = signed(&paid(&[]));
    let ask = |method: &str, content_type: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        let body = body.as_bytes();
        let request = Request { method, path: "/", query: "", headers: &headers, body };
        gateway().verify(&request, Timestamp::from_ms(0))
    };
    assert!(ask("POST", "Application/X-WWW-Form-Urlencoded; charset=GBK").is_ok());
    for (method, content_type) in [
        ("GET", "application/x-www-form-urlencoded"),
        ("POST", "multipart/form-data"),
        ("POST", "application/x-www-form-urlencoded-not"),
        ("POST", "application/json; application/x-www-form-urlencoded"),
    ] {
        let refused = ask(method, content_type);
        assert!(matches!(refused, Err(Refusal::NotItsRequest { .. })), "{content_type}");
    }
    for broken in [format!("{body}&a=%"), format!("{body}&a=100%"), format!("{body}&")] {
        assert!(malformed(&broken));
    }
    assert_eq!(verify(""), Err(Refusal::Algorithm { expected: "RSA2" }));
}
