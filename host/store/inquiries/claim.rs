//! Who asks: leases of questions that are due, and of those that are put out of turn.

use callgate_core::asking::Bucket;
use callgate_core::time::Timestamp;

use super::open;
use super::{
    Allowance, BeginInquiry, COLUMNS, ClaimInquiries, ClaimedInquiries, InquiryBegun, InquiryKey,
    InquiryLease, StoredInquiry,
};
use crate::batch::{self, Cell, Statement, fetch};
use crate::dialect::{Dialect, Lock};
use crate::error::{Blame, Fault};
use crate::sql::{Connection, Row, query};

/// Leases what is due, as far as the merchant's bucket goes; ends what was heard of.
pub(super) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    claim: &ClaimInquiries,
    now: Timestamp,
) -> Result<ClaimedInquiries, Fault> {
    let bucket = bucket(connection, dialect, &claim.allowance, now).await?;
    let (mut over, mut open) = (Vec::new(), Vec::new());
    let mut closed: Vec<[Cell; 6]> = Vec::new();
    for row in due(connection, dialect, claim, now).await? {
        let found = Due::read(&row)?;
        match (found.heard, found.asked) {
            (true, 0) => over.push(found.key.cells()),
            (true, _) => closed.push(with(found.key.cells(), [now.as_ms().into()])),
            (false, _) => open.push(found),
        }
    }
    fetch(connection, REMOVE, &over).await?;
    fetch(connection, HEARD_OF, &closed).await?;
    let may = usize::try_from(bucket.questions().min(claim.limit)).unwrap_or(0);
    open.truncate(may);
    let rows: Vec<[Cell; 9]> = open
        .iter()
        .map(|found| {
            let until = now.plus_ms(claim.lease_ms).as_ms();
            let lease =
                [found.asked.into(), claim.owner.as_str().into(), until.into(), now.as_ms().into()];
            with(found.key.cells(), lease)
        })
        .collect();
    if fetch(connection, LEASE, &rows).await?.len() != rows.len() {
        return Err(Fault::Group(Blame::Race));
    }
    let taken = u32::try_from(open.len()).unwrap_or(u32::MAX);
    let bucket = bucket.taken(taken);
    if taken > 0 {
        keep(connection, &claim.allowance.merchant, bucket).await?;
    }
    let next = next(connection, &claim.channel).await?;
    let ready =
        if bucket.questions() == 0 { Some(claim.allowance.rate.ready_at(bucket)) } else { None };
    let leases = open.into_iter().map(|found| found.lease(&claim.owner)).collect();
    let next_at = next.map(|next| ready.map_or(next, |ready| next.max(ready)));
    Ok(ClaimedInquiries { leases, heard: over.len().saturating_add(closed.len()), next_at })
}

/// A row that is due.
struct Due {
    key: InquiryKey,
    asked: i64,
    rounds: i64,
    begun_at: Timestamp,
    heard: bool,
}

impl Due {
    fn read(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            key: InquiryKey::read(row)?,
            asked: row.try_get("asked")?,
            rounds: row.try_get("rounds")?,
            begun_at: Timestamp::from_ms(row.try_get("begun_at_ms")?),
            heard: row.try_get::<i64, _>("heard")? > 0,
        })
    }

    fn lease(self, owner: &str) -> InquiryLease {
        InquiryLease {
            key: self.key,
            owner: owner.to_owned(),
            asked: self.asked.saturating_add(1),
            rounds: self.rounds.saturating_add(1),
            begun_at: self.begun_at,
            due_at: None,
        }
    }
}

async fn due(
    connection: &mut Connection,
    dialect: Dialect,
    claim: &ClaimInquiries,
    now: Timestamp,
) -> Result<Vec<Row>, sqlx::Error> {
    let lock = dialect.lock(Lock::Free);
    let sql = format!(
        "select {COLUMNS}, case when {HEARD} then cast(1 as bigint) else cast(0 as bigint) end \
         as heard from inquiries t where t.channel = $1 and t.due_at_ms is not null \
         and t.due_at_ms <= $2 and (t.leased_until_ms is null or t.leased_until_ms <= $2) \
         order by t.due_at_ms limit {LOOKED_AT}{lock}"
    );
    batch::count();
    let look = query(sql);
    look.bind(claim.channel.as_str()).bind(now.as_ms()).fetch_all(&mut *connection).await
}

