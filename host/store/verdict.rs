//! Who wins: the pure half of a settlement. What the decision rests on was read before, what
//! follows from it is written after.

use std::collections::{BTreeMap, HashMap, HashSet};

use callgate_core::outcome::{Expect, Outcome, Reason, Step};

use crate::documents::{DocumentKey, NewDocument, NewVersion, ORDERS};
use crate::ending::{self, RowChange, again, end, lost};
use crate::error::StoreError;
use crate::history::{Effect, HistoryEntry, Meaning};
use crate::inbox::InboxState;
use crate::lease::Lease;
use crate::outbox::Outgoing;
use crate::settlement::{DocumentRead, Settled, Settlement, Settling, SubjectSeen};

/// What is stored of everything that a group of settlements rests on.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) rows: HashMap<String, LeasedRow>,
    /// Business and name of the orders that were absent when a run began and are registered now.
    pub(crate) registered: HashSet<(String, String)>,
    pub(crate) documents: BTreeMap<DocumentKey, Held>,
    pub(crate) meanings: HashSet<Meaning>,
    /// What a settlement of this group writes already.
    pub(crate) touched: HashSet<DocumentKey>,
}

impl Known {
    /// The row of a lease, where the lease is the one that it has now.
    pub(crate) fn held_by(&self, lease: &Lease) -> Option<&LeasedRow> {
        let held = |row: &&LeasedRow| {
            row.owner.as_deref() == Some(&lease.owner) && row.attempts == lease.attempt
        };
        self.rows.get(&lease.id).filter(held)
    }
}

/// The inbox row of a job, as it is now.
#[derive(Debug, Clone)]
pub(crate) struct LeasedRow {
    pub(crate) business: String,
    pub(crate) subject: Option<String>,
    pub(crate) channel: String,
    pub(crate) event_type: String,
    pub(crate) meaning_key: String,
    pub(crate) state: String,
    pub(crate) owner: Option<String>,
    pub(crate) attempts: i64,
    /// Whether a processor put off notifications of the same order.
    pub(crate) put_off: bool,
    /// Whether an operator had it run again.
    pub(crate) replayed: bool,
}

/// A document, as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) version: i64,
    pub(crate) state: String,
}

/// Everything that the winners write.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pub(crate) inserts: Vec<NewDocument>,
    pub(crate) versions: Vec<NewVersion>,
    pub(crate) history: Vec<HistoryEntry>,
    pub(crate) rows: Vec<RowChange>,
    pub(crate) events: Vec<Outgoing>,
}

/// Judges one settlement, adds what it writes, and remembers it for the rest of the group.
pub(crate) fn decide(
    known: &mut Known,
    settling: &Settling,
    writes: &mut Writes,
) -> Result<Settled, StoreError> {
    let settlement = &settling.settlement;
    let lease = &settlement.lease;
    let open = |row: &&LeasedRow| row.state == "ready" || row.state == "parked";
    let Some(row) = known.held_by(lease).filter(open) else { return Ok(Settled::LostLease) };
    let registered = lease
        .subject
        .as_ref()
        .is_some_and(|name| known.registered.contains(&(row.business.clone(), name.clone())));
    if settlement.subject == SubjectSeen::Absent && registered {
        writes.rows.push(again(settling));
        return Ok(Settled::Released);
    }
    match &settlement.outcome {
        Outcome::Park(_) if settlement.subject != SubjectSeen::Absent || row.subject.is_none() => {
            return Err(StoreError::invalid("parked without waiting for an order"));
        }
        Outcome::Keep(_) | Outcome::Review(_) if !holds(known, row, settlement) => {
            writes.rows.push(lost(settling));
            return Ok(Settled::Conflict);
        }
        Outcome::Advance(step) => return advance(known, settling, step, writes),
        Outcome::Keep(_)
        | Outcome::Review(_)
        | Outcome::Park(_)
        | Outcome::Retry(_)
        | Outcome::Defer(_)
        | Outcome::Hold { .. } => {}
    }
    writes.rows.push(ending::of(settling));
    Ok(standing(known, row, 0))
}

/// Commits a step, if nothing that it rests on has changed.
fn advance(
    known: &mut Known,
    settling: &Settling,
    step: &Step,
    writes: &mut Writes,
) -> Result<Settled, StoreError> {
    let settlement = &settling.settlement;
    let Some(row) = known.rows.get(&settlement.lease.id) else { return Ok(Settled::LostLease) };
    let meaning = meaning(row);
    if known.meanings.contains(&meaning) {
        let reason = Reason::new("order.repeated", "another message with this meaning was first");
        writes.rows.push(end(settling, InboxState::Done, (&reason, "repeated")));
        return Ok(Settled::Repeated);
    }
    let plan = if holds(known, row, settlement) { plan(known, row, settling, step)? } else { None };
    let Some(plan) = plan else {
        writes.rows.push(lost(settling));
        return Ok(Settled::Conflict);
    };
    let before = held_order(known, row).cloned();
    let entry = entry(settling, row, step, before.as_ref());
    let outgoing = step.events().iter().map(|event| Outgoing {
        business: row.business.clone(),
        event: event.clone(),
        notification_id: settlement.lease.id.clone(),
        order_no: row.subject.clone(),
        now: settling.now,
    });
    writes.events.extend(outgoing);
    writes.rows.push(ending::of(settling));
    for key in
        plan.inserts.iter().map(|one| &one.key).chain(plan.versions.iter().map(|one| &one.key))
    {
        known.touched.insert(key.clone());
    }
    for version in &plan.versions {
        if let Some(held) = known.documents.get_mut(&version.key) {
            held.version = held.version.saturating_add(1);
            held.state = version.state.clone().unwrap_or_else(|| held.state.clone());
        }
    }
    for new in &plan.inserts {
        known.documents.insert(new.key.clone(), Held { version: 1, state: String::new() });
    }
    if entry.effect != Effect::None {
        known.meanings.insert(meaning);
    }
    writes.inserts.extend(plan.inserts);
    writes.versions.extend(plan.versions);
    let Some(row) = known.rows.get(&settlement.lease.id) else { return Ok(Settled::LostLease) };
    let settled = standing(known, row, step.events().len());
    let version = held_order(known, row).map_or(0, |held| held.version);
    writes.history.push(HistoryEntry { version, ..entry });
    Ok(settled)
}

