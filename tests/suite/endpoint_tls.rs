//! Endpoints behind TLS, with an authority of the story's own.

use std::sync::Arc;

use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

use crate::erp::{Erp, Field, Reply, caller_toml, databases, post};

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate in a file.
    fn file(&self, folder: &TempDir, name: &str) -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, self.0.pem()).expect("a file");
        path.display().to_string()
    }

    /// What a server of this name serves with.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a server's configuration");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A listener that speaks TLS.
struct Private {
    plain: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Private {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.plain.accept().await.expect("a connection");
            // Who does not trust the certificate hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.plain.local_addr()
    }
}

/// An endpoint that presents a certificate for `name`, at an address of `localhost`.
async fn endpoint(authority: &Authority, name: &str) -> Erp {
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = plain.local_addr().expect("an address").port();
    let listener = Private { plain, acceptor: authority.acceptor(name) };
    Erp::serve(listener, format!("https://localhost:{port}"), |_| Reply::status(200))
}

/// What one call comes to: the note of the processor.
async fn said(erp: &Erp, more: &str) -> Option<String> {
    let config = json!({ "requests": [post("/orders")], "tolerant": true });
    let toml = format!("{}{}", caller_toml(&config, "")?, erp.toml(more));
    let field = Field::start(databases().await.into_iter().next()?, &toml, &[]);
    let order = field.pay(&json!({})).await;
    let notes = field.calls_when_paid(&order).await;
    Some(notes[0].as_str().expect("a note").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_known_by_the_authority_that_the_configuration_names() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let folder = TempDir::new().expect("a folder");
    let ours_file = ours.file(&folder, "ours.pem");
    let trusting = format!("ca_files = [{ours_file:?}]");
    let unreachable = "failed: no answer of endpoint `erp` (calls.unreachable)";

    let erp = endpoint(&ours, "localhost").await;
    let Some(note) = said(&erp, &trusting).await else { return };
    assert_eq!(note, "200 ");
    // Nobody vouches for it.
    assert_eq!(said(&erp, "").await.as_deref(), Some(unreachable));
    assert_eq!(erp.heard().len(), 1);

    let others = endpoint(&theirs, "localhost").await;
    assert_eq!(said(&others, &trusting).await.as_deref(), Some(unreachable));
    let misnamed = endpoint(&ours, "erp.example").await;
    assert_eq!(said(&misnamed, &trusting).await.as_deref(), Some(unreachable));
    assert!(others.heard().is_empty() && misnamed.heard().is_empty());
}
