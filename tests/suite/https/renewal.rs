//! Certificates that are renewed while callbacks come: nobody notices but who connects anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use callgate::clock::Clock;
use callgate::config::{Config, Layers};
use callgate::inbound::listener::tls::{Replaced, TlsError};
use callgate::server::Server;
use metrics_exporter_prometheus::PrometheusBuilder;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::authority::{Authority, read_pair, tls_toml};
use super::client::{Terms, http1_bytes, notice, post, success};
use super::terms::authority;
use crate::house::{now, plugins_toml, write_configuration};

/// A server inside the test.
struct Inside {
    server: Server,
    folder: TempDir,
}

impl Inside {
    async fn start(tls: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        write_configuration(folder.path(), &format!("{}{tls}", plugins_toml()?));
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let config = configuration(folder.path());
        let server = Server::start(config, Clock::system(), metrics).await.expect("it starts");
        Some(Self { server, folder })
    }

    fn address(&self) -> String {
        self.server.public.to_string()
    }

    /// Reads the configuration again and presents what it names now.
    fn renew(&self) -> Result<Replaced, TlsError> {
        let config = configuration(self.folder.path());
        let settings = config.public.tls.expect("it has certificates");
        self.server.tls[0].replace(&settings, now())
    }

    /// The certificate that who connects now sees.
    async fn shown(&self, authority: &Authority) -> CertificateDer<'static> {
        let stream = Terms::new(authority.roots()).connect(&self.address()).await.expect("good");
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned()
    }
}

fn configuration(folder: &Path) -> Config {
    let file = Some(folder.join("callgate.toml"));
    Config::load(&Layers { file, ..Layers::default() }).expect("good")
}

/// Callbacks without end, on connections of each kind; every one must be answered at its first try.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    senders: JoinSet<()>,
}

impl Load {
    fn start(address: &str, terms: &Terms) -> Self {
        let mut load =
            Self { stop: Arc::default(), answered: Arc::default(), senders: JoinSet::new() };
        for kind in [anew, anew, kept, kept, many] {
            let (address, terms) = (address.to_owned(), terms.clone());
            let (stop, answered) = (Arc::clone(&load.stop), Arc::clone(&load.answered));
            load.senders.spawn(async move { kind(address, terms, stop, answered).await });
        }
        load
    }

