//! To be written.
use super::*;

/// Settings of a channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

/// The gateway.
#[derive(Debug)]
pub struct Alipay {}

impl Alipay {
    /// Reads the settings.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn new(_settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self {})
    }
}

impl Gateway for Alipay {
    fn verify(&self, _request: &Request<'_>, _now: Timestamp) -> Result<Verified, Refusal> {
        Err(Refusal::Signature)
    }

    fn reply(&self, _answer: Answer<'_>) -> Ack {
        Ack { status: 500, content_type: None, body: Cow::Borrowed("") }
    }
}
