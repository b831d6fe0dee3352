//! What a large database costs: everything that a store does, on one with few rows and on one with
//! many, side by side, on PostgreSQL; and whether any plan reads a large table from end to end.
//!
//! `cargo bench -p callgate-store --bench size`; `CALLGATE_BENCH_ROWS` says how many are many.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::disallowed_methods,
    reason = "a benchmark ends where something is wrong, and prints a table"
)]

use std::collections::BTreeMap;
use std::time::Duration;

#[path = "../host/store/tests/conformance/acts.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod acts;
#[path = "../host/store/tests/conformance/cluster.rs"]
mod cluster;
#[path = "../host/store/tests/conformance/filling.rs"]
mod filling;
#[path = "../host/store/tests/conformance/gateway.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod gateway;
#[path = "../host/store/tests/conformance/house.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod house;
#[path = "../host/store/tests/conformance/planning.rs"]
mod planning;
#[path = "../host/store/tests/conformance/working.rs"]
mod working;

use cluster::Cluster;
use filling::fill;
use house::House;
use planning::{explain_everything, scans};
use working::{Worker, after_months};

/// Few rows.
const FEW: i64 = 20_000;

/// Rounds of work that are timed.
const ROUNDS: usize = 200;

/// How long each act took, each time.
type Took = BTreeMap<&'static str, Vec<Duration>>;

async fn work(house: &House, rows: i64) -> Took {
    let store = house.open().await;
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::new(&store, rows, folder.path());
    let mut took = Took::new();
    for round in 0..ROUNDS {
        for (act, time) in worker.round().await {
            // The first rounds find everything cold.
            if round >= 20 {
                took.entry(act).or_default().push(time);
            }
        }
    }
    store.close().await;
    took
}

fn shown(times: Option<&Vec<Duration>>) -> String {
    let Some(times) = times else { return "| | ".to_owned() };
    let mut times = times.clone();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
    format!("| {:.2} | {:.2} ", at(50), at(99))
}

fn main() {
    let rows = std::env::var("CALLGATE_BENCH_ROWS").ok().and_then(|text| text.parse().ok());
    let many: i64 = rows.unwrap_or(1_000_000);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let Some(cluster) = Cluster::own() else { return };
        let mut took = Vec::new();
        for rows in [FEW, many] {
            let url = cluster.database().await;
            let name = url.split(['/', '?']).find(|part| part.starts_with("story_")).unwrap();
            let name = name.to_owned();
            let house = House::at(url);
            house.open().await.close().await;
            let begun = tokio::time::Instant::now();
            fill(&house.settings.url, after_months(rows)).await;
            println!("filled with {rows} rows in {:.0} s", begun.elapsed().as_secs_f64());
            took.push(work(&house, rows).await);
            explain_everything(&house, &name).await;
            work_a_little(&house, rows).await;
        }
        let (plans, found) = scans(&cluster.log());
        println!("\n{plans} plans, {} of them read a large table from end to end", found.len());
        for plan in found {
            println!("{plan}");
        }
        println!("\nmilliseconds\n");
        println!("| act | {FEW} rows: p50 | p99 | {many} rows: p50 | p99 |");
        println!("|---|---|---|---|---|");
        for act in took[1].keys() {
            println!("| {act} {}{}|", shown(took[0].get(act)), shown(took[1].get(act)));
        }
    });
}

/// Enough for every statement to get its lasting plan.
async fn work_a_little(house: &House, rows: i64) {
    let store = house.open().await;
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::new(&store, rows, folder.path());
    worker.begin_at(10_000);
    for _ in 0..30 {
        worker.round().await;
    }
    store.close().await;
}
