//! What an operator does to notifications: look, search, replay, park, release, discard. Every
//! act stands in the audit table, in the transaction that makes it true.
//!
//! A replay is never held up by delivery keys, for nothing is accepted again; and it can double
//! nothing, for the run ends in the same settlement as every run: what a meaning has done once is
//! in the history, and it is done once.

use std::collections::HashMap;

use callgate_core::outcome::Reason;
use callgate_core::time::Timestamp;

use crate::alerts::{self, AlertDone, AlertWork};
use crate::attempt::{self, Attempt};
use crate::audit::{self, AuditEntry};
use crate::batch::{Cell, Statement, fetch};
use crate::calls::StoredCall;
use crate::certificates::{self, CertificateDone, CertificateWork};
use crate::dialect::{Dialect, Lock};
use crate::error::{Fault, StoreError};
use crate::inbox::InboxState;
use crate::plain::Found;
use crate::plugins::{self, PluginDone, PluginWork};
use crate::replays::{self, BulkReplay, Cancelled, Cancelling, Starting, Step, Stepped};
use crate::sql::Connection;

/// What can be done to one notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Run it again, now, with its attempts counted anew. Whatever state it is in, but for one
    /// whose last phase is due anyway. Where only the last phase failed, that phase alone runs.
    Replay,
    /// Set it aside until this moment, or until its order is registered.
    Park {
        /// When it is due by itself.
        until: Timestamp,
    },
    /// End a wait: what is parked, or waits for its next attempt, is due now.
    Release,
    /// Nothing is to come of it: done, for good reason.
    Discard,
}

impl Act {
    /// The word for it, the same in the API, on the command line and in the audit table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Park { .. } => "park",
            Self::Release => "release",
            Self::Discard => "discard",
        }
    }

    /// Where it leads to from a state; `None` where it makes no sense. `advance` is the outcome
    /// of what was committed, so that only its last phase can be open.
    fn target(self, state: InboxState, outcome: Option<&str>) -> Option<InboxState> {
        use InboxState::{After, Done, Parked, Ready, Review};

        let committed = outcome == Some("advance");
        match (self, state) {
            (_, After) => None,
            (Self::Replay, Review) if committed => Some(After),
            (Self::Replay, Ready | Parked | Done | Review) => Some(Ready),
            (Self::Park { .. }, Review) if committed => None,
            (Self::Park { .. }, Ready | Parked | Review) => Some(Parked),
            (Self::Release, Ready | Parked) => Some(Ready),
            (Self::Discard, Ready | Parked | Review) => Some(Done),
            (Self::Park { .. } | Self::Discard, Done) => None,
            (Self::Release, Review | Done) => None,
        }
    }
}

/// An act, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The notification.
    pub id: String,
    /// What to do.
    pub act: Act,
    /// Who wants it, 1 to 128 characters.
    pub who: String,
    /// Why, in the operator's words, 1 to [`WHY_MAX`] characters.
    pub why: String,
}

/// What became of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acted {
    /// It is done.
    Done {
        /// Where the notification was.
        from: InboxState,
        /// Where it is.
        to: InboxState,
    },
    /// There is no such notification.
    NotFound,
    /// A worker has it right now; when it is through, or its lease ends, try again.
    Busy,
    /// The act makes no sense in the state that it is in.
    Refused {
        /// The state.
        state: InboxState,
    },
}

/// A notification, its attempts, and what operators did to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The notification.
    pub found: Found,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Its outgoing calls, in the order of its log.
    pub calls: Vec<StoredCall>,
    /// What was done to it, newest first.
    pub audit: Vec<AuditEntry>,
}

