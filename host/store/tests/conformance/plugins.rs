//! Stories of plugins: pushed once, in force on every host, never overwritten by two operators.

use std::collections::BTreeSet;

use callgate_core::canary::{Budget, Runs, Share};
use callgate_store::{
    AuditQuery, CountedRuns, HostReport, NewVersion, PluginAct, PluginActed, PluginInstruction,
    Pushed, Rollout, Store,
};

use crate::acts::at;
use crate::house::House;

const NAME: &str = "shop/order-payment";

fn version(number: &str, component: &[u8]) -> NewVersion {
    let hash =
        format!("{:064x}", component.iter().fold(7u64, |h, b| h.wrapping_mul(31) ^ u64::from(*b)));
    NewVersion {
        name: NAME.to_owned(),
        version: number.to_owned(),
        sha256: hash,
        component: component.to_vec(),
        manifest: format!("name = \"{NAME}\"\n# signed"),
        manifest_sha256: "1".repeat(64),
        signed_by: "SHOP/release".to_owned(),
        who: "ada".to_owned(),
        why: "a new version".to_owned(),
    }
}

async fn push(store: &Store, number: &str) {
    let pushed = store.push_plugin(version(number, number.as_bytes()), at(1)).await.unwrap();
    assert!(matches!(pushed, Pushed::New(_)), "{pushed:?}");
}

fn instruction(act: PluginAct, revision: i64) -> PluginInstruction {
    let (who, why) = ("ada".to_owned(), "it was told".to_owned());
    PluginInstruction { name: NAME.to_owned(), act, revision, who, why }
}

async fn act(store: &Store, act: PluginAct, revision: i64, ms: i64) -> PluginActed {
    store.act_on_plugin(instruction(act, revision), at(ms)).await.unwrap()
}

/// Acts as somebody who looked a moment ago, and must succeed.
async fn done(store: &Store, what: PluginAct, ms: i64) -> Rollout {
    let revision = rollout(store).await.map_or(0, |now| now.revision);
    let acted = act(store, what, revision, ms).await;
    let PluginActed::Done { rollout: Some(rollout), .. } = acted else { panic!("{acted:?}") };
    *rollout
}

async fn refused(store: &Store, what: PluginAct, words: &str) {
    let revision = rollout(store).await.map_or(0, |now| now.revision);
    let before = store.plugin_revision().await.unwrap();
    let acted = act(store, what, revision, 9_000).await;
    let PluginActed::Refused { why } = acted else { panic!("{acted:?}") };
    assert!(why.contains(words), "{why}");
    assert_eq!(store.plugin_revision().await.unwrap(), before);
}

async fn rollout(store: &Store) -> Option<Rollout> {
    let found = store.rollouts().await.unwrap();
    found.into_iter().find(|one| one.name == NAME)
}

fn activate(version: &str, config: &str) -> PluginAct {
    PluginAct::Activate { version: version.to_owned(), config: config.to_owned() }
}

fn retire(version: &str) -> PluginAct {
    PluginAct::Retire { version: version.to_owned() }
}

fn share(parts: u32) -> Share {
    Share { parts, orders: BTreeSet::from(["o-1".to_owned()]) }
}

fn canary(version: &str) -> PluginAct {
    PluginAct::StartCanary {
        version: version.to_owned(),
        config: "{}".to_owned(),
        share: share(500),
        budget: Budget { runs: 10, parts: 1_000 },
    }
}

fn active(rollout: &Rollout) -> Option<(&str, &str)> {
    rollout.active.as_ref().map(|active| (active.version.as_str(), active.config.as_str()))
}

fn before(rollout: &Rollout) -> Option<&str> {
    rollout.before.as_ref().map(|before| before.version.as_str())
}

async fn told(store: &Store) -> Vec<String> {
    let query = AuditQuery { target: Some(NAME.to_owned()), limit: 100, ..AuditQuery::default() };
    let entries = store.audit(&query).await.unwrap();
    entries
        .into_iter()
        .map(|entry| format!("{} {}: {}", entry.who, entry.act, entry.result))
        .collect()
}

