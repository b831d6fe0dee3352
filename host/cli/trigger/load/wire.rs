//! Requests as bytes, and one kept connection that sends them.
//!
//! Nothing is encoded while time is measured: what is sent was put together before, and of an
//! answer only what judges it is kept. So the tool takes little of the machine that it shares
//! with the server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use callgate_trigger::answer::{self, Answer};
use callgate_trigger::channel::Gateway;
use callgate_trigger::message::{Expectation, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request, ready to be written.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Head and body.
    pub(super) bytes: Arc<[u8]>,
    pub(super) wanted: Wanted,
}

/// What the answer should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// What this gateway takes for it.
    Callback(Gateway, Expectation),
    /// Any 2xx.
    Success,
}

impl Request {
    /// A callback as its gateway posts it.
    pub(super) fn callback(message: &Message, host: &str) -> Self {
        let mut head = format!("POST {} HTTP/1.1\r\nhost: {host}\r\n", message.path);
        for (name, value) in &message.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let wanted = Wanted::Callback(message.channel.gateway(), message.expect);
        Self::of(head, &message.body, wanted)
    }

    /// A call with a token and perhaps a JSON body.
    pub(super) fn call((method, path): (&str, &str), host: &str, token: &str, body: &str) -> Self {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\n"
        );
        Self::of(head, body.as_bytes(), Wanted::Success)
    }

    fn of(mut head: String, body: &[u8], wanted: Wanted) -> Self {
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        Self { bytes: [head.as_bytes(), body].concat().into(), wanted }
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// What differs from what was wanted.
    pub(super) wrong: Option<String>,
    pub(super) body: Vec<u8>,
}

/// `host:port` of `http://host:port`.
pub(super) fn authority(url: &str) -> anyhow::Result<String> {
    let rest = url.strip_prefix("http://").with_context(|| {
        format!("`{url}` is not http://host:port, which is all that the load tool speaks")
    })?;
    Ok(rest.trim_end_matches('/').to_owned())
}

/// A connection that is kept, and made again when it is gone.
#[derive(Debug)]
pub(super) struct Connection {
    host: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects at the first request.
    pub(super) fn new(host: &str) -> Self {
        Self { host: host.to_owned(), stream: None, buffer: Vec::with_capacity(BUFFER_BYTES) }
    }

    /// Connects now.
    pub(super) async fn open(&mut self) -> io::Result<()> {
        let stream = TcpStream::connect(&self.host).await?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Sends one request and reads its answer.
    pub(super) async fn send(&mut self, request: &Request) -> io::Result<Reply> {
        match tokio::time::timeout(PATIENCE, self.exchange(request)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => {
                self.stream = None;
                Err(error)
            }
            Err(_) => {
                self.stream = None;
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<Reply> {
        if self.stream.is_none() {
            self.open().await?;
        }
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        // A server may answer before it has read everything, and close: then the answer counts.
        let written = stream.write_all(&request.bytes).await;
        self.buffer.clear();
        let head = loop {
            let read = stream.read_buf(&mut self.buffer).await?;
            if let Some(head) = Head::read(&self.buffer)? {
                break head;
            }
            if read == 0 {
                return Err(written.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
            }
        };
        let whole = head.length.saturating_add(head.body_bytes);
        while self.buffer.len() < whole {
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if head.closes || written.is_err() {
            self.stream = None;
        }
        let body = self.buffer.get(head.length..whole).unwrap_or_default();
        let heard =
            Answer { status: head.status, content_type: head.content_type.as_deref(), body };
        let wrong = match request.wanted {
            Wanted::Callback(gateway, expect) => answer::meets(expect, gateway, heard).err(),
            Wanted::Success if (200..300).contains(&head.status) => None,
            Wanted::Success => {
                let told: String = String::from_utf8_lossy(body).chars().take(200).collect();
                Some(format!("status is {}: {told}", head.status))
            }
        };
        Ok(Reply { status: head.status, wrong, body: body.to_vec() })
    }
}

/// What is needed of an answer's head.
struct Head {
    status: u16,
    length: usize,
    body_bytes: usize,
    content_type: Option<String>,
    closes: bool,
}

impl Head {
    /// `None` where more has to be read.
    fn read(bytes: &[u8]) -> io::Result<Option<Self>> {
        let bad = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Response::new(&mut headers);
        let length = match parsed.parse(bytes).map_err(|error| bad(error.to_string()))? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let value = |name: &str| {
            let found = parsed.headers.iter().find(|one| one.name.eq_ignore_ascii_case(name));
            found.and_then(|one| std::str::from_utf8(one.value).ok())
        };
        let body_bytes = match value("content-length").map(str::parse) {
            Some(Ok(bytes)) => bytes,
            None if value("transfer-encoding").is_none() => 0,
            Some(Err(_)) | None => return Err(bad("an answer without its length".to_owned())),
        };
        Ok(Some(Self {
            status: parsed.code.unwrap_or(0),
            length,
            body_bytes,
            content_type: value("content-type").map(str::to_owned),
            closes: value("connection").is_some_and(|text| text.eq_ignore_ascii_case("close")),
        }))
    }
}

/// Twice what a gateway waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer of metrics is longer, and grows it.
const BUFFER_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::{Head, authority};

    #[test]
    fn an_answer_is_read_when_its_head_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nsuc";
        for end in 0..whole.len().saturating_sub(3) {
            assert!(Head::read(&whole[..end]).unwrap().is_none(), "{end}");
        }
        let head = Head::read(whole).unwrap().unwrap();
        assert_eq!((head.status, head.length, head.body_bytes), (200, whole.len() - 3, 7));
        assert!(head.closes);
    }

    #[test]
    fn an_answer_without_a_length_is_refused() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(Head::read(chunked).is_err());
        assert!(Head::read(b"no HTTP at all\r\n\r\n").is_err());
    }

    #[test]
    fn an_address_is_taken_from_the_url() {
        assert_eq!(authority("http://127.0.0.1:80/").unwrap(), "127.0.0.1:80");
        assert!(authority("https://127.0.0.1").is_err());
    }
}
