//! What a gateway makes of the answer to its callback.

use std::fmt;

use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;

use crate::channel::Gateway;
use crate::message::Expectation;

/// An HTTP answer as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The `Content-Type`, if there was one.
    pub content_type: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
}

/// What the gateway concludes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The callback arrived; the gateway does not send it again.
    Success,
    /// It did not; the gateway sends it again.
    Failure(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("success"),
            Self::Failure(why) => write!(f, "failure: {why}"),
        }
    }
}

/// Judges an answer by the gateway's own rule.
///
/// WeChat Pay v3: the status alone decides, 200 or 204. WeChat Pay v2: 200 and XML whose
/// `return_code` is `SUCCESS`. Alipay: 200 and exactly the seven letters `success`. None of them
/// looks at the content type.
#[must_use]
pub fn accepts(gateway: Gateway, answer: Answer<'_>) -> Verdict {
    let judged = match gateway {
        Gateway::WechatV3 => match answer.status {
            200 | 204 => Ok(()),
            status => Err(format!("status is {status}, expected 200 or 204")),
        },
        Gateway::WechatV2 => status_is_200(answer).and_then(|()| match return_code(answer) {
            Some(code) if code == "SUCCESS" => Ok(()),
            Some(code) => Err(format!("return_code is `{}`, expected SUCCESS", shown(&code))),
            None => Err(format!("{} is no XML with a return_code", kind(answer))),
        }),
        Gateway::Alipay => status_is_200(answer).and_then(|()| match answer.body {
            b"success" => Ok(()),
            other => {
                let text = String::from_utf8_lossy(other);
                Err(format!("body is `{}`, expected exactly `success`", shown(&text)))
            }
        }),
    };
    match judged {
        Ok(()) => Verdict::Success,
        Err(why) => Verdict::Failure(why),
    }
}

/// Holds an answer against what a message should meet, in the gateway's own terms.
///
/// # Errors
/// What was found and what was expected, where the answer is another one or is not in the form
/// that the gateway documents for it.
pub fn meets(expect: Expectation, gateway: Gateway, answer: Answer<'_>) -> Result<(), String> {
    match (expect, accepts(gateway, answer)) {
        (Expectation::Accepted, Verdict::Success) => Ok(()),
        (Expectation::Accepted, Verdict::Failure(why)) => Err(format!("not accepted: {why}")),
        (Expectation::Refused { code }, Verdict::Success) => {
            Err(format!("accepted, expected a refusal by {code}"))
        }
        (Expectation::Refused { .. }, Verdict::Failure(_)) => refusal_form(gateway, answer),
    }
}