    /// Waits until so many more are answered.
    async fn answered(&self, more: u64) {
        let enough = self.answered.load(Ordering::Relaxed).saturating_add(more);
        while self.answered.load(Ordering::Relaxed) < enough {
            assert!(!self.senders.is_empty());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.senders.join_next().await {
            ended.expect("no callback is lost");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

type Sender = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection of its own for each.
fn anew(address: String, terms: Terms, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Sender {
    Box::pin(async move {
        let message = notice();
        while !stop.load(Ordering::Relaxed) {
            let mut stream = terms.connect(&address).await.expect("a handshake");
            assert_eq!(post(&mut stream, &message).await, success());
            answered.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// One connection for all, in HTTP/1.1.
fn kept(address: String, terms: Terms, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Sender {
    Box::pin(async move {
        let bytes = http1_bytes(&notice(), "");
        let mut stream = terms.connect(&address).await.expect("a handshake");
        while !stop.load(Ordering::Relaxed) {
            stream.write_all(&bytes).await.expect("bytes go out");
            let mut answer = String::new();
            while !answer.ends_with("success") {
                let mut piece = [0; 1024];
                let count = stream.read(&mut piece).await.expect("bytes come in");
                assert!(count > 0, "the connection ended: {answer}");
                answer.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            answered.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// One connection for all, in HTTP/2, eight at once.
fn many(address: String, terms: Terms, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Sender {
    Box::pin(async move {
        let message = notice();
        let http2 = terms.http2(&address).await;
        while !stop.load(Ordering::Relaxed) {
            let eight = (0..8).map(|_| http2.post(&message));
            for answer in futures_util::future::join_all(eight).await {
                assert_eq!(answer.expect("an answer"), success());
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_under_load_and_no_callback_is_lost() {
    let (authority, keys) = authority();
    let tls = tls_toml(keys.path(), "server");
    let Some(inside) = Inside::start(&tls).await else { return };
    let load = Load::start(&inside.address(), &Terms::new(authority.roots()));
    for _ in 0..RENEWALS {
        load.answered(25).await;
        let before = inside.shown(&authority).await;
        authority.signs(keys.path(), "server", "localhost");
        assert_eq!(inside.renew(), Ok(Replaced::Changed));
        let after = inside.shown(&authority).await;
        assert_ne!(before, after);
        assert_eq!(after, read_pair(keys.path(), "server").0[0]);
        assert_eq!(inside.renew(), Ok(Replaced::Same));
    }
    let answered = load.stop().await;
    println!("{RENEWALS} renewals, {answered} callbacks, none lost");
    inside.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_worse_does_not_replace_what_works() {
    let (authority, keys) = authority();
    let path = keys.path();
    let Some(inside) = Inside::start(&tls_toml(path, "server")).await else { return };
    let works = inside.shown(&authority).await;
    let settings = configuration(inside.folder.path()).public.tls.expect("certificates");
    let good = |name: &str| std::fs::read(path.join(name)).expect("a file");
    let (pem, key) = (good("server.pem"), good("server.key"));
    authority.dated(path, ("old", "localhost"), (2020, 2021));
    authority.dated(path, ("early", "localhost"), (2090, 2091));
    authority.signs(path, "other", "localhost");
    for (pem, key, field, words) in [
        (good("old.pem"), good("old.key"), "certificate_file", "expired at 2021"),
        (good("early.pem"), good("early.key"), "certificate_file", "is valid from 2090"),
        (good("other.pem"), key.clone(), "key_file", "is not that of the first certificate"),
        (pem.clone(), b"no key".to_vec(), "key_file", "has no private key"),
        (b"".to_vec(), key.clone(), "certificate_file", "has no certificate"),
    ] {
        std::fs::write(path.join("server.pem"), pem).expect("a file");
        std::fs::write(path.join("server.key"), key).expect("a file");
        let error = inside.server.tls[0].replace(&settings, now()).expect_err("it is refused");
        assert_eq!(error.field, field);
        assert!(error.problem.contains(words), "{error}");
        assert_eq!(inside.shown(&authority).await, works);
    }
    std::fs::write(path.join("server.pem"), pem).expect("a file");
    std::fs::write(path.join("server.key"), key).expect("a file");
    assert_eq!(inside.server.tls[0].replace(&settings, now()), Ok(Replaced::Same));
    inside.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_finishes_what_is_under_way_and_says_goodbye() {
    let (authority, keys) = authority();
    let tls = tls_toml(keys.path(), "server");
    let Some(inside) = Inside::start(&tls).await else { return };
    let http2 = Terms::new(authority.roots()).http2(&inside.address()).await;
    let message = notice();
    let mut send = http2.send.clone().ready().await.expect("a stream");
    let head = super::client::http2_head(&message);
    let (answer, mut body) = send.send_request(head, false).expect("a head is sent");
    let (first, rest) = message.body.split_at(10);
    body.send_data(first.to_vec().into(), false).expect("a part is sent");
    // An answer to another request says that the first has come.
    assert_eq!(http2.post(&notice()).await.expect("an answer"), success());
    let stopping = tokio::spawn(inside.server.stop());
    // Whoever is told that the server goes opens no more streams.
    while http2.send.clone().ready().await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    body.send_data(rest.to_vec().into(), true).expect("the rest is sent");
    assert_eq!(super::client::read_answer(answer).await.expect("an answer"), success());
    drop(send);
    http2.ended.await.expect("the task").expect("it ends without an error");
    stopping.await.expect("it stops");
}

/// How often certificates change in the story.
const RENEWALS: u32 = 20;
