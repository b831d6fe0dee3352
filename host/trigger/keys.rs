//! Throw-away keys and accounts of all gateways: made, written as files, read back.
//!
//! They are worth nothing outside a test: whoever has them can forge callbacks for the channels
//! configured with them, which is their purpose.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use callgate_core::secret::Secret;
use callgate_core::time::Timestamp;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use crate::certificate::{Terms, self_signed_pem};
use crate::channel::Gateway;
use crate::rsa::RsaKey;

pub use crate::rsa::BadKey;

mod channels;

/// Everything the gateways on this machine sign and encrypt with.
#[derive(Debug)]
pub struct Keys {
    /// Account names and key ids; none of them is secret.
    pub accounts: Accounts,
    pub(crate) wechat_v3: WechatV3Keys,
    pub(crate) wechat_v2_api_key: Secret,
    pub(crate) alipay: AlipayKeys,
    pub(crate) stranger: StrangerKeys,
}

/// Names under which the gateways know the merchant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// WeChat Pay merchant (`mchid`).
    pub wechat_merchant_id: String,
    /// WeChat application (`appid`).
    pub wechat_application_id: String,
    /// Id of the WeChat Pay public key, starts with `PUB_KEY_ID_`.
    pub wechat_public_key_id: String,
    /// Serial of the WeChat Pay platform certificate, upper-case hexadecimal.
    pub wechat_certificate_serial: String,
    /// Alipay's name of its certificate (`alipay_cert_sn`).
    pub alipay_certificate_sn: String,
    /// Alipay application (`app_id`).
    pub alipay_application_id: String,
    /// Alipay seller (`seller_id`).
    pub alipay_seller_id: String,
}

#[derive(Debug)]
pub(crate) struct WechatV3Keys {
    pub(crate) certificate_key: RsaKey,
    pub(crate) certificate_pem: String,
    pub(crate) public_mode_key: RsaKey,
    pub(crate) api_key: Secret,
}

#[derive(Debug)]
pub(crate) struct AlipayKeys {
    pub(crate) key: RsaKey,
    pub(crate) certificate_key: RsaKey,
    pub(crate) certificate_pem: String,
}

/// Keys that stand in no configuration.
#[derive(Debug)]
pub(crate) struct StrangerKeys {
    pub(crate) key: RsaKey,
    pub(crate) api_key: Secret,
}

/// A file of the key folder.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// The name inside the folder.
    pub name: &'static str,
    /// The whole content.
    pub content: String,
}

impl Keys {
    /// Makes new keys; certificates are valid from a day before `now` for five years.
    ///
    /// Takes a second or two: five RSA keys.
    ///
    /// # Errors
    /// [`BadKey::NotMade`] where the cryptographic library fails.
    pub fn generate(now: Timestamp) -> Result<Self, BadKey> {
        let mut serial: [u8; 20] = random()?;
        serial[0] = (serial[0] & 0x3f) | 0x40;
        let [alipay_serial @ .., _, _, _, _] = serial;
        let certificate_key = RsaKey::generate()?;
        let certificate_pem = self_signed_pem(
            &certificate_key,
            Terms { name: PLATFORM_NAME, serial: &serial, made_at: now },
        )?;
        let alipay_certificate_key = RsaKey::generate()?;
        let alipay_certificate_pem = self_signed_pem(
            &alipay_certificate_key,
            Terms { name: ALIPAY_NAME, serial: &alipay_serial, made_at: now },
        )?;
        Ok(Self {
            accounts: Accounts::with_serials(serial, alipay_serial),
            wechat_v3: WechatV3Keys {
                certificate_key,
                certificate_pem,
                public_mode_key: RsaKey::generate()?,
                api_key: api_key()?,
            },
            wechat_v2_api_key: api_key()?,
            alipay: AlipayKeys {
                key: RsaKey::generate()?,
                certificate_key: alipay_certificate_key,
                certificate_pem: alipay_certificate_pem,
            },
            stranger: StrangerKeys { key: RsaKey::generate()?, api_key: api_key()? },
        })
    }

    /// The keys as files of one folder, private keys in PKCS#8 PEM.
    ///
    /// # Errors
    /// [`BadKey::NotMade`] where a key cannot be written.
    pub fn files(&self) -> Result<Vec<File>, BadKey> {
        let (v3, alipay) = (&self.wechat_v3, &self.alipay);
        let accounts = serde_json::to_string_pretty(&self.accounts).map_err(|_| BadKey::NotMade)?;
        let pairs = [
            (ACCOUNTS, format!("{accounts}\n")),
            (V3_CERTIFICATE_KEY, v3.certificate_key.to_private_pem()?),
            (V3_CERTIFICATE, v3.certificate_pem.clone()),
            (V3_PUBLIC_MODE_KEY, v3.public_mode_key.to_private_pem()?),
            (V3_PUBLIC_KEY, v3.public_mode_key.to_public_pem()?),
            (V3_API_KEY, v3.api_key.expose().to_owned()),
            (V2_API_KEY, self.wechat_v2_api_key.expose().to_owned()),
            (ALIPAY_KEY, alipay.key.to_private_pem()?),
            (ALIPAY_PUBLIC_KEY, alipay.key.to_public_pem()?),
            (ALIPAY_CERTIFICATE_KEY, alipay.certificate_key.to_private_pem()?),
            (ALIPAY_CERTIFICATE, alipay.certificate_pem.clone()),
            (STRANGER_KEY, self.stranger.key.to_private_pem()?),
            (STRANGER_API_KEY, self.stranger.api_key.expose().to_owned()),
        ];
        Ok(pairs.into_iter().map(|(name, content)| File { name, content }).collect())
    }

