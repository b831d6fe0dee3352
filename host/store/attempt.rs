//! Attempts: what each try at a notification came to, and what it cost. For people alone: nothing
//! is decided by these rows.

use callgate_core::outcome::{Outcome, Reason};
use callgate_core::time::Timestamp;

use crate::batch::{Cell, Statement, change};
use crate::error::StoreError;
use crate::history::RunRecord;
use crate::lease::Lease;
use crate::settlement::{AfterEnd, AfterSettlement, Settled, Settlement};
use crate::sql::{Connection, Pool, Row, query};

/// What an attempt took, and what it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// From the claim to the decision, in microseconds.
    pub duration_us: i64,
    /// Fuel and time of each phase: a JSON list.
    pub phases: String,
    /// What the run was told and read, JSON; `None` where it is not recorded. A look at attempts
    /// does not show it.
    pub inputs: Option<String>,
}

impl Default for Spent {
    fn default() -> Self {
        Self { duration_us: 0, phases: "[]".to_owned(), inputs: None }
    }
}

/// One attempt that came to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which one, from 1; a number that is missing was begun and never ended.
    pub attempt: i64,
    /// `run`, or `after` for the last phase alone.
    pub step: String,
    /// When it ended.
    pub at: Timestamp,
    /// What it took.
    pub spent: Spent,
    /// What became of it.
    pub outcome: String,
    /// Why, where there is a reason.
    pub reason: Option<Reason>,
    /// `live` or `replay`.
    pub mode: String,
    /// Which processor ran, if one did.
    pub run: Option<RunRecord>,
}

impl Attempt {
    pub(crate) fn read(row: &Row) -> Result<Self, StoreError> {
        let reason = row.try_get::<Option<String>, _>("reason_code")?;
        let text = row.try_get::<Option<String>, _>("reason_text")?;
        let run = match row.try_get::<Option<String>, _>("plugin")? {
            Some(plugin) => Some(RunRecord {
                plugin,
                plugin_version: row.try_get("plugin_version")?,
                component: row.try_get("component")?,
                fuel: row.try_get("fuel")?,
            }),
            None => None,
        };
        Ok(Self {
            attempt: row.try_get("attempt")?,
            step: row.try_get("step")?,
            at: Timestamp::from_ms(row.try_get("at_ms")?),
            spent: Spent {
                duration_us: row.try_get("duration_us")?,
                phases: row.try_get("phases")?,
                inputs: None,
            },
            outcome: row.try_get("outcome")?,
            reason: reason.map(|code| Reason::new(code, text.unwrap_or_default())),
            mode: row.try_get("mode")?,
            run,
        })
    }
}

/// Whether a notification is run for the first time or again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Live,
    /// An operator had it run again.
    Replay,
}

/// A row on its way.
pub(crate) type AttemptCells = [Cell; 15];

/// What a settlement adds; nothing where its lease was lost.
pub(crate) fn of_run(
    settlement: &Settlement,
    settled: &Settled,
    when: (Mode, Timestamp),
) -> Option<AttemptCells> {
    let (name, reason) = match &settlement.outcome {
        Outcome::Advance(_) => ("advance", None),
        Outcome::Keep(reason) => ("keep", Some(reason)),
        Outcome::Park(reason) => ("park", Some(reason)),
        Outcome::Retry(reason) => ("retry", Some(reason)),
        Outcome::Defer(reason) => ("defer", Some(reason)),
        Outcome::Review(reason) => ("review", Some(reason)),
        // Nothing was tried, and thousands may be held again and again.
        Outcome::Hold { .. } => return None,
    };
    let outcome = match settled {
        Settled::Done { .. } => name,
        Settled::Conflict => "conflict",
        Settled::Repeated => "repeated",
        Settled::Released => "released",
        Settled::LostLease => return None,
    };
    let ended = Ended { step: "run", outcome, reason, run: settlement.run.as_ref() };
    Some(cells(&settlement.lease, &ended, &settlement.spent, when))
}