/// Something an operator wants written, on its way.
#[derive(Debug)]
pub(crate) enum Operating {
    Act { instruction: Instruction, audit_id: String, now: Timestamp },
    Start(Starting),
    Cancel(Cancelling),
    Step(Step),
    Plugin(PluginWork),
    Alert(Box<AlertWork>),
    Certificates(CertificateWork),
    Note(AuditEntry),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Done {
    Act(Acted),
    Start(BulkReplay),
    Cancel(Cancelled),
    Step(Option<Stepped>),
    Plugin(PluginDone),
    Alert(AlertDone),
    Certificates(CertificateDone),
    Noted,
}

/// Does what operators want, one after the other; also says how many notifications are due by it.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    group: &[Operating],
) -> Result<(Vec<Done>, usize), Fault> {
    let (mut answers, mut freed) = (Vec::with_capacity(group.len()), 0usize);
    for operating in group {
        let done = match operating {
            Operating::Act { instruction, audit_id, now } => {
                Done::Act(act(connection, dialect, (instruction, audit_id), *now).await?)
            }
            Operating::Start(starting) => Done::Start(replays::start(connection, starting).await?),
            Operating::Cancel(cancelling) => {
                Done::Cancel(replays::cancel(connection, dialect, cancelling).await?)
            }
            Operating::Step(step) => Done::Step(replays::step(connection, dialect, step).await?),
            Operating::Plugin(work) => Done::Plugin(plugins::run(connection, dialect, work).await?),
            Operating::Alert(work) => Done::Alert(alerts::run(connection, dialect, work).await?),
            Operating::Certificates(work) => {
                Done::Certificates(certificates::run(connection, work).await?)
            }
            Operating::Note(entry) => {
                audit::insert(connection, std::slice::from_ref(entry)).await?;
                Done::Noted
            }
        };
        freed = freed.saturating_add(match &done {
            Done::Act(Acted::Done { .. }) => 1,
            Done::Step(Some(stepped)) => usize::try_from(stepped.replayed).unwrap_or(0),
            Done::Act(_)
            | Done::Start(_)
            | Done::Cancel(_)
            | Done::Step(None)
            | Done::Plugin(_)
            | Done::Alert(_)
            | Done::Certificates(_)
            | Done::Noted => 0,
        });
        answers.push(done);
    }
    Ok((answers, freed))
}

async fn act(
    connection: &mut Connection,
    dialect: Dialect,
    (instruction, audit_id): (&Instruction, &str),
    now: Timestamp,
) -> Result<Acted, Fault> {
    let Instruction { id, act, who, why } = instruction;
    let found = look(connection, dialect, &[id.as_str()]).await?;
    let Some(row) = found.get(id.as_str()) else { return Ok(Acted::NotFound) };
    if row.leased_until.is_some_and(|until| until > now) {
        return Ok(Acted::Busy);
    }
    let Some(to) = row.target(*act) else {
        return Ok(Acted::Refused { state: row.state });
    };
    change(connection, &[Change { id, act: *act, from: row.state, to, why }], now).await?;
    let entry = AuditEntry {
        id: audit_id.to_owned(),
        at: now,
        who: who.clone(),
        act: act.as_str().to_owned(),
        target: id.clone(),
        why: why.clone(),
        result: row.told(to),
    };
    audit::insert(connection, &[entry]).await?;
    Ok(Acted::Done { from: row.state, to })
}

/// What an act rests on.
pub(crate) struct Standing {
    pub(crate) state: InboxState,
    pub(crate) leased_until: Option<Timestamp>,
    outcome: Option<String>,
    reason_code: Option<String>,
    archived_at: Option<i64>,
}

impl Standing {
    /// Where an act leads to. What was archived has no body left to run on, and stays.
    fn target(&self, act: Act) -> Option<InboxState> {
        match self.archived_at {
            Some(_) => None,
            None => act.target(self.state, self.outcome.as_deref()),
        }
    }

    /// Where a replay leads to.
    pub(crate) fn replayed(&self) -> Option<InboxState> {
        self.target(Act::Replay)
    }

    /// From where to where, with the reason that is overwritten.
    pub(crate) fn told(&self, to: InboxState) -> String {
        let reason = self.reason_code.as_deref().map(|code| format!(" ({code})"));
        format!("{}{} -> {}", self.state.as_str(), reason.unwrap_or_default(), to.as_str())
    }
}

/// Reads and locks notifications, in the order in which everybody locks them.
pub(crate) async fn look(
    connection: &mut Connection,
    dialect: Dialect,
    ids: &[&str],
) -> Result<HashMap<String, Standing>, Fault> {
    let rows: Vec<[Cell; 1]> = ids.iter().map(|id| [(*id).into()]).collect();
    let locked = Statement { suffix: dialect.lock(Lock::Update), ..STANDING };
    let mut found = HashMap::new();
    for row in fetch(connection, locked, &rows).await? {
        let until: Option<i64> = row.try_get("leased_until_ms")?;
        let standing = Standing {
            state: InboxState::parse(row.try_get("state")?)?,
            leased_until: until.map(Timestamp::from_ms),
            outcome: row.try_get("outcome")?,
            reason_code: row.try_get("reason_code")?,
            archived_at: row.try_get("archived_at_ms")?,
        };
        found.insert(row.try_get("id")?, standing);
    }
    Ok(found)
}

