//! Bills: an operator's program brings rows, and hears how they differ from what is stored; what is
//! missing is asked about where that is wanted.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use callgate_core::bill::compare::{Difference, Finding, compare};
use callgate_core::bill::{Row, RowKind};
use callgate_core::time::Timestamp;
use callgate_store::{BILL_ROWS_MAX, PaidNotification, StoreError};
use http::HeaderMap;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::channel::Channel;
use super::error::Problem;
use super::operate::{check_why, cursor, read};
use super::operate_query::{Asked as AskedFor, number};
use super::operator::Operator;

/// A movement that a bill has and nobody heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Who owns the order.
    pub business: String,
    /// The channel that it went through.
    pub channel: String,
    /// The order, as the gateway was given it.
    pub order_no: String,
    /// What moved.
    pub what: Moved,
}

/// Whether money came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// It came.
    Payment,
    /// It went back, under the merchant's number of the refund, where the bill has one.
    Refund(Option<String>),
}

/// What became of the wish to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The gateway will be asked, and its answer walks the straight line.
    Queued,
    /// This channel has no key to ask with.
    NoInquiry,
    /// A refund without a number: it cannot be asked about by what the bill says.
    NotAskable,
    /// The order of this number was settled by another payment, and is not asked about.
    Settled,
}

impl Asked {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::NoInquiry => "no-inquiry",
            Self::NotAskable => "not-askable",
            Self::Settled => "settled",
        }
    }
}

/// Whoever asks gateways.
pub trait AskGateways: Send + Sync {
    /// Sees to it that the gateway is asked about a movement, soon and within its rate.
    fn ask<'a>(
        &'a self,
        lost: Lost,
        now: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Result<Asked, StoreError>> + Send + 'a>>;
}

/// Whoever asks gateways, for many calls at once.
pub type SharedAsk = Arc<dyn AskGateways>;

/// `/operator/reconcile`.
pub(super) fn routes() -> Router<Operator> {
    Router::new().route("/operator/reconcile", get(paid).post(reconcile))
}

/// Rows of a bill.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    channel: String,
    rows: Vec<Row>,
    #[serde(default)]
    repair: bool,
    #[serde(default)]
    why: Option<String>,
}

async fn reconcile(
    State(operator): State<Operator>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let who = operator.operators.admit(&headers)?;
    let Wanted { channel, rows, repair, why } = read(&body)?;
    let channel = known(&operator, &channel)?;
    if rows.len() > BILL_ROWS_MAX {
        return Err(Problem::asked("rows", format!("must be {BILL_ROWS_MAX} at most")));
    }
    if let Some(row) = rows.iter().find(|row| !row.is_well_formed()) {
        let rule = format!("the row of line {} has a number that is none", row.line);
        return Err(Problem::asked("rows", rule));
    }
    if repair {
        check_why(why.as_deref().unwrap_or_default())?;
    }
    let numbers: Vec<String> = rows.iter().map(|row| row.order_no.clone()).collect();
    let stored = operator.store.stored_of(&channel.business, &numbers).await?;
    let mut shown = Vec::new();
    let mut asked: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (row, ours) in rows.iter().zip(&stored) {
        let findings = compare(row, ours);
        let missing = |one: &Finding| one.difference == Difference::MissingCallback;
        let answer = if repair && findings.iter().any(missing) {
            let answer = operator.ask.ask(lost(&channel, row), operator.clock.now()).await?;
            let count = asked.entry(answer.as_str()).or_default();
            *count = count.saturating_add(1);
            Some(answer)
        } else {
            None
        };
        shown.extend(
            findings
                .iter()
                .map(|finding| finding_json(row, finding, answer.filter(|_| missing(finding)))),
        );
    }
    // Where nothing was missing, nothing was done.
    if !asked.is_empty() {
        let result = format!("{} rows of a bill, asked: {}", rows.len(), json!(asked));
        let (act, why) = ("reconcile.repair", why.as_deref().unwrap_or_default());
        let act = (act, channel.name.as_str(), result);
        operator.store.note_act(act, (&who, why), operator.clock.now()).await?;
    }
    Ok(Json(json!({ "findings": shown, "asked": asked })).into_response())
}

fn lost(channel: &Channel, row: &Row) -> Lost {
    Lost {
        business: channel.business.clone(),
        channel: channel.name.clone(),
        order_no: row.order_no.clone(),
        what: match row.kind {
            RowKind::Payment => Moved::Payment,
            RowKind::Refund => Moved::Refund(row.refund_no.clone()),
        },
    }
}

fn finding_json(row: &Row, finding: &Finding, asked: Option<Asked>) -> Value {
    json!({
        "difference": finding.difference,
        "line": row.line,
        "kind": row.kind,
        "order_no": row.order_no,
        "transaction_id": row.transaction_id,
        "refund_no": row.refund_no,
        "amount_minor": row.amount.minor,
        "currency": row.amount.currency,
        "at_ms": row.at.as_ms(),
        "text": finding.text,
        "asked": asked.map(Asked::as_str),
    })
}

async fn paid(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let mut asked = AskedFor::new(pairs)?;
    let channel = asked.take("channel").unwrap_or_default();
    let channel = known(&operator, &channel)?;
    let moment = |asked: &mut AskedFor, name: &'static str| {
        let found = number(asked, name, 0..=MOMENT_MAX)?;
        found.map(Timestamp::from_ms).ok_or_else(|| Problem::asked(name, "must be given"))
    };
    let (from, to) = (moment(&mut asked, "from_ms")?, moment(&mut asked, "to_ms")?);
    let cursor = cursor(&mut asked)?;
    asked.end()?;
    if to < from || to.ms_since(from) > SPAN_MAX_MS {
        return Err(Problem::asked("to_ms", "must be behind from_ms, by 62 days at most"));
    }
    let page = operator.store.paid_between(&channel.name, (from, to), cursor.as_ref()).await?;
    let next = page.next.as_ref().map(|(at, id)| format!("{}.{id}", at.as_ms()));
    let list: Vec<_> = page.paid.iter().map(paid_json).collect();
    Ok(Json(json!({ "paid": list, "next_cursor": next })).into_response())
}

fn paid_json(paid: &PaidNotification) -> Value {
    json!({
        "notification_id": paid.id,
        "order_no": paid.order_no,
        "transaction_id": paid.transaction_id,
        "amount_minor": paid.amount.map(|amount| amount.minor),
        "currency": paid.amount.map(|amount| amount.currency),
        "at_ms": paid.occurred_at.map(Timestamp::as_ms),
    })
}

fn known(operator: &Operator, channel: &str) -> Result<Arc<Channel>, Problem> {
    operator.channels.get(channel).ok_or(Problem::NotFound { what: "channel" })
}

/// Past the year 5000 no bill was ever written.
const MOMENT_MAX: i64 = 100_000_000_000_000;

/// Two months: bills are of a day, or of a month.
const SPAN_MAX_MS: i64 = 62 * 86_400_000;
