//! What is fuzzed, as plain functions: bytes in, a verdict out, a panic where a promise breaks.
//!
//! Beside "no panic" each target holds a promise. A gateway never believes an input that says
//! anything but what a committed callback says. A parser reads back what it read, written anew.
//!
//! Reading order: the targets here, [`samples`] their keys and seeds, [`mutate`] how inputs are
//! made from seeds.
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use callgate_core::gateway::Gateway;
use callgate_core::gateway::scheme::form::Form;
use callgate_core::gateway::scheme::xml::Flat;
use callgate_core::notification::Verified;
use callgate_core::request::Request;
use callgate_core::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};

use samples::Sample;

pub mod samples;

pub mod mutate;

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Read, and of a gateway: believed.
    Taken,
    /// Refused, as nearly every mutated input must be.
    Refused,
}

/// Something to fuzz.
pub struct Target {
    /// The name on the command line.
    pub name: &'static str,
    /// Runs one input; panics where a promise breaks.
    pub run: fn(&[u8]) -> Verdict,
    /// Inputs to begin with; each is taken as it is.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces that mean something in this format.
    pub tokens: &'static [&'static str],
}

/// Every target.
pub const TARGETS: [Target; 5] = [
    Target {
        name: "wechat_v3",
        run: wechat_v3,
        seeds: || samples::WECHAT_V3.iter().map(Sample::with_headers).collect(),
        tokens: &[
            "\n",
            ": ",
            "Wechatpay-Signature: ",
            "Wechatpay-Timestamp: 0\n",
            "WECHATPAY/SIGNTEST/",
            "PUB_KEY_ID_",
            "Wechatpay-Signature-Type: ",
            "{",
            "}",
            "\"",
            "null",
            "\\u0000",
            "\"id\":",
            "\"resource\":",
            "\"nonce\":\"",
            "-1",
            "1e99",
        ],
    },
    Target {
        name: "wechat_v2",
        run: wechat_v2,
        seeds: || samples::WECHAT_V2.iter().map(|sample| sample.body.clone()).collect(),
        tokens: XML_TOKENS,
    },
    Target {
        name: "alipay",
        run: alipay,
        seeds: || samples::ALIPAY.iter().map(|sample| sample.body.clone()).collect(),
        tokens: FORM_TOKENS,
    },
    Target {
        name: "xml",
        run: xml,
        seeds: || samples::WECHAT_V2.iter().map(|sample| sample.body.clone()).collect(),
        tokens: XML_TOKENS,
    },
    Target {
        name: "form",
        run: form,
        seeds: || samples::ALIPAY.iter().map(|sample| sample.body.clone()).collect(),
        tokens: FORM_TOKENS,
    },
];

/// WeChat Pay v3. The input is header lines, an empty line and the body; each is held against
/// every sample's keys and clock.
pub fn wechat_v3(input: &[u8]) -> Verdict {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, [].as_slice()),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    among(&samples::WECHAT_V3, &headers, body, &|_| true)
}

/// WeChat Pay v2. The input is the body. A refund of v2 has no signature, so what a mutated one
/// says cannot be held against the sample; that it takes the key to write one, is.
pub fn wechat_v2(input: &[u8]) -> Verdict {
    let is_signed = |verified: &Verified| verified.delivery_key().starts_with("payment");
    among(&samples::WECHAT_V2, &HeaderMap::new(), input, &is_signed)
}

/// Alipay. The input is the body.
pub fn alipay(input: &[u8]) -> Verdict {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    among(&samples::ALIPAY, &headers, input, &|_| true)
}

/// Flat XML with either root that a gateway asks for.
pub fn xml(input: &[u8]) -> Verdict {
    let mut verdict = Verdict::Refused;
    for root in ["xml", "root"] {
        let Ok(flat) = Flat::parse(input, root) else { continue };
        verdict = Verdict::Taken;
        let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
        let children =
            flat.iter().map(|(name, value)| format!("<{name}>{}</{name}>", escape(value)));
        let again = format!("<{root}>{}</{root}>", children.collect::<String>());
        assert_eq!(Flat::parse(again.as_bytes(), root).as_ref(), Ok(&flat), "reads back");
    }
    verdict
}

/// URL-encoded forms.
pub fn form(input: &[u8]) -> Verdict {
    let Ok(form) = Form::parse(input) else { return Verdict::Refused };
    let escape = |bytes: &[u8]| bytes.iter().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let pairs = form.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    let again = pairs.collect::<Vec<_>>().join("&");
    assert_eq!(Form::parse(again.as_bytes()).as_ref(), Ok(&form), "reads back");
    Verdict::Taken
}

/// Holds a callback against each sample's gateway and clock. What is believed must say what a
/// sample says, unless `binds` tells that the protocol does not bind it.
fn among(
    samples: &LazyLock<Vec<Sample>>,
    headers: &HeaderMap,
    body: &[u8],
    binds: &dyn Fn(&Verified) -> bool,
) -> Verdict {
    let mut verdict = Verdict::Refused;
    for sample in samples.iter() {
        let Ok(verified) = sample.send(headers, body) else { continue };
        verdict = Verdict::Taken;
        assert!(!verified.notifications().is_empty(), "says something");
        if binds(&verified) {
            let is_genuine = samples.iter().any(|known| known.genuine == verified);
            assert!(is_genuine, "believed what no sample says");
        }
    }
    verdict
}

/// Sends through a gateway, as the listener would.
pub(crate) fn send(
    gateway: &dyn Gateway,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Verified, callgate_core::gateway::Refusal> {
    let request = Request { method: "POST", path: "/callback/fuzz", query: "", headers, body };
    gateway.verify(&request, now)
}

const XML_TOKENS: &[&str] = &[
    "<xml>",
    "</xml>",
    "<root>",
    "</root>",
    "<![CDATA[",
    "]]>",
    "<!DOCTYPE xml [",
    "<!ENTITY e \"",
    "&e;",
    "&amp;",
    "&#65;",
    "&#x0;",
    "<?xml version=\"1.0\"?>",
    "<?pi ?>",
    "<!--",
    "-->",
    "<sign>",
    "</sign>",
    "<sign/>",
    "<req_info>",
    "<sign_type>MD5</sign_type>",
    " a=\"b\"",
    "/>",
    "<",
    ">",
    "&fee_type=USD",
    "\u{feff}",
    "\r\n",
];

const FORM_TOKENS: &[&str] = &[
    "&",
    "=",
    "%",
    "+",
    "%26",
    "%3D",
    "%2B",
    "%00",
    "%zz",
    "&sign=",
    "&sign_type=RSA",
    "&charset=",
    "&refund_fee=1.00",
    "&alipay_cert_sn=",
    "&method=x.return",
    "&notify_id=",
    "GBK",
    "\u{feff}",
];
