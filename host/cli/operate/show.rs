//! Answers as tables for people. Everything that a guest or a gateway wrote is escaped: a terminal
//! obeys what it is sent.

use callgate_core::time::Timestamp;
use serde_json::Value;

pub(super) fn notifications(answer: &Value) -> String {
    let mut text = list(&answer["notifications"]);
    if let Some(next) = answer["next_cursor"].as_str() {
        text.push_str(&format!("more: --cursor {next}\n"));
    }
    text
}

pub(super) fn preview(answer: &Value) -> String {
    let total = cell(&answer["total"]);
    format!(
        "dry run: {total} fit; the first of them:\n{}nothing was changed; --go and --why replay \
         them\n",
        list(&answer["sample"])
    )
}

pub(super) fn inspection(answer: &Value) -> String {
    let mut text = String::new();
    for (name, value) in answer.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "attempts_ended" | "calls" | "audit") && !value.is_null() {
            text.push_str(&format!("{name:<24}{}\n", shown(name, value)));
        }
    }
    text.push_str("\nattempts\n");
    let attempts = rows(&answer["attempts_ended"]).map(|one| {
        let phases = rows(&one["phases"]).map(|phase| {
            let (name, fuel) = (cell(&phase["phase"]), cell(&phase["fuel"]));
            format!("{name} {fuel} fuel {} us", cell(&phase["duration_us"]))
        });
        let phases: Vec<_> = phases.collect();
        let plugin = [cell(&one["plugin"]), cell(&one["plugin_version"])].join(" ");
        vec![
            cell(&one["attempt"]),
            cell(&one["step"]),
            cell(&one["mode"]),
            time(&one["at_ms"]),
            cell(&one["outcome"]),
            cell(&one["reason_code"]),
            cell(&one["reason"]),
            plugin,
            cell(&one["fuel"]),
            phases.join("; "),
        ]
    });
    let head = ["#", "step", "mode", "at", "outcome", "code", "reason", "plugin", "fuel", "phases"];
    text.push_str(&table(&head, attempts));
    if rows(&answer["calls"]).next().is_some() {
        text.push_str("\noutgoing calls\n");
        text.push_str(&calls(answer));
    }
    text.push_str("\nacts of operators\n");
    text.push_str(&audit(answer));
    text
}

fn calls(answer: &Value) -> String {
    let lines = rows(&answer["calls"]).map(|one| {
        let word = |name: &str| cell(&one[name]);
        let answered = [word("status"), word("error")].join(" ");
        vec![
            word("name"),
            word("endpoint"),
            word("method"),
            word("path"),
            time(&one["begun_at_ms"]),
            word("duration_us"),
            word("tries"),
            answered.trim().to_owned(),
            word("idempotency_key"),
        ]
    });
    let head = ["call", "endpoint", "method", "path", "at", "us", "tries", "answer", "key"];
    table(&head, lines)
}

pub(super) fn acted(answer: &Value) -> String {
    let word = |name: &str| cell(&answer[name]);
    format!("{} {}: {} -> {}\n", word("act"), word("id"), word("from"), word("to"))
}

pub(super) fn replays(answer: &Value) -> String {
    let lines = rows(&answer["replays"]).map(replay_line);
    table(&["id", "state", "done", "left out", "total", "a second", "who", "started", "why"], lines)
}

pub(super) fn replay(answer: &Value) -> String {
    let head = ["id", "state", "done", "left out", "total", "a second", "who", "started", "why"];
    table(&head, std::iter::once(replay_line(answer)))
}

/// One line while a replay is under way.
pub(super) fn progress(answer: &Value) -> String {
    let word = |name: &str| cell(&answer[name]);
    format!("{} of {}, {} left out\n", word("done"), word("total"), word("skipped"))
}

pub(super) fn bulkheads(answer: &Value) -> String {
    let rows = rows(&answer["bulkheads"]).flat_map(|gate| {
        rows(&gate["versions"]).map(move |one| {
            let of = |name: &str, whole: &Value| format!("{} of {}", cell(&one[name]), cell(whole));
            let until = one.get("until_ms").filter(|until| !until.is_null());
            vec![
                cell(&gate["plugin"]),
                cell(&one["version"]),
                cell(&one["state"]),
                time(&one["since_ms"]),
                until.map(time).unwrap_or_default(),
                of("faults", &one["runs"]),
                of("running", &gate["concurrency"]),
                cell(&gate["held"]),
            ]
        })
    });
    let head = ["plugin", "version", "state", "since", "until", "faults", "running", "held"];
    table(&head, rows)
}