pub(crate) async fn a_version_is_pushed_once_and_never_changes(house: &House) {
    let store = house.open().await;
    let first = version("1.0.0", b"component");
    let Pushed::New(stored) = store.push_plugin(first.clone(), at(1)).await.unwrap() else {
        panic!("it is new")
    };
    assert_eq!((stored.size, stored.pushed_by.as_str()), (9, "ada"));
    let again = store.push_plugin(first.clone(), at(2)).await.unwrap();
    assert_eq!(again, Pushed::Known(stored.clone()), "the same again changes nothing");
    assert_eq!(store.plugin_revision().await.unwrap(), 0);
    let other = version("1.0.0", b"other bytes");
    assert_eq!(store.push_plugin(other, at(3)).await.unwrap(), Pushed::Differs(stored.clone()));
    let other = NewVersion { manifest_sha256: "2".repeat(64), ..first.clone() };
    assert_eq!(store.push_plugin(other, at(3)).await.unwrap(), Pushed::Differs(stored.clone()));
    // Signed anew: the same version under other signatures.
    let signed = NewVersion { manifest: "anew".to_owned(), ..first.clone() };
    let pushed = store.push_plugin(signed, at(4)).await.unwrap();
    assert!(matches!(&pushed, Pushed::Known(known) if known.manifest == "anew"), "{pushed:?}");
    assert_eq!(store.plugin_revision().await.unwrap(), 1, "hosts look again");
    // Another version of the same bytes shares them.
    let shared = NewVersion { version: "1.0.1".to_owned(), ..first.clone() };
    assert!(matches!(store.push_plugin(shared, at(5)).await.unwrap(), Pushed::New(_)));
    assert_eq!(house.number("select count(*) from components").await, 1);
    assert_eq!(store.component(&first.sha256).await.unwrap().unwrap(), b"component");
    assert_eq!(store.component(&"f".repeat(64)).await.unwrap(), None);
    let found = store.plugin_version(NAME, "1.0.0").await.unwrap().unwrap();
    assert_eq!(found.manifest, "anew");
    assert_eq!(store.plugin_version(NAME, "9.9.9").await.unwrap(), None);
    assert_eq!(store.plugin_versions().await.unwrap().len(), 2);
    assert_eq!(told(&store).await.len(), 3, "{:?}", told(&store).await);
    for why in [String::new(), "x".repeat(1_001)] {
        let wrong = NewVersion { why, version: "2.0.0".to_owned(), ..first.clone() };
        assert!(store.push_plugin(wrong, at(6)).await.is_err());
    }
}