/// When the schedule asks next on a channel.
async fn next(
    connection: &mut Connection,
    channel: &str,
) -> Result<Option<Timestamp>, sqlx::Error> {
    let sql = "select min(t.due_at_ms) as due from inquiries t where t.channel = $1 \
               and t.due_at_ms is not null";
    batch::count();
    let row = query(sql).bind(channel).fetch_one(&mut *connection).await?;
    Ok(row.try_get::<Option<i64>, _>("due")?.map(Timestamp::from_ms))
}

/// Begins a question out of turn.
pub(super) async fn begin(
    connection: &mut Connection,
    dialect: Dialect,
    begin: &BeginInquiry,
    now: Timestamp,
) -> Result<InquiryBegun, Fault> {
    let key = &begin.new.key;
    let bucket = bucket(connection, dialect, &begin.allowance, now).await?;
    open::new(connection, std::slice::from_ref(&begin.new), now).await?;
    let sql = format!(
        "select {COLUMNS} from inquiries t where t.business = $1 and t.order_no = $2 \
         and t.channel = $3 and t.number = $4 and t.refund_no = $5{}",
        dialect.lock(Lock::Update)
    );
    batch::count();
    let look = query(sql)
        .bind(key.business.as_str())
        .bind(key.order_no.as_str())
        .bind(key.channel.as_str())
        .bind(key.number.as_str())
        .bind(key.refund_no.as_deref().unwrap_or_default());
    let row = look.fetch_one(&mut *connection).await?;
    let (found, rounds) = (StoredInquiry::read(&row)?, row.try_get("rounds")?);
    if found.leased_until.is_some_and(|until| until > now) {
        return Ok(InquiryBegun::UnderWay);
    }
    if let Some(asked_at) = found.asked_at.filter(|at| now.ms_since(*at) < begin.gap_ms) {
        return Ok(InquiryBegun::TooSoon { asked_at, code: found.code });
    }
    if bucket.questions() == 0 {
        return Ok(InquiryBegun::Limited);
    }
    keep(connection, &begin.allowance.merchant, bucket.taken(1)).await?;
    let until = now.plus_ms(begin.lease_ms);
    let lease =
        [found.asked.into(), begin.owner.as_str().into(), until.as_ms().into(), now.as_ms().into()];
    let row: [Cell; 9] = with(key.cells(), lease);
    if fetch(connection, LEASE_NOW, &[row]).await?.len() != 1 {
        return Err(Fault::Group(Blame::Race));
    }
    Ok(InquiryBegun::Ask(InquiryLease {
        key: key.clone(),
        owner: begin.owner.clone(),
        asked: found.asked.saturating_add(1),
        rounds,
        begun_at: found.begun_at,
        due_at: found.due_at,
    }))
}

/// The merchant's bucket as it is now, locked.
async fn bucket(
    connection: &mut Connection,
    dialect: Dialect,
    Allowance { merchant, rate }: &Allowance,
    now: Timestamp,
) -> Result<Bucket, sqlx::Error> {
    let (merchant, full) = (merchant.as_str(), rate.full(now));
    let row = [merchant.into(), full.level.into(), full.at.as_ms().into()];
    fetch(connection, BUCKET, &[row]).await?;
    let lock = dialect.lock(Lock::Update);
    let sql = format!("select t.level, t.at_ms from merchant_rates t where t.merchant = $1{lock}");
    batch::count();
    let look = query(sql).bind(merchant);
    let row = look.fetch_one(&mut *connection).await?;
    let found =
        Bucket { level: row.try_get("level")?, at: Timestamp::from_ms(row.try_get("at_ms")?) };
    Ok(rate.filled(found, now))
}

async fn keep(
    connection: &mut Connection,
    merchant: &str,
    bucket: Bucket,
) -> Result<(), sqlx::Error> {
    let row = [merchant.into(), bucket.level.into(), bucket.at.as_ms().into()];
    fetch(connection, LEVEL, &[row]).await.map(drop)
}