pub(super) fn keys(answer: &Value) -> String {
    let lines = rows(&answer["keys"]).map(|one| {
        let word = |name: &str| cell(&one[name]);
        let moment = |name: &str| {
            let ms = Some(&one[name]).filter(|ms| !ms.is_null());
            ms.map(time).unwrap_or_default()
        };
        vec![
            word("owner"),
            word("kind"),
            word("id"),
            word("source"),
            moment("valid_from_ms"),
            moment("valid_to_ms"),
            word("state"),
        ]
    });
    let head = ["of", "kind", "key", "source", "valid from", "valid to", "state"];
    let mut text = table(&head, lines);
    let last = &answer["last_reload"];
    if !last.is_null() {
        text.push_str(&format!("last reload at {}: {}", time(&last["at_ms"]), reload(last)));
    }
    text
}

pub(super) fn reload(answer: &Value) -> String {
    let word = |name: &str| cell(&answer[name]);
    if answer["outcome"] == "refused" {
        let (code, key, problem) = (word("code"), word("key"), word("problem"));
        return format!("refused: {code} {key}: {problem}\n");
    }
    let mut text = format!("{}\n", word("outcome"));
    for key in rows(&answer["waits_for_restart"]) {
        text.push_str(&format!("waits for the next start: {}\n", cell(key)));
    }
    text
}

pub(super) fn audit(answer: &Value) -> String {
    let lines = rows(&answer["audit"]).map(|one| {
        let word = |name: &str| cell(&one[name]);
        vec![
            time(&one["at_ms"]),
            word("who"),
            word("act"),
            word("target"),
            word("why"),
            word("result"),
        ]
    });
    let mut text = table(&["at", "who", "act", "target", "why", "result"], lines);
    if let Some(next) = answer["next_cursor"].as_str() {
        text.push_str(&format!("more: --cursor {next}\n"));
    }
    text
}

pub(super) fn sinks(answer: &Value) -> String {
    let lines = rows(&answer["sinks"]).map(|one| {
        let word = |name: &str| cell(&one[name]);
        vec![
            word("sink"),
            word("cursor"),
            word("behind"),
            word("waiting"),
            word("dead"),
            time(&one["updated_at_ms"]),
        ]
    });
    table(&["sink", "cursor", "behind", "waiting", "dead", "last had"], lines)
}

pub(super) fn dead_letters(answer: &Value) -> String {
    let lines = rows(&answer["dead_letters"]).map(|one| {
        let word = |name: &str| cell(&one[name]);
        vec![
            word("sequence"),
            word("event_id"),
            word("topic"),
            word("key"),
            word("attempts"),
            time(&one["dead_since_ms"]),
            word("reason_code"),
            word("reason"),
        ]
    });
    let head = ["sequence", "event", "topic", "key", "attempts", "dead since", "code", "reason"];
    let mut text = table(&head, lines);
    if let Some(next) = answer["next_after"].as_i64() {
        text.push_str(&format!("more: --after {next}\n"));
    }
    text
}

pub(super) fn dead_acted(answer: &Value) -> String {
    let word = |name: &str| cell(&answer[name]);
    let (act, sink) = (word("act"), word("sink"));
    format!("{act} {sink}: {} events, {} dead letters left\n", word("changed"), word("dead"))
}

fn replay_line(one: &Value) -> Vec<String> {
    let word = |name: &str| cell(&one[name]);
    vec![
        word("id"),
        word("state"),
        word("done"),
        word("skipped"),
        word("total"),
        word("rate_per_s"),
        word("who"),
        time(&one["created_at_ms"]),
        word("why"),
    ]
}

fn list(notifications: &Value) -> String {
    let lines = rows(notifications).map(|one| {
        let word = |name: &str| cell(&one[name]);
        vec![
            word("id"),
            time(&one["received_at_ms"]),
            word("channel"),
            word("source"),
            word("event_type"),
            word("order_no"),
            word("state"),
            word("reason_code"),
            word("attempts"),
        ]
    });
    let head =
        ["id", "received", "channel", "source", "event", "order", "state", "reason", "attempts"];
    table(&head, lines)
}

pub(in crate::cli) fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Columns as wide as their widest cell.
pub(in crate::cli) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn shown(name: &str, value: &Value) -> String {
    if name.ends_with("_at_ms") { time(value) } else { cell(value) }
}

pub(in crate::cli) fn time(value: &Value) -> String {
    value.as_i64().map(|ms| Timestamp::from_ms(ms).to_string()).unwrap_or_default()
}

pub(in crate::cli) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escaped(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            escaped(&value.to_string())
        }
    }
}

pub(in crate::cli) fn escaped(text: &str) -> String {
    let plain =
        |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{acted, table};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["long".to_owned(), "b".to_owned()], vec!["a".to_owned()]];
        assert_eq!(table(&["x", "y"], rows.into_iter()), "x     y\nlong  b\na\n");
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let answer = json!({ "act": "replay", "id": "\u{1b}[2J", "from": "done", "to": "ready" });
        assert_eq!(acted(&answer), "replay \\u{1b}[2J: done -> ready\n");
    }
}
