//! HTTP/2: many at once, and peers that make much of little.

use std::time::Duration;

use h2::Reason;
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::authority::tls_toml;
use super::client::{Terms, http2_head, notice, read_answer, success};
use super::terms::authority;
use crate::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn many_callbacks_at_once_on_one_connection_are_all_answered() {
    let (authority, folder) = authority();
    let Some(house) = House::start_with(&tls_toml(folder.path(), "server")) else { return };
    let http2 = Terms::new(authority.roots()).http2(&house.public).await;
    let messages: Vec<_> = (0..300).map(|_| notice()).collect();
    let answers = messages.iter().map(|message| http2.post(message));
    for answer in futures_util::future::join_all(answers).await {
        assert_eq!(answer.expect("an answer"), success());
    }
    let new = "callgate_callbacks_total{channel=\"alipay-main\",outcome=\"new\"";
    assert_eq!(house.metric(new).await, 300);
}

#[tokio::test]
async fn headers_over_the_limits_are_refused_and_those_within_are_not() {
    let (authority, folder) = authority();
    let Some(house) = House::start_with(&tls_toml(folder.path(), "server")) else { return };
    let http2 = Terms::new(authority.roots()).http2(&house.public).await;
    let with = |count: usize, bytes: usize| {
        let mut message = notice();
        let own = message.headers.len();
        for nth in own..count {
            message.headers.push((format!("x-{nth}"), "y".repeat(bytes)));
        }
        message
    };
    assert_eq!(http2.post(&with(64, 10)).await.expect("an answer"), success());
    assert_eq!(http2.post(&with(65, 10)).await.expect("an answer").0, 431);
    assert_eq!(http2.post(&with(10, 1000)).await.expect("an answer"), success());
    let long = http2.post(&with(10, 4000)).await;
    assert!(long.is_err() || long.is_ok_and(|(status, _)| status == 431));
    // The connection, or a new one, is as good as before.
    let http2 = Terms::new(authority.roots()).http2(&house.public).await;
    assert_eq!(http2.post(&notice()).await.expect("an answer"), success());
}