    /// Reads keys back from the files that [`Keys::files`] wrote, each asked for by its name.
    ///
    /// # Errors
    /// [`BadFile`] names the file that is missing or wrong.
    pub fn from_files(look_up: impl Fn(&str) -> Option<String>) -> Result<Self, BadFile> {
        let text = |name| look_up(name).ok_or(BadFile { name, problem: Problem::Missing });
        let key = |name| {
            RsaKey::from_pem(&text(name)?)
                .map_err(|bad| BadFile { name, problem: Problem::Key(bad) })
        };
        let secret = |name| {
            let secret = text(name)?.trim_end().to_owned();
            let fits = secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_graphic());
            let problem = Problem::Length { found: secret.len() };
            if fits { Ok(Secret::new(secret)) } else { Err(BadFile { name, problem }) }
        };
        Ok(Self {
            accounts: serde_json::from_str(&text(ACCOUNTS)?)
                .map_err(|_| BadFile { name: ACCOUNTS, problem: Problem::Accounts })?,
            wechat_v3: WechatV3Keys {
                certificate_key: key(V3_CERTIFICATE_KEY)?,
                certificate_pem: text(V3_CERTIFICATE)?,
                public_mode_key: key(V3_PUBLIC_MODE_KEY)?,
                api_key: secret(V3_API_KEY)?,
            },
            wechat_v2_api_key: secret(V2_API_KEY)?,
            alipay: AlipayKeys {
                key: key(ALIPAY_KEY)?,
                certificate_key: key(ALIPAY_CERTIFICATE_KEY)?,
                certificate_pem: text(ALIPAY_CERTIFICATE)?,
            },
            stranger: StrangerKeys { key: key(STRANGER_KEY)?, api_key: secret(STRANGER_API_KEY)? },
        })
    }
}

/// Who a notice says was paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// WeChat's `mchid`, Alipay's `seller_id`.
    pub merchant_id: String,
    /// WeChat's `appid`, Alipay's `app_id`.
    pub application_id: String,
}

impl Accounts {
    /// The merchant as a gateway knows them.
    #[must_use]
    pub fn merchant(&self, gateway: Gateway) -> Merchant {
        let (merchant, application) = match gateway {
            Gateway::WechatV3 | Gateway::WechatV2 => {
                (&self.wechat_merchant_id, &self.wechat_application_id)
            }
            Gateway::Alipay => (&self.alipay_seller_id, &self.alipay_application_id),
        };
        Merchant { merchant_id: merchant.clone(), application_id: application.clone() }
    }

    fn with_serials(platform: [u8; 20], alipay: [u8; 16]) -> Self {
        let named = format!("{ALIPAY_NAME}{}", u128::from_be_bytes(alipay));
        Self {
            alipay_certificate_sn: hex::<16>(Md5::digest(named).into()),
            wechat_merchant_id: "1900000001".to_owned(),
            wechat_application_id: "wxcallgate00000001".to_owned(),
            wechat_public_key_id: "PUB_KEY_ID_0119000000012026112200000000000001".to_owned(),
            wechat_certificate_serial: hex(platform).to_ascii_uppercase(),
            alipay_application_id: "2021000000000001".to_owned(),
            alipay_seller_id: "2088000000000002".to_owned(),
        }
    }
}

/// A file of a key folder that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key file {name}: {problem}")]
pub struct BadFile {
    /// The file's name inside the folder.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is none.
    #[error("is missing")]
    Missing,
    /// It should hold a private key.
    #[error(transparent)]
    Key(BadKey),
    /// It should hold an API key.
    #[error("holds {found} characters, expected 32 of visible ASCII")]
    Length {
        /// Characters found.
        found: usize,
    },
    /// It should hold the accounts.
    #[error("is not the JSON of the accounts")]
    Accounts,
}

fn api_key() -> Result<Secret, BadKey> {
    Ok(Secret::new(hex::<16>(random()?)))
}

fn random<const N: usize>() -> Result<[u8; N], BadKey> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| BadKey::NotMade)?;
    Ok(bytes)
}

fn hex<const N: usize>(bytes: [u8; N]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Subject and issuer of real platform certificates.
const PLATFORM_NAME: &str = "CN=Tenpay.com sign,OU=Tenpay.com CA Center,O=Tenpay.com,C=CN";
/// Subject and issuer in the order of RFC 4514, in which Alipay reads it.
const ALIPAY_NAME: &str = "CN=Callgate test gateway,OU=Alipay,O=Callgate,C=CN";

const ACCOUNTS: &str = "accounts.json";
const V3_CERTIFICATE_KEY: &str = "wechat-v3-platform.key.pem";
const V3_CERTIFICATE: &str = "wechat-v3-platform.crt.pem";
const V3_PUBLIC_MODE_KEY: &str = "wechat-v3-public.key.pem";
const V3_PUBLIC_KEY: &str = "wechat-v3-public.pub.pem";
const V3_API_KEY: &str = "wechat-v3-api.key";
const V2_API_KEY: &str = "wechat-v2-api.key";
const ALIPAY_KEY: &str = "alipay.key.pem";
const ALIPAY_PUBLIC_KEY: &str = "alipay.pub.pem";
const ALIPAY_CERTIFICATE_KEY: &str = "alipay-certificate.key.pem";
const ALIPAY_CERTIFICATE: &str = "alipay-certificate.crt.pem";
const STRANGER_KEY: &str = "stranger.key.pem";
const STRANGER_API_KEY: &str = "stranger-api.key";

#[cfg(test)]
mod tests;
