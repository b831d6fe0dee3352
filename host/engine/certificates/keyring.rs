//! What channels verify with: the keys of the configuration, and certificates that were fetched.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use callgate_core::gateway::platform::{Admitted, BadCertificate, Platform};
use callgate_core::time::Timestamp;
use callgate_store::PlatformCertificate;

use crate::inbound::channel::{Channel, Channels};

type Configured = BTreeMap<String, Arc<Channel>>;
type Kept = BTreeMap<String, Vec<PlatformCertificate>>;

/// The one that puts channels in force: the configuration and the store both have a say in them,
/// each at its own time.
#[derive(Debug)]
pub struct Keyring {
    channels: Arc<Channels>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    configured: Configured,
    kept: Kept,
}

impl Keyring {
    /// Takes over channels that are as the configuration has them.
    #[must_use]
    pub fn new(channels: Arc<Channels>) -> Self {
        let configured = BTreeMap::clone(&channels.current());
        Self { channels, known: Mutex::new(Known { configured, kept: Kept::new() }) }
    }

    /// Puts other channels in force, with the fetched certificates that belong to them.
    pub fn configure(&self, configured: Configured, now: Timestamp) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.configured = configured;
        self.channels.replace(known.composed(now));
    }

    /// Puts fetched certificates in force. The same as before changes nothing.
    pub fn keep(&self, kept: Kept, now: Timestamp) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.kept != kept {
            known.kept = kept;
            self.channels.replace(known.composed(now));
        }
    }
}

impl Known {
    fn composed(&self, now: Timestamp) -> Configured {
        let compose = |(name, channel): (&String, &Arc<Channel>)| {
            let kept = self.kept.get(name).map_or(&[][..], Vec::as_slice);
            (name.clone(), beside(channel, kept, now))
        };
        self.configured.iter().map(compose).collect()
    }
}

/// A channel with its fetched certificates.
fn beside(channel: &Arc<Channel>, kept: &[PlatformCertificate], now: Timestamp) -> Arc<Channel> {
    let Some(platform) = channel.gateway.platform().filter(|_| !kept.is_empty()) else {
        return Arc::clone(channel);
    };
    let admitted: Vec<_> =
        kept.iter().filter_map(|one| admit(&channel.name, platform, one, now)).collect();
    Arc::new(Channel { gateway: platform.with(&admitted), ..Channel::clone(channel) })
}

/// Holds a kept certificate against the rules of now: a root may have been configured since.
fn admit(
    channel: &str,
    platform: &dyn Platform,
    kept: &PlatformCertificate,
    now: Timestamp,
) -> Option<Admitted> {
    match platform.admit(&kept.pem, &kept.serial, now) {
        Ok(admitted) => Some(admitted),
        Err(BadCertificate::Expired { .. }) => None,
        Err(bad) => {
            let code = bad.code();
            tracing::error!(channel, serial = kept.serial, code, reason = %bad,
                "a certificate that was fetched is used no longer");
            metrics::counter!("callgate_certificates_refused_total",
                "channel" => channel.to_owned(), "code" => code)
            .increment(1);
            None
        }
    }
}