/// What the end of a last phase adds; nothing where it was not run.
pub(crate) fn of_after(
    settlement: &AfterSettlement,
    when: (Mode, Timestamp),
) -> Option<AttemptCells> {
    let (outcome, reason) = match &settlement.end {
        AfterEnd::Done => ("done", None),
        AfterEnd::Retry(reason, _) => ("retry", Some(reason)),
        AfterEnd::Review(reason) => ("review", Some(reason)),
        AfterEnd::Hold(..) => return None,
    };
    let ended = Ended { step: "after", outcome, reason, run: settlement.run.as_ref() };
    Some(cells(&settlement.lease, &ended, &settlement.spent, when))
}

struct Ended<'a> {
    step: &'static str,
    outcome: &'static str,
    reason: Option<&'a Reason>,
    run: Option<&'a RunRecord>,
}

fn cells(
    lease: &Lease,
    ended: &Ended<'_>,
    spent: &Spent,
    (mode, now): (Mode, Timestamp),
) -> AttemptCells {
    let run = ended.run;
    [
        lease.id.as_str().into(),
        lease.attempt.into(),
        ended.step.into(),
        now.as_ms().into(),
        spent.duration_us.max(0).into(),
        ended.outcome.into(),
        ended.reason.map(|reason| reason.code.as_ref()).into(),
        ended.reason.map(|reason| reason.text.as_str()).into(),
        run.map(|run| run.plugin.as_str()).into(),
        run.map(|run| run.plugin_version.as_str()).into(),
        run.map(|run| run.component.as_str()).into(),
        run.map(|run| run.fuel).into(),
        spent.phases.as_str().into(),
        spent.inputs.as_deref().into(),
        match mode {
            Mode::Live => "live",
            Mode::Replay => "replay",
        }
        .into(),
    ]
}

/// Adds the attempts of a group: one statement, whatever its size.
pub(crate) async fn insert(
    connection: &mut Connection,
    rows: &[AttemptCells],
) -> Result<(), sqlx::Error> {
    change(connection, INSERT, rows).await.map(drop)
}

/// Drops all but the last attempts of notifications that are replayed, so that replaying one for
/// ever does not fill the table.
pub(crate) async fn trim(connection: &mut Connection, ids: &[&str]) -> Result<(), sqlx::Error> {
    let rows: Vec<[Cell; 2]> = ids.iter().map(|id| [(*id).into(), ATTEMPTS_KEPT.into()]).collect();
    change(connection, TRIM, &rows).await.map(drop)
}

/// The attempts at one notification, oldest first.
pub(crate) async fn of_notification(pool: &Pool, id: &str) -> Result<Vec<Attempt>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from attempts t where t.notification_id = $1 \
         order by t.attempt desc, t.step limit $2"
    );
    let rows = query(sql).bind(id).bind(ATTEMPTS_SHOWN).fetch_all(pool).await?;
    rows.iter().rev().map(Attempt::read).collect()
}

/// Everything that [`Attempt::read`] reads.
pub(crate) const COLUMNS: &str = "t.attempt, t.step, t.at_ms, t.duration_us, t.outcome, t.reason_code, t.reason_text, \
     t.mode, t.plugin, t.plugin_version, t.component, t.fuel, t.phases";

/// An attempt is told once; telling it twice would be a mistake that must not undo a decision.
const INSERT: Statement = Statement {
    columns: "row_id, attempt, step, at_ms, duration_us, outcome, reason_code, reason_text, \
              plugin, plugin_version, component, fuel, phases, inputs, mode",
    text: "insert into attempts (notification_id, attempt, step, at_ms, duration_us, outcome, \
           reason_code, reason_text, plugin, plugin_version, component, fuel, phases, inputs, mode) \
           select v.* from v where v.row_id is not null \
           on conflict (notification_id, attempt, step) do nothing",
    suffix: "",
};

const TRIM: Statement = Statement {
    columns: "row_id, kept",
    text: "delete from attempts where (notification_id, attempt, step) in ( \
           select a.notification_id, a.attempt, a.step from v join inbox t on t.id = v.row_id \
           join attempts a on a.notification_id = v.row_id \
           where a.attempt <= t.attempts - v.kept)",
    suffix: "",
};

/// Attempts that a replay leaves of those before it.
pub const ATTEMPTS_KEPT: i64 = 50;

/// Attempts that a look at one notification shows: the last ones.
pub const ATTEMPTS_SHOWN: i64 = 200;
