//! What a commit costs: accepting and settling, alone and in groups, on both databases, beside a
//! bare loop that does the same writes in as many commits with nothing around them.
//!
//! The loop checks nothing: it locks no name, reads no version, looks for no meaning that was used
//! up. It sends one prepared statement for each row, as one would write it by hand.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::float_arithmetic,
    reason = "a benchmark ends where something is wrong, and prints ratios"
)]

use std::time::Duration;

use callgate_store::{Callback, ClaimRequest, Settlement, Store};
use criterion::{BenchmarkId, Criterion, Throughput};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

#[path = "../host/store/tests/conformance/acts.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod acts;
#[path = "bare.rs"]
mod bare;
#[path = "../host/store/tests/conformance/cluster.rs"]
mod cluster;
#[path = "../host/store/tests/conformance/gateway.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod gateway;
#[path = "../host/store/tests/conformance/house.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod house;

use acts::{at, order, paid, settlement};
use bare::Bare;
use gateway::payment;
use house::House;

/// Callers at once; every group is of this size.
const SIZES: [usize; 4] = [1, 16, 64, 256];

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Accept,
    Settle,
}

/// A database with a store, and another with the bare loop.
struct World {
    store: Store,
    bare: Bare,
    callbacks: Vec<Callback>,
    round: u64,
    _houses: [House; 2],
}

/// Rows and time, and what the store counted meanwhile.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    rows: u64,
    time: Duration,
    groups: u64,
    statements: u64,
}

impl World {
    async fn open(houses: [House; 2], callbacks: Vec<Callback>) -> Self {
        let change = |settings: &mut callgate_store::Settings| settings.wait_ms = 30_000;
        let store = houses[0].open_with(change).await;
        // The same schema.
        houses[1].open_with(change).await.close().await;
        let bare = Bare::open(&houses[1].settings.url).await;
        Self { store, bare, callbacks, round: 0, _houses: houses }
    }

    /// Callbacks that were never heard, for orders that were never named.
    fn fresh(&mut self, size: usize) -> Vec<Callback> {
        self.round += 1;
        let round = self.round;
        let named = |callback: &Callback| Callback {
            channel: format!("channel-{round}"),
            business: format!("business-{round}"),
            ..callback.clone()
        };
        self.callbacks[..size].iter().map(named).collect()
    }

    async fn ours(&mut self, act: Act, size: usize) -> Sum {
        let callbacks = self.fresh(size);
        let settlements = match act {
            Act::Accept => Vec::new(),
            Act::Settle => self.jobs(&callbacks).await,
        };
        let before = self.store.tally();
        let started = Instant::now();
        match act {
            Act::Accept => accept(&self.store, callbacks).await,
            Act::Settle => settle(&self.store, settlements).await,
        }
        let time = started.elapsed();
        let after = self.store.tally();
        Sum {
            rows: size as u64,
            time,
            groups: after.groups - before.groups,
            statements: after.statements - before.statements,
        }
    }

    /// Paid orders, up to their settlements.
    async fn jobs(&self, callbacks: &[Callback]) -> Vec<Settlement> {
        for callback in callbacks {
            let order_no = callback.verified.notifications()[0].order_no.clone().unwrap();
            let mut new = order(&order_no);
            new.business.clone_from(&callback.business);
            self.store.register(new, at(0)).await.unwrap();
        }
        accept(&self.store, callbacks.to_vec()).await;
        let limit = u32::try_from(callbacks.len()).unwrap();
        let request = ClaimRequest { limit, owner: "bench".to_owned(), lease_ms: 60_000 };
        let jobs = self.store.claim(request, at(1)).await.unwrap();
        assert_eq!(jobs.len(), callbacks.len());
        jobs.iter().map(|job| settlement(job, paid(job))).collect()
    }

