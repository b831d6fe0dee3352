//! The handshake: within a time, a bounded number at once, every end counted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{AlertDescription, Error, ProtocolVersion};
use tokio_rustls::server::TlsStream;

use super::material::H2;
use super::{Settings, TlsKeys};
use crate::inbound::patient::Patient;

/// The handshakes of one listener.
#[derive(Debug)]
pub(crate) struct Handshakes {
    keys: Arc<TlsKeys>,
    places: Semaphore,
    patience: Duration,
}

/// What two sides have agreed to speak.
pub(crate) enum Secured {
    /// HTTP/1.1.
    Http1(TlsStream<Patient>),
    /// HTTP/2.
    Http2(TlsStream<Patient>),
}

impl Handshakes {
    pub(crate) fn new(keys: Arc<TlsKeys>, settings: &Settings) -> Self {
        let places = Semaphore::new(settings.handshakes_max);
        let patience = Duration::from_millis(settings.handshake_timeout_ms);
        Self { keys, places, patience }
    }

    /// Shakes hands; `None` where nothing came of it, which is counted.
    pub(crate) async fn shake(
        &self,
        stream: TcpStream,
        write_patience: Duration,
    ) -> Option<Secured> {
        let shaking = self.try_shake(stream, write_patience);
        let shaken = match tokio::time::timeout(self.patience, shaking).await {
            Ok(shaken) => shaken,
            Err(_) => Err("timeout"),
        };
        let (outcome, secured) = match shaken {
            Ok((outcome, secured)) => (outcome, Some(secured)),
            Err(outcome) => (outcome, None),
        };
        let listener = self.keys.listener();
        metrics::counter!("callgate_tls_handshakes_total",
            "listener" => listener, "outcome" => outcome)
        .increment(1);
        if secured.is_none() {
            tracing::debug!(listener, outcome, "a handshake came to nothing");
        }
        secured
    }

    async fn try_shake(
        &self,
        stream: TcpStream,
        write_patience: Duration,
    ) -> Result<(&'static str, Secured), &'static str> {
        // Who says nothing holds a connection, but no place among those who do.
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0].is_ascii_alphabetic() => {
                // What comes of it does not matter to anybody here; half of the time is enough.
                let patience = self.patience.checked_div(2).unwrap_or_default();
                let _ = tokio::time::timeout(patience, tell_plain(stream)).await;
                return Err("plain-http");
            }
            Ok(1) => {}
            Ok(_) | Err(_) => return Err("closed"),
        }
        let Ok(_place) = self.places.try_acquire() else { return Err("busy") };
        let acceptor = TlsAcceptor::from(self.keys.config());
        let stream = acceptor
            .accept(Patient::new(stream, write_patience))
            .await
            .map_err(|error| outcome_of(&error))?;
        let (_, connection) = stream.get_ref();
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "tls-1.2",
            _ => "tls-1.3",
        };
        let http2 = connection.alpn_protocol() == Some(H2);
        let secured = if http2 { Secured::Http2(stream) } else { Secured::Http1(stream) };
        Ok((version, secured))
    }
}

/// Answers who speaks plain HTTP, and reads what is left to read, for a peer whose bytes are not
/// taken would not see the answer.
async fn tell_plain(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN_ANSWER).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    for _ in 0..PLAIN_READS_MAX {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Why a handshake failed, in a word for the metrics.
fn outcome_of(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        None if error.kind() == io::ErrorKind::TimedOut => "timeout",
        None => "closed",
        Some(Error::PeerIncompatible(_)) => "incompatible",
        Some(Error::NoApplicationProtocol) => "no-common-protocol",
        Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => "client-certificate",
        // The peer does not believe our certificate, or has none of our versions.
        Some(Error::AlertReceived(AlertDescription::ProtocolVersion)) => "incompatible",
        Some(Error::AlertReceived(_)) => "refused-by-peer",
        Some(_) => "malformed",
    }
}

const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    connection: close\r\ncontent-length: 42\r\n\r\nthis address speaks HTTPS, not plain HTTP\n";

/// Kibibytes of a request that is answered so.
const PLAIN_READS_MAX: u32 = 64;
