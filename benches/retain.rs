//! What gateways notice of retention: how long it takes to store a callback while old rows are
//! archived and removed, and while nothing is, side by side in one run.
//!
//! `cargo bench -p callgate-store --bench retain`; `CALLGATE_BENCH_WINDOW_MS` makes windows longer.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::disallowed_methods,
    reason = "a benchmark ends where something is wrong, and prints a table"
)]

use std::path::Path;
use std::time::Duration;

use callgate_core::time::Timestamp;
use callgate_store::{
    Callback, Retention, RetentionSettings, Settings, SinkRecord, SinkStart, SinkStep, Step, Store,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

#[path = "../host/store/tests/conformance/cluster.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod cluster;
#[path = "../host/store/tests/conformance/filling.rs"]
mod filling;
#[path = "../host/store/tests/conformance/gateway.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod gateway;

use cluster::Cluster;
use filling::{Fill, fill};
use gateway::payment;

/// What goes on beside the callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Notifications,
    Events,
}

const MODES: [Beside; 3] = [Beside::Nothing, Beside::Notifications, Beside::Events];

/// Windows of each kind, short and in turn, so that the machine's other work meets all alike.
const ROUNDS: usize = 24;

/// Gateways that call, and the pause of each between two callbacks.
const POSTERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(10);

/// Rows that wait for retention, over eighty days.
const BACKLOG: i64 = 60_000;
const DAYS: i64 = 80;
const DAY_MS: i64 = 86_400_000;
const FROM_MS: i64 = 1_780_000_000_000;

/// What was measured in the windows of one kind.
#[derive(Debug, Default)]
struct Sum {
    latencies: Vec<Duration>,
    copied: u64,
    removed: u64,
}

fn now() -> Timestamp {
    Timestamp::from_ms(FROM_MS + 400 * DAY_MS)
}

fn retention(store: &Store, folder: &Path, beside: Beside) -> (Retention, RetentionSettings) {
    let notifications = beside == Beside::Notifications;
    let settings = RetentionSettings {
        enabled: true,
        archive_dir: folder.to_owned(),
        host_name: "bench".to_owned(),
        age_days: if notifications { 90 } else { 36_500 },
        keys_days: 0,
        events_days: if notifications { 0 } else { 90 },
        file_rows: 200_000,
        // The defaults.
        step_rows: 64,
        pause_ms: 50,
        look_ms: 600_000,
    };
    let sinks = vec!["erp".to_owned()];
    (Retention::new(store.clone(), settings.clone(), "bench".to_owned(), sinks).unwrap(), settings)
}

/// Posts for a while, each poster at its own pace; how long each callback took.
async fn post(
    store: &Store,
    callbacks: &[Callback],
    (round, length): (usize, Duration),
) -> Vec<Duration> {
    let mut tasks = JoinSet::new();
    for poster in 0..POSTERS {
        let (store, callbacks) = (store.clone(), callbacks.to_vec());
        tasks.spawn(async move {
            let (begun, mut latencies) = (Instant::now(), Vec::new());
            while begun.elapsed() < length {
                let place = latencies.len();
                let mut callback = callbacks[place % callbacks.len()].clone();
                // Another channel makes it another message.
                callback.channel = format!("c-{round}-{poster}-{}", place / callbacks.len());
                let asked = Instant::now();
                store.accept(callback, now()).await.unwrap();
                latencies.push(asked.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
            latencies
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// Does retention as the engine does until it is stopped.
async fn retain(retention: &mut Retention, settings: &RetentionSettings, sum: &mut Sum) {
    loop {
        match retention.step(now()).await.unwrap() {
            Step::Copied(rows) => sum.copied += rows,
            Step::Emptied(rows) | Step::Removed(rows) => sum.removed += rows,
            Step::Idle => panic!("the backlog is too small"),
            Step::Began | Step::Archived { .. } | Step::Elsewhere | Step::Forgotten(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(u64::from(settings.pause_ms))).await;
    }
}

/// A store with a backlog, and a sink that is past all of it.
async fn backlog(url: &str) -> Store {
    let settings = Settings { url: url.to_owned(), ..Settings::default() };
    Store::open(&settings).await.unwrap().close().await;
    let step_ms = DAYS * DAY_MS / BACKLOG;
    let (rows, from_ms) = (BACKLOG, FROM_MS);
    fill(url, Fill { first: 1, rows, archived: 0, open: 0, from_ms, step_ms, analyzed: true })
        .await;
    let store = Store::open(&settings).await.unwrap();
    let step = |record| SinkStep {
        sink: "erp".to_owned(),
        start: SinkStart::Beginning,
        owner: "bench".to_owned(),
        lease_ms: 1_000,
        record,
    };
    store.step_sink(step(None), now()).await.unwrap();
    let record = SinkRecord { epoch: 1, cursor: BACKLOG, kept: Vec::new(), delivered: Vec::new() };
    store.step_sink(step(Some(record)), now()).await.unwrap();
    store
}

async fn measure(name: &str, url: &str, callbacks: &[Callback]) {
    let store = backlog(url).await;
    let folders: [_; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let window = std::env::var("CALLGATE_BENCH_WINDOW_MS").ok().and_then(|text| text.parse().ok());
    let length = Duration::from_millis(window.unwrap_or(1_000));
    let mut sums: [Sum; 3] = Default::default();
    // The first window finds everything cold, and is not counted.
    post(&store, callbacks, (ROUNDS * MODES.len(), Duration::from_secs(1))).await;
    let pairs = MODES.into_iter().zip(&folders);
    let mut kept: Vec<_> =
        pairs.map(|(mode, folder)| retention(&store, folder.path(), mode)).collect();
    for round in 0..ROUNDS {
        for turn in 0..MODES.len() {
            // Each is the first one as often as the others.
            let place = (turn + round) % MODES.len();
            let posting = post(&store, callbacks, (round * MODES.len() + place, length));
            let (retention, settings) = &mut kept[place];
            let mut sum = std::mem::take(&mut sums[place]);
            let latencies = if MODES[place] == Beside::Nothing {
                posting.await
            } else {
                tokio::select! {
                    latencies = posting => latencies,
                    () = retain(retention, settings, &mut sum) => unreachable!("it never ends"),
                }
            };
            sum.latencies.extend(latencies);
            sums[place] = sum;
        }
    }
    store.close().await;
    for (beside, sum) in MODES.into_iter().zip(&mut sums) {
        show((name, beside), sum);
    }
}

fn show((name, beside): (&str, Beside), sum: &mut Sum) {
    sum.latencies.sort_unstable();
    let at = |percent: usize| {
        let last = sum.latencies.len() - 1;
        sum.latencies[last * percent / 100].as_secs_f64() * 1_000.0
    };
    let (count, (p50, p99, most)) = (sum.latencies.len(), (at(50), at(99), at(100)));
    let (copied, removed) = (sum.copied, sum.removed);
    println!(
        "| {name} | {beside:?} | {count} | {p50:.2} | {p99:.2} | {most:.2} | {copied} | {removed} |"
    );
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let callback = |n: usize| payment(&format!("d{n}"), &format!("o{n}"), &format!("t{n}"));
        let callbacks: Vec<_> = (0..200).map(callback).collect();
        println!("\nmilliseconds from a callback to its commit\n");
        println!("| database | beside it | callbacks | p50 | p99 | max | rows copied | removed |");
        println!("|---|---|---|---|---|---|---|---|");
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("callgate.db").display());
        measure("SQLite", &url, &callbacks).await;
        if let Some(cluster) = Cluster::own() {
            let url = cluster.database().await;
            measure("PostgreSQL", &url, &callbacks).await;
        }
    });
}
