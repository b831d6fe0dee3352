//! Peers that take their time: each is let go after its time, and nobody waits for them.

use std::time::Duration;

use callgate_trigger::message::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::authority::tls_toml;
use super::client::{Terms, http1_bytes, http2_head, notice, place, post, success};
use super::streams::{END_HEADERS, Frames, HEADERS, head_block};
use super::terms::authority;
use crate::house::House;

/// Peers of each kind.
const EACH: usize = 8;

type Slow = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// The kinds. Each ends when the server lets it go; none would by itself.
const KINDS: [fn(String, Terms, Message) -> Slow; 9] = [
    |address, _, _| Box::pin(async move { drain(tcp(&address).await).await }),
    // A hello byte by byte.
    |address, _, _| Box::pin(async move { drip(tcp(&address).await, vec![22; 4000]).await }),
    // Nothing after the handshake.
    |address, terms, _| {
        Box::pin(async move { drain(terms.connect(&address).await.expect("good")).await })
    },
    // A head byte by byte.
    |address, terms, message| {
        Box::pin(async move {
            let bytes = http1_bytes(&message, &format!("x: {}\r\n", "y".repeat(4000)));
            drip(terms.connect(&address).await.expect("good"), bytes).await;
        })
    },
    // A body byte by byte.
    |address, terms, message| {
        Box::pin(async move {
            let mut bytes = http1_bytes(&message, "");
            let body = bytes.split_off(bytes.len().saturating_sub(message.body.len()));
            let mut stream = terms.connect(&address).await.expect("good");
            stream.write_all(&bytes).await.expect("a head is sent");
            drip(stream, body).await;
        })
    },
    // HTTP/2, and then nothing.
    |address, terms, _| {
        Box::pin(async move {
            let mut frames = Frames::open(&terms, &address).await;
            while frames.read().await.is_ok() {}
        })
    },
    // HTTP/2 without so much as a preface.
    |address, terms, _| {
        Box::pin(async move {
            let stream = terms.speaking(&["h2"]).connect(&address).await.expect("good");
            drip(stream, b"PRI * HTTP/2.0\r\n".to_vec()).await;
        })
    },
    // A frame that does not end, byte by byte.
    |address, terms, _| {
        Box::pin(async move {
            let mut frames = Frames::open(&terms, &address).await;
            frames.write(HEADERS, 0, 1, &head_block()).await.expect("it is sent");
            while frames.raw(&[0]).await.is_ok() {
                tokio::time::sleep(DRIP).await;
            }
        })
    },
    // A body in HTTP/2 that does not come; the answer is not read.
    |address, terms, _| {
        Box::pin(async move {
            let mut frames = Frames::open(&terms, &address).await;
            frames.write(HEADERS, END_HEADERS, 1, &head_block()).await.expect("it is sent");
            while frames.read().await.is_ok() {}
        })
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn slow_peers_are_let_go_and_callbacks_are_answered_meanwhile() {
    let (authority, folder) = authority();
    let limits = format!(
        "handshake_timeout_ms = 1000\nhandshakes_max = 64\n[private]\nread_timeout_ms = 5000\n\
         [public]\nlisten = \"127.0.0.1:0\"\nread_timeout_ms = 1000\nconnections_max = {}\n",
        KINDS.len().saturating_mul(EACH).saturating_add(16)
    );
    // The sections of the house come first: these are given as flags.
    let flags: Vec<String> = limits_as_flags(&limits);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let more = tls_toml(folder.path(), "server");
    let Some(house) = House::start_with_flags(&more, &flags) else { return };
    let terms = Terms::new(authority.roots());
    let good = notice();
    let mut slow = JoinSet::new();
    for kind in KINDS.iter().cycle().take(KINDS.len().saturating_mul(EACH)) {
        slow.spawn(kind(house.public.clone(), terms.clone(), good.clone()));
    }
    let http2 = terms.http2(&house.public).await;
    let mut answered = 0_u32;
    // Until the last of them is let go: if one never were, this would not end.
    while !slow.is_empty() {
        let mut stream = terms.connect(&house.public).await.expect("a handshake");
        assert_eq!(post(&mut stream, &good).await, success());
        assert_eq!(http2.post(&good).await.expect("an answer"), success());
        answered = answered.saturating_add(2);
        while let Some(ended) = slow.try_join_next() {
            ended.expect("it was let go");
        }
    }
    println!("{answered} callbacks were answered while {} were slow", KINDS.len() * EACH);
    assert!(answered > 10);
    let timeouts = super::terms::handshakes(&house, "timeout").await;
    assert_eq!(timeouts, u64::try_from(EACH).expect("few").saturating_mul(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_no_answers_in_http_2_is_cut_off() {
    let (authority, folder) = authority();
    let more = tls_toml(folder.path(), "server");
    let flags = ["public.read_timeout_ms=300"];
    let Some(house) = House::start_with_flags(&more, &flags) else { return };
    let stream = Terms::new(authority.roots()).speaking(&["h2"]).connect(&house.public).await;
    // A window of nothing: no byte of an answer may be sent.
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, hyper::body::Bytes>(stream.expect("a handshake"))
        .await
        .expect("HTTP/2");
    let ended = tokio::spawn(connection);
    let message = notice();
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut send = send.clone().ready().await.expect("a stream");
        let (answer, mut body) =
            send.send_request(http2_head(&message), false).expect("a head is sent");
        body.send_data(message.body.clone().into(), true).expect("a body is sent");
        deaf.push(answer.await.expect("a head of an answer"));
    }
    let _ = ended.await.expect("the task");
    let cut = "callgate_http2_cut_off_total{why=\"deaf\"}";
    assert_eq!(house.metric(cut).await, 1);
}

fn limits_as_flags(toml: &str) -> Vec<String> {
    let mut section = "public.tls".to_owned();
    let mut flags = Vec::new();
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else {
            flags.push(format!("{section}.{}", line.replace(" = ", "=")));
        }
    }
    flags
}

async fn tcp(address: &str) -> TcpStream {
    TcpStream::connect(place(address)).await.expect("a connection")
}

/// Reads until the server ends it.
async fn drain(mut stream: impl AsyncRead + Unpin) {
    let mut piece = [0; 1024];
    while stream.read(&mut piece).await.is_ok_and(|count| count > 0) {}
}

/// Sends byte by byte, for as long as the server takes it; then waits.
async fn drip(stream: impl AsyncRead + AsyncWrite + Unpin, bytes: Vec<u8>) {
    let (reading, mut writing) = tokio::io::split(stream);
    let dripping = async {
        for byte in bytes {
            if writing.write_all(&[byte]).await.is_err() || writing.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(DRIP).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = dripping => {}
        () = drain(reading) => {}
    }
}

/// Between two bytes: the sender's pace, nothing that is waited for.
const DRIP: Duration = Duration::from_millis(20);
