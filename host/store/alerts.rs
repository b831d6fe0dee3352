//! Alerts: what is wrong on any host, and what is still to be told to whom.
//!
//! A condition has one row, and the host that sees it holds the row by time. Raising it, and
//! writing down whom to tell, is one transaction; so is taking a notice to send it. All of them
//! lock one row of `counters` first and so follow each other on all hosts.
//!
//! Reading order: this file (words, and [`Store`]'s methods), `step` (raise and clear), `notices`
//! (what is told), `counts` (callbacks by five minutes).

use callgate_core::outcome::Reason;
use callgate_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dialect::{Dialect, Lock};
use crate::error::{Fault, StoreError};
use crate::group::Operation;
use crate::operate::{Done, Operating, astray};
use crate::sql::{Connection, Row, query};
use crate::store::Store;

mod counts;

mod notices;

mod step;

pub(crate) use counts::Span;
pub use counts::{COUNT_SPAN_MS, CountedSpan};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To be looked at today.
    Warning,
    /// To be looked at now: money or promises are late.
    Critical,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A condition that a host sees and that has lasted long enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenAlert {
    /// What it is about, 1 to 256 characters, the same on every host.
    pub condition: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is seen, in figures, at most 2000 characters.
    pub summary: String,
    /// When this host saw it first.
    pub since: Timestamp,
}

/// What one host has to say about conditions.
#[derive(Debug, Clone)]
pub struct AlertStep {
    /// Names the host.
    pub owner: String,
    /// How long its word counts, in milliseconds.
    pub lease_ms: i64,
    /// After how long people are told again, in milliseconds.
    pub repeat_ms: i64,
    /// Who is told: names of webhooks, and from which severity on.
    pub webhooks: Vec<(String, Severity)>,
    /// What it sees.
    pub seen: Vec<SeenAlert>,
    /// What it sees no more.
    pub over: Vec<String>,
}

/// What became of a condition that a host sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raised {
    /// It is raised, and people are told.
    New,
    /// It was raised before, and this host has it.
    Held,
    /// Another host has it.
    Elsewhere,
    /// It was cleared after this host saw it first: it must last anew.
    Cleared,
}

/// What became of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertStepped {
    /// For each condition that was seen, in their order.
    pub raised: Vec<Raised>,
    /// What is over by this step.
    pub cleared: Vec<String>,
}

/// A condition that is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAlert {
    /// What it is about.
    pub condition: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is seen.
    pub summary: String,
    /// The host that has it.
    pub owner: String,
    /// Until when that host is believed without a further word.
    pub held_until: Timestamp,
    /// When it began.
    pub since: Timestamp,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// When people were told last.
    pub told_at: Timestamp,
    /// How often.
    pub told: i64,
}

/// Why people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// It was raised.
    Raised,
    /// It lasts.
    Lasting,
    /// It is over.
    Recovered,
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Why.
    pub turn: Turn,
    /// What it is about.
    pub condition: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is seen.
    pub summary: String,
    /// When it began.
    pub since: Timestamp,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// When this was said.
    pub at: Timestamp,
}

/// Asks for a notice to send.
#[derive(Debug, Clone)]
pub struct NoticeClaim {
    /// To which webhook.
    pub webhook: String,
    /// Names the host.
    pub owner: String,
    /// How long it has the right to send it, in milliseconds.
    pub lease_ms: i64,
    /// Notices that the webhook may hear in a minute, all hosts together.
    pub per_minute: u32,
}

/// A notice to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueNotice {
    /// Its id: the same on every attempt.
    pub id: String,
    /// What is told.
    pub notice: Notice,
    /// This attempt, from 1; with the id the right to end it.
    pub attempt: i64,
}

/// How an attempt to send a notice ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeEnd {
    /// The webhook has it.
    Sent,
    /// It has not; it is tried again then, or never.
    Failed(Reason, Option<Timestamp>),
}

/// How it stands with one webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookStanding {
    /// Its name.
    pub webhook: String,
    /// Notices that wait.
    pub waiting: i64,
    /// When one was sent last, of those that are remembered.
    pub sent_at: Option<Timestamp>,
    /// Why the newest one that was not sent failed.
    pub failed: Option<Reason>,
}

