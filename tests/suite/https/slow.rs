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
    |address, _, _| Box::pin(async move { drip(tcp(&address).await, slow_hello()).await }),
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
    // Places for the slow and a few more; what they may take stands at its default.
    let places = KINDS.len().saturating_mul(EACH).saturating_add(16);
    let places = format!("public.connections_max={places}");
    let more = tls_toml(folder.path(), "server");
    let Some(house) = House::start_with_flags(&more, &[&places]) else { return };
    let terms = Terms::new(authority.roots());
    let good = notice();
    let mut slow = JoinSet::new();
    let slow_peers = KINDS.len().saturating_mul(EACH);
    for kind in KINDS.iter().cycle().take(slow_peers) {
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
    println!("{answered} callbacks were answered while {slow_peers} were slow");
    assert!(answered > 10);
    let timeouts = super::terms::handshakes(&house, "timeout").await;
    // The silent ones, and those with a hello that does not end.
    assert!(timeouts >= u64::try_from(EACH).expect("few").saturating_mul(2), "{timeouts}");
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

#[tokio::test]
async fn handshakes_over_the_limit_are_not_begun() {
    let (authority, folder) = authority();
    let more = tls_toml(folder.path(), "server");
    let flags = ["public.tls.handshakes_max=2", "public.tls.handshake_timeout_ms=60000"];
    let Some(house) = House::start_with_flags(&more, &flags) else { return };
    let terms = Terms::new(authority.roots());
    let good = notice();
    let mut half = Vec::new();
    for _ in 0..2 {
        // Two that begin take both places; before the second is there, one is free.
        let mut stream = terms.connect(&house.public).await.expect("a handshake");
        assert_eq!(post(&mut stream, &good).await, success());
        let mut begun = tcp(&house.public).await;
        begun.write_all(&slow_hello()).await.expect("it is sent");
        half.push(begun);
        // Who says nothing takes no place.
        half.push(tcp(&house.public).await);
    }
    while super::terms::handshakes(&house, "busy").await == 0 {
        let _ = terms.connect(&house.public).await;
    }
    assert!(terms.connect(&house.public).await.is_err());
    drop(half);
    let mut stream = loop {
        if let Ok(stream) = terms.connect(&house.public).await {
            break stream;
        }
    };
    assert_eq!(post(&mut stream, &good).await, success());
}

/// The begin of a hello that says it is long.
fn slow_hello() -> Vec<u8> {
    let mut bytes = vec![22, 3, 1, 15, 255, 1, 0, 15, 251, 3, 3];
    bytes.resize(4000, 0);
    bytes
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
