//! Versions in the shadow of the one in force, and what runs cost: a wrong one is found out, one
//! that loops delays nobody, and neither leaves a trace but its report.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;
use serde_json::{Value, json};

use crate::backtest::replaced;
use crate::house::{House, OPERATOR, binary, keys, now, stage};
use crate::looping;
use crate::versions::{NAME, Operator, POLICY, Version};

/// The command line, as an operator.
fn plugin(house: &House, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("plugin").args(words);
    command.env("CALLGATE_OPERATOR_URL", &house.private);
    command.env("CALLGATE_OPERATOR_TOKEN", OPERATOR);
    tokio::task::block_in_place(|| command.output()).expect("the binary runs")
}

/// The same, which must succeed; answers what it prints.
fn told(house: &House, words: &[&str]) -> String {
    let output = plugin(house, words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Tells of a new order, that it was paid or closed, and waits until it is; answers its number.
async fn order(house: &House, closed: bool) -> String {
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    let order = stage.order(&purchase);
    let body = json!({ "amount_minor": order.amount.minor, "currency": order.amount.currency,
        "state": order.state });
    assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
    let notice = if closed {
        stage.payment_closed(&purchase, &mut draw).expect("it tells of closing")
    } else {
        stage.payment(&purchase, &mut draw)
    };
    let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
    assert_eq!(house.send(&message).await.0, 200);
    let state = if closed { "CLOSED" } else { "TO_BE_DELIVERED" };
    let seen = house.order_when(&order.order_no, |order| order["state"] == state).await;
    assert_eq!(seen["notifications"][0]["attempts"], 1, "{seen:#}");
    assert_eq!(seen["history"][0]["plugin_version"], "0.1.0", "{seen:#}");
    assert_eq!(seen["events"].as_array().map(Vec::len), Some(1), "{seen:#}");
    order.order_no
}

/// The report, once it is about so many runs.
async fn report_of(house: &House, runs: u64) -> Value {
    for _ in 0..1_000 {
        let text = told(house, &["shadow", NAME, "--report", "--json"]);
        let report: Value = serde_json::from_str(&text).expect("JSON");
        let count = |name: &str| report["found"][name].as_u64().unwrap_or(0);
        let ended = ["same", "different", "dropped", "failed"].map(count);
        if count("offered") >= runs && ended.iter().sum::<u64>() == count("offered") {
            return report;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "no report of {runs} runs: {}\n{}",
        told(house, &["shadow", NAME, "--report"]),
        house.log()
    );
}

/// Starts a shadow and waits until the server has it.
async fn start(house: &House, version: &Version) {
    Operator::at(&house.private).pushed(version).await;
    let words = ["shadow", NAME, "--version", &version.number, "--why", "a look ahead"];
    let text = told(house, &words);
    assert!(text.contains(&version.number) && text.contains("100% of orders"), "{text}");
    for _ in 0..1_000 {
        if house.log().contains("a shadow runs beside") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no shadow runs: {}", house.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_version_in_the_shadow_is_found_out_and_leaves_no_trace() {
    let Some(house) = House::start_with(POLICY) else { return };
    let Some(version) = Version::of("0.1.9") else { return };
    let wrong = replaced(&version.component, b"order.closed", b"order.klosed");
    start(&house, &Version::made("0.1.9", wrong)).await;
    let mut closed = BTreeSet::new();
    for number in 0..40 {
        let close = number % 2 == 0;
        let order_no = order(&house, close).await;
        if close {
            closed.insert(order_no);
        }
    }
    let report = report_of(&house, 40).await;
    let count = |name: &str| report["found"][name].as_u64().unwrap_or(0);
    assert_eq!((count("offered"), count("failed")), (40, 0), "{report:#}");
    assert!(count("same") > 0 && count("different") > 0, "{report:#}");
    assert_eq!(report["found"]["kinds"]["outcome"], count("different"), "{report:#}");
    for one in report["last"].as_array().expect("a list") {
        assert!(closed.contains(one["order_no"].as_str().expect("an order")), "{one:#}");
        let written = one["differences"].as_array().expect("a list").iter();
        let mut written = written.filter(|one| one["kind"] == "write" || one["kind"] == "event");
        assert!(written.all(|one| one["a"].is_null() && one["b"].is_null()), "veiled: {one:#}");
    }
    let raw = told(&house, &["shadow", NAME, "--report", "--raw"]);
    assert!(raw.contains("emits event 1: order.closed -> nothing"), "{raw}");
    // The same question to what is stored, by the name of what was pushed.
    let config = house.configuration().display().to_string();
    let which = format!("{NAME}@0.1.9");
    let asked = ["backtest", &which, "--since", "1h", "--json", "--config", &config];
    let output = plugin(&house, &asked);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let found = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["order_no"].as_str().map(str::to_owned)
    });
    assert_eq!(found.collect::<BTreeSet<_>>(), closed);
    told(&house, &["shadow", NAME, "--stop", "--why", "seen enough"]);
    assert!(told(&house, &["shadow", NAME, "--report"]).contains("stopped at"));
    let audit = Operator::at(&house.private).audit().await;
    let acts: Vec<_> = audit.iter().map(|one| one["act"].as_str().expect("an act")).collect();
    assert_eq!(acts, ["plugins.shadow-stop", "plugins.shadow-start", "plugins.push"]);
    let again = plugin(&house, &["shadow", NAME, "--stop", "--why", "seen enough"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("404"));
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "it is told how long it took")]
async fn a_looping_version_in_the_shadow_delays_nobody_and_commits_nothing() {
    let Some(house) = House::start_with(POLICY) else { return };
    let begun = Instant::now();
    for _ in 0..50 {
        order(&house, false).await;
    }
    let alone = begun.elapsed();
    start(&house, &Version::made("0.1.8", looping::component("0.1.8"))).await;
    let begun = Instant::now();
    for _ in 0..50 {
        order(&house, false).await;
    }
    eprintln!("50 payments: {alone:?} alone, {:?} beside a shadow that loops", begun.elapsed());
    let report = report_of(&house, 50).await;
    let count = |name: &str| report["found"][name].as_u64().unwrap_or(0);
    assert_eq!((count("offered"), count("same")), (50, 0), "{report:#}");
    assert!(count("different") > 0 && count("dropped") > 0, "{report:#}");
    let stopped = report["last"][0]["b"]["outcome"].as_str().expect("an outcome");
    assert!(["fault sandbox.fuel", "fault sandbox.deadline"].contains(&stopped), "{stopped}");
    assert_eq!(house.rows().await, 0, "nothing is left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_cost_is_told_by_version_and_phase() {
    let Some(house) = House::start_with(POLICY) else { return };
    for _ in 0..10 {
        order(&house, false).await;
    }
    let text = told(&house, &["stats", NAME, "--since", "1h", "--json"]);
    let stats: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&stats["attempts"], &stats["complete"]), (&json!(10), &json!(true)), "{stats:#}");
    let version = &stats["versions"][0];
    assert_eq!((&version["version"], &version["runs"]), (&json!("0.1.0"), &json!(10)));
    assert_eq!(version["outcomes"], json!({ "advance": 10 }), "{stats:#}");
    let phases = version["phases"].as_array().expect("phases");
    let names: Vec<_> =
        phases.iter().map(|phase| phase["phase"].as_str().expect("a name")).collect();
    assert_eq!(names, ["start", "prepare", "check", "next-state", "action", "save"]);
    for phase in phases {
        assert_eq!(phase["runs"], 10);
        let fuel = &phase["fuel"];
        let [half, most, max] = ["p50", "p99", "max"].map(|name| fuel[name].as_u64().expect(name));
        assert!(half <= most && most <= max && max > 0, "{phase:#}");
        assert_eq!(fuel["limit"], 20_000_000);
        let part = fuel["p99_of_limit_parts"].as_u64().expect("a part");
        assert_eq!(part, most * 10_000 / 20_000_000);
    }
    let table = told(&house, &["stats", NAME]);
    assert!(table.contains("next-state") && table.contains("of limit"), "{table}");
    let nobody = told(&house, &["stats", "nobody"]);
    assert!(nobody.contains("0 attempts"), "{nobody}");
}
