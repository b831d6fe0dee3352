//! The committed callbacks with the gateways that believe them.

use std::sync::{Arc, LazyLock};

use callgate_core::gateway::{self, Gateway, Refusal};
use callgate_core::notification::Verified;
use callgate_core::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

/// A committed callback.
pub struct Sample {
    /// The body as it was sent.
    pub body: Vec<u8>,
    /// What its gateway believes.
    pub genuine: Verified,
    headers: HeaderMap,
    gateway: Arc<dyn Gateway>,
    now: Timestamp,
}

impl Sample {
    /// Header lines, an empty line and the body.
    #[must_use]
    pub fn with_headers(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, value) in &self.headers {
            text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
        }
        text.push(b'\n');
        text.extend_from_slice(&self.body);
        text
    }

    /// Sends other bytes to this sample's gateway at this sample's time.
    ///
    /// # Errors
    /// What the gateway says.
    pub fn send(&self, headers: &HeaderMap, body: &[u8]) -> Result<Verified, Refusal> {
        crate::send(&*self.gateway, headers, body, self.now)
    }

    fn read(text: &str, settings: impl FnOnce(&Value) -> Value) -> Self {
        let vector: Value = serde_json::from_str(text).expect("a sample is JSON");
        let settings = serde_json::from_value(settings(&vector["keys"]));
        let gateway = gateway::open(settings.expect("settings fit")).expect("keys read");
        let now = Timestamp::from_seconds(vector["clock_unix"].as_i64().unwrap_or_default());
        let mut headers = HeaderMap::new();
        for (name, value) in vector["headers"].as_object().expect("headers stand there") {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            let value = HeaderValue::from_str(value.as_str().unwrap_or_default());
            headers.insert(name, value.expect("a header's value"));
        }
        let body = vector["body"].as_str().unwrap_or_default().as_bytes().to_vec();
        let genuine = crate::send(&*gateway, &headers, &body, now).expect("a sample is believed");
        Self { body, genuine, headers, gateway, now }
    }
}

/// WeChat Pay v3.
pub static WECHAT_V3: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let settings = |keys: &Value| {
        let mut settings = json!({
            "gateway": "wechat-v3", "merchant_id": "1900000001",
            "application_ids": ["wxselfmade00000001"], "api_v3_key": keys["api_v3_key"],
        });
        match keys.get("platform_certificate_pem") {
            Some(pem) => settings["platform_certificates"] = json!([pem]),
            None => {
                let (id, key) =
                    (&keys["wechatpay_public_key_id"], &keys["wechatpay_public_key_pem"]);
                settings["public_keys"] = json!([{"id": id, "key": key}]);
            }
        }
        settings
    };
    [
        include_str!("../../../host/core/gateway/vectors/wechat-v3/payment-public-key.json"),
        include_str!("../../../host/core/gateway/vectors/wechat-v3/refund-platform-cert.json"),
    ]
    .map(|text| Sample::read(text, settings))
    .into()
});

/// WeChat Pay v2.
pub static WECHAT_V2: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let settings = |keys: &Value| {
        json!({
            "gateway": "wechat-v2", "merchant_id": "1900000001",
            "application_ids": ["wxselfmade00000001"], "api_key": keys["api_key"],
        })
    };
    [
        include_str!("../../../host/core/gateway/vectors/wechat-v2/payment-md5.json"),
        include_str!("../../../host/core/gateway/vectors/wechat-v2/refund.json"),
    ]
    .map(|text| Sample::read(text, settings))
    .into()
});

/// Alipay.
pub static ALIPAY: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let settings = |keys: &Value| {
        let mut settings = json!({
            "gateway": "alipay", "application_ids": [keys["app_id"]],
            "seller_ids": [keys["seller_id"]],
        });
        match keys.get("alipay_certificate_pem") {
            Some(pem) => settings["certificates"] = json!([keys["previous_certificate_pem"], pem]),
            None => settings["public_key"] = keys["alipay_public_key_pem"].clone(),
        }
        settings
    };
    [
        include_str!("../../../host/core/gateway/vectors/alipay/trade-notify-rsa2.json"),
        include_str!("../../../host/core/gateway/vectors/alipay/trade-notify-gbk.json"),
        include_str!("../../../host/core/gateway/vectors/alipay/trade-notify-certificate.json"),
    ]
    .map(|text| Sample::read(text, settings))
    .into()
});
