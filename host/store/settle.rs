//! Settling: what a run decided becomes true, all of it or nothing.
//!
//! A group reads and locks what its settlements rest on, decides in memory who wins
//! ([`crate::verdict`]), and writes for the winners. A lost race undoes nothing and spoils no
//! neighbour. Locks are taken in one order everywhere: names, inbox rows by
//! delivery key, documents, the counter of events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use callgate_core::outcome::Outcome;
use callgate_core::time::Timestamp;

use crate::attempt::{self, Mode};
use crate::batch::{Cell, Statement, change, fetch};
use crate::dialect::{Dialect, Lock};
use crate::documents::{self, DocumentKey, ORDERS};
use crate::ending::{LeaseEnd, RowChange};
use crate::error::{Blame, Fault, StoreError};
use crate::foretold::{self, AllForetold};
use crate::history::{self, HistoryEntry, is_used};
use crate::inbox::{InboxState, has_put_off};
use crate::lease::Lease;
use crate::order::NAMES;
use crate::outbox::Outgoing;
use crate::settlement::{
    AfterEnd, AfterSettlement, Budget, DocumentRead, Settled, Settlement, Settling, SubjectSeen,
};
use crate::sql::{Connection, Row};
use crate::verdict::{Held, Known, LeasedRow, Writes, decide, meaning};

/// An end of a last phase on its way.
#[derive(Debug)]
pub(crate) struct Finishing {
    pub(crate) settlement: AfterSettlement,
    pub(crate) now: Timestamp,
}

/// The answers of a group, in the order of what was asked, and events for the outbox.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    pub(crate) settles: Vec<Result<Settled, StoreError>>,
    pub(crate) finishes: Vec<Result<Settled, StoreError>>,
    pub(crate) events: Vec<Outgoing>,
    /// Whether something that was put off may go now.
    pub(crate) woken: bool,
}

/// Settles a group of runs and of last phases. The rows of some runs are stored already as they
/// end.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    (group, finishing): (&[&Settling], &[Finishing]),
    mut foretold: AllForetold<'_>,
) -> Result<Verdicts, Fault> {
    let mut verdicts = Verdicts::default();
    if group.is_empty() && finishing.is_empty() {
        return Ok(verdicts);
    }
    let mut known = look(connection, dialect, (group, finishing), &foretold).await?;
    foretold::look(connection, &mut foretold, &mut known).await?;
    let mut writes = Writes::default();
    let mut settled = BTreeSet::new();
    for settling in group {
        let id = settling.settlement.lease.id.as_str();
        // A second settlement of one lease comes too late. One that wrote nothing, because its
        // lease was lost or it made no sense, takes nothing from the one that holds the lease.
        let answer = if settled.contains(id) {
            Ok(Settled::LostLease)
        } else {
            let before = writes.rows.len();
            let answer = decide(&mut known, settling, &mut writes);
            if writes.rows.len() > before {
                settled.insert(id);
            }
            answer
        };
        verdicts.settles.push(answer);
    }
    let waiting = waiting(&known);
    foretold::settle(connection, &foretold, &mut writes.rows).await?;
    write(connection, &mut writes, &waiting).await?;
    verdicts.woken = !waiting.is_empty();
    verdicts.events = writes.events;
    finish(connection, finishing, &known, &mut verdicts).await?;
    attempt::insert(connection, &attempts(group, finishing, &known, &verdicts)).await?;
    Ok(verdicts)
}

/// What the group adds to the attempts: those whose lease held.
fn attempts(
    group: &[&Settling],
    finishing: &[Finishing],
    known: &Known,
    verdicts: &Verdicts,
) -> Vec<attempt::AttemptCells> {
    let mode = |lease: &Lease| match known.rows.get(&lease.id) {
        Some(row) if row.replayed => Mode::Replay,
        Some(_) | None => Mode::Live,
    };
    let runs = group.iter().zip(&verdicts.settles).filter_map(|(settling, verdict)| {
        let (settlement, now) = (&settling.settlement, settling.now);
        attempt::of_run(settlement, verdict.as_ref().ok()?, (mode(&settlement.lease), now))
    });
    let lasts = finishing.iter().zip(&verdicts.finishes);
    let lasts = lasts.filter(|(_, verdict)| matches!(verdict, Ok(Settled::Done { .. })));
    let of_after = |(end, _): (&Finishing, _)| {
        attempt::of_after(&end.settlement, (mode(&end.settlement.lease), end.now))
    };
    runs.chain(lasts.filter_map(of_after)).collect()
}

