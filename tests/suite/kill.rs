//! The kill test: hosts under load of signed callbacks die at random moments, again and again;
//! nothing acknowledged is missing afterwards, nothing happened twice, and the sink heard of everything
//! under one id.
//!
//! `CALLGATE_TEST_CRASH_SEED` repeats a schedule, `CALLGATE_TEST_CRASH_ROUNDS` makes it longer: that is what
//! `cargo xtask crash` sets. The machine's own timing is not in the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use callgate::clock::Stopwatch;
use callgate_trigger::draw::Draw;

use crate::cluster::Cluster;
use crate::hosts::Host;
use crate::load::Load;
use crate::sinks::{HttpSink, secret};

/// When a host is killed, counted from the moment it listens; at its start from its spawning.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After so many hundredths of the time that a start takes.
    WhileStarting(u64),
    /// After so many milliseconds.
    AfterMs(u64),
    /// After so many acknowledgements: in the middle of the commits of others.
    AfterAnswers(u64),
}

impl Moment {
    fn draw(draw: &mut Draw) -> Self {
        match draw.below(10) {
            0 | 1 => Self::WhileStarting(draw.below(100)),
            2..=4 => Self::AfterMs(draw.below(250)),
            _ => Self::AfterAnswers(draw.below(25)),
        }
    }
}

/// Several hosts on one database, with a sink that outlives them.
struct Field {
    url: String,
    seed: u64,
    hosts: Vec<Host>,
    load: Arc<Load>,
    sink: HttpSink,
    /// How long a start takes.
    start: Duration,
}

impl Field {
    /// Starts the hosts; `None`, said loudly, where the processors are not built.
    async fn start(url: String, (seed, count): (u64, usize)) -> Option<Self> {
        let sink = HttpSink::start().await;
        let delivery = format!(
            "sinks.books={{ kind = \"http\", url = {:?}, allow_private = true, secret = {:?}, \
             topics = [\"*\"], from = \"beginning\" }}",
            sink.url,
            secret(b'k'),
        );
        let flags: Vec<&str> = FLAGS.iter().copied().chain([delivery.as_str()]).collect();
        let mut hosts = Vec::new();
        for place in 0..count {
            // Every other host decides before it stores, also right after it was killed. Which
            // ones, and whether one alone does, hangs on the seed.
            let decides = seed % 2 == u64::from(place % 2 == 0);
            let calm = decides.then_some("engine.direct.calm_ms=0");
            let flags: Vec<&str> = flags.iter().copied().chain(calm).collect();
            hosts.push(Host::new(&url, &flags)?);
        }
        let load = Load::new(seed, count);
        let mut start = Duration::ZERO;
        for (place, host) in hosts.iter_mut().enumerate() {
            let watch = Stopwatch::start();
            load.place(place, Some(host.start()));
            start = watch.elapsed();
        }
        Some(Self { url, seed, hosts, load, sink, start })
    }