/// A notification that an act changes; it was looked at and is locked.
pub(crate) struct Change<'a> {
    pub(crate) id: &'a str,
    pub(crate) act: Act,
    pub(crate) from: InboxState,
    pub(crate) to: InboxState,
    pub(crate) why: &'a str,
}

impl Change<'_> {
    fn cells(&self, now: Timestamp) -> [Cell; 8] {
        let (due_at, reason) = match self.act {
            Act::Replay | Act::Release => (Some(now), None),
            Act::Park { until } => (Some(until), Some("operator.parked")),
            Act::Discard => (None, Some("operator.discarded")),
        };
        let reason = reason.map(|code| Reason::new(code, self.why));
        let ended = (self.to == InboxState::Done).then_some(now);
        // Whoever comes out of an end begins anew; so does a replay of anything.
        let ended_before = matches!(self.from, InboxState::Review | InboxState::Done);
        let anew = ended.is_none() && (ended_before || self.act == Act::Replay);
        [
            self.id.into(),
            self.to.as_str().into(),
            due_at.map(Timestamp::as_ms).into(),
            reason.as_ref().map(|reason| reason.code.as_ref()).into(),
            reason.as_ref().map(|reason| reason.text.as_str()).into(),
            ended.map(Timestamp::as_ms).into(),
            anew.then_some(now.as_ms()).into(),
            (self.act == Act::Discard).then_some(now.as_ms()).into(),
        ]
    }
}

/// Changes notifications that are locked.
pub(crate) async fn change(
    connection: &mut Connection,
    changes: &[Change<'_>],
    now: Timestamp,
) -> Result<(), Fault> {
    let rows: Vec<_> = changes.iter().map(|change| change.cells(now)).collect();
    fetch(connection, CHANGE, &rows).await?;
    let replayed: Vec<&str> = changes.iter().map(|change| change.id).collect();
    attempt::trim(connection, &replayed).await?;
    Ok(())
}

/// Holds the name and the reason of an act against their limits.
pub(crate) fn check_words(who: &str, why: &str) -> Result<(), StoreError> {
    for (name, text, most) in [("who", who, WHO_MAX), ("why", why, WHY_MAX)] {
        let length = text.chars().count();
        if !(1..=most).contains(&length) || text.contains('\0') {
            let what = format!("{name} has {length} characters, expected 1 to {most} without NUL");
            return Err(StoreError::invalid(what));
        }
    }
    Ok(())
}

/// The writer answered another question: a mistake of ours.
pub(crate) fn astray(answer: &Done) -> StoreError {
    StoreError::corrupt(format!("the writer answered another question: {answer:?}"))
}

const STANDING: Statement = Statement {
    columns: "id",
    text: "select t.id, t.state, t.leased_until_ms, t.outcome, t.reason_code, \
           t.archived_at_ms from v join inbox t on t.id = v.id order by t.channel, t.delivery_key, t.part",
    suffix: "",
};

const CHANGE: Statement = Statement {
    columns: "row_id, new_state, new_due_ms, new_code, new_text, new_finished_ms, anew_ms, \
              discarded_ms",
    text: "update inbox set state = v.new_state, due_at_ms = v.new_due_ms, \
           finished_at_ms = v.new_finished_ms, leased_until_ms = null, lease_owner = null, \
           reason_code = v.new_code, reason_text = v.new_text, \
           outcome = case v.new_state when 'ready' then null when 'parked' then 'park' \
               else inbox.outcome end, \
           scratch = case when v.new_state in ('ready', 'parked') then null \
               else inbox.scratch end, \
           replayed_at_ms = coalesce(v.anew_ms, inbox.replayed_at_ms), \
           attempts_before = case when v.anew_ms is null then inbox.attempts_before \
               else inbox.attempts end, \
           races = 0, discarded_at_ms = v.discarded_ms \
           from v where inbox.id = v.row_id returning id",
    suffix: "",
};

/// Characters of an operator's name.
const WHO_MAX: usize = 128;

/// Characters of a written reason.
pub const WHY_MAX: usize = 1000;
