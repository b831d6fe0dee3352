//! An honest guest: what goes in and what comes out.

use callgate_sandbox::fault::Phase;
use callgate_sandbox::outside::LogLevel;
use callgate_sandbox::run::{Event, Expect, Read, Write};

use crate::guest::{Ledger, file, input, load, name, run, run_after};

#[tokio::test]
async fn a_good_guest_runs_its_phases_in_order_and_proposes_a_draft() {
    let plugin = load(file("good.wat")).await;
    let outside = Ledger::default();
    let report = plugin.run(input(), Box::new(outside.clone())).await;

    let draft = report.result.unwrap();
    assert_eq!(draft.target.as_deref(), Some("PAID"));
    let write = |collection, key, body: &str, expect| Write {
        name: name(collection, key),
        body: body.to_owned(),
        expect,
    };
    assert_eq!(
        draft.writes,
        [
            write("orders", "o-1", r#"{"amount":1,"paid":true}"#, Expect::Version(4)),
            write("ledger", "l-2", r#"{"entry":1}"#, Expect::Absent),
            write("ledger", "l-1", r#"{"entry":1}"#, Expect::Version(7)),
        ]
    );
    assert_eq!(draft.events, [paid("n-1.action.1")]);
    let phases: Vec<_> = report.costs.iter().map(|cost| cost.phase).collect();
    let order = [Phase::Start, Phase::Prepare, Phase::Check, Phase::NextState, Phase::Action];
    assert_eq!(phases, [order.as_slice(), &[Phase::Save]].concat());
    assert!(report.costs.iter().skip(1).all(|cost| cost.fuel > 0));
    assert_eq!(report.reads, [Read { name: name("ledger", "l-1"), version: Some(7) }]);
    assert_eq!(report.memory_bytes, 2 * 65536);

    let seen = outside.0.lock().unwrap();
    assert_eq!(seen.asked, [vec![name("ledger", "l-1")]], "the preload is the only question");
    assert_eq!(seen.lines, [(LogLevel::Info, "work done".to_owned(), String::new())]);
}

#[tokio::test]
async fn after_runs_alone_and_emits_events_of_its_own() {
    let plugin = load(file("good.wat")).await;
    let report = run_after(&plugin).await;
    assert_eq!(report.result.unwrap(), [paid("n-1.after.1")]);
    let phases: Vec<_> = report.costs.iter().map(|cost| cost.phase).collect();
    assert_eq!(phases, [Phase::Start, Phase::After]);
}

#[tokio::test]
async fn the_same_run_decides_and_costs_the_same_again() {
    let plugin = load(file("good.wat")).await;
    let (first, second) = (run(&plugin).await, run(&plugin).await);
    assert_eq!(first.result, second.result);
    assert_eq!(first.scratch, second.scratch, "the id left there is the same");
    let fuel = |costs: &[callgate_sandbox::run::Cost]| {
        costs.iter().map(|cost| cost.fuel).collect::<Vec<_>>()
    };
    assert_eq!(fuel(&first.costs), fuel(&second.costs));
}

#[tokio::test]
async fn an_id_is_a_uuid_of_version_7_with_the_time_of_receipt() {
    let report = run(&load(file("good.wat")).await).await;
    let id = report.scratch.trim_matches('"');
    // The first 48 bits are 1700000000500, which is 0x018bcfe569f4.
    assert_eq!(id.get(..13), Some("018bcfe5-69f4"), "{id}");
    assert_eq!(id.get(14..15), Some("7"), "{id}");
    assert_eq!(id.len(), 36);
}

#[tokio::test]
async fn another_notification_gets_other_ids() {
    let plugin = load(file("good.wat")).await;
    let mut other = input();
    other.notification.id = "n-2".to_owned();
    let first = run(&plugin).await;
    let second = plugin.run(other, Box::new(Ledger::default())).await;
    assert_ne!(first.scratch, second.scratch);
    assert_eq!(second.result.unwrap().events, [paid("n-2.action.1")]);
}

#[tokio::test]
async fn a_plugin_knows_its_build_and_its_configuration() {
    let bytes = file("good.wat");
    let plugin = load(bytes.clone()).await;
    assert_eq!(plugin.sha256().len(), 64);
    assert_eq!(plugin.sha256(), load(bytes).await.sha256());
    assert_eq!(plugin.config_revision().len(), 16);
    assert_eq!(plugin.descriptor().name, "test/guest");
    assert!(plugin.descriptor().after);
}

#[tokio::test]
async fn a_swap_lets_a_run_keep_its_plugin() {
    use callgate_sandbox::registry::{InForce, Registry, RouteKey};
    let plugin = std::sync::Arc::new(load(file("good.wat")).await);
    let in_force = InForce::new(Registry::build(vec![plugin]).unwrap());
    let key = RouteKey {
        business: "SHOP",
        scene: "APP",
        event_type: "payment.succeeded",
        state: Some("OPEN"),
    };
    let picked = in_force.current().pick(key, None).unwrap();
    in_force.swap(Registry::default());
    assert!(in_force.current().pick(key, None).is_none());
    assert!(picked.run(input(), Box::new(Ledger::default())).await.result.is_ok());
}

fn paid(id: &str) -> Event {
    Event {
        id: id.to_owned(),
        topic: "order.paid".to_owned(),
        key: "o-1".to_owned(),
        payload: r#"{"entry":1}"#.to_owned(),
        headers: vec![],
    }
}
