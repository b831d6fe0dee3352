//! The gateways that can be played, and the channels their callbacks are sent to.

use std::fmt;
use std::str::FromStr;

/// A gateway protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gateway {
    /// WeChat Pay API v3.
    WechatV3,
    /// WeChat Pay v2 (XML).
    WechatV2,
    /// Alipay asynchronous notifications.
    Alipay,
}

impl Gateway {
    /// Every gateway.
    pub const ALL: [Self; 3] = [Self::WechatV3, Self::WechatV2, Self::Alipay];

    /// The name, as in the configuration's `gateway`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WechatV3 => "wechat-v3",
            Self::WechatV2 => "wechat-v2",
            Self::Alipay => "alipay",
        }
    }

    /// The channel that a case uses unless another one is named.
    #[must_use]
    pub const fn main_channel(self) -> Channel {
        match self {
            Self::WechatV3 => Channel::WechatV3Main,
            Self::WechatV2 => Channel::WechatV2Main,
            Self::Alipay => Channel::AlipayMain,
        }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Gateway {
    type Err = UnknownGateway;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|gateway| gateway.name() == text);
        found.ok_or_else(|| UnknownGateway(text.chars().take(40).collect()))
    }
}

/// A text that names no gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a gateway, expected wechat-v3, wechat-v2 or alipay")]
pub struct UnknownGateway(String);

/// A channel of the configuration that belongs to the throw-away keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// WeChat Pay v3 with a platform certificate and a public key at once.
    WechatV3Main,
    /// WeChat Pay v2, orders signed with MD5.
    WechatV2Main,
    /// WeChat Pay v2, orders signed with HMAC-SHA256.
    WechatV2Hmac,
    /// Alipay in key mode.
    AlipayMain,
    /// Alipay in certificate mode.
    AlipayCert,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 5] = [
        Self::WechatV3Main,
        Self::WechatV2Main,
        Self::WechatV2Hmac,
        Self::AlipayMain,
        Self::AlipayCert,
    ];

    /// The name in configuration and URL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WechatV3Main => "wechat-v3-main",
            Self::WechatV2Main => "wechat-v2-main",
            Self::WechatV2Hmac => "wechat-v2-hmac",
            Self::AlipayMain => "alipay-main",
            Self::AlipayCert => "alipay-cert",
        }
    }

    /// The protocol spoken on it.
    #[must_use]
    pub const fn gateway(self) -> Gateway {
        match self {
            Self::WechatV3Main => Gateway::WechatV3,
            Self::WechatV2Main | Self::WechatV2Hmac => Gateway::WechatV2,
            Self::AlipayMain | Self::AlipayCert => Gateway::Alipay,
        }
    }

    /// How its payers pay: the scene of the configuration.
    #[must_use]
    pub const fn scene(self) -> &'static str {
        match self.gateway() {
            Gateway::WechatV3 | Gateway::WechatV2 => "WE_CHAT_PAY",
            Gateway::Alipay => "ALI_PAY",
        }
    }

    /// The path callbacks are posted to.
    #[must_use]
    pub fn path(self) -> String {
        format!("/callback/{}", self.name())
    }
}

/// The business that every channel belongs to.
pub const BUSINESS: &str = "PRODUCT_ORDER";

#[cfg(test)]
mod tests {
    use super::{Channel, Gateway};

    #[test]
    fn every_gateway_is_found_by_its_name() {
        for gateway in Gateway::ALL {
            assert_eq!(gateway.name().parse(), Ok(gateway));
            assert_eq!(gateway.main_channel().gateway(), gateway);
        }
    }

    #[test]
    fn another_name_is_refused_and_told() {
        let told = "paypal".parse::<Gateway>().map_err(|unknown| unknown.to_string());
        let expected = "`paypal` is not a gateway, expected wechat-v3, wechat-v2 or alipay";
        assert_eq!(told, Err(expected.to_owned()));
    }

    #[test]
    fn a_path_ends_with_the_channel() {
        assert_eq!(Channel::AlipayCert.path(), "/callback/alipay-cert");
    }
}
