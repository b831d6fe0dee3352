//! The tables of `README.md`, as Markdown.

use crate::house::Database;
use crate::shoot::{Hit, median};

/// Everybody at full speed, a figure for each round.
pub(crate) struct Peak {
    pub(crate) callgate: Vec<Hit>,
    pub(crate) floor: Vec<Hit>,
    pub(crate) team: Vec<Hit>,
}

/// A line of the table of goals.
pub(crate) struct Goal {
    what: String,
    goal: String,
    found: String,
    reached: bool,
}

impl Goal {
    fn least(what: impl Into<String>, least: f64, found: f64) -> Self {
        Self {
            what: what.into(),
            goal: format!("at least {least:.2}"),
            found: format!("{found:.2}"),
            reached: found >= least,
        }
    }

    fn most(what: impl Into<String>, most: f64, found: f64) -> Self {
        Self {
            what: what.into(),
            goal: format!("at most {most:.2}"),
            found: format!("{found:.2}"),
            reached: found <= most,
        }
    }
}

pub(crate) fn peaks(database: Database, peak: &Peak) {
    println!("\n### {}: as fast as answers come\n", database.name());
    println!(
        "| server | answers /s | whole path /s | p50 ms | p99 ms | cpu µs | memory MiB |\n\
         |---|---|---|---|---|---|---|"
    );
    let rows = [("callgate", &peak.callgate), ("floor", &peak.floor), ("team", &peak.team)];
    for (name, hits) in rows {
        println!(
            "| {name} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} |",
            median(hits, |hit| hit.answers),
            median(hits, |hit| hit.whole),
            median(hits, |hit| hit.latency_ms[0]),
            median(hits, |hit| hit.latency_ms[1]),
            median(hits, |hit| hit.cpu_us[1]),
            median(hits, |hit| hit.rss_mib),
        );
    }
}

pub(crate) fn peak_goals(database: Database, peak: &Peak) -> Vec<Goal> {
    let name = database.name();
    let whole = |hits: &[Hit]| median(hits, |hit| hit.whole);
    let cpu = |hits: &[Hit]| median(hits, |hit| hit.cpu_us[1]);
    let (ours, floor, team) = (whole(&peak.callgate), whole(&peak.floor), whole(&peak.team));
    let times = cpu(&peak.callgate) / cpu(&peak.floor);
    let mut goals = vec![
        Goal::least(format!("{name}: whole path a second over the floor's"), 0.5, ours / floor),
        Goal::most(format!("{name}: cpu of a callback over the floor's"), 2.5, times),
    ];
    if database == Database::Sqlite {
        let what = "sqlite: whole path a second over one commit a callback";
        goals.insert(1, Goal::least(what, 8.0, ours / team));
    }
    goals
}

pub(crate) fn half(database: Database, rate: u64, [fsync, fsync_p99]: [f64; 2], hit: &Hit) {
    println!("\n### {}: at half of the peak, {rate} callbacks a second\n", database.name());
    println!(
        "| fsync p50 ms | fsync p99 ms | answer p50 ms | p99 ms | p99.9 ms | effect p50 ms | \
         p99 ms |\n|---|---|---|---|---|---|---|"
    );
    let [p50, p99, p999] = hit.latency_ms;
    let bound =
        |found: Option<f64>| found.map_or_else(|| "-".to_owned(), |ms| format!("≤ {ms:.1}"));
    let [effect, effect_p99] = hit.effect_ms;
    println!(
        "| {fsync:.2} | {fsync_p99:.2} | {p50:.2} | {p99:.2} | {p999:.2} | {} | {} |",
        bound(effect),
        bound(effect_p99)
    );
}

pub(crate) fn half_goals(database: Database, [_, fsync_p99]: [f64; 2], hit: &Hit) -> Vec<Goal> {
    let name = database.name();
    let effect = hit.effect_ms[1].unwrap_or(f64::INFINITY);
    let most = 3.0f64.mul_add(fsync_p99, 5.0);
    vec![
        Goal::most(
            format!("{name}: p99 of the answer at half of the peak, ms (3 fsyncs at p99 and 5 ms)"),
            most,
            hit.latency_ms[1],
        ),
        Goal::most(format!("{name}: p99 from callback to effect at half, ms"), 50.0, effect),
    ]
}

pub(crate) fn doors(rows: &[(&str, Hit)], rsa_us: f64) {
    println!("\n### At the door, SQLite\n");
    println!("> One RSA verification takes {rsa_us:.1} µs.\n");
    println!("| callback | answers /s | cpu µs |\n|---|---|---|");
    for (name, hit) in rows {
        println!("| {name} | {:.0} | {:.1} |", hit.answers, hit.cpu_us[0]);
    }
}

pub(crate) fn door_goals(rows: &[(&str, Hit)], rsa_us: f64) -> Vec<Goal> {
    let cpu = |name: &str| {
        let found = rows.iter().find(|(row, _)| *row == name);
        found.map_or(f64::NAN, |(_, hit)| hit.cpu_us[0])
    };
    let bare = cpu("bare HTTP exchange");
    vec![
        Goal::most("forged: cpu over RSA and HTTP", 1.3, cpu("forged") / (bare + rsa_us)),
        Goal::most("unknown key: cpu over HTTP", 1.3, cpu("unknown key") / bare),
        Goal::most("malformed: cpu over HTTP", 1.3, cpu("malformed") / bare),
        Goal::most("repeated: cpu over a first one's", 1.0, cpu("repeated") / cpu("first")),
    ]
}

pub(crate) fn hosts_goal(one: f64, three: f64) -> Goal {
    println!("\n### Many hosts on one PostgreSQL\n");
    println!("> One host {one:.0} a second, three hosts {three:.0}.");
    Goal::least("postgres: three hosts over one", 1.0, three / one)
}

pub(crate) fn goals(goals: &[Goal]) {
    println!("\n### Goals\n");
    println!("| what | goal | found | |\n|---|---|---|---|");
    for Goal { what, goal, found, reached } in goals {
        let mark = if *reached { "reached" } else { "**not reached**" };
        println!("| {what} | {goal} | {found} | {mark} |");
    }
}
