//! Certificates that gateways handed out, shared by all hosts, and whose turn it is to ask.

use callgate_core::time::Timestamp;

use crate::error::{Fault, StoreError};
use crate::group::Operation;
use crate::operate::{Done, Operating, astray};
use crate::sql::{Connection, Pool, query};
use crate::store::Store;

/// A certificate that a gateway handed out and that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformCertificate {
    /// The channel that asked.
    pub channel: String,
    /// Its serial number, upper-case hex without leading zeros.
    pub serial: String,
    /// The text.
    pub pem: String,
    /// The first moment of its validity.
    pub valid_from: Timestamp,
    /// The last.
    pub valid_to: Timestamp,
}

/// When a gateway was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateAsk {
    /// The channel.
    pub channel: String,
    /// When somebody asked last.
    pub asked_at: Timestamp,
    /// When an answer came last that was believed.
    pub answered_at: Option<Timestamp>,
}

/// How long a gateway is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskGaps {
    /// After an answer that was believed, in milliseconds.
    pub answered_ms: i64,
    /// After a question that came to nothing, in milliseconds.
    pub failed_ms: i64,
}

impl CertificateAsk {
    /// When it may be asked again.
    #[must_use]
    pub fn due_at(&self, gaps: AskGaps) -> Timestamp {
        let answered = self.answered_at.is_some_and(|at| at >= self.asked_at);
        self.asked_at.plus_ms(if answered { gaps.answered_ms } else { gaps.failed_ms })
    }
}

impl Store {
    /// Every certificate that was handed out, by channel and serial number.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn platform_certificates(&self) -> Result<Vec<PlatformCertificate>, StoreError> {
        kept(self.readers()).await
    }

    /// When each gateway was asked.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn certificate_asks(&self) -> Result<Vec<CertificateAsk>, StoreError> {
        asks(self.readers()).await
    }

    /// Takes the turn to ask a channel's gateway; of all hosts one gets it.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn take_certificate_ask(
        &self,
        channel: &str,
        gaps: AskGaps,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let channel = channel.to_owned();
        let done = self.certificate_work(CertificateWork::Take { channel, gaps, now }).await?;
        Ok(done == CertificateDone::Taken)
    }

    /// Keeps what a gateway answered, and forgets what ended a month ago. What it did not hand out
    /// this time stays to its end: callbacks that are repeated may be signed with it.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn keep_certificates(
        &self,
        channel: &str,
        certificates: Vec<PlatformCertificate>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let channel = channel.to_owned();
        self.certificate_work(CertificateWork::Keep { channel, certificates, now }).await.map(drop)
    }

    async fn certificate_work(&self, work: CertificateWork) -> Result<CertificateDone, StoreError> {
        let operating = Box::new(Operating::Certificates(work));
        let done = self.ask(|reply| Operation::Operate(operating, reply)).await?;
        if let Done::Certificates(done) = done { Ok(done) } else { Err(astray(&done)) }
    }
}

/// Something to be written about certificates.
#[derive(Debug)]
pub(crate) enum CertificateWork {
    Take { channel: String, gaps: AskGaps, now: Timestamp },
    Keep { channel: String, certificates: Vec<PlatformCertificate>, now: Timestamp },
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CertificateDone {
    Taken,
    NotDue,
    Kept,
}

pub(crate) async fn run(
    connection: &mut Connection,
    work: &CertificateWork,
) -> Result<CertificateDone, Fault> {
    match work {
        CertificateWork::Take { channel, gaps, now } => {
            take(connection, channel, *gaps, *now).await
        }
        CertificateWork::Keep { channel, certificates, now } => {
            keep(connection, channel, certificates, *now).await
        }
    }
}

/// One statement, so that of two hosts at the same moment one finds it done.
async fn take(
    connection: &mut Connection,
    channel: &str,
    gaps: AskGaps,
    now: Timestamp,
) -> Result<CertificateDone, Fault> {
    // Somebody whose clock is far ahead must not keep everybody from asking.
    let done = query(
        "insert into certificate_asks (channel, asked_at_ms) values ($1, $2) \
         on conflict (channel) do update set asked_at_ms = excluded.asked_at_ms \
         where (certificate_asks.answered_at_ms >= certificate_asks.asked_at_ms \
         and certificate_asks.asked_at_ms <= $3) \
         or ((certificate_asks.answered_at_ms is null \
         or certificate_asks.answered_at_ms < certificate_asks.asked_at_ms) \
         and certificate_asks.asked_at_ms <= $4) \
         or certificate_asks.asked_at_ms > $5",
    )
    .bind(channel)
    .bind(now.as_ms())
    .bind(now.plus_ms(gaps.answered_ms.saturating_neg()).as_ms())
    .bind(now.plus_ms(gaps.failed_ms.saturating_neg()).as_ms())
    .bind(now.plus_ms(gaps.answered_ms.max(gaps.failed_ms)).as_ms())
    .execute(connection)
    .await?;
    Ok(match done {
        0 => CertificateDone::NotDue,
        _ => CertificateDone::Taken,
    })
}

async fn keep(
    connection: &mut Connection,
    channel: &str,
    certificates: &[PlatformCertificate],
    now: Timestamp,
) -> Result<CertificateDone, Fault> {
    for one in certificates {
        query(
            "insert into platform_certificates \
             (channel, serial, pem, valid_from_ms, valid_to_ms, fetched_at_ms) \
             values ($1, $2, $3, $4, $5, $6) \
             on conflict (channel, serial) do update set pem = excluded.pem, \
             valid_from_ms = excluded.valid_from_ms, valid_to_ms = excluded.valid_to_ms, \
             fetched_at_ms = excluded.fetched_at_ms",
        )
        .bind(channel)
        .bind(one.serial.as_str())
        .bind(one.pem.as_str())
        .bind(one.valid_from.as_ms())
        .bind(one.valid_to.as_ms())
        .bind(now.as_ms())
        .execute(&mut *connection)
        .await?;
    }
    let sql = "delete from platform_certificates where channel = $1 and valid_to_ms < $2";
    query(sql).bind(channel).bind(now.plus_ms(-MONTH_MS).as_ms()).execute(&mut *connection).await?;
    let sql = "update certificate_asks set answered_at_ms = $2 where channel = $1";
    query(sql).bind(channel).bind(now.as_ms()).execute(connection).await?;
    Ok(CertificateDone::Kept)
}

async fn kept(pool: &Pool) -> Result<Vec<PlatformCertificate>, StoreError> {
    let sql = "select channel, serial, pem, valid_from_ms, valid_to_ms from platform_certificates \
               order by channel, serial";
    let rows = query(sql).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            Ok(PlatformCertificate {
                channel: row.try_get("channel")?,
                serial: row.try_get("serial")?,
                pem: row.try_get("pem")?,
                valid_from: Timestamp::from_ms(row.try_get("valid_from_ms")?),
                valid_to: Timestamp::from_ms(row.try_get("valid_to_ms")?),
            })
        })
        .collect()
}

async fn asks(pool: &Pool) -> Result<Vec<CertificateAsk>, StoreError> {
    let sql = "select channel, asked_at_ms, answered_at_ms from certificate_asks order by channel";
    let rows = query(sql).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            let answered_at: Option<i64> = row.try_get("answered_at_ms")?;
            Ok(CertificateAsk {
                channel: row.try_get("channel")?,
                asked_at: Timestamp::from_ms(row.try_get("asked_at_ms")?),
                answered_at: answered_at.map(Timestamp::from_ms),
            })
        })
        .collect()
}

const MONTH_MS: i64 = 30 * 24 * 3_600_000;
