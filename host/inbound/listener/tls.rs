//! TLS: what a listener presents, and how it is replaced while it serves.
//!
//! A connection takes the keys that are in force when its handshake begins and keeps them, so a
//! replacement disturbs nobody.
//!
//! Reading order: this file, `material` (certificates and keys, read and checked), `shake` (the
//! handshake and its limits).

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use callgate_core::gateway::SettingsError;
use callgate_core::gateway::known::Validity;
use callgate_core::time::Timestamp;
use serde::Deserialize;
use tokio_rustls::rustls::ServerConfig;

mod material;

mod shake;

use material::Material;
pub(super) use shake::{Handshakes, Secured};

/// What a listener presents, and how long it waits for a handshake.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The server's certificate in PEM, and after it those that lead to the root.
    pub certificate_file: PathBuf,
    /// Its private key in PEM, without a passphrase.
    pub key_file: PathBuf,
    /// Further certificates; a client that names a server gets the first that is made out to it.
    #[serde(default)]
    pub also: Vec<Pair>,
    /// Certificates, in PEM, of those who sign clients. Where they are given, nobody is let in
    /// without a certificate signed by one of them.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// From the connection to the end of the handshake, in milliseconds.
    #[serde(default = "default_handshake_timeout_ms")]
    pub handshake_timeout_ms: u64,
    /// Handshakes at once; a connection over it is closed.
    #[serde(default = "default_handshakes_max")]
    pub handshakes_max: usize,
}

/// A further certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// As in [`Settings`].
    pub certificate_file: PathBuf,
    /// As in [`Settings`].
    pub key_file: PathBuf,
}

impl Settings {
    /// Makes every path start from a folder.
    pub fn beside(&mut self, folder: &Path) {
        for path in self.paths() {
            *path = folder.join(&*path);
        }
    }

    /// Every file that is read: when one changes, there may be something to replace.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.clone().paths().into_iter().map(|path| path.clone()).collect()
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let also = self.also.iter_mut();
        [&mut self.certificate_file, &mut self.key_file]
            .into_iter()
            .chain(also.flat_map(|pair| [&mut pair.certificate_file, &mut pair.key_file]))
            .chain(&mut self.client_ca_file)
            .collect()
    }

    /// Holds every number against its bounds; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        let handshakes = u64::try_from(self.handshakes_max).unwrap_or(u64::MAX);
        for (field, found, least, most) in [
            ("handshake_timeout_ms", self.handshake_timeout_ms, 100, 60_000),
            ("handshakes_max", handshakes, 1, 1 << 20),
        ] {
            if !(least..=most).contains(&found) {
                let problem = format!("found {found}, expected {least} to {most}");
                return Err(TlsError::new(field, problem));
            }
        }
        Ok(())
    }

    /// Reads and checks every file, but for the time; [`Self::dated`] looks at that.
    ///
    /// # Errors
    /// The first mistake.
    pub(crate) fn read(&self) -> Result<(), TlsError> {
        self.check()?;
        Material::read(self).map(drop)
    }

    /// The same, and whether each certificate is valid at `now`.
    ///
    /// # Errors
    /// The first mistake.
    pub fn dated(&self, now: Timestamp) -> Result<(), TlsError> {
        self.check()?;
        Material::read(self)?.dated(now)
    }
}

/// A mistake in what a listener is to present.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct TlsError {
    /// The field of [`Settings`].
    pub field: String,
    /// What was found, what was expected, and what to do.
    pub problem: String,
    /// The stable code.
    pub code: &'static str,
}

impl TlsError {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), code: SettingsError::INVALID }
    }

    /// The same mistake under a code of its own.
    fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }
}

/// A file cannot be read.
const FILE: &str = "config.file";
/// A certificate has ended, or does not hold yet.
const ENDED: &str = "config.ended";

/// What a listener presents now.
#[derive(Debug)]
pub struct TlsKeys {
    listener: &'static str,
    current: RwLock<Presented>,
}

#[derive(Debug, Clone)]
struct Presented {
    material: Material,
    config: Arc<ServerConfig>,
}

/// What became of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// New handshakes see the new ones.
    Changed,
    /// They are those that are in force already.
    Same,
}

impl TlsKeys {
    /// Reads what the listener of that name presents. A certificate outside its time is said
    /// loudly, but stops nothing: the server has more to do than to be called.
    ///
    /// # Errors
    /// The first mistake in a file.
    pub fn open(
        listener: &'static str,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let presented = Presented::new(Material::read(settings)?)?;
        if let Err(error) = presented.material.dated(now) {
            tracing::error!(listener, %error, "nobody will believe the certificate of this listener");
        }
        let keys = Self { listener, current: RwLock::new(presented) };
        keys.tell();
        Ok(keys)
    }

    /// Checks what the settings name, time included, and makes it ready to be put in force. Nothing
    /// changes yet.
    ///
    /// # Errors
    /// The first mistake.
    pub fn ready(self: &Arc<Self>, settings: &Settings, now: Timestamp) -> Result<Ready, TlsError> {
        let material = Material::read(settings)?;
        let same = material == self.presented().material;
        if !same {
            material.dated(now)?;
        }
        let presented = if same { None } else { Some(Presented::new(material)?) };
        Ok(Ready { keys: Arc::clone(self), presented })
    }

    /// The same, and puts it in force; what is wrong leaves everything as it is. Connections that
    /// stand are not touched.
    ///
    /// # Errors
    /// The first mistake.
    pub fn replace(
        self: &Arc<Self>,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Replaced, TlsError> {
        self.ready(settings, now).map(Ready::enforce)
    }

    /// When the first of the certificates ends.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.presented().material.expires()
    }

    /// Each certificate by the names that it is made out to, and when it is valid.
    #[must_use]
    pub fn certificates(&self) -> Vec<(String, Validity)> {
        let presented = self.presented();
        let certificates = presented.material.certificates().iter();
        certificates.map(|one| (one.names.join(" "), one.valid())).collect()
    }

    /// The name of the listener: `public`, `private` or `status.listener`.
    #[must_use]
    pub fn listener(&self) -> &'static str {
        self.listener
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    fn presented(&self) -> Presented {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self) {
        let listener = self.listener;
        for certificate in self.presented().material.certificates() {
            let (names, expires) = (certificate.names.join(" "), certificate.not_after);
            tracing::info!(listener, names, %expires, "this certificate is presented");
        }
        let seconds = u32::try_from(self.expires().as_ms().div_euclid(1000)).unwrap_or(u32::MAX);
        metrics::gauge!("callgate_tls_certificate_not_after_seconds", "listener" => listener)
            .set(f64::from(seconds));
    }
}

/// What is checked and waits to be put in force.
#[derive(Debug)]
pub struct Ready {
    keys: Arc<TlsKeys>,
    presented: Option<Presented>,
}

impl Ready {
    /// From now on new handshakes see it.
    pub fn enforce(self) -> Replaced {
        let Some(presented) = self.presented else { return Replaced::Same };
        *self.keys.current.write().unwrap_or_else(PoisonError::into_inner) = presented;
        self.keys.tell();
        Replaced::Changed
    }
}

impl Presented {
    fn new(material: Material) -> Result<Self, TlsError> {
        let config = Arc::new(material.config()?);
        Ok(Self { material, config })
    }
}

fn default_handshake_timeout_ms() -> u64 {
    3000
}

fn default_handshakes_max() -> usize {
    1024
}