    /// Kills a host as the moment says, and starts it again; tells how many kills that were.
    async fn kill_one(&mut self, victim: usize, moment: Moment) -> u32 {
        match moment {
            Moment::AfterMs(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Moment::WhileStarting(_) => {}
            Moment::AfterAnswers(count) => {
                let wanted = self.load.acknowledged().saturating_add(count);
                let reached = async {
                    while self.load.acknowledged() < wanted {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                // The load may wait for something itself; the kill comes all the same.
                let _ = tokio::time::timeout(Duration::from_secs(2), reached).await;
            }
        }
        let host = self.hosts.get_mut(victim).expect("one of the hosts");
        assert!(host.lives(), "seed {}: it died by itself: {}", self.seed, host.log());
        host.kill();
        self.load.place(victim, None);
        let mut kills = 1;
        if let Moment::WhileStarting(hundredths) = moment {
            let hundredths = u32::try_from(hundredths).expect("below 100");
            let _stdout = host.spawn();
            let start = self.start.saturating_mul(hundredths);
            let pause = start.checked_div(100).unwrap_or_default();
            tokio::time::sleep(pause).await;
            host.kill();
            kills = 2;
        }
        self.load.place(victim, Some(host.start()));
        kills
    }

    /// Kills at random until it was often enough; then holds the database against the books.
    async fn run(mut self, kills: u32) {
        let mut draw = Draw::seeded(self.seed);
        let posters = self.load.start(POSTERS);
        let hosts = u64::try_from(self.hosts.len()).expect("a few");
        let mut killed = 0;
        while killed < kills {
            let victim = usize::try_from(draw.below(hosts)).expect("a few");
            let moment = Moment::draw(&mut draw);
            killed = self.kill_one(victim, moment).await.saturating_add(killed);
        }
        self.end(posters, &format!("{killed} kills")).await;
    }

    /// Every order's event has come to the sink, always under one id; tells how often in all.
    async fn hold_sink_against(&self, orders: usize) -> usize {
        let taken = self.sink.when_taken(orders).await;
        let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for heard in &taken {
            assert!(heard.is_signed_with(&secret(b'k')), "seed {}: a wrong signature", self.seed);
            ids.entry(heard.key()).or_default().insert(heard.id.clone());
        }
        assert_eq!(ids.len(), orders, "seed {}: orders that the sink heard of", self.seed);
        for (order_no, ids) in ids {
            assert_eq!(ids.len(), 1, "seed {}: {order_no} was told under {ids:?}", self.seed);
        }
        taken.len()
    }

    async fn end(self, posters: tokio::task::JoinSet<()>, what: &str) {
        self.load.finish(posters).await;
        let orders = self.load.hold_against(&self.url).await;
        let acknowledged = self.load.acknowledged();
        let sent = self.hold_sink_against(orders).await;
        let (_, messages, _) = self.load.books();
        eprintln!(
            "kill test, seed {}: {what}, {} hosts, {orders} orders, {messages} messages, {acknowledged} \
             acknowledged callbacks, {} declined, {sent} events sent",
            self.seed,
            self.hosts.len(),
            self.load.declined(),
        );
    }
}

/// The seed of this run, printed so that it can be given again.
fn seed() -> u64 {
    let given = std::env::var_os("CALLGATE_TEST_CRASH_SEED").map(|text| {
        text.to_str()
            .and_then(|text| text.parse().ok())
            .expect("CALLGATE_TEST_CRASH_SEED is a number")
    });
    let id = uuid::Uuid::now_v7();
    let drawn = id
        .as_bytes()
        .iter()
        .fold(0u64, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(*byte)));
    let seed = given.unwrap_or(drawn % 1_000_000_000);
    eprintln!("kill test: CALLGATE_TEST_CRASH_SEED={seed} repeats this schedule");
    seed
}

/// How many kills a story has: its share of the rounds that are asked for.
fn kills(share: u32) -> u32 {
    let asked = std::env::var_os("CALLGATE_TEST_CRASH_ROUNDS").map(|text| {
        text.to_str()
            .and_then(|text| text.parse::<u32>().ok())
            .expect("CALLGATE_TEST_CRASH_ROUNDS is a number")
    });
    asked.map_or(share, |rounds| rounds.saturating_mul(share).div_ceil(KILLS))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_one_host_on_sqlite_is_killed_again_and_again() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("callgate.db").display());
    let Some(field) = Field::start(url, (seed(), 1)).await else { return };
    field.run(kills(80)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_one_host_on_postgres_is_killed_again_and_again() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(field) = Field::start(cluster.database().await, (seed(), 1)).await else { return };
    field.run(kills(50)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_three_hosts_on_postgres_are_killed_in_turns() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(field) = Field::start(cluster.database().await, (seed(), 3)).await else { return };
    field.run(kills(80)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_heal_by_themselves_when_the_database_server_is_killed() {
    let Some(cluster) = Cluster::own() else { return };
    let Some(mut field) = Field::start(cluster.database().await, (seed(), 3)).await else { return };
    let mut draw = Draw::seeded(field.seed);
    let mut posters = field.load.start(POSTERS);
    let rounds = kills(5);
    for _ in 0..rounds {
        let wanted = field.load.acknowledged().saturating_add(draw.below(60).saturating_add(1));
        until(|| field.load.acknowledged() >= wanted, "callbacks are taken again").await;
        let declined = field.load.declined();
        tokio::task::block_in_place(|| cluster.kill());
        // The others may all be registering orders, which they cannot now.
        field.load.post_at_once(&mut posters);
        until(|| field.load.declined() > declined, "a gateway hears its failure answer").await;
        tokio::time::sleep(Duration::from_millis(draw.below(500))).await;
        tokio::task::block_in_place(|| cluster.restart());
    }
    let wanted = field.load.acknowledged().saturating_add(30);
    until(|| field.load.acknowledged() >= wanted, "callbacks are taken again").await;
    for host in &mut field.hosts {
        assert!(host.lives(), "a host has died of it: {}", host.log());
        host.log_when(|log| log.contains("store.unavailable")).await;
    }
    field.end(posters, &format!("{rounds} kills of the database server")).await;
}

/// Waits for something that the hosts do by themselves.
async fn until(holds: impl Fn() -> bool, what: &str) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(ended.is_ok(), "it never happened that {what}");
}

/// Leases lapse and polls come while somebody watches. Every kill uses up an attempt of what was
/// being worked on, which is not what is looked at here.
const FLAGS: &[&str] =
    &["engine.lease_ms=1000", "engine.poll_ms=100", "engine.retry.attempts_max=1000"];

/// Gateways that post at once.
const POSTERS: usize = 6;

/// Kills of a run that nobody asked more of: the shares of the stories added up.
const KILLS: u32 = 215;
