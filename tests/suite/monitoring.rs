//! What is shipped for Prometheus and Grafana: every metric that it names is in a real server's
//! `/metrics`, and every rule can be read and says what to do.

use std::collections::BTreeSet;
use std::path::Path;
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

#[test]
fn the_rules_are_what_prometheus_reads() {
    rules();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring/callgate.rules.yml");
    // Its own judge, where there is one: the Debian package prometheus has it.
    match Command::new("promtool").args(["check", "rules"]).arg(path).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => eprintln!("promtool was not asked: {error}"),
    }
}

/// Shown only for keys that end on a day, and once the configuration was loaded again.
const ONLY_WITH_CAUSE: [&str; 2] = ["callgate_key_expires_seconds", "callgate_reload_refused"];

/// How often the metrics are looked at before the story gives up.
const LOOKS: u32 = 500;

const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_millis(50);
