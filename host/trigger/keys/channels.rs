//! The channel configuration that belongs to the keys.

use std::fmt::Write as _;

use super::{
    ALIPAY_CERTIFICATE, ALIPAY_PUBLIC_KEY, Keys, V2_API_KEY, V3_API_KEY, V3_CERTIFICATE,
    V3_PUBLIC_KEY,
};
use crate::channel::{BUSINESS, Channel};

impl Keys {
    /// The channels of the server's configuration, with key files in `folder`.
    #[must_use]
    pub fn channels_toml(&self, folder: &str) -> String {
        let mut text = String::from(
            "# Channels of throw-away keys. Never configure them where money moves.\n",
        );
        for channel in Channel::ALL {
            let name = channel.name();
            let gateway = channel.gateway();
            let scene = channel.scene();
            let _ = write!(
                text,
                "\n[channels.{name}]\ngateway = \"{gateway}\"\nbusiness = \"{BUSINESS}\"\n\
                 scene = \"{scene}\"\n",
            );
            text.push_str(&self.account_lines(channel, folder));
        }
        text
    }

    fn account_lines(&self, channel: Channel, folder: &str) -> String {
        let accounts = &self.accounts;
        let file = |name: &str| quoted(&format!("{}/{name}", folder.trim_end_matches('/')));
        let wechat = || {
            format!(
                "merchant_id = {}\napplication_ids = [{}]\n",
                quoted(&accounts.wechat_merchant_id),
                quoted(&accounts.wechat_application_id),
            )
        };
        let alipay = || {
            format!(
                "application_ids = [{}]\nseller_ids = [{}]\n",
                quoted(&accounts.alipay_application_id),
                quoted(&accounts.alipay_seller_id),
            )
        };
        match channel {
            Channel::WechatV3Main => format!(
                "{}api_v3_key_file = {}\nplatform_certificate_files = [{}]\n\n\
                 [[channels.{channel}.public_keys]]\nid = {}\nkey_file = {}\n",
                wechat(),
                file(V3_API_KEY),
                file(V3_CERTIFICATE),
                quoted(&accounts.wechat_public_key_id),
                file(V3_PUBLIC_KEY),
                channel = channel.name(),
            ),
            Channel::WechatV2Main => {
                format!("{}api_key_file = {}\nsign_type = \"md5\"\n", wechat(), file(V2_API_KEY))
            }
            Channel::WechatV2Hmac => {
                let key = file(V2_API_KEY);
                format!("{}api_key_file = {key}\nsign_type = \"hmac-sha256\"\n", wechat())
            }
            Channel::AlipayMain => {
                format!("{}public_key_file = {}\n", alipay(), file(ALIPAY_PUBLIC_KEY))
            }
            Channel::AlipayCert => {
                format!("{}certificate_files = [{}]\n", alipay(), file(ALIPAY_CERTIFICATE))
            }
        }
    }
}

/// A basic string of TOML. Its escapes are those of JSON; only DEL needs one more.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}
