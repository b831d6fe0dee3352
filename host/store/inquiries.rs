//! Inquiries: what a gateway is to be asked about an order, when, and who asks.
//!
//! Reading order: the values here, `acts` (the store's methods), then `claim` (who asks), `end` (what came of it), `open` (how
//! they begin) and `sweep` (orders that were registered before anybody wished to ask).

use callgate_core::asking::Rate;
use callgate_core::time::Timestamp;

use crate::batch::Cell;
use crate::dialect::Dialect;
use crate::error::Fault;
use crate::sql::{Connection, Row};

mod acts;

mod claim;

mod end;

pub(crate) mod open;

mod sweep;

#[cfg(test)]
pub(crate) use claim::HEARD;
pub use sweep::SweepInquiries;
#[cfg(test)]
pub(crate) use sweep::{SILENT, SILENT_OTHER};

/// What is asked, and whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InquiryKey {
    /// Who owns the order.
    pub business: String,
    /// The order, by its own number.
    pub order_no: String,
    /// The channel whose gateway is asked.
    pub channel: String,
    /// What the gateway was given: the order's number or one of its payment numbers.
    pub number: String,
    /// The merchant's number of a refund; `None` where the payment is asked about.
    pub refund_no: Option<String>,
}

/// A first question about an order that is registered, and when it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstQuestion {
    /// The channel whose gateway is asked.
    pub channel: String,
    /// When.
    pub due_at: Timestamp,
}

/// Something to ask from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInquiry {
    /// What.
    pub key: InquiryKey,
    /// When first.
    pub due_at: Timestamp,
}

/// How much may be asked: gateways count by merchant, so all channels of one take from one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// As whom the gateway is asked, 1 to 256 characters.
    pub merchant: String,
    /// How many questions its channels and all hosts together may put.
    pub rate: Rate,
}

/// Asks for questions to put.
#[derive(Debug, Clone)]
pub struct ClaimInquiries {
    /// Of this channel.
    pub channel: String,
    /// Names the host: unique among all hosts, at most 256 characters.
    pub owner: String,
    /// So many at most.
    pub limit: u32,
    /// How long they belong to the host, in milliseconds.
    pub lease_ms: i64,
    /// How many may be put.
    pub allowance: Allowance,
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedInquiries {
    /// To be put now.
    pub leases: Vec<InquiryLease>,
    /// How many were due and are over: their orders were heard of meanwhile.
    pub heard: usize,
    /// When a question may be due next, as far as is known now.
    pub next_at: Option<Timestamp>,
}

/// The right to put one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InquiryLease {
    /// What is asked.
    pub key: InquiryKey,
    /// Who asks.
    pub owner: String,
    /// Which question it is, counted from 1: with the owner the token of the lease.
    pub asked: i64,
    /// How many questions of the schedule there were, this one included if it is one.
    pub rounds: i64,
    /// When there was something to ask about first.
    pub begun_at: Timestamp,
    /// When the schedule would ask next; none where it would not. Only for questions out of turn.
    pub due_at: Option<Timestamp>,
}

/// Asks for the right to put a question now, out of turn.
#[derive(Debug, Clone)]
pub struct BeginInquiry {
    /// What is asked; it becomes an inquiry if it is none.
    pub new: NewInquiry,
    /// Names the host.
    pub owner: String,
    /// How long the question belongs to the host, in milliseconds.
    pub lease_ms: i64,
    /// So long after the last question none is put, in milliseconds.
    pub gap_ms: i64,
    /// How many may be put.
    pub allowance: Allowance,
}

/// Whether a question may be put now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InquiryBegun {
    /// It may.
    Ask(InquiryLease),
    /// It was put a moment ago.
    TooSoon {
        /// When.
        asked_at: Timestamp,
        /// What it came to.
        code: Option<String>,
    },
    /// Somebody puts it at this moment.
    UnderWay,
    /// The merchant has put as many as it may.
    Limited,
}

/// The end of a question.
#[derive(Debug, Clone)]
pub struct InquiryEnd {
    /// The right to end it.
    pub lease: InquiryLease,
    /// What it came to: a stable code of at most 64 characters.
    pub code: String,
    /// When it is put again; `None` where it is over.
    pub next: Option<Timestamp>,
}

/// An inquiry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInquiry {
    /// What is asked.
    pub key: InquiryKey,
    /// When there was something to ask about first.
    pub begun_at: Timestamp,
    /// When it is asked next; `None` where it is over.
    pub due_at: Option<Timestamp>,
    /// Questions that were begun.
    pub asked: i64,
    /// When it was asked last.
    pub asked_at: Option<Timestamp>,
    /// Until when a host has the right to ask.
    pub leased_until: Option<Timestamp>,
    /// What the last question came to.
    pub code: Option<String>,
    /// When it was over.
    pub closed_at: Option<Timestamp>,
}

