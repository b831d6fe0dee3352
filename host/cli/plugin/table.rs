//! Plugins as texts for people.

use serde_json::Value;

use crate::cli::operate::show::{cell, rows, table, time};

/// One plugin of a list.
pub(super) fn plugin<'a>(answer: &'a Value, name: &str) -> Option<&'a Value> {
    rows(&answer["plugins"]).find(|plugin| plugin["name"] == name)
}

pub(super) fn pushed(answer: &Value) -> String {
    let word = |name: &str| cell(&answer[name]);
    let state = match word("state").as_str() {
        "new" => "stored; it is not in force yet",
        "retired" => "known, and retired: it cannot be activated",
        _ => "known already; nothing was changed",
    };
    let signed = if word("signed_by").is_empty() { "nobody".to_owned() } else { word("signed_by") };
    let mut text = format!("{} {}: {state}\n", word("name"), word("version"));
    for (name, value) in [
        ("component", word("sha256")),
        ("bytes", word("size")),
        ("contract", word("contract")),
        ("signed by", signed),
        ("reads", list(&answer["read"])),
        ("writes", list(&answer["write"])),
        ("topics", list(&answer["topics"])),
    ] {
        text.push_str(&format!("  {name:<12}{value}\n"));
    }
    for route in rows(&answer["routes"]) {
        text.push_str(&format!("  {:<12}{}\n", "route", cell(route)));
    }
    for (limit, value) in answer["limits"].as_object().into_iter().flatten() {
        text.push_str(&format!("  {:<12}{limit} = {}\n", "limit", cell(value)));
    }
    text
}

pub(super) fn acted(answer: &Value) -> String {
    let word = |name: &str| cell(&answer[name]);
    format!("{}: {} (revision {})\n", word("name"), word("told"), word("revision"))
}

pub(super) fn listed(answer: &Value, name: Option<&str>) -> String {
    let meant = |plugin: &&Value| name.is_none_or(|name| plugin["name"] == name);
    let lines = rows(&answer["plugins"]).filter(meant).map(|one| {
        vec![
            cell(&one["name"]),
            cell(&one["revision"]),
            version(&one["active"]),
            version(&one["before"]),
            or(&one["configured"], "none"),
            canary(&one["canary"]),
        ]
    });
    let head = ["plugin", "revision", "active", "before", "configured", "canary"];
    let mut text = table(&head, lines);
    text.push_str("\nversions\n");
    text.push_str(&versions(rows(&answer["plugins"]).filter(meant)));
    text.push_str("\nhosts\n");
    text.push_str(&hosts(answer, name));
    text
}

fn versions<'a>(plugins: impl Iterator<Item = &'a Value>) -> String {
    let lines = plugins.flat_map(|plugin| {
        rows(&plugin["versions"]).map(|one| {
            vec![
                cell(&plugin["name"]),
                cell(&one["version"]),
                cell(&one["sha256"]).chars().take(12).collect(),
                cell(&one["size"]),
                or(&one["signed_by"], "nobody"),
                time(&one["pushed_at_ms"]),
                cell(&one["pushed_by"]),
                time(&one["retired_at_ms"]),
            ]
        })
    });
    let head = ["plugin", "version", "component", "bytes", "signed by", "pushed", "by", "retired"];
    table(&head, lines)
}

/// What each host has in force beside what it should have.
fn hosts(answer: &Value, name: Option<&str>) -> String {
    let lines = rows(&answer["hosts"]).flat_map(|host| {
        let meant = move |plugin: &&Value| name.is_none_or(|name| plugin["name"] == name);
        rows(&host["plugins"]).filter(meant).map(|one| {
            let both = |wanted: &str, in_force: &str, none: &str| {
                format!("{} / {}", or(&one[wanted], none), or(&one[in_force], "none"))
            };
            let seen = time(&host["seen_at_ms"]);
            let silent = if host["silent"] == true { " (silent)" } else { "" };
            vec![
                cell(&host["machine"]),
                cell(&host["host"]),
                cell(&one["name"]),
                both("wanted", "in_force", "the configuration's"),
                both("canary_wanted", "canary_in_force", "none"),
                cell(&one["problem"]),
                format!("{seen}{silent}"),
            ]
        })
    });
    let head =
        ["machine", "host", "plugin", "wanted / in force", "canary", "problem", "last heard of"];
    table(&head, lines)
}

fn canary(one: &Value) -> String {
    if one.is_null() {
        return String::new();
    }
    let word = |name: &str| cell(&one[name]);
    let orders = match rows(&one["orders"]).count() {
        0 => String::new(),
        count => format!(" and {count} orders"),
    };
    let runs = |which: &str| {
        let count = |name: &str| {
            one.pointer(&format!("/runs/{which}/{name}")).map(cell).unwrap_or_default()
        };
        format!("{} of {} failed", count("failed"), count("total"))
    };
    format!(
        "{} for {}{orders}: {}, active {}; budget {} after {} runs",
        word("version"),
        word("percent"),
        runs("canary"),
        runs("active"),
        word("budget_percent"),
        word("budget_runs")
    )
}

/// The version of an activation.
fn version(activation: &Value) -> String {
    or(&activation["version"], "the configuration's")
}

fn or(value: &Value, none: &str) -> String {
    let text = cell(value);
    if text.is_empty() { none.to_owned() } else { text }
}

fn list(values: &Value) -> String {
    rows(values).map(cell).collect::<Vec<_>>().join(", ")
}