#[tokio::test]
async fn a_body_over_the_limit_hears_what_it_hears_elsewhere() {
    let (authority, folder) = authority();
    let Some(house) = House::start_with(&tls_toml(folder.path(), "server")) else { return };
    let http2 = Terms::new(authority.roots()).http2(&house.public).await;
    let mut message = notice();
    message.body = vec![b'x'; 262_145];
    assert_eq!(http2.post(&message).await.expect("an answer"), (200, "fail".to_owned()));
    message.body = vec![b'x'; 262_144];
    assert_eq!(http2.post(&message).await.expect("an answer"), (200, "fail".to_owned()));
    let large = "callgate_callbacks_total{channel=\"alipay-main\",outcome=\"refused\",\
        code=\"gateway.too-large\"}";
    assert_eq!(house.metric(large).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_taken_back_at_once_end_their_connection_and_no_other() {
    let (authority, folder) = authority();
    let Some(house) = House::start_with(&tls_toml(folder.path(), "server")) else { return };
    let terms = Terms::new(authority.roots());
    let neighbour = terms.http2(&house.public).await;
    let flood = terms.http2(&house.public).await;
    let message = notice();
    let mut taken_back = 0_u32;
    while let Ok(mut send) = flood.send.clone().ready().await {
        let Ok((answer, mut body)) = send.send_request(http2_head(&message), false) else { break };
        body.send_reset(Reason::CANCEL);
        drop(answer);
        taken_back = taken_back.saturating_add(1);
        assert!(taken_back < 100_000, "nothing stops the flood");
    }
    println!("the connection ended after {taken_back} requests were taken back");
    assert!(flood.ended.await.expect("the task").is_err());
    assert_eq!(neighbour.post(&message).await.expect("an answer"), success());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_taken_back_when_they_are_worked_on_are_limited_too() {
    let (authority, folder) = authority();
    let Some(house) = House::start_with(
        &(tls_toml(folder.path(), "server") + "[public.http2]\nresets_max = 30\n"),
    ) else {
        return;
    };
    let terms = Terms::new(authority.roots());
    let message = notice();
    // A client that gives up now and then is served on.
    let patient = terms.http2(&house.public).await;
    for _ in 0..30 {
        take_back_late(&patient.send, &message).await.expect("it is let be");
    }
    assert_eq!(patient.post(&message).await.expect("an answer"), success());
    // One more is not: each costs us a request that nobody wants the answer of.
    let flood = terms.http2(&house.public).await;
    let mut taken_back = 0_u32;
    while take_back_late(&flood.send, &message).await.is_ok() {
        taken_back = taken_back.saturating_add(1);
        assert!(taken_back < 10_000, "nothing stops the flood");
    }
    println!("the connection ended after {taken_back} requests were taken back late");
    let cut = "callgate_http2_cut_off_total{why=\"resets\"}";
    while house.metric(cut).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends a head, is sure that it has come, and takes it back.
async fn take_back_late(
    send: &h2::client::SendRequest<Bytes>,
    message: &callgate_trigger::message::Message,
) -> Result<(), h2::Error> {
    let mut send = send.clone().ready().await?;
    let (_answer, mut body) = send.send_request(http2_head(message), false)?;
    // Another request on the same connection is answered: so the first is known, too.
    let mut after = send.clone().ready().await?;
    let lost = http::Request::builder().uri("https://localhost/nothing").body(()).expect("a head");
    let (answer, _) = after.send_request(lost, true)?;
    read_answer(answer).await?;
    body.send_reset(Reason::CANCEL);
    Ok(())
}

#[tokio::test]
async fn streams_over_the_limit_are_refused_each() {
    let (authority, folder) = authority();
    let Some(house) = House::start_with(&tls_toml(folder.path(), "server")) else { return };
    let mut raw = Frames::open(&Terms::new(authority.roots()), &house.public).await;
    for nth in 0..110 {
        // Heads without bodies: each stays open.
        raw.write(HEADERS, END_HEADERS, stream(nth), &head_block()).await.expect("it is sent");
    }
    let mut refused = 0_u32;
    while refused < 10 {
        let frame = raw.read().await.expect("the connection stays");
        if frame.kind == RST_STREAM {
            assert_eq!(frame.payload, 7_u32.to_be_bytes(), "refused, to be sent again");
            refused = refused.saturating_add(1);
            assert!(frame.stream > stream(99), "the first hundred are served");
        }
    }
}

#[tokio::test]
async fn a_head_that_goes_on_and_on_is_cut_off() {
    let (authority, folder) = authority();
    let Some(house) = House::start_with(&tls_toml(folder.path(), "server")) else { return };
    let mut raw = Frames::open(&Terms::new(authority.roots()), &house.public).await;
    raw.write(HEADERS, 0, 1, &head_block()).await.expect("it is sent");
    // A literal header without an index: `x: yyy…`.
    let mut more = vec![0, 1, b'x', 0x7f, 0x80, 0x7e];
    more.resize(16_000, b'y');
    let mut sent = 0_u32;
    while raw.write(CONTINUATION, 0, 1, &more).await.is_ok() {
        sent = sent.saturating_add(1);
        assert!(sent < 10_000, "nothing stops it");
        tokio::task::yield_now().await;
    }
    println!("cut off after {sent} frames of 16 kB");
    let mut none = Frames::open(&Terms::new(authority.roots()), &house.public).await;
    none.write(HEADERS, 0, 1, &head_block()).await.expect("it is sent");
    let mut sent = 0_u32;
    while none.write(CONTINUATION, 0, 1, &[]).await.is_ok() {
        sent = sent.saturating_add(1);
        assert!(sent < 1_000_000, "nothing stops it");
        if sent % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    println!("cut off after {sent} empty frames");
}

/// Frames by hand, for what no library sends.
pub(super) struct Frames(TlsStream<TcpStream>);

/// A frame that came.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frames {
    /// Shakes hands, says that it speaks HTTP/2, and that its settings are the usual ones.
    pub(super) async fn open(terms: &Terms, address: &str) -> Self {
        let stream = terms.clone().speaking(&["h2"]).connect(address).await.expect("a handshake");
        let mut frames = Self(stream);
        frames.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("a preface");
        frames.write(SETTINGS, 0, 0, &[]).await.expect("settings");
        frames
    }

    pub(super) async fn write(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.0.write_all(&bytes).await?;
        self.0.flush().await
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    pub(super) async fn read(&mut self) -> std::io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("it is short")];
        self.0.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Ok(Frame { kind: head[3], stream, payload })
    }
}

/// `POST https://localhost/callback/alipay-main`, from the static table where it can be.
pub(super) fn head_block() -> Vec<u8> {
    let mut block = vec![0x83, 0x87];
    for (index, text) in [(1, "localhost"), (4, "/callback/alipay-main")] {
        block.extend([index, u8::try_from(text.len()).expect("it is short")]);
        block.extend(text.as_bytes());
    }
    block
}

/// The id of a client's stream.
fn stream(nth: u32) -> u32 {
    nth.saturating_mul(2).saturating_add(1)
}

pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
pub(super) const END_HEADERS: u8 = 4;
