//! The front door: limits that hold before any cryptography, and nothing answered but what a
//! gateway needs.

use std::io::{Read, Write};
use std::net::TcpStream;

use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;

use crate::house::{House, OPERATOR, TOKEN, keys, now, stage};

/// Sends raw bytes and reads until the server closes.
fn raw(address: &str, bytes: &[u8]) -> String {
    let address = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(bytes).expect("the bytes are sent");
    let mut answer = Vec::new();
    // A reset after the answer is the server's right.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_public_listener_answers_nothing_but_callbacks() {
    let Some(house) = House::start() else { return };
    for path in [
        "/",
        "/metrics",
        "/healthz",
        "/orders/PRODUCT_ORDER/N1",
        "/callback/",
        "/callback/nobody",
        "/callback/wechat-v3-main/x",
        "/callback/../metrics",
    ] {
        let url = format!("{}{path}", house.public);
        for request in [house.http.get(&url), house.http.post(&url), house.http.put(&url)] {
            let request = request.bearer_auth(TOKEN);
            assert_eq!(request.send().await.expect("an answer").status(), 404, "{path}");
        }
    }
}

#[tokio::test]
async fn health_is_for_anybody_and_metrics_are_for_operators() {
    let Some(house) = House::start() else { return };
    for (path, token, status) in [
        ("/healthz", None, 200),
        ("/readyz", None, 200),
        ("/metrics", None, 401),
        ("/metrics", Some(TOKEN), 401),
        ("/metrics", Some(OPERATOR), 200),
        ("/nothing", Some(OPERATOR), 404),
    ] {
        let mut request = house.http.get(format!("{}{path}", house.private));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        assert_eq!(request.send().await.expect("an answer").status(), status, "{path}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_the_gateways_words() {
    let Some(house) = House::start() else { return };
    for (channel, status, words) in [
        ("wechat-v3-main", 413, "{\"code\":\"FAIL\",\"message\":\"gateway.too-large\"}"),
        ("wechat-v2-main", 200, "FAIL"),
        ("alipay-main", 200, "fail"),
    ] {
        // The announced length is enough: the answer comes before the body is sent.
        let head = format!(
            "POST /callback/{channel} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: 262145\r\n\r\n"
        );
        let answer = raw(&house.public, head.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(words), "{channel}: {answer}");
    }
    let chunked = "POST /callback/alipay-main HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        transfer-encoding: chunked\r\n\r\n";
    let chunk = format!("50000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x50000));
    let answer = raw(&house.public, format!("{chunked}{chunk}").as_bytes());
    assert!(answer.ends_with("fail"), "{answer}");
    let fits = house.http.post(format!("{}/callback/alipay-main", house.public));
    let answer = fits.body(vec![b'x'; 262_144]).send().await.expect("an answer");
    assert_eq!(answer.text().await.expect("a body"), "fail");
    let counted = "callgate_callbacks_total{channel=\"alipay-main\",outcome=\"refused\",\
        code=\"gateway.too-large\"}";
    assert_eq!(house.metric(counted).await, 2);
}

#[tokio::test]
async fn a_head_over_the_limit_and_a_slow_body_are_cut_off() {
    let Some(house) = House::start_set(&["public.read_timeout_ms=300"]) else { return };
    let head = format!(
        "POST /callback/alipay-main HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "y".repeat(20_000)
    );
    assert!(raw(&house.public, head.as_bytes()).starts_with("HTTP/1.1 431"));
    let slow = "POST /callback/wechat-v3-main HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        content-length: 10\r\n\r\nhalf";
    let answer = raw(&house.public, slow.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    // A head that never ends: the connection is closed without an answer or with 408.
    let answer = raw(&house.public, b"POST /callback/alipay-main HTTP/1.1\r\nhost: x\r\n");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_compressed_body_is_refused_and_a_plain_one_is_taken() {
    let Some(house) = House::start() else { return };
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    let notice = stage.payment(&purchase, &mut draw);
    let mut message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
    message.headers.push(("Content-Encoding".to_owned(), "identity".to_owned()));
    assert_eq!(house.send(&message).await, (200, "fail".to_owned()));
    message.headers.pop();
    assert_eq!(house.send(&message).await, (200, "success".to_owned()));
}

#[tokio::test]
async fn callbacks_over_the_limit_at_once_hear_the_failure_answer() {
    let Some(house) = House::start_set(&["public.requests_max=1"]) else { return };
    let address = house.public.trim_start_matches("http://").to_owned();
    // The first request holds the only place while its body is missing.
    let mut first = TcpStream::connect(&address).expect("a connection");
    first
        .write_all(
            b"POST /callback/alipay-main HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
              content-length: 4\r\n\r\n",
        )
        .expect("a head is sent");
    let mut seen = [0; 25];
    first.read_exact(&mut seen).expect("the server asks for the body: it holds the place");
    assert!(seen.starts_with(b"HTTP/1.1 100"));
    let answer = house.http.post(format!("{}/callback/wechat-v3-main", house.public));
    let answer = answer.body("{}").send().await.expect("an answer");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.expect("a body").contains("FAIL"));
    first.write_all(b"a=b&").expect("the body is sent");
    let busy = "callgate_callbacks_total{channel=\"wechat-v3-main\",outcome=\"unavailable\",\
        code=\"inbound.busy\"}";
    assert_eq!(house.metric(busy).await, 1);
}

#[tokio::test]
async fn a_peer_that_never_reads_is_cut_off() {
    let flags = ["public.read_timeout_ms=300", "public.connections_max=1"];
    let Some(house) = House::start_set(&flags) else { return };
    let address = house.public.trim_start_matches("http://").to_owned();
    let mut deaf = TcpStream::connect(&address).expect("a connection");
    deaf.set_nonblocking(true).expect("writes do not wait");
    // Asks until nothing more is taken: the answers fill both buffers, for nobody reads them.
    let asked = "GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    while deaf.write(asked.as_bytes()).is_ok() {
        tokio::task::yield_now().await;
    }
    // The only place comes free again without its help.
    loop {
        let request = house.http.post(format!("{}/callback/alipay-main", house.public));
        if request.body("a=b").send().await.is_ok_and(|answer| answer.status() == 200) {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(deaf);
}
