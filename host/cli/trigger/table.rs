//! What is shown: a line per case, and what was other than expected.

use callgate_trigger::cases::Case;

use super::post::{Reply, Seen};
use crate::cli::print;

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    channel: &'static str,
    case: &'static str,
    about: &'static str,
    order_no: String,
    pub(super) answers: Vec<String>,
    pub(super) stored: String,
    pub(super) state: String,
    pub(super) events: String,
    /// What came out other than expected.
    pub(super) wrong: Vec<String>,
}

impl Row {
    pub(super) fn of(case: &Case) -> Self {
        Self {
            channel: case.channel.name(),
            case: case.name,
            about: case.about,
            order_no: String::new(),
            answers: Vec::new(),
            stored: String::new(),
            state: String::new(),
            events: String::new(),
            wrong: Vec::new(),
        }
    }

    pub(super) fn answer(&mut self, reply: &Reply) {
        self.answers.push(reply.shown.clone());
    }

    /// Takes over what the last look at an order showed.
    pub(super) fn look(&mut self, order_no: &str, seen: &Seen) {
        order_no.clone_into(&mut self.order_no);
        self.state = seen.state.clone().unwrap_or_else(|| "(not registered)".to_owned());
        self.events = seen.events.join(", ");
        self.stored =
            if seen.stored.is_empty() { "nothing".to_owned() } else { seen.stored.join("; ") };
    }
}

pub(super) fn head() {
    line(["channel", "case", "answer to the gateway", "order state", "events"], "");
    print(&format!("{}\n", "─".repeat(120)));
}

pub(super) fn show(row: &Row) {
    let mark = if row.wrong.is_empty() { "" } else { "  ✗ NOT AS EXPECTED" };
    let mut answers = row.answers.clone();
    answers.dedup();
    let answers = if answers.len() == row.answers.len() {
        answers.join(", ")
    } else {
        format!("{} ×{}", answers.join(", "), row.answers.len())
    };
    line([row.channel, row.case, &answers, &row.state, &row.events], mark);
    let stored = if row.stored.is_empty() { "-" } else { &row.stored };
    let order = if row.order_no.is_empty() { "-" } else { &row.order_no };
    print(&format!("{:<16}{}; order {order}; stored: {stored}\n", "", row.about));
    for wrong in &row.wrong {
        print(&format!("{:<16}✗ {wrong}\n", ""));
    }
}

pub(super) fn foot(cases: usize, wrong: usize) {
    let words = if wrong == 0 { "all as expected".to_owned() } else { format!("{wrong} NOT") };
    print(&format!("\n{cases} cases, {words}\n"));
}

fn line([channel, case, answer, state, events]: [&str; 5], mark: &str) {
    print(&format!("{channel:<15} {case:<17} {answer:<42} {state:<18} {events}{mark}\n"));
}