/// Something about alerts to be written, on its way.
#[derive(Debug)]
pub(crate) enum AlertWork {
    Step(AlertStep, Vec<String>, Timestamp),
    Take(NoticeClaim, Timestamp),
    End { id: String, owner: String, attempt: i64, end: NoticeEnd, now: Timestamp },
    Count(Span, Timestamp),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum AlertDone {
    Stepped(AlertStepped),
    Taken(Option<DueNotice>),
    Noted,
}

/// Does one piece of work inside the transaction that `connection` is in.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    work: &AlertWork,
) -> Result<AlertDone, Fault> {
    let lock = dialect.lock(Lock::Update);
    let sql = format!("select t.value from counters t where t.name = 'alerts'{lock}");
    query(sql).fetch_optional(&mut *connection).await?;
    Ok(match work {
        AlertWork::Step(said, ids, now) => {
            AlertDone::Stepped(step::run(connection, (said, ids), *now).await?)
        }
        AlertWork::Take(claim, now) => {
            AlertDone::Taken(notices::take(connection, claim, *now).await?)
        }
        AlertWork::End { id, owner, attempt, end, now } => {
            notices::end(connection, (id, owner, *attempt), end, *now).await?;
            AlertDone::Noted
        }
        AlertWork::Count(span, now) => {
            counts::write(connection, span, *now).await?;
            AlertDone::Noted
        }
    })
}

/// Alerts.
impl Store {
    /// Raises what a host sees, once for all hosts, and clears what is over; who is to be told is
    /// written down with it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a name or a text that is empty or too long, else as the
    /// database fails.
    pub async fn step_alerts(
        &self,
        said: AlertStep,
        now: Timestamp,
    ) -> Result<AlertStepped, StoreError> {
        for seen in &said.seen {
            for (text, most) in [(&seen.condition, 256), (&seen.summary, 2000)] {
                let length = text.chars().count();
                if !(1..=most).contains(&length) || text.contains('\0') {
                    let what = format!("an alert has {length} characters, expected 1 to {most}");
                    return Err(StoreError::invalid(what));
                }
            }
        }
        // One for each notice that may come of it.
        let changes = said.seen.len().saturating_add(said.over.len());
        let notices = changes.saturating_mul(said.webhooks.len());
        let ids = (0..notices).map(|_| self.new_id(now)).collect();
        match self.alert_work(AlertWork::Step(said, ids, now)).await? {
            AlertDone::Stepped(stepped) => Ok(stepped),
            other @ (AlertDone::Taken(_) | AlertDone::Noted) => Err(astray(&Done::Alert(other))),
        }
    }

    /// What is raised, by name.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn open_alerts(&self) -> Result<Vec<OpenAlert>, StoreError> {
        let rows = query(step::OPEN).fetch_all(self.readers()).await?;
        rows.iter().map(OpenAlert::read).collect()
    }

    /// Takes the oldest notice that is due for a webhook; `None` where none is, where another host
    /// sends it, or where the webhook has heard enough in this minute.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn take_notice(
        &self,
        claim: NoticeClaim,
        now: Timestamp,
    ) -> Result<Option<DueNotice>, StoreError> {
        match self.alert_work(AlertWork::Take(claim, now)).await? {
            AlertDone::Taken(taken) => Ok(taken),
            other @ (AlertDone::Stepped(_) | AlertDone::Noted) => Err(astray(&Done::Alert(other))),
        }
    }

    /// When the next notice for a webhook is due; `None` where none waits.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn next_notice_at(&self, webhook: &str) -> Result<Option<Timestamp>, StoreError> {
        notices::next(self.readers(), webhook).await
    }

    /// Ends an attempt that [`Store::take_notice`] began. One that was too slow changes nothing.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn end_notice(
        &self,
        (notice, owner): (&DueNotice, &str),
        end: NoticeEnd,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (id, attempt) = (notice.id.clone(), notice.attempt);
        let owner = owner.to_owned();
        self.alert_work(AlertWork::End { id, owner, attempt, end, now }).await.map(drop)
    }

    /// How it stands with webhooks, in the order asked.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn webhooks(&self, names: &[String]) -> Result<Vec<WebhookStanding>, StoreError> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.push(notices::standing(self.readers(), name).await?);
        }
        Ok(found)
    }

    pub(in crate::alerts) async fn alert_work(
        &self,
        work: AlertWork,
    ) -> Result<AlertDone, StoreError> {
        let operating = Operating::Alert(Box::new(work));
        let done = self.ask(|reply| Operation::Operate(Box::new(operating), reply)).await?;
        if let Done::Alert(done) = done { Ok(done) } else { Err(astray(&done)) }
    }
}

impl OpenAlert {
    pub(in crate::alerts) fn read(row: &Row) -> Result<Self, StoreError> {
        let time = |name: &str| row.try_get(name).map(Timestamp::from_ms);
        Ok(Self {
            condition: row.try_get("condition")?,
            severity: severity(row.try_get("severity")?)?,
            summary: row.try_get("summary")?,
            owner: row.try_get("owner")?,
            held_until: time("held_until_ms")?,
            since: time("since_ms")?,
            raised_at: time("raised_at_ms")?,
            told_at: time("told_at_ms")?,
            told: row.try_get("told")?,
        })
    }
}

fn severity(word: &str) -> Result<Severity, StoreError> {
    let known = [Severity::Warning, Severity::Critical];
    let found = known.into_iter().find(|severity| severity.as_str() == word);
    found.ok_or_else(|| StoreError::corrupt(format!("severity of an alert `{word}`")))
}
