//! What is shipped for Prometheus and Grafana: every metric that it names is in a real server's
//! `/metrics`, and every rule can be read, says what to do, and fires when it should.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use callgate_trigger::channel::Channel;
use callgate_trigger::message::{Flaw, Sending};
use serde_json::Value;

use crate::house::{House, OPERATOR, keys, now, stage};
use crate::sinks::{HttpSink, Shop};

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every metric that expressions name, as it stands in `/metrics`.
fn named(texts: &[String]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for text in texts {
        let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        names.extend(words.filter(|word| word.starts_with("callgate_")).map(str::to_owned));
    }
    names
}

/// The expressions of the rules; each rule must be whole.
fn rules() -> Vec<String> {
    let text = shipped("callgate.rules.yml");
    let read: Value = serde_yaml_ng::from_str(&text).expect("the rules are YAML");
    let groups = read["groups"].as_array().expect("groups");
    let (mut expressions, mut names) = (Vec::new(), BTreeSet::new());
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")) {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = word(&rule["alert"]);
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert!(
            ["critical", "warning", "info"].contains(&word(&rule["labels"]["severity"]).as_str()),
            "{name}"
        );
        for part in ["summary", "description", "action"] {
            assert!(!word(&rule["annotations"][part]).is_empty(), "{name} has no {part}");
        }
        expressions.push(word(&rule["expr"]));
    }
    assert!(names.len() >= 10, "{names:?}");
    expressions
}

/// The expressions of the dashboard; no two panels lie on each other.
fn dashboard() -> Vec<String> {
    let read: Value = serde_json::from_str(&shipped("grafana.json")).expect("JSON");
    let panels = read["panels"].as_array().expect("panels");
    let mut places = BTreeSet::new();
    for panel in panels {
        let place = &panel["gridPos"];
        assert!(places.insert((place["y"].as_u64(), place["x"].as_u64())), "{panel:#}");
    }
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

async fn metrics(house: &House) -> String {
    let request = house.http.get(format!("{}/metrics", house.private)).bearer_auth(OPERATOR);
    request.send().await.expect("metrics").text().await.expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_is_shipped_is_there_after_some_traffic() {
    let wanted = named(&[rules(), dashboard()].concat());
    assert!(wanted.len() >= 20, "{wanted:?}");
    let sink = HttpSink::start().await;
    let toml = format!("{}[alerts]\nlook_ms = 50\n", sink.toml("erp", ""));
    let Some(house) = House::start_with(&toml) else { return };
    let mut shop = Shop::new(&house.public, &house.private);
    for _ in 0..3 {
        shop.pay(1).await;
    }
    sink.when_taken(3).await;
    let (stage, mut draw) = stage(Channel::WechatV3Main);
    let purchase = stage.purchase(&mut draw);
    for flaw in [Flaw::Probe, Flaw::WrongKey, Flaw::Stale] {
        let notice = stage.payment(&purchase, &mut draw);
        let message = notice.sign(keys().0, Sending::flawed(now(), flaw), &mut draw);
        house.send(&message.expect("a message")).await;
    }
    let mut missing = wanted.clone();
    for _ in 0..LOOKS {
        let text = metrics(&house).await;
        let shown = |name: &str| {
            text.lines().any(|line| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
        };
        missing = wanted
            .iter()
            .filter(|name| !shown(name) && !ONLY_WITH_CAUSE.contains(&name.as_str()))
            .cloned()
            .collect();
        if missing.is_empty() {
            return;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    panic!("not in /metrics: {missing:?}");
}

/// Prometheus's own judge; `None`, said loudly, where it is not, which CI does not put up with.
fn promtool() -> Option<PathBuf> {
    let given = std::env::var_os("CALLGATE_TEST_PROMTOOL").map(PathBuf::from);
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/promtool/usr/bin/promtool");
    let usual = ["/usr/bin/promtool", "/usr/local/bin/promtool"].map(PathBuf::from);
    let mut all = given.into_iter().chain(usual).chain([fetched]);
    let found = all.find(|path| path.exists());
    if found.is_none() {
        let remedy = "no promtool was found: run `cargo xtask test`, or install the Debian package \
                      prometheus";
        assert!(std::env::var_os("CI").is_none(), "{remedy}");
        eprintln!("*** SKIPPED: {remedy}");
    }
    found
}

#[test]
fn the_rules_are_what_prometheus_reads() {
    rules();
    let Some(promtool) = promtool() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring");
    for words in
        [["check", "rules", "callgate.rules.yml"], ["test", "rules", "callgate.rules.test.yml"]]
    {
        let judged = Command::new(&promtool).args(words).current_dir(&folder).output();
        let judged = judged.expect("promtool runs");
        let told = String::from_utf8([judged.stdout, judged.stderr].concat()).expect("text");
        assert!(judged.status.success(), "{words:?}: {told}");
    }
}

/// Each shipped alert is seen to fire, and to be quiet before.
#[test]
fn every_alert_has_a_test_of_its_own() {
    let rules: Value = serde_yaml_ng::from_str(&shipped("callgate.rules.yml")).expect("YAML");
    let tests: Value = serde_yaml_ng::from_str(&shipped("callgate.rules.test.yml")).expect("YAML");
    let looks: Vec<&Value> = tests["tests"].as_array().expect("tests").iter().collect();
    let looks = looks.iter().flat_map(|test| test["alert_rule_test"].as_array().expect("looks"));
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for look in looks {
        let name = look["alertname"].as_str().expect("a name");
        let none = look["exp_alerts"].as_array().expect("alerts").is_empty();
        if none {
            quiet.insert(name)
        } else {
            fires.insert(name)
        };
    }
    let groups = rules["groups"].as_array().expect("groups").iter();
    for rule in groups.flat_map(|group| group["rules"].as_array().expect("rules")) {
        let name = rule["alert"].as_str().expect("a name");
        assert!(fires.contains(name) && quiet.contains(name), "{name} has no test of its own");
    }
}

/// Shown only for keys that end on a day, and once the configuration was loaded again.
const ONLY_WITH_CAUSE: [&str; 2] = ["callgate_key_expires_seconds", "callgate_reload_refused"];

/// How often the metrics are looked at before the story gives up.
const LOOKS: u32 = 500;

const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_millis(50);
