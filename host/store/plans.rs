//! SQLite's plans: what is asked about one order is found by an index, also by one that holds only a
//! part of its table. PostgreSQL's are read by a conformance story, from its log.

use crate::direct::WAITING;
use crate::foretold::AROUND;
use crate::history::STORY;
use crate::inquiries::{HEARD, SILENT, SILENT_OTHER};
use crate::order::OTHER_NAMES;
use crate::outbox::OF_ORDER;
use crate::schema::MIGRATIONS;
use crate::single::single;

fn plan(text: &str) -> Vec<String> {
    let file = rusqlite::Connection::open_in_memory().unwrap();
    for (_, name, text) in MIGRATIONS {
        file.execute_batch(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut statement = file.prepare(&format!("explain query plan {text}")).unwrap();
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>("detail").unwrap());
    }
    steps
}

/// Every step that looks for rows of a table names an index, and these among them.
fn looks_up(text: &str, indexes: &[&str]) {
    let steps = plan(text);
    let tables = ["inbox", "outbox", "history", "order_aliases", "documents"];
    let scan = |step: &String| {
        let letters = ["a", "d", "e", "h", "i", "n", "o", "t", "u"];
        let mut names = letters.iter().chain(&tables);
        names.any(|name| step.split(' ').take(2).eq(["SCAN", name]))
    };
    assert!(!steps.iter().any(scan), "{text}: {steps:#?}");
    for index in indexes {
        let used = |step: &String| step.starts_with("SEARCH") && step.contains(index);
        assert!(steps.iter().any(used), "no {index} for {text}: {steps:#?}");
    }
}

#[test]
fn an_order_is_looked_at_by_index() {
    looks_up(STORY, &["history_once", "history_idle"]);
    let events = ["outbox_notification", "history_once", "history_idle", "inbox_subject"];
    looks_up(OF_ORDER, &events);
    looks_up(OTHER_NAMES, &["order_aliases_other"]);
}

#[test]
fn an_order_that_waits_is_found_by_index() {
    let indexes = ["sqlite_autoindex_order_aliases_1", "history_once", "inbox_subject"];
    looks_up(&single(WAITING.columns, WAITING.text), &indexes);
}

#[test]
fn what_stands_around_a_new_row_is_found_by_index() {
    let around = single(AROUND.columns, AROUND.text);
    looks_up(&around, &["history_once", "inbox_subject"]);
}

#[test]
fn a_question_about_an_order_is_answered_by_index() {
    let own = single(SILENT.columns, SILENT.text);
    looks_up(&own, &["sqlite_autoindex_order_aliases_1", "history_once"]);
    let other = single(SILENT_OTHER.columns, SILENT_OTHER.text);
    looks_up(&other, &["order_aliases_other", "history_once"]);
    let heard = format!(
        "select case when {HEARD} then 1 else 0 end from inquiries t where t.due_at_ms <= ?1 \
         and t.channel = ?2"
    );
    looks_up(&heard, &["history_once", "inbox_subject"]);
}

#[test]
fn a_step_through_a_whole_table_is_seen() {
    let steps = plan("select id from history where version = 1");
    assert!(steps.iter().any(|step| step.starts_with("SCAN history")), "{steps:?}");
}
