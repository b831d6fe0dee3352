//! The whole path, from socket to second commit, beside its rivals: the release binary, the floor
//! and a server as teams write it, one after the other in turn on the same machine, each a process
//! of its own, with the same load tool beside it. Prints the tables of `README.md`.
//!
//! `cargo bench --bench line [-- --quick]`. Servers and load tool share the machine: that is part
//! of every figure, for all alike.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::float_arithmetic,
    reason = "a benchmark ends where something is wrong, and prints ratios"
)]

#[path = "../host/store/tests/conformance/cluster.rs"]
mod cluster;
#[path = "floor/mod.rs"]
mod floor;
#[path = "line/house.rs"]
mod house;
#[path = "line/probe.rs"]
mod probe;
#[path = "line/shoot.rs"]
mod shoot;
#[path = "line/tables.rs"]
mod tables;

use std::path::Path;

use floor::Rival;
use house::{Database, Ground, Who};
use shoot::{Hit, Shot};
use tables::{Goal, Peak};

/// How much of it.
#[derive(Debug, Clone, Copy)]
struct Size {
    rounds: usize,
    /// Callbacks of one round at full speed.
    callbacks: u64,
    /// Seconds at half of the peak.
    seconds: u64,
    /// Callbacks that are turned away at the door, each time.
    turned_away: u64,
}

const QUICK: Size = Size { rounds: 1, callbacks: 6_000, seconds: 3, turned_away: 3_000 };
const WHOLE: Size = Size { rounds: 3, callbacks: 24_000, seconds: 12, turned_away: 12_000 };

/// How many times fewer callbacks the rival with a commit for each one gets.
const TEAM_SHARE: u64 = 6;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--serve", rival, url, keys] = words.as_slice() {
        return floor::serve(Rival::parse(rival).unwrap(), url, Path::new(keys));
    }
    let size = if words.contains(&"--quick") { QUICK } else { WHOLE };
    let only =
        |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).map(str::to_owned);
    let ground = Ground::new();
    let mut goals = Vec::new();
    for database in [Database::Sqlite, Database::Postgres] {
        if only("--only=").is_some_and(|name| name != database.name()) {
            continue;
        }
        if let Some(peaks) = peaks(&ground, database, size) {
            tables::peaks(database, &peaks);
            goals.extend(tables::peak_goals(database, &peaks));
            if !words.contains(&"--peak") {
                goals.extend(half(&ground, database, &peaks, size));
            }
        }
    }
    if !words.contains(&"--peak") {
        goals.extend(doors(&ground, size));
        goals.extend(many_hosts(&ground, size));
    }
    tables::goals(&goals);
}

/// Everybody at full speed, in turn; `None` where there is no such database.
fn peaks(ground: &Ground, database: Database, size: Size) -> Option<Peak> {
    let mut hits: [Vec<Hit>; 3] = Default::default();
    for _ in 0..size.rounds {
        for (place, who) in [Who::Callgate, Who::Rival(Rival::Floor), Who::Rival(Rival::Team)]
            .into_iter()
            .enumerate()
        {
            let share = if who == Who::Rival(Rival::Team) { TEAM_SHARE } else { 1 };
            let shot = Shot { callbacks: size.callbacks / share, ..Shot::default() };
            let home = ground.database(database)?;
            let served = ground.serve(who, &home, &[]);
            hits[place].push(ground.shoot(&[&served], &home, &shot));
        }
    }
    let [callgate, floor, team] = hits;
    Some(Peak { callgate, floor, team })
}

/// At half of the peak, at a fixed rate: how long answers and effects take.
fn half(ground: &Ground, database: Database, peak: &Peak, size: Size) -> Vec<Goal> {
    let rate = (shoot::median(&peak.callgate, |hit| hit.whole) / 2.0) as u64;
    let home = ground.database(database).unwrap();
    let served = ground.serve(Who::Callgate, &home, &[]);
    let shot = Shot { callbacks: rate * size.seconds, rate: Some(rate), ..Shot::default() };
    let fsync = probe::fsync(ground.path());
    let hit = ground.shoot(&[&served], &home, &shot);
    tables::half(database, rate, fsync, &hit);
    tables::half_goals(database, fsync, &hit)
}

/// What is turned away at the door, and what came before.
fn doors(ground: &Ground, size: Size) -> Vec<Goal> {
    let doors = [
        ("bare HTTP exchange", Who::Rival(Rival::Bare), "--forged=100"),
        ("forged", Who::Callgate, "--forged=100"),
        ("unknown key", Who::Callgate, "--unknown-key=100"),
        ("malformed", Who::Callgate, "--malformed=100"),
        ("first", Who::Callgate, "--unregistered"),
        ("repeated", Who::Callgate, "--repeated=100"),
    ];
    let open = doors.map(|(_, who, _)| {
        let home = ground.database(Database::Sqlite).unwrap();
        // One worker at a time: it settles a few hundred callbacks a second, so that what is
        // measured is the door alone.
        let flags = ["engine.workers=1"];
        let served = ground.serve(who, &home, if who == Who::Callgate { &flags } else { &[] });
        (home, served)
    });
    let mut hits: [Vec<Hit>; 6] = Default::default();
    // In turn: the machine's speed changes within a minute.
    for _ in 0..size.rounds {
        for ((hits, (home, served)), (.., more)) in hits.iter_mut().zip(&open).zip(doors) {
            let more = vec![more.to_owned(), "--settle-ms=0".to_owned()];
            let shot = Shot { callbacks: size.turned_away, rate: None, more };
            hits.push(ground.shoot(&[served], home, &shot));
        }
    }
    let middle = |mut hits: Vec<Hit>| {
        hits.sort_by(|a, b| a.cpu_us[0].total_cmp(&b.cpu_us[0]));
        hits.swap_remove(hits.len() / 2)
    };
    let mut hits = hits.into_iter();
    let rows = doors.map(|(name, ..)| (name, middle(hits.next().unwrap())));
    let rsa_us = probe::rsa_us(&ground.keys());
    tables::doors(&rows, rsa_us);
    tables::door_goals(&rows, rsa_us)
}

/// Three hosts on one PostgreSQL beside one.
fn many_hosts(ground: &Ground, size: Size) -> Vec<Goal> {
    // Hosts of one machine take each other for runs that came down.
    let calm = ["engine.direct.calm_ms=0"];
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..size.rounds {
        for (place, hosts) in [1, 3].into_iter().enumerate() {
            let Some(home) = ground.database(Database::Postgres) else { return Vec::new() };
            let served: Vec<_> =
                (0..hosts).map(|_| ground.serve(Who::Callgate, &home, &calm)).collect();
            let served: Vec<_> = served.iter().collect();
            let shot = Shot { callbacks: size.callbacks, ..Shot::default() };
            rates[place].push(ground.shoot(&served, &home, &shot));
        }
    }
    let [one, three] = rates.map(|hits| shoot::median(&hits, |hit| hit.whole));
    vec![tables::hosts_goal(one, three)]
}
