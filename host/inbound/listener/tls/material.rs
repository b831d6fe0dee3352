//! Certificates and keys: read from files, checked against each other, chosen by the name that a
//! client asks for.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callgate_core::gateway::SettingsError;
use callgate_core::gateway::known::Validity;
use callgate_core::time::Timestamp;
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{
    ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

use super::{ENDED, FILE, Pair, Settings, TlsError};

/// Everything that a listener presents, and whom it wants to see.
#[derive(Debug, Clone)]
pub(super) struct Material {
    certificates: Vec<Certificate>,
    client_roots: Vec<CertificateDer<'static>>,
    client_field: bool,
}

/// One certificate with its chain and key.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    field: String,
    file: String,
    /// The names that it is made out to, in lower case; a wildcard begins with `*.`.
    pub(super) names: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    keyed: Arc<CertifiedKey>,
}

impl Certificate {
    pub(super) fn valid(&self) -> Validity {
        Validity { from: self.not_before, to: self.not_after }
    }
}

impl PartialEq for Material {
    fn eq(&self, other: &Self) -> bool {
        // A key belongs to its certificate, so the certificates say it all.
        let chains = |one: &Self| -> Vec<Vec<CertificateDer<'static>>> {
            one.certificates.iter().map(|certificate| certificate.keyed.cert.clone()).collect()
        };
        chains(self) == chains(other) && self.client_roots == other.client_roots
    }
}

impl Material {
    /// Reads every file and checks what is in it, but for the time.
    pub(super) fn read(settings: &Settings) -> Result<Self, TlsError> {
        let first = Pair {
            certificate_file: settings.certificate_file.clone(),
            key_file: settings.key_file.clone(),
        };
        let mut certificates = vec![Certificate::read("", &first)?];
        for (place, pair) in settings.also.iter().enumerate() {
            certificates.push(Certificate::read(&format!("also[{place}]."), pair)?);
        }
        let client_roots = match &settings.client_ca_file {
            None => Vec::new(),
            Some(file) => chain("client_ca_file", file)?,
        };
        let client_field = settings.client_ca_file.is_some();
        Ok(Self { certificates, client_roots, client_field })
    }

    pub(super) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// When the first of them ends.
    pub(super) fn expires(&self) -> Timestamp {
        let ends = self.certificates.iter().map(|certificate| certificate.not_after);
        ends.min().unwrap_or(Timestamp::from_ms(i64::MAX))
    }

    /// Whether each certificate is valid at `now`.
    pub(super) fn dated(&self, now: Timestamp) -> Result<(), TlsError> {
        self.certificates.iter().try_for_each(|certificate| certificate.dated(now))
    }

    /// What the protocol needs: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
    pub(super) fn config(&self) -> Result<ServerConfig, TlsError> {
        let refused = |error: &dyn std::fmt::Display| {
            let problem = format!("cannot be used for TLS: {error}");
            TlsError::new("certificate_file", problem).coded(SettingsError::KEY)
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&error))?
            .with_client_cert_verifier(self.clients()?)
            .with_cert_resolver(Arc::new(Choice(self.certificates.clone())));
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn clients(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        if !self.client_field {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let refused = |error: &dyn std::fmt::Display| {
            let problem = format!("cannot be used to check clients: {error}");
            TlsError::new("client_ca_file", problem).coded(SettingsError::KEY)
        };
        let mut roots = RootCertStore::empty();
        for root in &self.client_roots {
            roots.add(root.clone()).map_err(|error| refused(&error))?;
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
            .build()
            .map_err(|error| refused(&error))
    }
}

impl Certificate {
    fn read(place: &str, pair: &Pair) -> Result<Self, TlsError> {
        let field = format!("{place}certificate_file");
        let file = pair.certificate_file.display().to_string();
        let chain = chain(&field, &pair.certificate_file)?;
        let wrong = |problem: String| TlsError::new(&field, format!("{file}: {problem}"));
        let links = chain
            .iter()
            .enumerate()
            .map(|(nth, der)| Link::read(der, nth.saturating_add(1)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|problem| wrong(problem).coded(SettingsError::KEY))?;
        let Some(own) = links.first() else {
            return Err(wrong("it has no certificate".to_owned()).coded(SettingsError::KEY));
        };
        check_chain(&chain, &links)
            .map_err(|problem| wrong(problem).coded(SettingsError::CHAIN))?;
        let (names, not_before, not_after) = (own.names.clone(), own.not_before, own.not_after);
        let keyed = Arc::new(keyed(&format!("{place}key_file"), (&file, chain), &pair.key_file)?);
        Ok(Self { field, file, names, not_before, not_after, keyed })
    }

    fn dated(&self, now: Timestamp) -> Result<(), TlsError> {
        let Self { field, file, names, not_before, not_after, .. } = self;
        let names = names.join(", ");
        let problem = if now > *not_after {
            format!(
                "the certificate in {file} for {names} expired at {not_after}, expected one \
                     that is valid: renew it, put it in the same place and reload"
            )
        } else if now < *not_before {
            format!(
                "the certificate in {file} for {names} is valid from {not_before}, and it is \
                     {now}: look at this host's clock, or wait"
            )
        } else {
            return Ok(());
        };
        Err(TlsError::new(field, problem).coded(ENDED))
    }

    /// Whether it is made out to a name in lower case.
    fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            None => own == name,
            Some(rest) => name.split_once('.').is_some_and(|(_, parent)| parent == rest),
        })
    }
}

