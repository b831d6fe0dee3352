//! A long run: so many callbacks, some told twice, some under two ids, some before their order, some
//! forged, while the host is killed again and again. Prints memory and sizes of files over time, and
//! at the end holds the whole database against the books of who posted.
//!
//! `cargo bench --bench soak -- callbacks=1000000 kills=50 seed=7`, and any key of the
//! configuration. The database is SQLite unless `url=postgres://…` names an empty one.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::float_arithmetic,
    clippy::print_stdout,
    reason = "a benchmark ends where something is wrong, and prints ratios"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use callgate_trigger::draw::Draw;
use sqlx::{AnyConnection, Connection as _, Row as _};
use tempfile::TempDir;

#[path = "../tests/suite/hosts.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod hosts;
#[path = "../tests/suite/house.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod house;
#[path = "../tests/suite/load.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod load;

use hosts::Host;
use load::Load;

/// What is asked for.
struct Asked {
    callbacks: u64,
    kills: u64,
    seed: u64,
    url: Option<String>,
    flags: Vec<String>,
}

impl Asked {
    fn read() -> Self {
        let mut asked =
            Self { callbacks: 1_000_000, kills: 50, seed: 7, url: None, flags: Vec::new() };
        for argument in std::env::args().skip(1) {
            let number = |value: &str| value.parse().expect("a number");
            match argument.split_once('=') {
                Some(("callbacks", value)) => asked.callbacks = number(value),
                Some(("kills", value)) => asked.kills = number(value),
                Some(("seed", value)) => asked.seed = number(value),
                Some(("url", value)) => asked.url = Some(value.to_owned()),
                Some(_) => asked.flags.push(argument),
                // What cargo adds.
                None => {}
            }
        }
        asked
    }
}

/// Memory of a process that is in use, in MiB.
fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Bytes of a file in MiB; none for one that is not there.
fn size(file: &Path) -> f64 {
    fs::metadata(file).map_or(0.0, |found| found.len() as f64 / f64::from(1 << 20))
}

async fn run(asked: Asked) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("callgate.db");
    let url = asked.url.unwrap_or_else(|| format!("sqlite://{}", file.display()));
    let flags: Vec<&str> = FLAGS.iter().copied().chain(asked.flags.iter().map(|s| &**s)).collect();
    let mut host = Host::new(&url, &flags).expect("the processors of the mall");
    let load = Load::new(asked.seed, 1);
    load.place(0, Some(host.start()));
    let posters = load.start(POSTERS);
    let begun = Instant::now();
    let mut draw = Draw::seeded(asked.seed);
    let apart = asked.callbacks.div_ceil(asked.kills.max(1));
    let (mut kills, mut shown) = (0, 0);
    println!("| callbacks | kills | seconds | a second | memory MiB | database MiB | log MiB |");
    println!("|---|---|---|---|---|---|---|");
    while load.acknowledged() < asked.callbacks {
        tokio::time::sleep(Duration::from_millis(20 + draw.below(20))).await;
        let answered = load.acknowledged();
        assert!(host.lives(), "it died by itself: {}", host.log());
        if answered * ROWS >= shown * asked.callbacks {
            shown = answered * ROWS / asked.callbacks + 1;
            let seconds = begun.elapsed().as_secs_f64();
            println!(
                "| {answered} | {kills} | {seconds:.0} | {:.0} | {:.1} | {:.1} | {:.1} |",
                answered as f64 / seconds.max(0.001),
                resident(host.id()),
                size(&file),
                size(&folder.path().join("callgate.db-wal")),
            );
        }
        if kills < asked.kills && answered >= apart * (kills + 1) - apart / 2 {
            host.kill();
            load.place(0, None);
            load.place(0, Some(host.start()));
            kills += 1;
        }
    }
    load.finish(posters).await;
    judge(&load, &url, (kills, begun.elapsed())).await;
    assert!(host.stop(), "it ends well");
}

/// Waits until everything is worked on, and counts everything that must be there once.
async fn judge(load: &Load, url: &str, (kills, took): (u64, Duration)) {
    sqlx::any::install_default_drivers();
    let mut database = AnyConnection::connect(url).await.expect("the same database");
    let mut count = async |sql: &'static str| {
        let row = sqlx::query(sql).fetch_one(&mut database).await.expect("a count");
        row.try_get::<i64, _>(0).expect("a number")
    };
    // By the small index over what is open: the table is large.
    while count("select count(*) from inbox where due_at_ms is not null").await > 0 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (orders, messages, posts) = load.books();
    let paid = "select count(*) from documents where collection = 'orders' and version = 2 \
                and state = 'TO_BE_DELIVERED'";
    let ledger = "select count(*) from documents where collection = 'ledger' and version = 1";
    let documents = "select count(*) from documents";
    let steps = "select count(*) from history where effect <> 'none'";
    let events = "select count(*) from outbox";
    let keys = "select count(*) from (select distinct key from outbox) as keys";
    let stored = "select count(*) from inbox";
    let seen = "select cast(sum(seen) as bigint) from inbox";
    for (what, sql, expected) in [
        ("orders are paid, written once", paid, orders),
        ("payments are booked once", ledger, orders),
        ("documents there are", documents, orders * 2),
        ("steps were made", steps, orders),
        ("events were told", events, orders),
        ("orders were told of", keys, orders),
        ("messages are stored", stored, messages),
    ] {
        let found = count(sql).await;
        assert_eq!(found, expected, "{what}");
        println!("> {found} {what}, as the books say.");
    }
    let found = count(seen).await;
    assert!(found >= posts, "{found} posts were counted, {posts} were acknowledged");
    assert_eq!(load.believed(), 0, "forgeries were believed");
    println!(
        "> {posts} posts were acknowledged, {} declined, {kills} kills, in {} s.",
        load.declined(),
        took.as_secs()
    );
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(Asked::read()));
}

/// A kill uses up attempts of what was being worked on, which is not what is looked at here.
const FLAGS: &[&str] =
    &["engine.lease_ms=2000", "engine.poll_ms=100", "engine.retry.attempts_max=1000"];

/// Gateways that post at once.
const POSTERS: usize = 32;

/// Rows of the table.
const ROWS: u64 = 20;
