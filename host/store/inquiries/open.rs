//! How inquiries begin.

use callgate_core::time::Timestamp;

use super::NewInquiry;
use super::claim::with;
use crate::batch::{Cell, Statement, fetch};
use crate::error::Fault;
use crate::sql::Connection;

/// Writes inquiries down that are not there yet; tells how many.
pub(crate) async fn new(
    connection: &mut Connection,
    new: &[NewInquiry],
    now: Timestamp,
) -> Result<usize, Fault> {
    write(connection, (NEW, new), now).await
}

/// The same, and begins anew what is over.
pub(super) async fn again(
    connection: &mut Connection,
    new: &[NewInquiry],
    now: Timestamp,
) -> Result<usize, Fault> {
    write(connection, (AGAIN, new), now).await
}

async fn write(
    connection: &mut Connection,
    (statement, new): (Statement, &[NewInquiry]),
    now: Timestamp,
) -> Result<usize, Fault> {
    let mut once: Vec<&NewInquiry> = new.iter().collect();
    once.sort_by(|a, b| a.key.cmp(&b.key));
    once.dedup_by(|a, b| a.key == b.key);
    let rows: Vec<[Cell; 7]> = once
        .iter()
        .map(|one| with(one.key.cells(), [now.as_ms().into(), one.due_at.as_ms().into()]))
        .collect();
    Ok(fetch(connection, statement, &rows).await?.len())
}

macro_rules! insert {
    ($conflict:literal) => {
        concat!(
            "insert into inquiries (business, order_no, channel, number, refund_no, begun_at_ms, \
             due_at_ms) select v.business, v.order_no, v.channel, v.number, v.refund_no, \
             v.begun_ms, v.due_ms from v where v.number is not null \
             on conflict (business, order_no, channel, number, refund_no) do ",
            $conflict,
            " returning number"
        )
    };
}

const COLUMNS: &str = "business, order_no, channel, number, refund_no, begun_ms, due_ms";

const NEW: Statement = Statement { columns: COLUMNS, text: insert!("nothing"), suffix: "" };

const AGAIN: Statement = Statement {
    columns: COLUMNS,
    text: insert!(
        "update set begun_at_ms = excluded.begun_at_ms, due_at_ms = excluded.due_at_ms, \
         rounds = 0, closed_at_ms = null where inquiries.closed_at_ms is not null"
    ),
    suffix: "",
};