/// The documents that one step writes.
struct Plan {
    inserts: Vec<NewDocument>,
    versions: Vec<NewVersion>,
}

/// Turns a step into document writes; `None` where an expectation does not hold.
fn plan(
    known: &Known,
    row: &LeasedRow,
    settling: &Settling,
    step: &Step,
) -> Result<Option<Plan>, StoreError> {
    let now = settling.now;
    let mut inserts = Vec::new();
    let mut versions: BTreeMap<DocumentKey, NewVersion> = BTreeMap::new();
    if let Some(transition) = step.transition() {
        let (Some(key), SubjectSeen::At(replaces)) = (order_key(row), settling.settlement.subject)
        else {
            return Err(StoreError::invalid("a step without the order that takes it"));
        };
        let from = transition.from().as_str();
        if known.documents.get(&key).is_none_or(|held| held.state != from) {
            return Ok(None);
        }
        let state = Some(transition.to().as_str().to_owned());
        versions.insert(key.clone(), NewVersion { key, replaces, state, body: None, now });
    }
    let mut named = HashSet::new();
    for write in step.writes() {
        let key = (row.business.clone(), write.collection.clone(), write.key.clone());
        if !named.insert(key.clone()) {
            return Err(StoreError::invalid("a document is written twice by one step"));
        }
        let held = known.documents.get(&key);
        let expected = match write.expect {
            Expect::Absent => held.is_none(),
            Expect::Version(version) => held.is_some_and(|held| held.version == version),
            Expect::Any => true,
        };
        if !expected {
            return Ok(None);
        }
        let body = write.body.clone();
        match held {
            Some(held) => {
                let new = || NewVersion {
                    key: key.clone(),
                    replaces: held.version,
                    state: None,
                    body: None,
                    now,
                };
                versions.entry(key.clone()).or_insert_with(new).body = Some(body);
            }
            None if write.collection == ORDERS => {
                return Err(StoreError::invalid("an order is made by registering it"));
            }
            None => inserts.push(NewDocument { key, body, now }),
        }
    }
    let free = |key: &DocumentKey| !known.touched.contains(key);
    let mut keys = versions.keys().chain(inserts.iter().map(|new| &new.key));
    Ok(keys.all(free).then(|| Plan { inserts, versions: versions.into_values().collect() }))
}

/// Whether everything that the run read is still as it was.
fn holds(known: &Known, row: &LeasedRow, settlement: &Settlement) -> bool {
    let version = |key: &DocumentKey| known.documents.get(key).map(|held| held.version);
    let subject = match settlement.subject {
        // An absent order that has been registered since was found before.
        SubjectSeen::Unread | SubjectSeen::Absent => true,
        SubjectSeen::At(seen) => order_key(row).is_some_and(|key| version(&key) == Some(seen)),
    };
    let read = |read: &DocumentRead| {
        let key =
            (row.business.clone(), read.document.collection.clone(), read.document.key.clone());
        version(&key) == read.version
    };
    subject && settlement.reads.iter().all(read)
}

fn order_key(row: &LeasedRow) -> Option<DocumentKey> {
    let subject = row.subject.clone()?;
    Some((row.business.clone(), ORDERS.to_owned(), subject))
}

fn held_order<'a>(known: &'a Known, row: &LeasedRow) -> Option<&'a Held> {
    order_key(row).and_then(|key| known.documents.get(&key))
}

pub(crate) fn meaning(row: &LeasedRow) -> Meaning {
    (row.business.clone(), row.subject.clone().unwrap_or_default(), row.meaning_key.clone())
}

/// Where the order stands now.
fn standing(known: &Known, row: &LeasedRow, events: usize) -> Settled {
    let held = held_order(known, row);
    Settled::Done {
        state: held.map(|held| held.state.clone()).unwrap_or_default(),
        version: held.map_or(0, |held| held.version),
        events,
    }
}

fn entry(settling: &Settling, row: &LeasedRow, step: &Step, before: Option<&Held>) -> HistoryEntry {
    let settlement = &settling.settlement;
    let from_state = before.map(|held| held.state.clone()).unwrap_or_default();
    let writes_nothing = step.writes().is_empty() && step.events().is_empty();
    let (effect, to_state) = match step.transition() {
        Some(transition) => (Effect::Moved, transition.to().as_str().to_owned()),
        None if writes_nothing => (Effect::None, from_state.clone()),
        None => (Effect::Stayed, from_state.clone()),
    };
    HistoryEntry {
        id: settling.history_id.clone(),
        business: row.business.clone(),
        order_no: row.subject.clone().unwrap_or_default(),
        notification_id: settlement.lease.id.clone(),
        meaning_key: row.meaning_key.clone(),
        effect,
        from_state,
        to_state,
        version: 0,
        event_type: row.event_type.clone(),
        channel: row.channel.clone(),
        run: settlement.run.clone(),
        attempt: settlement.lease.attempt,
        events: i64::try_from(step.events().len()).ok(),
        at: settling.now,
    }
}