    async fn rival(&mut self, act: Act, size: usize) -> Sum {
        let callbacks = self.fresh(size);
        let ids: Vec<String> = callbacks.iter().map(|_| uuid::Uuid::now_v7().to_string()).collect();
        if act == Act::Settle {
            self.bare.register(&callbacks).await;
            self.bare.accept(&callbacks, &ids).await;
        }
        let before = self.bare.statements;
        let started = Instant::now();
        match act {
            Act::Accept => self.bare.accept(&callbacks, &ids).await,
            Act::Settle => self.bare.settle(&callbacks, &ids).await,
        }
        let time = started.elapsed();
        Sum { rows: size as u64, time, groups: 1, statements: self.bare.statements - before }
    }
}

async fn accept(store: &Store, callbacks: Vec<Callback>) {
    let mut tasks = JoinSet::new();
    for callback in callbacks {
        let store = store.clone();
        tasks.spawn(async move { store.accept(callback, at(0)).await.map(drop).unwrap() });
    }
    tasks.join_all().await;
}

async fn settle(store: &Store, settlements: Vec<Settlement>) {
    let mut tasks = JoinSet::new();
    for settlement in settlements {
        let store = store.clone();
        tasks.spawn(async move { store.settle(settlement, at(2)).await.map(drop).unwrap() });
    }
    tasks.join_all().await;
}

fn measure(
    criterion: &mut Criterion,
    runtime: &Runtime,
    name: &str,
    open: impl AsyncFn() -> Option<World>,
) {
    for act in [Act::Accept, Act::Settle] {
        // What was accepted by the first act must not be claimed by the second.
        let Some(mut world) = runtime.block_on(open()) else { return };
        let mut group = criterion.benchmark_group(format!("{name}/{act:?}"));
        for size in SIZES {
            group.throughput(Throughput::Elements(size as u64));
            let mut sums = [Sum::default(); 2];
            for (place, who) in ["callgate", "bare"].into_iter().enumerate() {
                group.bench_function(BenchmarkId::new(who, size), |bencher| {
                    bencher.iter_custom(|rounds| {
                        let mut time = Duration::ZERO;
                        for _ in 0..rounds {
                            let one = runtime.block_on(async {
                                match place {
                                    0 => world.ours(act, size).await,
                                    _ => world.rival(act, size).await,
                                }
                            });
                            time += one.time;
                            let sum = &mut sums[place];
                            sum.rows += one.rows;
                            sum.time += one.time;
                            sum.groups += one.groups;
                            sum.statements += one.statements;
                        }
                        time
                    });
                });
            }
            tell(name, act, size, sums);
        }
        group.finish();
        runtime.block_on(world.store.close());
    }
}

/// One line of the table in `README.md`.
fn tell(name: &str, act: Act, size: usize, [ours, bare]: [Sum; 2]) {
    if ours.rows == 0 || bare.rows == 0 {
        return;
    }
    let rate = |sum: Sum| sum.rows as f64 / sum.time.as_secs_f64();
    let each = |sum: Sum| sum.statements as f64 / sum.groups as f64;
    println!(
        "| {name} | {act:?} | {size} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} | {:.1} |",
        rate(ours),
        rate(bare),
        rate(bare) / rate(ours),
        ours.rows as f64 / ours.groups as f64,
        each(ours),
        each(bare),
    );
}

fn main() {
    // On one thread everybody has asked before the writer looks: groups have the size that the
    // table says.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let callbacks: Vec<_> = (0..SIZES[3])
        .map(|n| payment(&format!("d{n}"), &format!("order-number-{n}"), &format!("t{n}")))
        .collect();
    println!(
        "| database | act | size | callgate /s | bare /s | times | group | sent | bare sent |"
    );
    println!("{}", "|---".repeat(9) + "|");
    measure(&mut criterion, &runtime, "sqlite", async || {
        Some(World::open([House::sqlite(), House::sqlite()], callbacks.clone()).await)
    });
    measure(&mut criterion, &runtime, "postgres", async || {
        let houses = [House::postgres().await?, House::postgres().await?];
        // Tests live without; a benchmark of commits does not.
        houses[0].execute("alter system set fsync = on").await;
        houses[0].execute("select pg_reload_conf()").await;
        Some(World::open(houses, callbacks.clone()).await)
    });
    criterion.final_summary();
}
