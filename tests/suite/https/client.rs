//! Clients of these stories: TLS by the terms of the story, HTTP by hand or by frames.

use std::io;
use std::sync::Arc;

use callgate_trigger::channel::Channel;
use callgate_trigger::message::{Message, Sending};
use h2::client::SendRequest;
use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::house::{keys, now, stage};

/// How a client wants to speak.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) name: &'static str,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) protocols: &'static [&'static str],
}

pub(crate) const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

impl Terms {
    /// The usual ones, for a server called `localhost`.
    pub(crate) fn new(roots: Arc<RootCertStore>) -> Self {
        Self { roots, name: "localhost", versions: BOTH, protocols: &["http/1.1"] }
    }

    pub(crate) fn speaking(mut self, protocols: &'static [&'static str]) -> Self {
        self.protocols = protocols;
        self
    }

    pub(crate) fn config(
        &self,
        own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(self.versions)
            .expect("versions")
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("a client"),
        };
        config.alpn_protocols =
            self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// Connects and shakes hands.
    pub(crate) async fn connect(&self, address: &str) -> io::Result<TlsStream<TcpStream>> {
        shake(address, (self.name, Arc::new(self.config(None)))).await
    }

    /// Connects and speaks HTTP/2; the task ends with the connection.
    pub(crate) async fn http2(&self, address: &str) -> Http2 {
        let stream = self.clone().speaking(&["h2"]).connect(address).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let ended = tokio::spawn(connection);
        Http2 { send, ended }
    }
}

/// Connects and shakes hands with a configuration.
pub(crate) async fn shake(
    address: &str,
    (name, config): (&'static str, Arc<ClientConfig>),
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(place(address)).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(config).connect(ServerName::try_from(name).expect("a name"), tcp).await
}

/// Host and port of `http://host:port`.
pub(crate) fn place(address: &str) -> &str {
    address.trim_start_matches("http://")
}

/// A connection that speaks HTTP/2.
pub(crate) struct Http2 {
    pub(crate) send: SendRequest<Bytes>,
    pub(crate) ended: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    /// Posts a message; answers status and body.
    pub(crate) async fn post(&self, message: &Message) -> Result<(u16, String), h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (answer, mut body) = send.send_request(http2_head(message), false)?;
        // Who need not see the body may answer and end the stream before it is sent.
        let sent = body.send_data(Bytes::copy_from_slice(&message.body), true);
        let answer = read_answer(answer).await;
        if answer.is_err() {
            sent?;
        }
        answer
    }
}

/// Reads an answer whole.
pub(crate) async fn read_answer(
    answer: h2::client::ResponseFuture,
) -> Result<(u16, String), h2::Error> {
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = match piece {
            // All of it was sent; the rest of the request is not wanted.
            Err(error) if error.reason() == Some(h2::Reason::NO_ERROR) => break,
            piece => piece?,
        };
        body.flow_control().release_capacity(piece.len())?;
        text.extend_from_slice(&piece);
    }
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// The head of a message in HTTP/2.
pub(crate) fn http2_head(message: &Message) -> http::Request<()> {
    let mut head = http::Request::builder()
        .method("POST")
        .uri(format!("https://localhost{}", message.path))
        .version(http::Version::HTTP_2);
    for (name, value) in &message.headers {
        head = head.header(name, value);
    }
    head.body(()).expect("a head")
}

/// The bytes of a message in HTTP/1.1.
pub(crate) fn http1_bytes(message: &Message, more: &str) -> Vec<u8> {
    let mut text = format!("POST {} HTTP/1.1\r\nhost: localhost\r\n{more}", message.path);
    for (name, value) in &message.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", message.body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&message.body);
    bytes
}

/// Posts a message on a stream that is open already, and reads until the server closes.
pub(crate) async fn post(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    message: &Message,
) -> (u16, String) {
    stream.write_all(&http1_bytes(message, "connection: close\r\n")).await.expect("bytes go out");
    let mut answer = Vec::new();
    // A peer that ends without saying so is the server's right.
    let _ = stream.read_to_end(&mut answer).await;
    parse(&String::from_utf8_lossy(&answer))
}

/// Status and body of an answer in text.
pub(crate) fn parse(answer: &str) -> (u16, String) {
    let status = answer.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status, body.unwrap_or_default())
}

/// A good callback of one's own, as Alipay sends it.
pub(crate) fn notice() -> Message {
    notice_of(Channel::AlipayMain)
}

/// The same of a channel.
pub(crate) fn notice_of(channel: Channel) -> Message {
    let (stage, mut draw) = stage(channel);
    let purchase = stage.purchase(&mut draw);
    let payment = stage.payment(&purchase, &mut draw);
    payment.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message")
}

/// What Alipay's callback is answered with.
pub(crate) fn success() -> (u16, String) {
    (200, "success".to_owned())
}