/// The five cells of a key and what follows them.
pub(super) fn with<const MORE: usize, const ALL: usize>(
    key: [Cell; 5],
    more: [Cell; MORE],
) -> [Cell; ALL] {
    let mut cells = key.into_iter().chain(more);
    std::array::from_fn(|_| cells.next().unwrap_or(Cell::Text(None)))
}

const BUCKET: Statement = Statement {
    columns: "merchant, level, at_ms",
    text: "insert into merchant_rates (merchant, level, at_ms) \
           select v.merchant, v.level, v.at_ms from v where v.merchant is not null \
           on conflict (merchant) do nothing",
    suffix: "",
};

const LEVEL: Statement = Statement {
    columns: "v_merchant, v_level, v_at_ms",
    text: "update merchant_rates set level = v.v_level, at_ms = v.v_at_ms from v \
           where merchant_rates.merchant = v.v_merchant returning merchant",
    suffix: "",
};

const REMOVE: Statement = Statement {
    columns: "business, order_no, channel, number, refund_no",
    text: "delete from inquiries where (business, order_no, channel, number, refund_no) in \
           (select v.business, v.order_no, v.channel, v.number, v.refund_no from v)",
    suffix: "",
};

const HEARD_OF: Statement = Statement {
    columns: "v_business, v_order_no, v_channel, v_number, v_refund_no, v_now_ms",
    text: "update inquiries set due_at_ms = null, closed_at_ms = v.v_now_ms, lease_owner = null, \
           leased_until_ms = null, last_code = 'inquiry.heard' from v \
           where inquiries.business = v.v_business and inquiries.order_no = v.v_order_no \
           and inquiries.channel = v.v_channel and inquiries.number = v.v_number \
           and inquiries.refund_no = v.v_refund_no returning number",
    suffix: "",
};

/// A lease where nobody else was faster; `due` says when it is due again if its host dies.
macro_rules! lease {
    ($due:literal, $rounds:literal) => {
        concat!(
            "update inquiries set asked = inquiries.asked + 1, rounds = inquiries.rounds + ",
            $rounds,
            ", asked_at_ms = v.v_now_ms, lease_owner = v.v_owner, \
             leased_until_ms = v.v_until_ms, due_at_ms = ",
            $due,
            " from v where inquiries.business = v.v_business \
             and inquiries.order_no = v.v_order_no and inquiries.channel = v.v_channel \
             and inquiries.number = v.v_number and inquiries.refund_no = v.v_refund_no \
             and inquiries.asked = v.v_asked returning number"
        )
    };
}

const LEASED: &str = "v_business, v_order_no, v_channel, v_number, v_refund_no, v_asked, v_owner, \
                      v_until_ms, v_now_ms";

const LEASE: Statement =
    Statement { columns: LEASED, text: lease!("v.v_until_ms", "1"), suffix: "" };

/// The schedule goes on where it was, but not while somebody asks.
const LEASE_NOW: Statement = Statement {
    columns: LEASED,
    text: lease!(
        "case when inquiries.due_at_ms < v.v_until_ms then v.v_until_ms \
         else inquiries.due_at_ms end",
        "0"
    ),
    suffix: "",
};

/// Whether an order was heard of so that its gateway need not be asked: it moved, or what was told
/// settles the question and only waits for its run or a person. That one payment of several was
/// closed says nothing of the others. That an effect is none or not is said twice, because an index
/// holds the latter alone.
pub(crate) const HEARD: &str = "case when t.refund_no = '' then \
     exists (select 1 from history h where h.business = t.business \
         and h.order_no = t.order_no and h.effect <> 'none' and h.effect = 'moved') \
     or exists (select 1 from inbox n where n.business = t.business and n.subject = t.order_no \
         and (n.event_type in ('payment.succeeded', 'payment.finished', 'payment.refunded') \
             or (n.event_type = 'payment.closed' and n.channel = t.channel \
                 and n.order_no = t.number))) \
     else exists (select 1 from inbox n where n.business = t.business and n.subject = t.order_no \
         and n.refund_no = t.refund_no and n.event_type in ('refund.succeeded', 'refund.closed')) \
     end";

/// Rows that one claim looks at: those that are over leave with it.
const LOOKED_AT: i64 = 128;
