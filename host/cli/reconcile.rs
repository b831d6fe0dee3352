//! `callgate reconcile`: holds a gateway's bill against what a running server has stored, through
//! its operator calls, in small batches.
//!
//! The file is read twice: once to know that it is whole, and only then row by row for the server.
//! Nothing is asked or told from a bill that cannot be read to its end.
//!
//! Reading order: this file, `file` (bytes to lines), `archive` (zip), `report` (what is shown).

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use callgate_core::bill::compare::Difference;
use callgate_core::bill::{Row, RowKind, Total};
use callgate_core::time::Timestamp;
use clap::Args;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use self::report::Report;
use super::operate::call::{Calls, Server};
use super::print;

mod archive;

mod file;

mod report;

/// Hold a gateway's bill against what is stored: exit status 0 where they agree, 1 where they
/// differ, 2 where they could not be compared.
#[derive(Debug, Args)]
pub(super) struct Reconcile {
    /// The trade bill: WeChat Pay's CSV (may be gzipped), Alipay's zip or the CSV of details in it.
    #[arg(long)]
    bill: PathBuf,
    /// The channel that it is of.
    #[arg(long)]
    channel: String,
    /// The first day that the bill tells of, yyyy-MM-dd in Beijing time, and one day; needed only
    /// where it has no rows and does not say so itself.
    #[arg(long)]
    date: Option<String>,
    /// Have the gateway asked about what was not heard of.
    #[arg(long, requires = "why")]
    repair: bool,
    /// Why; goes with --repair.
    #[arg(long)]
    why: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Reconcile {
    /// Compares; a failure has an exit status of its own, so that a script can tell it apart.
    pub(super) async fn run(self) -> ExitCode {
        match self.compare().await {
            Ok(report) => {
                if self.json {
                    print(&format!("{:#}\n", report.json()));
                } else {
                    print(&report.table());
                }
                if report.agrees() { ExitCode::SUCCESS } else { ExitCode::from(DIFFER) }
            }
            Err(error) => {
                let mut stderr = std::io::stderr();
                let words = format_args!("callgate: {error:#}\n");
                let _ = std::io::Write::write_fmt(&mut stderr, words);
                ExitCode::from(FAILED)
            }
        }
    }

    async fn compare(&self) -> anyhow::Result<Report> {
        let shown = || format!("{}", self.bill.display());
        let mut seen = Seen::default();
        let mut bill = file::Lines::open(&self.bill).with_context(shown)?;
        while let Some(row) = bill.next_row().with_context(shown)? {
            seen.see(&row);
        }
        let total = bill.end().with_context(shown)?;
        let (from, to) = self.span(&total, &seen)?;
        let calls = self.server.calls()?;
        let mut report = Report::new(&seen.counts(), (from, to));
        self.rows(&calls, &mut report).await?;
        if total.covers.payments {
            self.ours(&calls, (&seen, from, to), &mut report).await?;
        }
        Ok(report)
    }

    /// What the bill has, against what is stored.
    async fn rows(&self, calls: &Calls, report: &mut Report) -> anyhow::Result<()> {
        let mut bill = file::Lines::open(&self.bill)?;
        loop {
            let mut rows = Vec::with_capacity(BATCH);
            while rows.len() < BATCH
                && let Some(row) = bill.next_row()?
            {
                rows.push(row);
            }
            if rows.is_empty() {
                return Ok(());
            }
            let body = json!({
                "channel": self.channel,
                "rows": rows,
                "repair": self.repair,
                "why": self.why,
            });
            let answer = calls.post(&["reconcile"], &body).await?;
            let findings = answer.get("findings").and_then(Value::as_array);
            for finding in findings.context("the answer has no findings")? {
                report.find(finding.clone());
            }
            report.asked(answer.get("asked"));
        }
    }

    /// What is stored as paid, against what the bill has.
    async fn ours(
        &self,
        calls: &Calls,
        (seen, from, to): (&Seen, Timestamp, Timestamp),
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let mut fields = Map::new();
        fields.insert("channel".to_owned(), json!(self.channel));
        fields.insert("from_ms".to_owned(), json!(from.as_ms()));
        fields.insert("to_ms".to_owned(), json!(to.as_ms()));
        loop {
            let answer = calls.get(&["reconcile"], &fields).await?;
            let paid = answer.get("paid").and_then(Value::as_array);
            for one in paid.context("the answer has no payments")? {
                let known = one.get("transaction_id").and_then(Value::as_str);
                if known.is_some_and(|number| seen.payments.contains(&digest(number))) {
                    continue;
                }
                let mut finding = one.clone();
                if let Some(finding) = finding.as_object_mut() {
                    let difference = Difference::NotInBill.as_str();
                    finding.insert("difference".to_owned(), json!(difference));
                    finding.insert("kind".to_owned(), json!(RowKind::Payment));
                    let text = "it is stored as paid on that day, and the bill does not have it";
                    finding.insert("text".to_owned(), json!(text));
                }
                report.find(finding);
            }
            match answer.get("next_cursor").filter(|cursor| !cursor.is_null()) {
                Some(cursor) => drop(fields.insert("cursor".to_owned(), cursor.clone())),
                None => return Ok(()),
            }
        }
    }

    /// From when until before when the bill tells.
    fn span(&self, total: &Total, seen: &Seen) -> anyhow::Result<(Timestamp, Timestamp)> {
        if let Some(date) = &self.date {
            let from = Timestamp::parse_beijing(&format!("{date} 00:00:00"));
            let from = from.with_context(|| format!("--date: `{date}` is no yyyy-MM-dd"))?;
            return Ok((from, from.plus_ms(DAY_MS)));
        }
        let rows = seen.first.zip(seen.last);
        let days = rows.map(|(first, last)| (day(first), day(last).plus_ms(DAY_MS)));
        let span = total.span.or(days);
        span.context("the bill has no rows and names no day: give it with --date")
    }
}

/// What the bill has, in little room: sixteen bytes for each payment.
#[derive(Debug, Default)]
struct Seen {
    payments: HashSet<[u8; 16]>,
    paid: u64,
    refunds: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Seen {
    fn see(&mut self, row: &Row) {
        let count = match row.kind {
            RowKind::Payment => {
                self.payments.insert(digest(&row.transaction_id));
                &mut self.paid
            }
            RowKind::Refund => &mut self.refunds,
        };
        *count = count.saturating_add(1);
        self.first = Some(self.first.map_or(row.at, |first| first.min(row.at)));
        self.last = Some(self.last.map_or(row.at, |last| last.max(row.at)));
    }

    fn counts(&self) -> [(&'static str, u64); 2] {
        [("payments", self.paid), ("refunds", self.refunds)]
    }
}

fn digest(number: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().zip(Sha256::digest(number.as_bytes())).for_each(|(to, from)| *to = from);
    short
}

/// The beginning of a day in Beijing.
fn day(at: Timestamp) -> Timestamp {
    let local = at.as_ms().saturating_add(BEIJING_MS);
    Timestamp::from_ms(local.saturating_sub(local.rem_euclid(DAY_MS)).saturating_sub(BEIJING_MS))
}

/// Rows of one call: far below what the private listener takes.
const BATCH: usize = 200;

const DAY_MS: i64 = 86_400_000;

const BEIJING_MS: i64 = 8 * 3_600_000;

/// The bill and the store differ.
const DIFFER: u8 = 1;

/// They could not be compared.
const FAILED: u8 = 2;
