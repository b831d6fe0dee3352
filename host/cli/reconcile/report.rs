//! What came of comparing a bill: counts, and each difference, for people or for machines.

use std::collections::BTreeMap;

use callgate_core::bill::compare::Difference;
use callgate_core::money::format_decimal;
use callgate_core::time::Timestamp;
use serde_json::{Value, json};

use crate::cli::operate::show::{cell, table};

/// The differences, and what was looked at.
#[derive(Debug)]
pub(super) struct Report {
    rows: Vec<(&'static str, u64)>,
    span: (Timestamp, Timestamp),
    counts: BTreeMap<String, u64>,
    asked: BTreeMap<String, u64>,
    findings: Vec<Value>,
}

impl Report {
    pub(super) fn new(rows: &[(&'static str, u64)], span: (Timestamp, Timestamp)) -> Self {
        let counts = Difference::ALL.map(|one| (one.as_str().to_owned(), 0)).into();
        let (asked, findings) = (BTreeMap::new(), Vec::new());
        Self { rows: rows.to_vec(), span, counts, asked, findings }
    }

    /// Takes a difference in. Past a bound they are counted alone.
    pub(super) fn find(&mut self, finding: Value) {
        let name = finding.get("difference").and_then(Value::as_str).unwrap_or("unknown");
        let count = self.counts.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Takes in what became of wishes to ask.
    pub(super) fn asked(&mut self, asked: Option<&Value>) {
        for (name, count) in asked.and_then(Value::as_object).into_iter().flatten() {
            let sum = self.asked.entry(name.clone()).or_default();
            *sum = sum.saturating_add(count.as_u64().unwrap_or(0));
        }
    }

    pub(super) fn agrees(&self) -> bool {
        self.counts.values().all(|count| *count == 0)
    }

    fn found(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn left_out(&self) -> u64 {
        let shown = u64::try_from(self.findings.len()).unwrap_or(u64::MAX);
        self.found().saturating_sub(shown)
    }

    pub(super) fn json(&self) -> Value {
        let rows: BTreeMap<_, _> = self.rows.iter().copied().collect();
        json!({
            "rows": rows,
            "from_ms": self.span.0.as_ms(),
            "to_ms": self.span.1.as_ms(),
            "agrees": self.agrees(),
            "differences": self.counts,
            "asked": self.asked,
            "findings": self.findings,
            "left_out": self.left_out(),
        })
    }

    pub(super) fn table(&self) -> String {
        let rows: Vec<String> =
            self.rows.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let (from, to) = (self.span.0.format_beijing(), self.span.1.format_beijing());
        let mut text = format!("the bill: {}, {from} to {to} (UTC+8)\n", rows.join(", "));
        if self.agrees() {
            text.push_str("no differences\n");
            return text;
        }
        let head = ["difference", "line", "kind", "order", "payment", "amount", "asked", "what"];
        text.push_str(&table(&head, self.findings.iter().map(line)));
        if self.left_out() > 0 {
            text.push_str(&format!("and {} more: is this the right channel?\n", self.left_out()));
        }
        text.push('\n');
        for (name, count) in self.counts.iter().filter(|(_, count)| **count > 0) {
            text.push_str(&format!("{count} {name}\n"));
        }
        for (name, count) in &self.asked {
            text.push_str(&format!("asked about {count}: {name}\n"));
        }
        text
    }
}

fn line(finding: &Value) -> Vec<String> {
    let word = |name: &str| finding.get(name).map(cell).unwrap_or_default();
    let amount = finding.get("amount_minor").and_then(Value::as_i64);
    let digits = finding
        .get("currency")
        .and_then(Value::as_str)
        .and_then(|code| callgate_core::money::Currency::parse(code).ok())
        .map_or(2, callgate_core::money::Currency::digits);
    vec![
        word("difference"),
        word("line"),
        word("kind"),
        word("order_no"),
        word("transaction_id"),
        amount.map(|minor| format_decimal(minor, digits)).unwrap_or_default(),
        word("asked"),
        word("text"),
    ]
}

/// Differences that are kept to be shown; more mean that the wrong things are compared.
const FINDINGS_MAX: usize = 20_000;

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;
    use serde_json::json;

    use super::{FINDINGS_MAX, Report};

    fn report() -> Report {
        let day = Timestamp::from_ms(1_795_190_400_000);
        Report::new(&[("payments", 2), ("refunds", 1)], (day, day.plus_ms(86_400_000)))
    }

    #[test]
    fn differences_are_counted_and_shown() {
        let mut report = report();
        assert!(report.agrees() && report.table().ends_with("no differences\n"));
        report.find(json!({ "difference": "amount", "line": 7, "kind": "payment",
            "order_no": "CG1\u{1b}[2J", "amount_minor": 1999, "currency": "CNY", "text": "so" }));
        report.asked(Some(&json!({ "queued": 3 })));
        let text = report.table();
        assert!(!report.agrees() && text.contains("1 amount\n"), "{text}");
        assert!(text.contains("19.99") && text.contains("asked about 3: queued"), "{text}");
        assert!(!text.contains('\u{1b}'), "what a terminal would obey is escaped: {text}");
        let json = report.json();
        assert_eq!(json.pointer("/differences/amount"), Some(&json!(1)));
        assert_eq!(json.pointer("/differences/state"), Some(&json!(0)));
    }

    #[test]
    fn many_differences_are_counted_alone() {
        let mut report = report();
        for _ in 0..FINDINGS_MAX + 5 {
            report.find(json!({ "difference": "missing-order" }));
        }
        assert_eq!(report.left_out(), 5);
        assert_eq!(report.json().pointer("/left_out"), Some(&json!(5)));
    }
}
