//! Who signs certificates in these stories.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// An authority with a certificate of its own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut terms = CertificateParams::new(Vec::new()).expect("terms");
        terms.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        terms.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(terms, key()).expect("a certificate"))
    }

    /// Signs for a server of that name, valid in these years (January the first), and writes
    /// `{file}.pem` and `{file}.key` into a folder.
    pub(crate) fn dated(&self, folder: &Path, (file, name): (&str, &str), years: (i32, i32)) {
        let mut terms = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        terms.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        terms.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        terms.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = key();
        let certificate = terms.signed_by(&key, &self.0).expect("a certificate");
        // The key first: who watches the files sees a pair that does not fit for a moment at most.
        write(folder, &format!("{file}.key"), &key.serialize_pem());
        write(folder, &format!("{file}.pem"), &certificate.pem());
    }

    /// The same, valid for a long time.
    pub(crate) fn signs(&self, folder: &Path, file: &str, name: &str) {
        self.dated(folder, (file, name), (2020, 2100));
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes its own certificate.
    pub(crate) fn writes(&self, folder: &Path, file: &str) {
        write(folder, file, &self.0.pem());
    }

    /// A client's trust in it and nobody else.
    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        Arc::new(roots)
    }
}

/// A certificate and key that were written, for a client.
pub(crate) fn read_pair(
    folder: &Path,
    file: &str,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    let certificate = CertificateDer::from_pem_file(folder.join(format!("{file}.pem")));
    let key = PrivatePkcs8KeyDer::from_pem_file(folder.join(format!("{file}.key")));
    (vec![certificate.expect("a certificate")], PrivateKeyDer::Pkcs8(key.expect("a key")))
}

/// Writes as a careful operator would: whole, then in its place.
fn write(folder: &Path, name: &str, text: &str) {
    let beside: PathBuf = folder.join(format!("{name}.new"));
    std::fs::write(&beside, text).expect("a file");
    std::fs::rename(&beside, folder.join(name)).expect("in its place");
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

/// `[public.tls]` with `{file}.pem` and `{file}.key` of a folder.
pub(crate) fn tls_toml(folder: &Path, file: &str) -> String {
    let path = |end: &str| folder.join(format!("{file}.{end}")).display().to_string();
    format!("[public.tls]\ncertificate_file = {:?}\nkey_file = {:?}\n", path("pem"), path("key"))
}
