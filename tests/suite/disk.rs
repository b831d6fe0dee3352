//! A disk that takes no more: nothing is acknowledged that is not stored, and once there is room
//! the server goes on without a restart.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::hosts::{Addresses, Host};
use crate::house::OPERATOR;
use crate::load::Load;

/// Takes the room away and gives it back while gateways post.
async fn told(mut host: Host, url: &str, room: (impl Fn(u32), impl Fn(u32))) {
    let (take, give) = room;
    let addresses = host.start();
    let load = Load::new(3, 1);
    load.place(0, Some(addresses.clone()));
    let mut posters = load.start(4);
    for _ in 0..3 {
        reaches(&load, 20, &host).await;
        let declined = load.declined();
        take(host.id());
        // The others may all be waiting to register an order, and no callback would come.
        load.post_at_once(&mut posters);
        let waiting = async {
            while load.declined() < declined.saturating_add(10) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        assert!(ended.is_ok(), "no gateway heard a failure: {}", host.log());
        assert!(faults(&addresses).await > 0.5, "the metric counts it");
        is_ready(&addresses, 503).await;
        give(host.id());
        is_ready(&addresses, 200).await;
    }
    reaches(&load, 20, &host).await;
    assert!(host.lives(), "it died of it: {}", host.log());
    for words in ["a verified callback could not be stored", "store.unavailable"] {
        host.log_when(|log| log.contains(words)).await;
    }
    load.finish(posters).await;
    load.hold_against(url).await;
}

/// Waits until `/readyz` says so; what it says is good for a moment.
async fn is_ready(host: &Addresses, expected: u16) {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let says = async {
        loop {
            let asked = http.get(format!("{}/readyz", host.private)).send().await;
            if asked.expect("an answer").status().as_u16() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), says).await;
    assert!(ended.is_ok(), "/readyz never said {expected}");
}

/// Waits for so many more acknowledgements.
async fn reaches(load: &Arc<Load>, more: u64, host: &Host) {
    let wanted = load.acknowledged().saturating_add(more);
    let waiting = async {
        while load.acknowledged() < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(ended.is_ok(), "callbacks are not taken although there is room: {}", host.log());
}

/// How many operations met a database that failed.
async fn faults(host: &Addresses) -> f64 {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = http.get(format!("{}/metrics", host.private)).bearer_auth(OPERATOR);
    let text = request.send().await.expect("metrics").text().await.expect("text");
    let start = "callgate_store_faults_total{code=\"store.unavailable\"}";
    text.lines()
        .filter(|line| line.starts_with(start))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_must_not_grow_acknowledges_nothing_and_heals() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("callgate.db");
    let url = format!("sqlite://{}", file.display());
    let Some(host) = Host::new(&url, FLAGS) else { return };
    // The write is to fail, not the process.
    let host = host.behind("trap '' XFSZ; exec \"$@\"");
    let limit = |id: u32, bytes: &str| {
        let fsize = format!("--fsize={bytes}:");
        let id = id.to_string();
        let done = Command::new("prlimit").args(["--pid", &id, &fsize]).status();
        assert!(done.expect("prlimit runs").success());
    };
    let take = |id: u32| {
        // Far below what the log of writes turns over, wherever in its file it is just now; the
        // server's own log has room.
        let log = fs::metadata(format!("/proc/{id}/fd/2")).map_or(0, |found| found.len());
        limit(id, &log.saturating_add(200_000).to_string());
    };
    told(host, &url, (take, |id| limit(id, "unlimited"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_acknowledges_nothing_and_heals() {
    let Some(disk) = Disk::mount() else { return };
    let url = format!("sqlite://{}", disk.folder.path().join("callgate.db").display());
    let Some(host) = Host::new(&url, FLAGS) else { return };
    let filler = disk.folder.path().join("filler");
    let take = |_| {
        let mut file = fs::File::create(&filler).expect("a file");
        // The last write may be short of a page or so; the next one fails.
        while file.write_all(&[0; 4096]).is_ok() {}
    };
    told(host, &url, (take, |_| fs::remove_file(&filler).expect("the file goes"))).await;
}

/// A filesystem of some megabytes.
struct Disk {
    folder: tempfile::TempDir,
    /// How we may mount: as we are, or through `sudo`.
    words: &'static [&'static str],
}

impl Disk {
    /// Mounts one; `None`, said loudly, where we may not, which CI does not put up with.
    fn mount() -> Option<Self> {
        let folder = tempfile::TempDir::new().expect("a folder");
        let asked: [&[&str]; 2] = [&[], &["sudo", "-n"]];
        for words in asked {
            let kind = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0777", "callgate-story"];
            if run(words, &kind, folder.path()) {
                return Some(Self { folder, words });
            }
        }
        let remedy = "the story of a full disk: it mounts a small filesystem. Run it as root";
        assert!(std::env::var_os("CI").is_none(), "CI skips nothing, but {remedy}");
        let text = format!("\n*** SKIPPED: {remedy}. ***\n\n");
        std::io::stderr().write_all(text.as_bytes()).expect("standard error");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(self.words, &["umount", "--lazy"], self.folder.path());
    }
}

fn run(words: &[&str], command: &[&str], folder: &Path) -> bool {
    let all: Vec<PathBuf> =
        words.iter().chain(command).map(PathBuf::from).chain([folder.to_owned()]).collect();
    let Some((program, arguments)) = all.split_first() else { return false };
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

/// What failed is looked at again soon.
const FLAGS: &[&str] = &["engine.lease_ms=1000", "engine.poll_ms=100"];
