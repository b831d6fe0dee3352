//! What came of a question, and forgetting those that are long over.

use callgate_core::time::Timestamp;

use super::claim::with;
use super::{InquiryEnd, InquiryKey};
use crate::batch::{self, Cell, Statement, fetch};
use crate::error::Fault;
use crate::sql::{Connection, query};

/// Ends a question for who holds it.
pub(super) async fn run(
    connection: &mut Connection,
    end: &InquiryEnd,
    now: Timestamp,
) -> Result<bool, Fault> {
    let lease = &end.lease;
    let code: String = end.code.chars().take(CODE_CHARS).collect();
    let more = [
        lease.asked.into(),
        lease.owner.as_str().into(),
        code.into(),
        end.next.map(Timestamp::as_ms).into(),
        now.as_ms().into(),
    ];
    let row: [Cell; 10] = with(lease.key.cells(), more);
    Ok(fetch(connection, END, &[row]).await?.len() == 1)
}

/// Removes a few that were over before a moment.
pub(super) async fn forget(connection: &mut Connection, before: Timestamp) -> Result<usize, Fault> {
    let sql = format!(
        "select t.business, t.order_no, t.channel, t.number, t.refund_no from inquiries t \
         where t.closed_at_ms is not null and t.closed_at_ms < $1 \
         order by t.closed_at_ms limit {FORGOTTEN_AT_ONCE}"
    );
    batch::count();
    let look = query(sql).bind(before.as_ms());
    let rows = look.fetch_all(&mut *connection).await?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        keys.push(with(InquiryKey::read(row)?.cells(), [before.as_ms().into()]));
    }
    let gone: Vec<[Cell; 6]> = keys;
    let mut count = 0_usize;
    for row in fetch(connection, FORGET, &gone).await? {
        let _: String = row.try_get("number")?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

const END: Statement = Statement {
    columns: "v_business, v_order_no, v_channel, v_number, v_refund_no, v_asked, v_owner, v_code, \
              v_next_ms, v_now_ms",
    text: "update inquiries set due_at_ms = v.v_next_ms, lease_owner = null, \
           leased_until_ms = null, last_code = v.v_code, \
           closed_at_ms = case when v.v_next_ms is null then v.v_now_ms end from v \
           where inquiries.business = v.v_business and inquiries.order_no = v.v_order_no \
           and inquiries.channel = v.v_channel and inquiries.number = v.v_number \
           and inquiries.refund_no = v.v_refund_no and inquiries.asked = v.v_asked \
           and inquiries.lease_owner = v.v_owner returning number",
    suffix: "",
};

const FORGET: Statement = Statement {
    columns: "business, order_no, channel, number, refund_no, before_ms",
    text: "delete from inquiries where (business, order_no, channel, number, refund_no) in \
           (select v.business, v.order_no, v.channel, v.number, v.refund_no from v) \
           and closed_at_ms is not null and closed_at_ms < \
           (select max(v.before_ms) from v) returning number",
    suffix: "",
};

/// Characters of a code.
const CODE_CHARS: usize = 64;

/// Rows of one step.
const FORGOTTEN_AT_ONCE: i64 = 256;