/// What a certificate says of itself.
struct Link {
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Link {
    fn read(der: &CertificateDer<'_>, nth: usize) -> Result<Self, String> {
        let unreadable = |error: x509_cert::der::Error| {
            format!("certificate {nth} is none in X.509: {error}; expected PEM of a certificate")
        };
        let read = x509_cert::Certificate::from_der(der).map_err(unreadable)?;
        let content = read.tbs_certificate();
        let named = content.get_extension::<SubjectAltName>().map_err(unreadable)?;
        let names = named.map(|(_, names)| names.0).unwrap_or_default();
        Ok(Self {
            names: names.iter().filter_map(name_of).collect(),
            not_before: moment(content.validity().not_before),
            not_after: moment(content.validity().not_after),
        })
    }
}

/// Sees that each certificate is signed by the next, at a time when all of them are valid.
fn check_chain(chain: &[CertificateDer<'static>], links: &[Link]) -> Result<(), String> {
    let (Some((own, rest)), Some(at)) =
        (chain.split_first(), links.iter().map(|link| link.not_before).max())
    else {
        return Ok(());
    };
    let Some((anchor, between)) = rest.split_last() else { return Ok(()) };
    let wrong = |error: Error| {
        format!(
            "its certificates do not lead from one to the next ({error}): expected the server's \
             own first, then the one that signed it, and so on"
        )
    };
    let mut roots = RootCertStore::empty();
    roots.add(anchor.clone()).map_err(wrong)?;
    let seconds = u64::try_from(at.as_ms().div_euclid(1000)).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let own = ParsedCertificate::try_from(own).map_err(wrong)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&own, &roots, between, at, algorithms).map_err(wrong)
}

fn chain(field: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = text_of(field, file)?;
    let shown = file.display();
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = read.map_err(|error| {
        let problem = format!("{shown} is broken PEM: {}", broken(&error));
        TlsError::new(field, problem).coded(SettingsError::KEY)
    })?;
    if chain.is_empty() {
        let problem = format!("{shown} has no certificate, expected PEM (BEGIN CERTIFICATE)");
        return Err(TlsError::new(field, problem).coded(SettingsError::KEY));
    }
    Ok(chain)
}

/// Puts a chain and the key of its first certificate together.
fn keyed(
    field: &str,
    (certificate_file, chain): (&str, Vec<CertificateDer<'static>>),
    file: &Path,
) -> Result<CertifiedKey, TlsError> {
    let text = zeroize::Zeroizing::new(text_of(field, file)?);
    let shown = file.display();
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let problem = if matches!(error, PemError::NoItemsFound) {
            format!(
                "{shown} has no private key, expected PEM (BEGIN PRIVATE KEY) without a passphrase"
            )
        } else {
            format!("{shown} is broken PEM: {}", broken(&error))
        };
        TlsError::new(field, problem).coded(SettingsError::KEY)
    })?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        if error == Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
            let problem = format!(
                "the key in {shown} is not that of the first certificate in {certificate_file}: \
                 expected the key that the certificate was asked for with; look whether one of \
                 the files was renewed without the other"
            );
            return TlsError::new(field, problem).coded(SettingsError::PAIR);
        }
        let problem = format!("the key in {shown} cannot be used: {error}");
        TlsError::new(field, problem).coded(SettingsError::KEY)
    })
}

fn text_of(field: &str, file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|error| {
        let problem = format!("{} cannot be read: {error}", file.display());
        TlsError::new(field, problem).coded(FILE)
    })
}

/// What is wrong with PEM, without the text: it may be a key.
fn broken(error: &PemError) -> &'static str {
    if matches!(error, PemError::MissingSectionEnd { .. }) {
        "a block does not end"
    } else if matches!(error, PemError::Base64Decode(_)) {
        "a block is not base64"
    } else {
        "it cannot be read"
    }
}

fn name_of(name: &GeneralName) -> Option<String> {
    if let GeneralName::DnsName(name) = name {
        return Some(name.as_str().to_ascii_lowercase());
    }
    let GeneralName::IpAddress(bytes) = name else { return None };
    let bytes = bytes.as_bytes();
    let four = <[u8; 4]>::try_from(bytes).map(|four| std::net::IpAddr::from(four).to_string());
    let sixteen = || <[u8; 16]>::try_from(bytes).map(|six| std::net::IpAddr::from(six).to_string());
    four.or_else(|_| sixteen()).ok()
}

fn moment(time: Time) -> Timestamp {
    let ms = i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_ms(ms)
}

/// The first certificate for the name that a client asks for and that the client can check; else
/// the first of all: the client says in its own words what it thinks of that.
#[derive(Debug)]
struct Choice(Vec<Certificate>);

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let fit = |one: &&Certificate| one.keyed.key.choose_scheme(schemes).is_some();
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let named = name.and_then(|name| self.0.iter().filter(fit).find(|one| one.is_for(&name)));
        let any = || self.0.iter().find(fit);
        named.or_else(any).or_else(|| self.0.first()).map(|one| Arc::clone(&one.keyed))
    }
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// How HTTP/2 is called in a handshake.
pub(super) const H2: &[u8] = b"h2";
