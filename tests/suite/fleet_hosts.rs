//! Versions on several hosts, and under load.

use std::collections::BTreeSet;

use callgate_store::{Found, Settings, Store};
use serde_json::json;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::hosts::Host;
use crate::load::Load;
use crate::versions::{Operator, Version, in_force};

/// What a host allows, as flags.
const ALLOWED: [&str; 2] = [
    "businesses.PRODUCT_ORDER.policy.write=[\"ledger\"]",
    "businesses.PRODUCT_ORDER.policy.topics=[\"order.*\"]",
];

/// Every host has this version in force, and no other beside it.
async fn everywhere(operator: &Operator, number: &str, hosts: usize) {
    let wanted = vec![(Some(number.to_owned()), None); hosts];
    operator.list_when(|list| in_force(list) == wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_switches_by_itself() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let (Some(mut one), Some(mut two)) = (Host::new(&url, &ALLOWED), Host::new(&url, &ALLOWED))
    else {
        return;
    };
    let (first, second) = (one.start(), two.start());
    let (first, second) = (Operator::at(&first.private), Operator::at(&second.private));
    let Some(next) = Version::of("0.1.1") else { return };
    first.pushed(&next).await;
    // The same push at another host is the same version.
    let (status, told) = second.push(&next).await;
    assert_eq!((status, &told["state"]), (200, &json!("known")), "{told:#}");
    first.activated("0.1.1").await;
    everywhere(&second, "0.1.1", 2).await;
    second.done("rollback", &json!({})).await;
    everywhere(&first, "0.1.0", 2).await;
    // One that comes later has what all have.
    second.activated("0.1.1").await;
    let Some(mut three) = Host::new(&url, &ALLOWED) else { return };
    let third = Operator::at(&three.start().private);
    everywhere(&third, "0.1.1", 3).await;
    // One whose policy refuses it keeps what it had, and says so.
    let strict = ["businesses.PRODUCT_ORDER.policy.write=[]"];
    second.done("rollback", &json!({})).await;
    let Some(mut four) = Host::new(&url, &strict) else { return };
    let fourth = Operator::at(&four.start().private);
    first.activated("0.1.1").await;
    let list = fourth.list_when(|list| {
        let stuck = in_force(list).iter().filter(|one| one.0.as_deref() == Some("0.1.0")).count();
        stuck == 1 && list.to_string().contains("package.grant")
    });
    let list = list.await;
    assert_eq!(in_force(&list).len(), 4);
    assert!(four.log().contains("cannot be loaded; what was stays in force"), "{}", four.log());
}

/// Twenty activations and rollbacks while callbacks stream.
async fn upgraded_under_load(url: &str, hosts: usize) {
    let load = Load::new(4, hosts);
    let (mut running, mut operators) = (Vec::new(), Vec::new());
    for number in 0..hosts {
        let Some(mut host) = Host::new(url, &ALLOWED) else { return };
        let addresses = host.start();
        operators.push(Operator::at(&addresses.private));
        load.place(number, Some(addresses));
        running.push(host);
    }
    let Some(versions) = ["0.1.1", "0.1.2", "0.1.3"].map(Version::of).into_iter().collect() else {
        return;
    };
    let versions: Vec<Version> = versions;
    for version in &versions {
        operators[0].pushed(version).await;
    }
    let posters = load.start(6);
    let mut next = versions.iter().cycle();
    let mut turns = operators.iter().cycle();
    for act in 0..20u32 {
        let operator = turns.next().expect("a host");
        let before = load.acknowledged();
        if matches!(act, 3 | 7 | 11 | 15 | 19) {
            operator.done("rollback", &json!({})).await;
        } else {
            let version = next.next().expect("a version");
            operator.activated(&version.number).await;
        }
        while load.acknowledged() < before.saturating_add(10) {
            tokio::task::yield_now().await;
        }
    }
    load.finish(posters).await;
    assert_eq!(load.declined(), 0, "a callback was declined");
    let orders = load.hold_against(url).await;
    assert!(orders > 50, "{orders} orders are no load");
    no_order_is_of_two_versions(url).await;
}

/// Each run that had an effect names one component, the same in history and attempts.
async fn no_order_is_of_two_versions(url: &str) {
    let store = Store::open(&Settings { url: url.to_owned(), ..Settings::default() }).await;
    let store = store.expect("the same database");
    let mut seen = BTreeSet::new();
    let (mut cursor, mut looked) = (None, 0u32);
    loop {
        let page = store.search(&callgate_store::Filter::default(), cursor.as_ref(), 100).await;
        let page = page.expect("a read");
        let Some(last) = page.last() else { break };
        cursor = Some((last.received_at(), last.id().to_owned()));
        for stored in &page {
            let Found::Read(stored) = stored else { panic!("{stored:?}") };
            let found = store.inspect(&stored.id).await.expect("a read").expect("it is there");
            let led: Vec<_> =
                found.attempts.iter().filter(|one| one.outcome == "advance").collect();
            assert!(led.len() <= 1, "{:?}", found.attempts);
            let component = led.first().and_then(|one| Some(one.run.as_ref()?.component.clone()));
            for one in &found.attempts {
                assert_ne!(one.outcome, "retry", "a run failed: {one:?}");
                assert_ne!(one.outcome, "review", "a run failed: {one:?}");
            }
            let order = stored.subject.as_deref().expect("an order");
            let view = store.order("PRODUCT_ORDER", order).await.expect("a read").expect("one");
            for entry in view.history.iter().filter(|entry| entry.notification_id == stored.id) {
                if entry.effect == callgate_store::Effect::None {
                    continue;
                }
                let run = entry.run.as_ref().expect("a processor");
                assert_eq!(Some(&run.component), component.as_ref());
                seen.insert(run.plugin_version.clone());
            }
            looked = looked.saturating_add(1);
        }
    }
    store.close().await;
    assert!(looked > 100 && seen.len() >= 3, "{looked} notifications, versions {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_upgrades_under_load_lose_and_double_nothing_on_sqlite() {
    let folder = TempDir::new().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("callgate.db").display());
    upgraded_under_load(&url, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_upgrades_under_load_lose_and_double_nothing_on_two_hosts() {
    let Some(cluster) = Cluster::shared() else { return };
    upgraded_under_load(&cluster.database().await, 2).await;
}
