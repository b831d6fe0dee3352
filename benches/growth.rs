//! What many stored notifications cost: the release binary on a database with so many finished ones,
//! and on an empty one, in turn on the same machine. How long a start takes, how much it does at full
//! speed, how long answers and effects take at half of it, and how large the database is.
//!
//! `cargo bench --bench growth -- rows=1000000`, and `on=postgres` for the other database. A
//! notification takes about 8 KB of disk with everything that it leaves.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::disallowed_methods,
    reason = "a benchmark ends where something is wrong, and prints ratios"
)]

#[path = "../host/store/tests/conformance/cluster.rs"]
mod cluster;
#[path = "growth/fill.rs"]
mod fill;
#[path = "floor/mod.rs"]
#[expect(dead_code, reason = "the line uses the rest")]
mod floor;
#[path = "line/house.rs"]
#[expect(dead_code, reason = "the line uses the rest")]
mod house;
#[path = "growth/look.rs"]
mod look;
#[path = "line/shoot.rs"]
#[expect(dead_code, reason = "the line uses the rest")]
mod shoot;

use std::time::SystemTime;

use callgate_core::time::Timestamp;
use house::{Database, Ground, Place, Who};
use look::Start;
use shoot::{Hit, Shot};

/// How much of it.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Notifications that are stored.
    rows: i64,
    rounds: usize,
    /// Callbacks of one round at full speed.
    callbacks: u64,
    /// Seconds at half of the peak.
    seconds: u64,
    /// Starts that are timed.
    starts: usize,
}

const QUICK: Size = Size { rows: 20_000, rounds: 1, callbacks: 4_000, seconds: 3, starts: 3 };
const WHOLE: Size = Size { rows: 100_000, rounds: 3, callbacks: 12_000, seconds: 10, starts: 7 };

/// Callbacks through the real server whose rows the others are modelled on.
const MODELS: u64 = 500;

/// What was found on one of the two databases.
#[derive(Debug, Default)]
struct Found {
    starts: Vec<Start>,
    peaks: Vec<Hit>,
    half: Hit,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut size = if arguments.iter().any(|word| word == "--quick") { QUICK } else { WHOLE };
    let mut on = Database::Sqlite;
    for argument in &arguments {
        match argument.split_once('=') {
            Some(("rows", value)) => size.rows = value.parse().unwrap(),
            Some(("rounds", value)) => size.rounds = value.parse().unwrap(),
            Some(("on", "postgres")) => on = Database::Postgres,
            _ => {}
        }
    }
    let ground = Ground::new();
    let Some(home) = ground.database(on) else { return };
    let bytes = fill(&ground, on, &home, size);
    let mut found = [Found::default(), Found::default()];
    starts(&ground, (on, &home), size, &mut found);
    peaks(&ground, (on, &home), size, &mut found);
    halves(&ground, (on, &home), size, &mut found);
    tell(on, size, bytes, &found);
}

/// Stores what is stored, and tells how many bytes each notification takes.
fn fill(ground: &Ground, on: Database, home: &Place, size: Size) -> f64 {
    let served = ground.serve(Who::Callgate, home, &[]);
    let shot = Shot { callbacks: MODELS, ..Shot::default() };
    ground.shoot(&[&served], home, &shot);
    drop(served);
    let models = look::bytes(ground, on, home);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap());
    let begun = std::time::Instant::now();
    // The models themselves come last.
    let last = now.plus_ms(-600_000);
    ground.runtime.block_on(fill::fill(&home.url, on, (size.rows, last)));
    let bytes = look::bytes(ground, on, home);
    println!("{} notifications written in {:.0} s", size.rows, begun.elapsed().as_secs_f64());
    (bytes - models) as f64 / size.rows as f64
}

/// Starts on both in turn. The first of each finds everything cold and is not counted.
fn starts(ground: &Ground, (on, home): (Database, &Place), size: Size, found: &mut [Found; 2]) {
    let empty = ground.database(on).unwrap();
    for round in 0..=size.starts {
        for (place, found) in [&empty, home].into_iter().zip(&mut *found) {
            let start = look::start(ground, place);
            if round > 0 {
                found.starts.push(start);
            }
        }
    }
}

/// Full speed on both in turn; what is empty is empty again each time.
fn peaks(ground: &Ground, (on, home): (Database, &Place), size: Size, found: &mut [Found; 2]) {
    let shot = Shot { callbacks: size.callbacks, ..Shot::default() };
    for _ in 0..size.rounds {
        let empty = ground.database(on).unwrap();
        for (place, found) in [&empty, home].into_iter().zip(&mut *found) {
            let served = ground.serve(Who::Callgate, place, &[]);
            found.peaks.push(ground.shoot(&[&served], place, &shot));
        }
    }
}

/// At half of what the empty one does, both alike.
fn halves(ground: &Ground, (on, home): (Database, &Place), size: Size, found: &mut [Found; 2]) {
    let rate = (shoot::median(&found[0].peaks, |hit| hit.whole) / 2.0) as u64;
    let shot = Shot { callbacks: rate * size.seconds, rate: Some(rate), ..Shot::default() };
    let empty = ground.database(on).unwrap();
    for (place, found) in [&empty, home].into_iter().zip(found) {
        let served = ground.serve(Who::Callgate, place, &[]);
        found.half = ground.shoot(&[&served], place, &shot);
    }
}

fn tell(on: Database, size: Size, bytes: f64, [empty, full]: &[Found; 2]) {
    println!("\n### {}: {} stored notifications\n", on.name(), size.rows);
    println!("> {bytes:.0} bytes of disk for each.\n");
    println!("| what | empty | full | times | |\n|---|---|---|---|---|");
    let start = |found: &Found, pick: fn(&Start) -> f64| {
        let mut times: Vec<f64> = found.starts.iter().map(pick).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let [few, many] = [empty, full].map(|found| start(found, |start| start.ready_ms));
    row("start until ready, ms", [few, many], "at most 2000", many <= 2000.0);
    let [few, many] = [empty, full].map(|found| start(found, |start| start.metrics_ms));
    row("a look at the metrics, ms", [few, many], "", true);
    let faster = |what: &str, pick: fn(&Hit) -> f64| {
        let [few, many] = [empty, full].map(|found| shoot::median(&found.peaks, pick));
        row(what, [few, many], "at least 1/1.3", many * 1.3 >= few);
    };
    faster("answers a second", |hit| hit.answers);
    faster("whole path a second", |hit| hit.whole);
    let slower = |what: &str, [few, many]: [f64; 2]| {
        row(what, [few, many], "at most 1.3", many <= few * 1.3);
    };
    let [few, many] = [empty, full].map(|found| shoot::median(&found.peaks, |hit| hit.cpu_us[1]));
    slower("cpu of a callback, µs", [few, many]);
    let [few, many] = [&empty.half, &full.half];
    slower("answer at half, p50 ms", [few.latency_ms[0], many.latency_ms[0]]);
    slower("p99 ms", [few.latency_ms[1], many.latency_ms[1]]);
    let effect = |hit: &Hit, place: usize| hit.effect_ms[place].unwrap_or(f64::INFINITY);
    slower("effect at half, p50 ms", [effect(few, 0), effect(many, 0)]);
    slower("p99 ms", [effect(few, 1), effect(many, 1)]);
}

fn row(what: &str, [few, many]: [f64; 2], goal: &str, reached: bool) {
    let mark = if reached { "" } else { ": **not reached**" };
    println!("| {what} | {few:.2} | {many:.2} | {:.2} | {goal}{mark} |", many / few);
}
