//! Sinks behind TLS: an authority of the company's own is trusted where the configuration says so,
//! and nobody else.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

use crate::house::House;
use crate::sinks::{HttpSink, Reply, Shop, each_once_in_order, secret};
use crate::start::{refused, says};

/// Signs certificates of servers.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    _folder: TempDir,
    /// Its own certificate, in PEM.
    file: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let mut terms = CertificateParams::new(Vec::new()).expect("terms");
        terms.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        terms.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(terms, key).expect("a certificate");
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).expect("a file");
        Self { issuer, _folder: folder, file }
    }

    /// A server that this authority vouches for, by a name; found at `localhost`.
    async fn serves(&self, name: &str) -> HttpSink {
        let terms = CertificateParams::new(vec![name.to_owned()]).expect("terms");
        let key = KeyPair::generate().expect("a key");
        let certificate = terms.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a server");
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://localhost:{}/hook", tcp.local_addr().expect("bound").port());
        let tls = TlsAcceptor::from(Arc::new(config));
        HttpSink::start_on(Tls { tcp, tls }, url, |_| Reply::Status(204))
    }
}

/// Accepts connections that can speak TLS with us; others come to nothing.
struct Tls {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

fn toml(sink: &HttpSink, name: &str, authority: Option<&Authority>) -> String {
    let quick = "timeout_ms = 2000\nlease_ms = 4000\n\
        retry = { first_ms = 20, max_ms = 40, attempts_max = 1000 }\n\
        circuit = { first_ms = 20, max_ms = 40 }";
    let ca = authority.map(|authority| format!("ca_file = {:?}\n", authority.file));
    sink.toml(name, &format!("{}{quick}", ca.unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_ones_own_is_trusted_by_name_and_nobody_else_is() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let right = ours.serves("localhost").await;
    let several = foreign.serves("localhost").await;
    let unknown = ours.serves("localhost").await;
    let other_issuer = foreign.serves("localhost").await;
    let other_name = ours.serves("erp.example").await;
    let both = format!("ca_files = [{:?}, {:?}]", ours.file, foreign.file);
    let configuration = toml(&right, "right", Some(&ours))
        + &several.toml("several", &both)
        + &toml(&unknown, "unknown", None)
        + &toml(&other_issuer, "other-issuer", Some(&ours))
        + &toml(&other_name, "other-name", Some(&ours));
    let Some(house) = House::start_with(&configuration) else { return };
    let orders = Shop::new(&house.public, &house.private).pay_orders(5, 2).await;
    each_once_in_order(&right.when_taken(10).await, &orders, 2);
    assert!(right.heard().iter().all(|heard| heard.is_signed_with(&secret(b'a'))));
    each_once_in_order(&several.when_taken(10).await, &orders, 2);
    for (name, sink) in
        [("unknown", &unknown), ("other-issuer", &other_issuer), ("other-name", &other_name)]
    {
        let failed =
            format!("callgate_sink_failed_total{{sink=\"{name}\",code=\"sink.unreachable\"}}");
        while house.metric(&failed).await < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(sink.heard().is_empty(), "{name}: nothing is said to a stranger");
    }
    let told = ["UnknownIssuer", "invalid peer certificate"];
    house.log_when(|log| told.iter().any(|words| log.contains(words))).await;
    assert!(house.stop(), "the server ends well");
}

#[test]
fn a_file_that_is_no_certificate_stops_the_start() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("ca.pem");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in ["", "no certificate", broken] {
        std::fs::write(&file, text).expect("a file");
        let sink = format!(
            "[sinks.erp]\nkind = \"http\"\nurl = \"https://erp.example/\"\ntopics = [\"*\"]\n\
             secret = {:?}\nca_file = {file:?}\n",
            secret(b'a')
        );
        says(&refused(&sink, &[]), &["sinks.erp", "certificate"]);
    }
}
