//! The drill of docs/backup.md: a backup under load, restored elsewhere, served from.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use callgate_trigger::burst::Burst;
use callgate_trigger::channel::Channel;
use serde_json::{Value, json};

use crate::drill_cluster::Cluster;
use crate::house::{House, callgate, keys, now, stage};

/// Callbacks that stream past the backup.
const ORDERS: u32 = 120;

/// How many answers come before the backup begins.
const BEFORE: usize = 40;

fn burst(seed: u64) -> Burst {
    Burst { stage: stage(Channel::AlipayMain).0, seed, orders: ORDERS, deliveries: 2 }
}

async fn register_all(house: &House, burst: &Burst) {
    for index in 0..burst.orders {
        let order = burst.order(index);
        let body = json!({ "amount_minor": order.amount.minor, "currency": "CNY",
            "state": order.state });
        assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
    }
}

/// Streams every callback, a few at once; `after` runs beside the rest once enough were
/// acknowledged, with the orders that were by then.
async fn stream(
    house: &Arc<House>,
    burst: &Burst,
    after: impl FnOnce() -> bool + Send + 'static,
) -> BTreeSet<u32> {
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let mut sending = tokio::task::JoinSet::new();
    let mut taken = None;
    let mut after = Some(after);
    for (place, delivery) in burst.deliveries().into_iter().enumerate() {
        let message = burst.message(keys().0, delivery, now()).expect("a signed message");
        let (house, told) = (Arc::clone(house), Arc::clone(&acknowledged));
        sending.spawn(async move {
            let answer = house.send(&message).await;
            assert_eq!(answer, (200, "success".to_owned()));
            told.lock().expect("nobody panicked").insert(delivery.order);
        });
        if sending.len() >= 8 {
            sending.join_next().await.expect("a sender").expect("a sender ends");
        }
        if place == BEFORE {
            let before = acknowledged.lock().expect("nobody panicked").clone();
            let after = after.take().expect("once");
            taken = Some((before, tokio::task::spawn_blocking(after)));
        }
    }
    while let Some(ended) = sending.join_next().await {
        ended.expect("a sender ends");
    }
    let (before, copying) = taken.expect("enough callbacks");
    assert!(copying.await.expect("the copy ends"), "the copy failed");
    before
}

/// Each is there, and had its effect once.
async fn paid_once(house: &House, burst: &Burst, orders: &BTreeSet<u32>) {
    assert!(!orders.is_empty(), "nothing was acknowledged before the backup");
    for index in orders {
        let order_no = burst.order(*index).order_no;
        let fits = |order: &Value| order["state"] == "TO_BE_DELIVERED";
        let order = house.order_when(&order_no, fits).await;
        assert_eq!(order["history"].as_array().map(Vec::len), Some(1), "{order:#}");
        assert_eq!(order["events"].as_array().map(Vec::len), Some(1), "{order:#}");
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_backup_under_load_has_everything_acknowledged_before_it() {
    let Some(house) = House::start_set(&["engine.lease_ms=1000"]) else { return };
    let burst = burst(7);
    register_all(&house, &burst).await;
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.db");
    let (config, to) = (text(&house.configuration()), text(&copy));
    let house = Arc::new(house);
    let before = stream(&house, &burst, move || {
        let ran = callgate(&["backup", "--config", &config, "--to", &to]);
        ran.status.success() && String::from_utf8_lossy(&ran.stdout).contains("notifications")
    })
    .await;
    let restored = folder.path().join("restored.db");
    let ran = callgate(&["restore", "--from", &text(&copy), "--to", &text(&restored)]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let again = callgate(&["restore", "--from", &text(&copy), "--to", &text(&restored)]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));
    let url = format!("store.url=sqlite://{}", restored.display());
    let elsewhere = House::start_set(&[&url, "engine.poll_ms=100"]).expect("processors are built");
    paid_once(&elsewhere, &burst, &before).await;
    assert!(elsewhere.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_dump_under_load_has_everything_acknowledged_before_it() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.run("createdb", &["live"]);
    cluster.run("createdb", &["restored"]);
    let live = format!("store.url={}", cluster.url("live"));
    let Some(house) = House::start_set(&[&live, "engine.lease_ms=1000"]) else { return };
    let burst = burst(8);
    register_all(&house, &burst).await;
    let refused = callgate(&[
        "backup",
        "--config",
        &text(&house.configuration()),
        "--set",
        &live,
        "--to",
        "/tmp/none",
    ]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("pg_dump"));
    let dump = cluster.folder.join("dump");
    let (mut dumping, to) = (cluster.command("pg_dump"), text(&dump));
    let house = Arc::new(house);
    let before = stream(&house, &burst, move || {
        let dumping: &mut Command = dumping.args(["--format=custom", "--file", &to, "live"]);
        dumping.status().is_ok_and(|status| status.success())
    })
    .await;
    let from = text(&dump);
    cluster.run(
        "pg_restore",
        &["--dbname=restored", "--exit-on-error", "--single-transaction", &from],
    );
    let url = format!("store.url={}", cluster.url("restored"));
    let elsewhere = House::start_set(&[&url, "engine.poll_ms=100"]).expect("processors are built");
    paid_once(&elsewhere, &burst, &before).await;
    assert!(elsewhere.stop());
}