/// Something to do with inquiries, on its way.
#[derive(Debug)]
pub(crate) enum Inquiring {
    Claim(ClaimInquiries, Timestamp),
    Begin(BeginInquiry, Timestamp),
    End(InquiryEnd, Timestamp),
    Open(Vec<NewInquiry>, Timestamp),
    Page(sweep::Page, Timestamp),
    Forget(Timestamp),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Inquired {
    Claimed(ClaimedInquiries),
    Begun(InquiryBegun),
    /// Whether the lease held.
    Ended(bool),
    /// How many rows.
    Count(usize),
}

impl Inquiring {
    /// Whether it hands out leases.
    pub(crate) fn leases(&self) -> bool {
        matches!(self, Self::Claim(..) | Self::Begin(..))
    }

    /// What it carries.
    pub(crate) fn bytes(&self) -> usize {
        let rows = match self {
            Self::Open(rows, _) => rows.len(),
            Self::Page(page, _) => page.rows.len(),
            Self::Claim(..) | Self::Begin(..) | Self::End(..) | Self::Forget(_) => 1,
        };
        rows.saturating_mul(512)
    }

    /// Those that take from a merchant's bucket come first and in one order, so that two hosts do
    /// not wait for each other.
    fn rank(&self) -> (u8, &str) {
        match self {
            Self::Claim(claim, _) => (0, &claim.allowance.merchant),
            Self::Begin(begin, _) => (0, &begin.allowance.merchant),
            Self::End(..) | Self::Open(..) | Self::Page(..) | Self::Forget(_) => (1, ""),
        }
    }
}

/// Does what a group wants; one answer for each, in their order.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    group: &[Inquiring],
) -> Result<Vec<Inquired>, Fault> {
    let mut order: Vec<(usize, &Inquiring)> = group.iter().enumerate().collect();
    order.sort_by_key(|(place, one)| (one.rank(), *place));
    let mut answers = Vec::with_capacity(group.len());
    for (place, one) in order {
        let answer = match one {
            Inquiring::Claim(claim, now) => {
                Inquired::Claimed(claim::run(connection, dialect, claim, *now).await?)
            }
            Inquiring::Begin(begin, now) => {
                Inquired::Begun(claim::begin(connection, dialect, begin, *now).await?)
            }
            Inquiring::End(end, now) => Inquired::Ended(end::run(connection, end, *now).await?),
            Inquiring::Open(new, now) => Inquired::Count(open::again(connection, new, *now).await?),
            Inquiring::Page(page, now) => {
                Inquired::Count(sweep::write(connection, page, *now).await?)
            }
            Inquiring::Forget(before) => Inquired::Count(end::forget(connection, *before).await?),
        };
        answers.push((place, answer));
    }
    answers.sort_by_key(|(place, _)| *place);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

impl InquiryKey {
    pub(crate) fn cells(&self) -> [Cell; 5] {
        [
            self.business.as_str().into(),
            self.order_no.as_str().into(),
            self.channel.as_str().into(),
            self.number.as_str().into(),
            self.refund_no.as_deref().unwrap_or_default().into(),
        ]
    }

    fn read(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            business: row.try_get("business")?,
            order_no: row.try_get("order_no")?,
            channel: row.try_get("channel")?,
            number: row.try_get("number")?,
            refund_no: Some(row.try_get("refund_no")?).filter(|text: &String| !text.is_empty()),
        })
    }
}

impl StoredInquiry {
    fn read(row: &Row) -> Result<Self, sqlx::Error> {
        let time = |name: &str| -> Result<_, sqlx::Error> {
            Ok(row.try_get::<Option<i64>, _>(name)?.map(Timestamp::from_ms))
        };
        Ok(Self {
            key: InquiryKey::read(row)?,
            begun_at: Timestamp::from_ms(row.try_get("begun_at_ms")?),
            due_at: time("due_at_ms")?,
            asked: row.try_get("asked")?,
            asked_at: time("asked_at_ms")?,
            leased_until: time("leased_until_ms")?,
            code: row.try_get("last_code")?,
            closed_at: time("closed_at_ms")?,
        })
    }
}

const COLUMNS: &str = "t.business, t.order_no, t.channel, t.number, t.refund_no, t.begun_at_ms, \
    t.due_at_ms, t.asked, t.rounds, t.asked_at_ms, t.leased_until_ms, t.last_code, t.closed_at_ms";
