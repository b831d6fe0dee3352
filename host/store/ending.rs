//! What becomes of the row of a settled job: where it goes, who has it, and what it costs.

use callgate_core::outcome::{Outcome, Reason};
use callgate_core::time::Timestamp;

use crate::inbox::InboxState;
use crate::settlement::{AfterPhase, Budget, Settlement, Settling};

/// What becomes of an inbox row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowChange {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) attempt: i64,
    pub(crate) state: InboxState,
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) lease: LeaseEnd,
    pub(crate) reason: Option<Reason>,
    /// `None` keeps the last one.
    pub(crate) outcome: Option<&'static str>,
    pub(crate) scratch: Option<String>,
    pub(crate) plugin: Option<String>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) budget: Budget,
    /// The history entry of its commit; `None` keeps the last one.
    pub(crate) history_id: Option<String>,
}

/// Whether the worker goes on with the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    /// It does: the last phase is due, and it is the one to run it.
    Held,
    /// Whoever claims it next.
    Given,
}

/// What becomes of the row of a settlement that holds.
pub(crate) fn of(settling: &Settling) -> RowChange {
    match &settling.settlement.outcome {
        Outcome::Advance(_) => done(settling),
        Outcome::Keep(reason) => end(settling, InboxState::Done, (reason, "keep")),
        Outcome::Review(reason) => end(settling, InboxState::Review, (reason, "review")),
        Outcome::Park(reason) => wait(settling, InboxState::Parked, (reason, "park")),
        Outcome::Retry(reason) => wait(settling, InboxState::Ready, (reason, "retry")),
        Outcome::Defer(reason) => wait(settling, InboxState::Ready, (reason, "defer")),
        // As one that failed, it keeps its place in its order.
        Outcome::Hold { reason, plugin } => {
            let plugin = Some(plugin.clone());
            RowChange { plugin, ..wait(settling, InboxState::Ready, (reason, "retry")) }
        }
    }
}

fn change(settling: &Settling, state: InboxState) -> RowChange {
    let Settlement { lease, scratch, run, .. } = &settling.settlement;
    let finished = matches!(state, InboxState::Done | InboxState::Review);
    RowChange {
        id: lease.id.clone(),
        owner: lease.owner.clone(),
        attempt: lease.attempt,
        state,
        due_at: (!finished).then_some(settling.now),
        lease: LeaseEnd::Given,
        reason: None,
        outcome: None,
        scratch: scratch.clone(),
        plugin: run.as_ref().map(|run| run.plugin.clone()),
        finished_at: finished.then_some(settling.now),
        budget: Budget::Spent,
        history_id: None,
    }
}

/// Back to the start, at once.
pub(crate) fn again(settling: &Settling) -> RowChange {
    RowChange { budget: Budget::Kept, ..change(settling, InboxState::Ready) }
}

/// Back to the start after a lost race, when the worker says: a processor can lose each one, with
/// an expectation that never holds.
pub(crate) fn lost(settling: &Settling) -> RowChange {
    let due_at = Some(settling.settlement.due_at.max(settling.now));
    RowChange { due_at, budget: Budget::Raced, ..again(settling) }
}

fn wait(
    settling: &Settling,
    state: InboxState,
    (reason, outcome): (&Reason, &'static str),
) -> RowChange {
    RowChange {
        due_at: Some(settling.settlement.due_at),
        reason: Some(reason.clone()),
        outcome: Some(outcome),
        budget: match settling.settlement.outcome {
            Outcome::Park(_) | Outcome::Defer(_) | Outcome::Hold { .. } => Budget::Kept,
            Outcome::Retry(_) | Outcome::Advance(_) | Outcome::Keep(_) | Outcome::Review(_) => {
                Budget::Spent
            }
        },
        ..change(settling, state)
    }
}

pub(crate) fn end(
    settling: &Settling,
    state: InboxState,
    (reason, outcome): (&Reason, &'static str),
) -> RowChange {
    let reason = Some(reason.clone());
    RowChange { reason, outcome: Some(outcome), ..change(settling, state) }
}

fn done(settling: &Settling) -> RowChange {
    let outcome = Some("advance");
    match settling.settlement.after {
        AfterPhase::None => RowChange { outcome, ..change(settling, InboxState::Done) },
        AfterPhase::Wanted => {
            let (lease, budget) = (LeaseEnd::Held, Budget::Anew);
            let history_id = Some(settling.history_id.clone());
            RowChange { outcome, lease, budget, history_id, ..change(settling, InboxState::After) }
        }
    }
}