/// Ends last phases.
async fn finish(
    connection: &mut Connection,
    group: &[Finishing],
    known: &Known,
    verdicts: &mut Verdicts,
) -> Result<(), Fault> {
    let mut once = BTreeSet::new();
    let mut rows = Vec::new();
    // Who holds the lease is known, so that one who lost it takes nothing from who has it.
    let holds = |finishing: &Finishing| known.held_by(&finishing.settlement.lease).is_some();
    for finishing in group.iter().filter(|finishing| holds(finishing)) {
        if once.insert(finishing.settlement.lease.id.as_str()) {
            rows.push(cells(&finished(finishing)));
        }
    }
    let mut ended = HashMap::new();
    for row in fetch(connection, FINISH, &rows).await? {
        let subject = row.try_get::<Option<String>, _>("subject")?;
        ended.insert(row.try_get::<String, _>("id")?, subject);
    }
    for finishing @ Finishing { settlement, now } in group {
        let subject = holds(finishing).then(|| ended.remove(&settlement.lease.id)).flatten();
        let Some(subject) = subject else {
            verdicts.finishes.push(Ok(Settled::LostLease));
            continue;
        };
        let events = match settlement.end {
            AfterEnd::Done => settlement.events.as_slice(),
            AfterEnd::Retry(..) | AfterEnd::Review(_) | AfterEnd::Hold(..) => &[],
        };
        verdicts.events.extend(events.iter().map(|event| Outgoing {
            business: settlement.lease.business.clone(),
            event: event.clone(),
            notification_id: settlement.lease.id.clone(),
            order_no: subject.clone(),
            now: *now,
        }));
        let events = events.len();
        verdicts.finishes.push(Ok(Settled::Done { state: String::new(), version: 0, events }));
    }
    Ok(())
}

fn finished(Finishing { settlement, now }: &Finishing) -> RowChange {
    let (state, due_at, reason) = match &settlement.end {
        AfterEnd::Done => (InboxState::Done, None, None),
        AfterEnd::Retry(reason, due_at) => (InboxState::After, Some(*due_at), Some(reason)),
        AfterEnd::Review(reason) => (InboxState::Review, None, Some(reason)),
        AfterEnd::Hold(reason, due_at) => (InboxState::After, Some(*due_at), Some(reason)),
    };
    let budget = match &settlement.end {
        AfterEnd::Hold(..) => Budget::Kept,
        AfterEnd::Done | AfterEnd::Retry(..) | AfterEnd::Review(_) => Budget::Spent,
    };
    RowChange {
        id: settlement.lease.id.clone(),
        owner: settlement.lease.owner.clone(),
        attempt: settlement.lease.attempt,
        state,
        due_at,
        lease: LeaseEnd::Given,
        reason: reason.cloned(),
        outcome: None,
        scratch: None,
        plugin: None,
        finished_at: due_at.is_none().then_some(*now),
        budget,
        history_id: None,
    }
}

