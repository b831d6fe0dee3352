//! Whom a command trusts behind `https`, and who it is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::{Certificate, Identity};

/// TLS of commands that speak to a server.
#[derive(Debug, Clone, Args)]
pub(super) struct Trust {
    /// Certificates that sign the server's, in PEM, instead of those that the machine trusts: for
    /// companies with an authority of their own.
    #[arg(long, value_name = "FILE", env = "CALLGATE_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate that we show to a listener with `client_ca_file`, in PEM.
    #[arg(long, value_name = "FILE", requires = "client_key_file")]
    #[arg(env = "CALLGATE_CLIENT_CERTIFICATE_FILE")]
    client_certificate_file: Option<PathBuf>,
    /// Its private key, in PEM, without a passphrase.
    #[arg(long, value_name = "FILE", requires = "client_certificate_file")]
    #[arg(env = "CALLGATE_CLIENT_KEY_FILE")]
    client_key_file: Option<PathBuf>,
}

impl Trust {
    /// A client that follows no redirect and goes through no proxy.
    ///
    /// # Errors
    /// Which file is wrong, and what was expected of it.
    pub(super) fn client(&self, patience: Duration) -> anyhow::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .timeout(patience)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(path) = &self.ca_file {
            builder = builder.tls_certs_only(authorities(path)?);
        }
        if let (Some(certificate), Some(key)) =
            (&self.client_certificate_file, &self.client_key_file)
        {
            builder = builder.identity(identity(certificate, key)?);
        }
        builder.build().context("the HTTP client cannot be made")
    }
}

fn authorities(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let expected = || format!("--ca-file: expected certificates in PEM in {}", path.display());
    let found = Certificate::from_pem_bundle(&read("--ca-file", path)?).with_context(expected)?;
    anyhow::ensure!(!found.is_empty(), expected());
    Ok(found)
}

fn identity(certificate: &Path, key: &Path) -> anyhow::Result<Identity> {
    let mut both = read("--client-key-file", key)?;
    both.push(b'\n');
    both.extend(read("--client-certificate-file", certificate)?);
    // Without the library's words: they may show some of the key.
    Identity::from_pem(&both).map_err(|_| {
        anyhow::anyhow!(
            "--client-certificate-file: expected a certificate in {} and its key in {}, in PEM",
            certificate.display(),
            key.display()
        )
    })
}

fn read(option: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{option}: {} cannot be read", path.display()))
}