pub(crate) async fn rollbacks_lead_back_step_by_step_to_the_configuration(house: &House) {
    let store = house.open().await;
    for number in ["1.0.0", "1.1.0", "1.2.0"] {
        push(&store, number).await;
    }
    refused(&store, PluginAct::Rollback, "nothing was activated").await;
    let now = done(&store, activate("1.0.0", "{}"), 10).await;
    assert_eq!((active(&now), before(&now)), (Some(("1.0.0", "{}")), None));
    refused(&store, activate("1.0.0", "{}"), "active already").await;
    // The same version with another configuration is another activation.
    let now = done(&store, activate("1.0.0", r#"{"a":1}"#), 11).await;
    assert_eq!((active(&now), before(&now)), (Some(("1.0.0", r#"{"a":1}"#)), Some("1.0.0")));
    done(&store, activate("1.1.0", "[]"), 12).await;
    let now = done(&store, activate("1.2.0", "{}"), 13).await;
    assert_eq!((now.revision, before(&now)), (4, Some("1.1.0")));
    let now = done(&store, PluginAct::Rollback, 14).await;
    assert_eq!(active(&now), Some(("1.1.0", "[]")), "with the configuration of then");
    // From here, another one goes in front of what is in force.
    let now = done(&store, activate("1.2.0", "{}"), 15).await;
    assert_eq!(before(&now), Some("1.1.0"));
    done(&store, PluginAct::Rollback, 16).await;
    let now = done(&store, PluginAct::Rollback, 17).await;
    assert_eq!((active(&now), before(&now)), (Some(("1.0.0", r#"{"a":1}"#)), Some("1.0.0")));
    let now = done(&store, PluginAct::Rollback, 18).await;
    assert_eq!((active(&now), before(&now)), (Some(("1.0.0", "{}")), None));
    let now = done(&store, PluginAct::Rollback, 19).await;
    assert_eq!((active(&now), before(&now)), (None, None), "the configuration's");
    refused(&store, PluginAct::Rollback, "nothing was activated").await;
    assert_eq!(now.revision, store.plugin_revision().await.unwrap());
    let told = told(&store).await;
    assert_eq!(told[0], "ada plugins.rollback: 1.0.0 -> the configuration's");
    // What was written is there for the next start.
    store.close().await;
    let store = house.open().await;
    assert_eq!(rollout(&store).await, Some(now));
}

pub(crate) async fn of_two_operators_one_is_told_to_look_again(house: &House) {
    let (store, other) = (house.open().await, house.open().await);
    for number in ["1.0.0", "1.1.0"] {
        push(&store, number).await;
    }
    for round in 0..10 {
        let revision = rollout(&store).await.map_or(0, |now| now.revision);
        let config = format!("[{round}]");
        let (one, two) = tokio::join!(
            store.act_on_plugin(instruction(activate("1.0.0", &config), revision), at(20 + round)),
            other.act_on_plugin(instruction(activate("1.1.0", &config), revision), at(20 + round)),
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        let stale = PluginActed::Stale { revision: revision + 1 };
        let won = [&one, &two].map(|acted| matches!(acted, PluginActed::Done { .. }));
        assert!(won[0] != won[1] && (one == stale || two == stale), "{one:?} {two:?}");
    }
    assert_eq!(store.plugin_revision().await.unwrap(), 10);
    let acted = act(&store, activate("9.9.9", "{}"), 10, 50).await;
    assert_eq!(acted, PluginActed::NotFound);
    let acted = act(&store, activate("1.0.0", "{}"), 0, 50).await;
    assert_eq!(acted, PluginActed::Stale { revision: 10 });
}

pub(crate) async fn a_retired_version_is_never_activated_again(house: &House) {
    let store = house.open().await;
    for number in ["1.0.0", "1.1.0", "1.2.0"] {
        push(&store, number).await;
    }
    done(&store, activate("1.0.0", "{}"), 10).await;
    refused(&store, retire("1.0.0"), "is active").await;
    done(&store, activate("1.1.0", "{}"), 11).await;
    done(&store, canary("1.2.0"), 12).await;
    refused(&store, retire("1.2.0"), "on trial").await;
    done(&store, PluginAct::StopCanary, 13).await;
    let now = done(&store, activate("1.2.0", "{}"), 14).await;
    let revision = now.revision;
    // The one in between: a rollback leads past it.
    let now = done(&store, retire("1.1.0"), 15).await;
    assert_eq!(
        (before(&now), store.plugin_revision().await.unwrap()),
        (Some("1.0.0"), revision + 1)
    );
    refused(&store, retire("1.1.0"), "retired already").await;
    refused(&store, activate("1.1.0", "{}"), "was retired").await;
    refused(&store, canary("1.1.0"), "was retired").await;
    let now = done(&store, PluginAct::Rollback, 16).await;
    assert_eq!(active(&now), Some(("1.0.0", "{}")));
    assert_eq!(act(&store, retire("9.9.9"), now.revision, 17).await, PluginActed::NotFound);
    // Pushing it again does not bring it back.
    let known = store.push_plugin(version("1.1.0", b"1.1.0"), at(18)).await.unwrap();
    assert!(matches!(known, Pushed::Known(known) if known.retired_at.is_some()));
}

pub(crate) async fn a_canary_is_tried_changed_promoted_or_stopped(house: &House) {
    let store = house.open().await;
    for number in ["1.0.0", "1.1.0"] {
        push(&store, number).await;
    }
    for nothing in [PluginAct::PromoteCanary, PluginAct::StopCanary] {
        refused(&store, nothing, "no canary").await;
    }
    // Beside what the configuration names, too.
    let now = done(&store, canary("1.0.0"), 10).await;
    let on_trial = now.canary.as_ref().unwrap();
    assert_eq!((active(&now), on_trial.round), (None, now.revision));
    assert_eq!((on_trial.version.as_str(), &on_trial.share), ("1.0.0", &share(500)));
    refused(&store, canary("1.1.0"), "on trial").await;
    refused(&store, activate("1.1.0", "{}"), "on trial").await;
    let round = on_trial.round;
    let now = done(&store, PluginAct::ChangeCanary { share: share(2_000) }, 11).await;
    let changed = now.canary.as_ref().unwrap();
    assert_eq!((changed.share.parts, changed.round), (2_000, round), "its runs are counted on");
    let now = done(&store, PluginAct::PromoteCanary, 12).await;
    assert_eq!((active(&now), &now.canary), (Some(("1.0.0", "{}")), &None));
    refused(&store, canary("1.0.0"), "active already").await;
    done(&store, canary("1.1.0"), 13).await;
    // Who rolls back in a hurry ends the trial, and keeps what was active.
    let now = done(&store, PluginAct::Rollback, 14).await;
    assert_eq!((active(&now), &now.canary), (Some(("1.0.0", "{}")), &None));
    for wrong in [share(10_001), Share::default()] {
        let act = PluginAct::ChangeCanary { share: wrong };
        assert!(store.act_on_plugin(instruction(act, now.revision), at(15)).await.is_err());
    }
    assert_eq!(
        told(&store).await[..3],
        [
            "ada plugins.rollback: canary 1.1.0 is stopped; 1.0.0 stays",
            "ada plugins.canary-start: canary 1.1.0 gets 5% of orders and 1 named orders beside 1.0.0",
            "ada plugins.canary-promote: the configuration's -> 1.0.0",
        ]
    );
}

fn counted(round: i64, active: (i64, i64), canary: (i64, i64)) -> Vec<CountedRuns> {
    let runs = |(failed, total)| Runs { total, failed };
    let name = NAME.to_owned();
    vec![CountedRuns { name, round, active: runs(active), canary: runs(canary) }]
}

pub(crate) async fn a_canary_that_fails_too_often_is_stopped_by_what_all_hosts_counted(
    house: &House,
) {
    let (store, other) = (house.open().await, house.open().await);
    for number in ["1.0.0", "1.1.0"] {
        push(&store, number).await;
    }
    done(&store, activate("1.0.0", "{}"), 10).await;
    let round = done(&store, canary("1.1.0"), 11).await.canary.unwrap().round;
    let count =
        async |store: &Store, counted, ms| store.count_plugin_runs(counted, at(ms)).await.unwrap();
    // Five each, of which all fail: not enough to be judged.
    assert_eq!(count(&store, counted(round, (0, 20), (5, 5)), 12).await, []);
    let (one, two) = tokio::join!(
        count(&store, counted(round, (0, 1), (2, 2)), 13),
        count(&other, counted(round, (0, 1), (2, 2)), 13),
    );
    assert_eq!((one.len(), two.len()), (0, 0));
    assert_eq!(count(&store, counted(round + 1, (0, 0), (9, 9)), 14).await, [], "another trial");
    let sums = store.plugin_runs(NAME, round).await.unwrap();
    assert_eq!(sums, (Runs { total: 22, failed: 0 }, Runs { total: 9, failed: 9 }));
    let crossed = count(&other, counted(round, (0, 0), (0, 1)), 15).await;
    assert_eq!((crossed.len(), crossed[0].version.as_str()), (1, "1.1.0"));
    let now = rollout(&store).await.unwrap();
    assert_eq!((active(&now), &now.canary), (Some(("1.0.0", "{}")), &None));
    assert_eq!(now.revision, store.plugin_revision().await.unwrap());
    assert_eq!(count(&store, counted(round, (0, 0), (9, 9)), 16).await, [], "it has ended");
    let told = told(&store).await;
    assert!(
        told[0].starts_with("callgate plugins.canary-failed: canary 1.1.0 is stopped: 9 of 10"),
        "{told:?}"
    );
}

pub(crate) async fn a_canary_that_goes_bad_late_is_judged_by_its_last_minutes(house: &House) {
    let store = house.open().await;
    for number in ["1.0.0", "1.1.0"] {
        push(&store, number).await;
    }
    done(&store, activate("1.0.0", "{}"), 10).await;
    let round = done(&store, canary("1.1.0"), 11).await.canary.unwrap().round;
    let hour = 3_600_000;
    let good = counted(round, (0, 5_000), (0, 5_000));
    assert_eq!(store.count_plugin_runs(good, at(0)).await.unwrap(), []);
    // What fails on both sides is not the canary's.
    let trouble = counted(round, (40, 50), (40, 50));
    assert_eq!(store.count_plugin_runs(trouble, at(hour)).await.unwrap(), []);
    let late = counted(round, (0, 50), (50, 50));
    assert_eq!(store.count_plugin_runs(late, at(2 * hour)).await.unwrap().len(), 1);
}

pub(crate) async fn every_host_says_what_it_has_in_force(house: &House) {
    let (store, other) = (house.open().await, house.open().await);
    let report = |host: &str, revision, ms| HostReport {
        host: host.to_owned(),
        machine: "m".to_owned(),
        revision,
        report: "[]".to_owned(),
        seen_at: at(ms),
    };
    store.report_plugins(report("a", 1, 10)).await.unwrap();
    other.report_plugins(report("b", 1, 10)).await.unwrap();
    store.report_plugins(report("a", 2, 20)).await.unwrap();
    let hosts = store.plugin_hosts().await.unwrap();
    assert_eq!(hosts, [report("a", 2, 20), report("b", 1, 10)]);
    other.leave_plugins("b").await.unwrap();
    assert_eq!(store.plugin_hosts().await.unwrap().len(), 1);
    // One that died is forgotten after a day.
    store.report_plugins(report("c", 2, 86_400_021)).await.unwrap();
    assert_eq!(store.plugin_hosts().await.unwrap().len(), 1);
}