/// Reads and locks everything that the group rests on.
async fn look(
    connection: &mut Connection,
    dialect: Dialect,
    (group, finishing): (&[&Settling], &[Finishing]),
    foretold: &AllForetold<'_>,
) -> Result<Known, Fault> {
    let mut known = Known::default();
    let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let mut ids: BTreeSet<_> =
        finishing.iter().map(|finishing| finishing.settlement.lease.id.as_str()).collect();
    for Settling { settlement, .. } in group.iter().copied() {
        let lease = &settlement.lease;
        if !foretold.contains_key(lease.id.as_str()) {
            ids.insert(lease.id.as_str());
        }
        keys.extend(documents_of(settlement));
        if let (SubjectSeen::Absent, Some(name)) = (settlement.subject, &lease.subject) {
            names.insert((lease.business.as_str(), name.as_str()));
        }
    }
    let rows: Vec<[Cell; 2]> = names.into_iter().map(|(a, b)| [a.into(), b.into()]).collect();
    let share = Statement { suffix: dialect.lock(Lock::Share), ..NAMES };
    for row in fetch(connection, share, &rows).await? {
        if row.try_get::<Option<String>, _>("order_no")?.is_some() {
            known.registered.insert((row.try_get("business")?, row.try_get("alias")?));
        }
    }
    let update = dialect.lock(Lock::Update);
    let rows: Vec<[Cell; 1]> = ids.into_iter().map(|id| [id.into()]).collect();
    for row in fetch(connection, Statement { suffix: update, ..ROWS }, &rows).await? {
        let leased = leased_row(&row)?;
        if row.try_get::<i64, _>("used")? > 0 {
            known.meanings.insert(meaning(&leased));
        }
        known.rows.insert(row.try_get("id")?, leased);
    }
    for found in documents::find(connection, update, keys.iter()).await? {
        let state = found.state.map(String::from).unwrap_or_default();
        let held = Held { version: found.version, state };
        known.documents.insert((found.business, found.collection, found.key), held);
    }
    Ok(known)
}

/// The documents that a settlement reads or writes.
fn documents_of(settlement: &Settlement) -> Vec<DocumentKey> {
    let Lease { business, subject, .. } = &settlement.lease;
    let mut keys = Vec::new();
    if let Some(subject) = subject {
        keys.push((business.clone(), ORDERS.to_owned(), subject.clone()));
    }
    for DocumentRead { document, .. } in &settlement.reads {
        keys.push((business.clone(), document.collection.clone(), document.key.clone()));
    }
    if let Outcome::Advance(step) = &settlement.outcome {
        for write in step.writes() {
            keys.push((business.clone(), write.collection.clone(), write.key.clone()));
        }
    }
    keys
}

fn leased_row(row: &Row) -> Result<LeasedRow, sqlx::Error> {
    Ok(LeasedRow {
        business: row.try_get("business")?,
        subject: row.try_get("subject")?,
        channel: row.try_get("channel")?,
        event_type: row.try_get("event_type")?,
        meaning_key: row.try_get("meaning_key")?,
        state: row.try_get("state")?,
        owner: row.try_get("lease_owner")?,
        attempts: row.try_get("attempts")?,
        put_off: row.try_get::<i64, _>("put_off")? > 0,
        replayed: row.try_get::<Option<i64>, _>("replayed_at_ms")?.is_some(),
    })
}

/// The orders of which something was put off, by business and number.
fn waiting(known: &Known) -> BTreeSet<(String, String)> {
    let put_off = known.rows.values().filter(|row| row.put_off);
    put_off.filter_map(|row| Some((row.business.clone(), row.subject.clone()?))).collect()
}

async fn write(
    connection: &mut Connection,
    writes: &mut Writes,
    waiting: &BTreeSet<(String, String)>,
) -> Result<(), Fault> {
    documents::insert(connection, &mut writes.inserts).await?;
    let updated = documents::update(connection, &writes.versions).await?;
    history::insert(connection, &writes.history).await?;
    if !waiting.is_empty() {
        wake(connection, &writes.history, waiting).await?;
    }
    let rows: Vec<_> = writes.rows.iter().map(cells).collect();
    let settled = change(connection, SETTLE, &rows).await?;
    // Everything was locked or alone; if not, nothing of this may be committed.
    let all = |changed, wanted: usize| u64::try_from(wanted).is_ok_and(|wanted| changed == wanted);
    if !all(updated, writes.versions.len()) || !all(settled, writes.rows.len()) {
        return Err(Fault::Group(Blame::Race));
    }
    Ok(())
}

/// What a processor put off may go now: perhaps this is what it waited for.
async fn wake(
    connection: &mut Connection,
    history: &[HistoryEntry],
    waiting: &BTreeSet<(String, String)>,
) -> Result<(), Fault> {
    let moved: BTreeMap<_, _> = history
        .iter()
        .filter(|entry| waiting.contains(&(entry.business.clone(), entry.order_no.clone())))
        .map(|entry| ((entry.business.as_str(), entry.order_no.as_str()), entry.at.as_ms()))
        .collect();
    let rows: Vec<[Cell; 3]> = moved
        .into_iter()
        .map(|((business, order_no), at_ms)| [business.into(), order_no.into(), at_ms.into()])
        .collect();
    change(connection, WAKE, &rows).await?;
    Ok(())
}

