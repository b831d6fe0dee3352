//! What is agreed on before anything is said: versions, names, certificates; and what is refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callgate_trigger::channel::Channel;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::SupportedProtocolVersion;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::authority::{Authority, read_pair, tls_toml};
use super::client::{BOTH, Terms, notice, notice_of, parse, place, post, shake, success};
use crate::house::{House, callgate, write_configuration};
use crate::start::{refused, says};

/// An authority, and a folder with `server.pem` and `server.key` for `localhost`.
pub(super) fn authority() -> (Authority, TempDir) {
    let (authority, folder) = (Authority::new(), TempDir::new().expect("a folder"));
    authority.signs(folder.path(), "server", "localhost");
    (authority, folder)
}

/// How often a handshake ended so.
pub(super) async fn handshakes(house: &House, outcome: &str) -> u64 {
    let line =
        format!("callgate_tls_handshakes_total{{listener=\"public\",outcome=\"{outcome}\"}}");
    house.metric(&line).await
}

/// Waits until a handshake has ended so, so many times: the peer may know it before it is counted.
pub(super) async fn handshakes_when(house: &House, outcome: &str, least: u64) {
    while handshakes(house, outcome).await < least {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn both_versions_of_tls_and_of_http_are_spoken() {
    let (authority, folder) = authority();
    let Some(house) = House::start_with(&tls_toml(folder.path(), "server")) else { return };
    let usual = Terms::new(authority.roots());
    for versions in [OLD, NEW, BOTH] {
        let terms = Terms { versions, ..usual.clone() };
        // Who says no protocol means HTTP/1.1.
        for protocols in [&["http/1.1"][..], &[], &["spdy/3", "http/1.1"]] {
            let mut stream = terms
                .clone()
                .speaking(protocols)
                .connect(&house.public)
                .await
                .expect("a handshake");
            assert_eq!(post(&mut stream, &notice()).await, success());
        }
        let http2 = terms.http2(&house.public).await;
        assert_eq!(http2.post(&notice()).await.expect("an answer"), success());
        // Who speaks both gets the newer one.
        let both = terms.clone().speaking(&["http/1.1", "h2"]);
        let stream = both.connect(&house.public).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    }
    assert!(usual.speaking(&["spdy/3"]).connect(&house.public).await.is_err());
    assert_eq!(handshakes(&house, "tls-1.2").await, 5);
    assert_eq!(handshakes(&house, "tls-1.3").await, 10);
    handshakes_when(&house, "no-common-protocol", 1).await;
}

#[tokio::test]
async fn a_gateway_hears_the_same_whatever_it_speaks() {
    let (authority, folder) = authority();
    let Some(secure) = House::start_with(&tls_toml(folder.path(), "server")) else { return };
    let Some(plain) = House::start() else { return };
    let terms = Terms::new(authority.roots());
    let http2 = terms.http2(&secure.public).await;
    for channel in [Channel::WechatV3Main, Channel::WechatV2Main, Channel::AlipayMain] {
        let good = notice_of(channel);
        let mut forged = notice_of(channel);
        forged.body.push(b' ');
        for message in [good, forged] {
            let expected = plain.send(&message).await;
            let mut stream = terms.connect(&secure.public).await.expect("a handshake");
            assert_eq!(post(&mut stream, &message).await, expected);
            assert_eq!(http2.post(&message).await.expect("an answer"), expected);
        }
    }
}

#[tokio::test]
async fn an_older_version_and_plain_http_are_refused_in_their_own_words() {
    let (authority, folder) = authority();
    let Some(house) = House::start_with(&tls_toml(folder.path(), "server")) else { return };
    for (minor, name) in [(1, "TLS 1.0"), (2, "TLS 1.1")] {
        let mut stream = TcpStream::connect(place(&house.public)).await.expect("a connection");
        stream.write_all(&old_hello(minor)).await.expect("a hello is sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer.first(), Some(&21), "{name} hears an alert");
        // Fatal: the version, or what such a hello does not have yet.
        let alert = answer.get(5..7).expect("an alert");
        assert!(alert == [2, 70] || alert == [2, 40], "{name}: {alert:?}");
    }
    handshakes_when(&house, "incompatible", 2).await;
    let mut stream = TcpStream::connect(place(&house.public)).await.expect("a connection");
    let (status, text) = post(&mut stream, &notice()).await;
    assert_eq!(status, 400);
    assert!(text.contains("HTTPS"), "{text}");
    handshakes_when(&house, "plain-http", 1).await;
    let mut stream = TcpStream::connect(place(&house.public)).await.expect("a connection");
    stream.write_all(&[22, 3, 1, 0, 4, 9, 9, 9, 9]).await.expect("no hello is sent");
    let _ = stream.read_to_end(&mut Vec::new()).await;
    handshakes_when(&house, "malformed", 1).await;
    // And who speaks as it should is answered.
    let mut stream = Terms::new(authority.roots()).connect(&house.public).await.expect("good");
    assert_eq!(post(&mut stream, &notice()).await, success());
}

#[tokio::test]
async fn each_name_has_its_certificate_and_another_is_not_believed() {
    let (authority, folder) = authority();
    authority.signs(folder.path(), "shop", "pay.shop.example");
    authority.signs(folder.path(), "wild", "*.mall.example");
    let also =
        |file: &str| tls_toml(folder.path(), file).replace("[public.tls]", "[[public.tls.also]]");
    let more = tls_toml(folder.path(), "server") + &also("shop") + &also("wild");
    let Some(house) = House::start_with(&more) else { return };
    let terms = Terms::new(authority.roots());
    for name in ["localhost", "pay.shop.example", "pay.mall.example", "PAY.mall.EXAMPLE"] {
        let mut stream =
            Terms { name, ..terms.clone() }.connect(&house.public).await.expect("a handshake");
        assert_eq!(post(&mut stream, &notice()).await, success(), "{name}");
    }
    for name in ["other.example", "a.b.mall.example", "mall.example"] {
        let error = Terms { name, ..terms.clone() }.connect(&house.public).await;
        let error = error.expect_err(name).to_string();
        assert!(error.contains("not valid for name"), "{error}");
    }
    let stranger = Terms::new(Authority::new().roots());
    assert!(stranger.connect(&house.public).await.is_err());
    handshakes_when(&house, "refused-by-peer", 4).await;
}

#[tokio::test]
async fn a_listener_that_wants_certificates_of_clients_lets_nobody_else_in() {
    let (authority, folder) = authority();
    let (clients, strangers) = (Authority::new(), Authority::new());
    clients.writes(folder.path(), "clients.pem");
    clients.signs(folder.path(), "shop", "shop.example");
    strangers.signs(folder.path(), "stranger", "shop.example");
    let more = tls_toml(folder.path(), "server").replace("public", "private")
        + &format!("client_ca_file = {:?}\n", folder.path().join("clients.pem"));
    let Some(house) = House::start_with(&more) else { return };
    let terms = Terms::new(authority.roots());
    let ask = async |own: Option<&str>| {
        let config = terms.config(own.map(|file| read_pair(folder.path(), file)));
        let mut stream = shake(&house.private, ("localhost", Arc::new(config))).await.ok()?;
        let asked = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(asked).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(parse(&String::from_utf8_lossy(&answer)).0)
    };
    assert_eq!(ask(Some("shop")).await, Some(200));
    assert_eq!(ask(None).await, None);
    assert_eq!(ask(Some("stranger")).await, None);
    // The public listener is as open as it was.
    assert_eq!(house.send(&notice()).await, success());
}

#[test]
fn what_cannot_be_presented_is_said_at_the_start_with_what_to_do() {
    let (authority, folder) = authority();
    let path = folder.path();
    authority.signs(path, "other", "localhost");
    let write = |name: &str, text: &str| std::fs::write(path.join(name), text).expect("a file");
    let read = |name: &str| std::fs::read_to_string(path.join(name)).expect("a file");
    let stranger = Authority::new();
    write("crossed.pem", &read("server.pem"));
    write("crossed.key", &read("other.key"));
    write("chain.pem", &format!("{}{}", read("server.pem"), stranger.pem()));
    write("chain.key", &read("server.key"));
    write("upside.pem", &format!("{}{}", authority.pem(), read("server.pem")));
    write("upside.key", &read("server.key"));
    write("swapped.pem", &read("server.key"));
    write("swapped.key", &read("server.pem"));
    write("empty.pem", "");
    write("empty.key", "");
    write("noise.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write("noise.key", &read("server.key"));
    write("cut.pem", read("server.pem").split_at(200).0);
    write("cut.key", &read("server.key"));
    write("locked.pem", &read("server.pem"));
    write("locked.key", &read("server.key").replace("PRIVATE", "ENCRYPTED PRIVATE"));
    for (file, words) in [
        ("crossed", ["public.tls.key_file", "is not that of the first certificate"]),
        ("chain", ["public.tls.certificate_file", "do not lead from one to the next"]),
        ("upside", ["public.tls.certificate_file", "the server's own first"]),
        ("swapped", ["public.tls.certificate_file", "has no certificate"]),
        ("empty", ["public.tls.certificate_file", "has no certificate"]),
        ("noise", ["public.tls.certificate_file", "none in X.509"]),
        ("cut", ["public.tls.certificate_file", "broken PEM"]),
        ("locked", ["public.tls.key_file", "without a passphrase"]),
        ("gone", ["public.tls.certificate_file", "cannot be read"]),
    ] {
        let said = refused(&tls_toml(path, file), &[]);
        says(&said, &words);
        let key = std::fs::read_to_string(path.join(format!("{file}.key"))).unwrap_or_default();
        let line = key.lines().nth(1).unwrap_or("no line");
        assert!(!said.contains(line) || file == "swapped", "{file}: it shows the key");
    }
    let flags = ["public.tls.handshakes_max=0"];
    says(&refused(&tls_toml(path, "server"), &flags), &["public.tls.handshakes_max", "1 to"]);
    let flags = ["public.tls.client_ca_file=server.key"];
    says(&refused(&tls_toml(path, "server"), &flags), &["public.tls.client_ca_file"]);
}

#[tokio::test]
async fn a_certificate_out_of_its_time_stops_a_check_but_not_the_server() {
    let (authority, folder) = authority();
    authority.dated(folder.path(), ("old", "localhost"), (2020, 2021));
    authority.dated(folder.path(), ("early", "localhost"), (2090, 2091));
    for (file, words) in [("old", "expired at 2021-01-01"), ("early", "is valid from 2090-01-01")] {
        let configuration = tls_toml(folder.path(), file);
        let said = checked(&configuration).expect_err("it is refused");
        says(&said, &["public.tls.certificate_file", words]);
        let Some(house) = House::start_with(&configuration) else { return };
        says(&house.log_when(|log| log.contains(words)).await, &["ERROR", words]);
        assert!(Terms::new(authority.roots()).connect(&house.public).await.is_err());
    }
    checked(&tls_toml(folder.path(), "server")).expect("it is good");
}

/// Runs `callgate check`; what it says where it is not content.
fn checked(more: &str) -> Result<(), String> {
    let folder = TempDir::new().expect("a folder");
    write_configuration(folder.path(), more);
    let file = folder.path().join("callgate.toml");
    let output = callgate(&["check", "--config", &shown(&file)]);
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// One version alone.
const OLD: &[&SupportedProtocolVersion] = &[&TLS12];
const NEW: &[&SupportedProtocolVersion] = &[&TLS13];

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A hello of TLS 1.0 or 1.1: what a library of today no longer writes.
fn old_hello(minor: u8) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    // No session, two cipher suites, no compression, the curves that every server has.
    hello.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
    hello.extend([0, 14, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    let hello_length = u8::try_from(hello.len()).expect("it is short");
    let record_length = u8::try_from(hello.len().saturating_add(4)).expect("it is short");
    let mut bytes = vec![22, 3, 1, 0, record_length, 1, 0, 0, hello_length];
    bytes.extend(hello);
    bytes
}
