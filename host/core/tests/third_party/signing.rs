//! The sample of the official documentation for signed requests, whose private key it publishes.

use callgate_core::gateway::inquiry::{Inquiry as _, Question, Stamp};
use callgate_core::gateway::wechat_v3::{Settings, WechatV3};
use callgate_core::time::Timestamp;
use serde_json::{Value, json};

use super::text;

/// A query of a refund has the documentation's `Authorization`, to the byte.
pub(super) fn official_request(vector: &Value) {
    let settings: Settings = serde_json::from_value(json!({
        "merchant_id": text(vector, "/merchant_id"),
        "application_ids": ["wxd678efh567hg6787"],
        "api_v3_key": "0123456789abcdef0123456789abcdef",
        "public_keys": [{ "id": "PUB_KEY_ID_01", "key": text(vector, "/platform_public_key") }],
        "inquiry": {
            "merchant_private_key": text(vector, "/merchant_private_key"),
            "merchant_serial": text(vector, "/merchant_serial"),
        },
    }))
    .unwrap();
    let gateway = WechatV3::new(settings).unwrap();
    let question =
        Question::Refund { order_no: "not-part-of-it", refund_no: text(vector, "/refund_no") };
    let seconds = vector["timestamp_s"].as_i64().unwrap();
    let stamp = Stamp { now: Timestamp::from_seconds(seconds), nonce: text(vector, "/nonce") };
    let asked = gateway.ask(question, stamp).unwrap();
    assert_eq!((asked.method, asked.target.as_str()), ("GET", text(vector, "/target")));
    let found = asked.headers.iter().find(|(name, _)| *name == "authorization").unwrap();
    assert_eq!(found.1, text(vector, "/authorization"));
}
