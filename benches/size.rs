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
use planning::{explain_everything, pages, scans};
use working::{Worker, after_months};

/// Few rows.
const FEW: i64 = 20_000;

/// Rounds of work that are timed, and those before them, which find everything cold.
const ROUNDS: usize = 150;
const COLD: usize = 20;

/// How long each act took, each time.
type Took = BTreeMap<&'static str, Vec<Duration>>;

/// One of the databases.
struct World {
    house: House,
    name: String,
    rows: i64,
    folder: tempfile::TempDir,
}

impl World {
    async fn fill(cluster: &Cluster, rows: i64) -> Self {
        let url = cluster.database().await;
        let name = url.split(['/', '?']).find(|part| part.starts_with("story_")).unwrap();
        let name = name.to_owned();
        let house = House::at(url);
        house.open().await.close().await;
        let begun = tokio::time::Instant::now();
        fill(&house.settings.url, after_months(rows)).await;
        println!("filled with {rows} rows in {:.0} s", begun.elapsed().as_secs_f64());
        Self { house, name, rows, folder: tempfile::tempdir().unwrap() }
    }

    /// Has every plan logged, and works enough for every statement to get its lasting one.
    async fn explain(&self, cluster: &Cluster) -> String {
        let before = cluster.log().len();
        explain_everything(&self.house, &self.name).await;
        let store = self.house.open().await;
        let mut worker = Worker::new(&store, self.rows, self.folder.path());
        worker.begin_at(10_000);
        for _ in 0..30 {
            worker.round().await;
        }
        store.close().await;
        cluster.log().split_off(before)
    }
}

/// Works on both in turn, so that the machine's other work meets both alike.
async fn work(worlds: &[World; 2]) -> [Took; 2] {
    let stores = [worlds[0].house.open().await, worlds[1].house.open().await];
    let mut workers = [0, 1].map(|place| {
        let World { rows, folder, .. } = &worlds[place];
        Worker::new(&stores[place], *rows, folder.path())
    });
    let mut took = [Took::new(), Took::new()];
    for round in 0..ROUNDS {
        for (worker, took) in workers.iter_mut().zip(&mut took) {
            for (act, time) in worker.round().await {
                if round >= COLD {
                    took.entry(act).or_default().push(time);
                }
            }
        }
    }
    for store in &stores {
        store.close().await;
    }
    took
}

fn shown(times: Option<&Vec<Duration>>) -> String {
    let Some(times) = times else { return "| | ".to_owned() };
    let mut times = times.clone();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
    format!("| {:.2} | {:.2} ", at(50), at(99))
}

fn median(pages: Option<&Vec<u64>>) -> String {
    let Some(pages) = pages else { return String::new() };
    let mut pages = pages.clone();
    pages.sort_unstable();
    pages[pages.len() / 2].to_string()
}

fn main() {
    let rows = std::env::var("CALLGATE_BENCH_ROWS").ok().and_then(|text| text.parse().ok());
    let many: i64 = rows.unwrap_or(1_000_000);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let Some(cluster) = Cluster::own() else { return };
        let worlds = [World::fill(&cluster, FEW).await, World::fill(&cluster, many).await];
        let took = work(&worlds).await;
        println!("\nmilliseconds\n");
        println!("| act | {FEW} rows: p50 | p99 | {many} rows: p50 | p99 |");
        println!("|---|---|---|---|---|");
        for act in took[1].keys() {
            println!("| {act} {}{}|", shown(took[0].get(act)), shown(took[1].get(act)));
        }
        let logs = [worlds[0].explain(&cluster).await, worlds[1].explain(&cluster).await];
        let touched = [pages(&logs[0]), pages(&logs[1])];
        println!("\npages of 8 KiB that a statement touches, median\n");
        println!("| statement | {FEW} rows | {many} rows |");
        println!("|---|---|---|");
        for (statement, many) in &touched[1] {
            let few = median(touched[0].get(statement));
            println!("| `{statement}` | {few} | {} |", median(Some(many)));
        }
        for log in &logs {
            let (plans, found) = scans(log);
            println!("\n{plans} plans, {} of them read much of a large table", found.len());
            for plan in found {
                println!("{plan}");
            }
        }
    });
}