fn cells(change: &RowChange) -> [Cell; 14] {
    let reason = change.reason.as_ref();
    let keeps = match change.lease {
        LeaseEnd::Held => Some("yes"),
        LeaseEnd::Given => None,
    };
    let budget = match change.budget {
        Budget::Spent => None,
        Budget::Kept => Some("kept"),
        Budget::Raced => Some("raced"),
        Budget::Anew => Some("anew"),
    };
    [
        change.id.as_str().into(),
        change.owner.as_str().into(),
        change.attempt.into(),
        change.state.as_str().into(),
        change.due_at.map(Timestamp::as_ms).into(),
        keeps.into(),
        reason.map(|reason| reason.code.as_ref()).into(),
        reason.map(|reason| reason.text.as_str()).into(),
        change.outcome.into(),
        change.scratch.as_deref().into(),
        change.plugin.as_deref().into(),
        change.finished_at.map(Timestamp::as_ms).into(),
        budget.into(),
        change.history_id.as_deref().into(),
    ]
}

const WAKE: Statement = Statement {
    columns: "v_business, v_order_no, v_now_ms",
    text: "update inbox set due_at_ms = v.v_now_ms from v where inbox.business = v.v_business \
           and inbox.subject = v.v_order_no and inbox.state = 'ready' \
           and inbox.outcome = 'defer' and inbox.lease_owner is null \
           and inbox.due_at_ms > v.v_now_ms",
    suffix: "",
};

/// With each row whether a processor put something of its order off, and whether its meaning had its
/// effect. Another host that uses the meaning up between this look and the commit makes the commit
/// fail: then everybody of the group is settled alone.
const ROWS: Statement = Statement {
    columns: "id",
    text: concat!(
        "select t.id, t.business, t.subject, t.channel, t.event_type, t.meaning_key, t.state, \
         t.lease_owner, t.attempts, t.replayed_at_ms, ",
        has_put_off!("t"),
        " as put_off, ",
        is_used!("t"),
        " as used from v join inbox t on t.id = v.id order by t.channel, t.delivery_key, t.part"
    ),
    suffix: "",
};

/// The change of a row that its worker still holds; the states that it may be in follow. A state by
/// itself would be a way to the rows: as long as PostgreSQL has not looked at its tables for the
/// first time, it thinks that few are in any, and goes through all of them.
macro_rules! changed {
    ($states:literal) => {
        concat!(
            "update inbox set state = v.new_state, due_at_ms = v.new_due_ms, \
             leased_until_ms = case when v.keeps is not null then inbox.leased_until_ms end, \
             lease_owner = case when v.keeps is not null then inbox.lease_owner end, \
             reason_code = v.new_code, reason_text = v.new_text, \
             outcome = coalesce(v.new_outcome, inbox.outcome), \
             scratch = coalesce(v.new_scratch, inbox.scratch), \
             plugin = coalesce(v.new_plugin, inbox.plugin), finished_at_ms = v.new_finished_ms, \
             history_id = coalesce(v.new_history, inbox.history_id), \
             attempts_before = case when v.budget = 'anew' then inbox.attempts \
                 when v.budget in ('kept', 'raced') \
                     and inbox.attempts_before < inbox.attempts \
                 then inbox.attempts_before + 1 else inbox.attempts_before end, \
             races = case when v.budget = 'raced' then inbox.races + 1 else 0 end \
             from v where inbox.id = v.row_id and inbox.lease_owner = v.row_owner \
             and inbox.attempts = v.row_attempt and coalesce(inbox.state, v.row_id) ",
            $states
        )
    };
}

const CHANGED: &str = "row_id, row_owner, row_attempt, new_state, new_due_ms, keeps, new_code, \
                       new_text, new_outcome, new_scratch, new_plugin, new_finished_ms, budget, \
                       new_history";

const SETTLE: Statement =
    Statement { columns: CHANGED, text: changed!("in ('ready', 'parked')"), suffix: "" };

const FINISH: Statement =
    Statement { columns: CHANGED, text: changed!("= 'after' returning id, subject"), suffix: "" };
