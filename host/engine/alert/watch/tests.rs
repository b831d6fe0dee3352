//! Tests of the loop's steps: two hosts on one database, and time that is moved by hand.

use std::collections::BTreeSet;
use std::sync::Arc;

use callgate_core::gateway::Refusal;
use callgate_core::time::Timestamp;
use callgate_store::{NoticeClaim, NoticeEnd, Store, Turn};

use super::super::robot::{RobotKind, WebhookSettings};
use super::super::{Robots, Settings};
use super::{Conditions, Watched};
use crate::clock::Clock;
use crate::outbound::address::Reach;
use crate::telemetry::pulse::Pulse;

/// A host that watches.
struct Host {
    watched: Watched,
    conditions: Conditions,
}

impl Host {
    fn new(store: &Store, owner: &str) -> Self {
        let defaults: toml::Table = include_str!("../../../default.toml").parse().expect("TOML");
        let alerts = defaults.get("alerts").cloned().expect("the defaults have alerts");
        let settings: Settings = alerts.try_into().expect("settings");
        let duty = WebhookSettings {
            name: "duty".to_owned(),
            kind: RobotKind::Json,
            url: "https://robot.example.com/".parse().expect("a URL"),
            secret: None,
            least: callgate_store::Severity::Warning,
            per_minute: 18,
            timeout_ms: 1_000,
            reach: Reach::Public,
            roots: Vec::new(),
        };
        let watched = Watched {
            store: store.clone(),
            clock: Clock::manual(at(0)),
            owner: owner.to_owned(),
            settings,
            robots: Robots::new(&[duty]).expect("a robot"),
            pulse: Pulse::of(["a"]),
            metrics: Arc::new(String::new),
            channels: Arc::new(|| BTreeSet::from(["a".to_owned()])),
            businesses: BTreeSet::new(),
            sinks: BTreeSet::new(),
        };
        Self { watched, conditions: Conditions::default() }
    }

    fn forged(&self, second: i64) {
        for _ in 0..25 {
            self.watched.pulse.refused("a", &Refusal::Signature, at(second));
        }
    }

    async fn look(&mut self, second: i64) {
        self.conditions.look(&self.watched, at(second)).await.expect("a look");
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(second).plus_ms(1_795_226_405_000)
}

/// What people are told, each once.
async fn told(store: &Store, second: i64) -> Vec<Turn> {
    let mut turns = Vec::new();
    let (webhook, owner) = ("duty".to_owned(), "duty".to_owned());
    let claim = NoticeClaim { webhook, owner, lease_ms: 1_000, per_minute: 18 };
    while let Some(due) = store.take_notice(claim.clone(), at(second)).await.expect("a look") {
        assert_eq!(due.notice.condition, "signatures:a");
        turns.push(due.notice.turn);
        store.end_notice((&due, "duty"), NoticeEnd::Sent, at(second)).await.expect("its end");
    }
    turns
}

async fn store() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("watch.db").display());
    let settings = callgate_store::Settings { url, ..Default::default() };
    (Store::open(&settings).await.expect("a store"), folder)
}

#[tokio::test]
async fn what_one_host_alone_sees_is_not_over_because_another_does_not() {
    let (store, _folder) = store().await;
    let (mut one, mut two) = (Host::new(&store, "one"), Host::new(&store, "two"));
    one.forged(0);
    let mut turns = Vec::new();
    for second in (0..900).step_by(15) {
        one.look(second).await;
        two.look(second).await;
        turns.extend(told(&store, second).await.into_iter().map(|turn| (second, turn)));
    }
    // Five minutes of forgeries, in steps of ten seconds, and two minutes of peace.
    assert_eq!(turns, [(0, Turn::Raised), (420, Turn::Recovered)]);
    assert!(store.open_alerts().await.expect("a look").is_empty());
}

#[tokio::test]
async fn a_host_that_starts_anew_ends_what_it_raised() {
    let (store, _folder) = store().await;
    let mut before = Host::new(&store, "before");
    before.forged(0);
    before.look(0).await;
    assert_eq!(told(&store, 0).await, [Turn::Raised]);
    let mut after = Host::new(&store, "after");
    let mut turns = Vec::new();
    for second in (15..600).step_by(15) {
        after.look(second).await;
        turns.extend(told(&store, second).await);
    }
    assert_eq!(turns, [Turn::Recovered]);
}

#[tokio::test]
async fn a_storm_that_lasts_is_told_again_after_a_while_and_not_sooner() {
    let (store, _folder) = store().await;
    let mut host = Host::new(&store, "one");
    let mut turns = Vec::new();
    for second in (0..14_500).step_by(100) {
        host.forged(second);
        host.look(second).await;
        turns.extend(told(&store, second).await.into_iter().map(|turn| (second, turn)));
    }
    assert_eq!(turns, [(0, Turn::Raised), (14_400, Turn::Lasting)]);
}

#[tokio::test]
async fn what_comes_and_goes_is_told_once() {
    let (store, _folder) = store().await;
    let mut host = Host::new(&store, "one");
    let mut turns = Vec::new();
    for second in (0..3_600).step_by(15) {
        // A wave every six minutes: between two there is peace for less than two minutes.
        if second % 360 == 0 {
            host.forged(second);
        }
        host.look(second).await;
        turns.extend(told(&store, second).await);
    }
    assert_eq!(turns, [Turn::Raised]);
}
