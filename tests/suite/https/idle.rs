//! Ten thousand connections on which nobody says anything.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::authority::tls_toml;
use super::client::{Terms, notice, post, success};
use super::streams::Frames;
use super::terms::authority;
use crate::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_cost_little_and_disturb_nobody() {
    if !files_may_be_open(CONNECTIONS + 1000) {
        return;
    }
    let (authority, folder) = authority();
    let more = tls_toml(folder.path(), "server");
    let flags = [
        "public.connections_max=10100",
        "public.read_timeout_ms=600000",
        "public.tls.handshake_timeout_ms=60000",
    ];
    let Some(house) = House::start_with_flags(&more, &flags) else { return };
    let terms = Terms::new(authority.roots());
    let mut stream = terms.connect(&house.public).await.expect("a handshake");
    assert_eq!(post(&mut stream, &notice()).await, success());
    let before = resident_kib(&house);
    let idle = Idle::open(&house.public, &terms).await;
    let during = resident_kib(&house);
    // As many as there are, and callbacks are answered as ever, on new and on old connections.
    for _ in 0..50 {
        let mut stream = terms.connect(&house.public).await.expect("a handshake");
        assert_eq!(post(&mut stream, &notice()).await, success());
    }
    let http2 = terms.http2(&house.public).await;
    assert_eq!(http2.post(&notice()).await.expect("an answer"), success());
    let each = during.saturating_sub(before) / CONNECTIONS;
    println!(
        "{CONNECTIONS} idle connections with TLS, half of them HTTP/2: {before} KiB before, \
         {during} KiB during, {each} KiB each"
    );
    assert!(each <= EACH_KIB_MAX, "{each} KiB for each, expected at most {EACH_KIB_MAX}");
    assert!(open_files(&house) > CONNECTIONS, "none was let go meanwhile");
    assert_eq!(idle.len(), usize::try_from(CONNECTIONS).expect("they fit"));
    assert_eq!(house.metric("callgate_connections_refused_total").await, 0);
    drop(idle);
    assert!(house.stop(), "it ends well");
}

/// Connections that have shaken hands and say no more.
struct Idle {
    http1: Vec<TlsStream<TcpStream>>,
    http2: Vec<Frames>,
}

impl Idle {
    async fn open(address: &str, terms: &Terms) -> Self {
        let mut opening = JoinSet::new();
        for _ in 0..OPENERS {
            let (address, terms) = (address.to_owned(), terms.clone());
            opening.spawn(async move {
                let mut idle = Self { http1: Vec::new(), http2: Vec::new() };
                for _ in 0..CONNECTIONS / OPENERS / 2 {
                    idle.http1.push(terms.connect(&address).await.expect("a handshake"));
                    let mut frames = Frames::open(&terms, &address).await;
                    // The server's first words: it serves this connection.
                    frames.read().await.expect("settings");
                    idle.http2.push(frames);
                }
                idle
            });
        }
        let mut all = Self { http1: Vec::new(), http2: Vec::new() };
        while let Some(some) = opening.join_next().await {
            let some = some.expect("all connections are taken");
            all.http1.extend(some.http1);
            all.http2.extend(some.http2);
        }
        all
    }

    fn len(&self) -> usize {
        self.http1.len().saturating_add(self.http2.len())
    }
}

/// Files that the server has open: its connections and a few others.
fn open_files(house: &House) -> u64 {
    let files = fs::read_dir(format!("/proc/{}/fd", house.id())).expect("a process").count();
    u64::try_from(files).expect("they are few")
}

/// Memory of the server that is in use.
fn resident_kib(house: &House) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", house.id())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Lets this process have so many files open; `false`, said loudly, where the machine does not.
fn files_may_be_open(count: u64) -> bool {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < count) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    if getrlimit(Resource::Nofile).current.is_none_or(|current| current >= count) {
        return true;
    }
    let remedy = format!("{count} files must be allowed to be open: ulimit -Hn {count} as root");
    assert!(std::env::var_os("CI").is_none(), "{remedy}");
    eprintln!("*** SKIPPED: {remedy}");
    false
}

const CONNECTIONS: u64 = 10_000;

/// Who open them at once.
const OPENERS: u64 = 50;

/// What one may cost: a TLS session, its buffers, and those of HTTP.
const EACH_KIB_MAX: u64 = 64;