/// The documented form of a failure: what a person at the gateway can read.
fn refusal_form(gateway: Gateway, answer: Answer<'_>) -> Result<(), String> {
    match gateway {
        Gateway::WechatV3 => {
            if !(400..=599).contains(&answer.status) {
                return Err(format!("status is {}, expected 4xx or 5xx", answer.status));
            }
            let json = answer.content_type.is_some_and(|kind| media_type(kind, "application/json"));
            let told: Option<V3Failure> = serde_json::from_slice(answer.body).ok();
            match told {
                Some(told) if json && told.code == "FAIL" && !told.message.is_empty() => Ok(()),
                Some(_) | None => Err(format!(
                    "{} is no application/json with code FAIL and a message",
                    kind(answer)
                )),
            }
        }
        Gateway::WechatV2 => {
            status_is_200(answer)?;
            match return_code(answer) {
                Some(code) if code == "FAIL" => Ok(()),
                Some(code) => Err(format!("return_code is `{}`, expected FAIL", shown(&code))),
                None => Err(format!("{} is no XML with a return_code", kind(answer))),
            }
        }
        Gateway::Alipay => {
            status_is_200(answer)?;
            match answer.body {
                b"fail" | b"failure" => Ok(()),
                other => {
                    let text = String::from_utf8_lossy(other);
                    Err(format!("body is `{}`, expected `fail`", shown(&text)))
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct V3Failure {
    code: String,
    message: String,
}

fn status_is_200(answer: Answer<'_>) -> Result<(), String> {
    match answer.status {
        200 => Ok(()),
        status => Err(format!("status is {status}, expected 200")),
    }
}

/// The text of `<return_code>` inside `<xml>`.
fn return_code(answer: Answer<'_>) -> Option<String> {
    let text = std::str::from_utf8(answer.body).ok()?;
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let mut code: Option<String> = None;
    loop {
        let inside = path.len() == 2
            && path.first().is_some_and(|root| root == "xml")
            && path.last().is_some_and(|name| name == "return_code");
        let piece = match reader.read_event().ok()? {
            Event::Start(tag) => {
                path.push(tag.name().as_ref().to_owned());
                continue;
            }
            Event::End(_) => {
                path.pop();
                continue;
            }
            Event::Text(text) => text.into_inner(),
            Event::CData(text) => text.into_inner(),
            Event::Eof => return code,
            Event::DocType(_) | Event::GeneralRef(_) => return None,
            Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) => continue,
        };
        if inside {
            code.get_or_insert_default().push_str(piece.trim());
        }
    }
}

fn media_type(found: &str, expected: &str) -> bool {
    found.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(expected))
}

fn kind(answer: Answer<'_>) -> String {
    format!("answer of {} bytes ({})", answer.body.len(), answer.content_type.unwrap_or("no type"))
}

/// The first characters, enough to recognise an answer by.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::{Answer, Verdict, accepts, meets};
    use crate::channel::Gateway;
    use crate::message::Expectation;

    const V2_SUCCESS: &str = "<xml><return_code><![CDATA[SUCCESS]]></return_code>\
        <return_msg><![CDATA[OK]]></return_msg></xml>";
    const V2_FAIL: &str = "<xml><return_code><![CDATA[FAIL]]></return_code>\
        <return_msg><![CDATA[signature does not match]]></return_msg></xml>";
    const V3_FAIL: &str = r#"{"code":"FAIL","message":"signature does not match"}"#;

    fn answer(status: u16, body: &str) -> Answer<'_> {
        Answer { status, content_type: Some("application/json"), body: body.as_bytes() }
    }

    fn check(gateway: Gateway, (status, body): (u16, &str), success: bool) {
        let verdict = accepts(gateway, answer(status, body));
        assert_eq!(verdict == Verdict::Success, success, "{gateway} {status} {body:?}: {verdict}");
    }

    #[test]
    fn wechat_v3_looks_at_the_status_alone() {
        for good in [(200, ""), (204, ""), (200, V3_FAIL)] {
            check(Gateway::WechatV3, good, true);
        }
        for bad in [(201, ""), (302, ""), (401, V3_FAIL), (500, ""), (404, "success")] {
            check(Gateway::WechatV3, bad, false);
        }
    }

    #[test]
    fn wechat_v2_looks_at_the_return_code() {
        for good in [V2_SUCCESS, "<xml><return_code>SUCCESS</return_code></xml>"] {
            check(Gateway::WechatV2, (200, good), true);
            check(Gateway::WechatV2, (500, good), false);
        }
        for bad in [
            V2_FAIL,
            "",
            "SUCCESS",
            "success",
            "<return_code>SUCCESS</return_code>",
            "<xml><return_msg>SUCCESS</return_msg></xml>",
            "<xml><a><return_code>SUCCESS</return_code></a></xml>",
            "<xml><return_code>SUCCESS</return_codes></xml>",
            "<!DOCTYPE xml><xml><return_code>SUCCESS</return_code></xml>",
        ] {
            check(Gateway::WechatV2, (200, bad), false);
        }
    }

    #[test]
    fn alipay_wants_the_seven_letters_and_nothing_else() {
        check(Gateway::Alipay, (200, "success"), true);
        for bad in
            ["SUCCESS", "success\n", " success", "\u{feff}success", "\"success\"", "fail", ""]
        {
            check(Gateway::Alipay, (200, bad), false);
        }
        check(Gateway::Alipay, (204, "success"), false);
    }

    #[test]
    fn a_refusal_must_be_in_the_gateways_own_words() {
        let refused = Expectation::Refused { code: "gateway.signature" };
        for (gateway, status, good, bad) in [
            (Gateway::WechatV3, 401, V3_FAIL, "no"),
            (Gateway::WechatV2, 200, V2_FAIL, "<xml><return_code>NO</return_code></xml>"),
            (Gateway::Alipay, 200, "fail", "<html>"),
        ] {
            assert_eq!(meets(refused, gateway, answer(status, good)), Ok(()));
            assert!(meets(refused, gateway, answer(status, bad)).is_err());
            assert!(meets(refused, gateway, answer(302, good)).is_err());
            assert!(meets(Expectation::Accepted, gateway, answer(status, good)).is_err());
        }
        let success = answer(200, "success");
        assert_eq!(
            meets(refused, Gateway::Alipay, success),
            Err("accepted, expected a refusal by gateway.signature".to_owned())
        );
        assert_eq!(meets(Expectation::Accepted, Gateway::Alipay, success), Ok(()));
    }
}
