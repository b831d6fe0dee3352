//! Leases: who works on what, for how long. Time frees what a dead worker held.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use callgate_core::time::Timestamp;

use crate::batch::{self, Cell, Statement, fetch};
use crate::dialect::{Dialect, Lock};
use crate::documents::{Document, DocumentKey, ORDERS, find_each};
use crate::error::{Fault, StoreError};
use crate::history::{Committed, committed, is_used};
use crate::inbox::{InboxState, StoredNotification, columns};
use crate::order::NAMES;
use crate::plain::{SetAside, UNREADABLE};
use crate::sql::{Connection, query};

/// The right to settle one notification. Made by a claim and nowhere else; a later claim of the
/// same notification takes it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) attempt: i64,
    pub(crate) business: String,
    pub(crate) subject: Option<String>,
}

impl Lease {
    /// The notification.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which attempt this is; 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> i64 {
        self.attempt
    }
}

/// One notification to work on, with what is known about it.
#[derive(Debug, Clone)]
pub struct Job {
    /// What a settlement must show.
    pub lease: Lease,
    /// The notification. Its state is the one before this run: ready, parked (the wait is over)
    /// or after.
    pub stored: StoredNotification,
    /// The order it speaks of; `None` where it names none, or one that is not registered.
    pub subject: Option<Document>,
    /// Whether its meaning has had its effect on the order.
    pub meaning: MeaningUse,
    /// What its commit made of it, where only its last phase is due.
    pub committed: Option<Committed>,
}

/// Whether a business fact has had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeaningUse {
    /// Not yet.
    Fresh,
    /// Another message that told it was first.
    Used,
}

/// A worker that asks for jobs.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// How many jobs at most.
    pub limit: u32,
    /// Names the worker: unique among all workers of all hosts, at most 256 characters.
    pub owner: String,
    /// How long the lease lasts, in milliseconds.
    pub lease_ms: i64,
}

/// A request, and when it was made.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) request: ClaimRequest,
    pub(crate) now: Timestamp,
}

/// What a group of claims hands out.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    /// One list for each claim, in their order.
    pub(crate) jobs: Vec<Vec<Job>>,
    /// What is due and cannot be read: it waits for a person now, and holds up nothing.
    pub(crate) set_aside: Vec<SetAside>,
}

/// Hands out jobs. Writes nothing where nothing is due.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    claims: &[Claim],
    order_block_ms: i64,
) -> Result<Handed, Fault> {
    let wanted: u32 = claims.iter().fold(0, |sum, claim| sum.saturating_add(claim.request.limit));
    let mut handed = Handed::default();
    handed.jobs.resize_with(claims.len(), Vec::new);
    // Clocks inside a group differ by less than a commit takes; the earliest hands out nothing
    // that is not due for everybody.
    let Some(now) = claims.iter().map(|claim| claim.now).min() else { return Ok(handed) };
    let limit = i64::from(wanted).min(CLAIM_MAX);
    let candidates = candidates(connection, dialect, (now, order_block_ms), limit).await?;
    if candidates.is_empty() {
        return Ok(handed);
    }
    let owners = deal(&candidates, claims);
    let rows: Vec<[Cell; 4]> = owners
        .iter()
        .map(|(id, place)| {
            let claim = claims.get(*place);
            let owner = claim.map(|claim| claim.request.owner.as_str());
            let until = claim.map(|claim| now.plus_ms(claim.request.lease_ms).as_ms());
            [(*id).into(), owner.into(), until.into(), now.as_ms().into()]
        })
        .collect();
    let mut leased = BTreeMap::new();
    for row in fetch(connection, LEASE, &rows).await? {
        let owner: String = row.try_get("lease_owner")?;
        match StoredNotification::read(&row) {
            Ok(stored) => {
                let meaning = match row.try_get::<i64, _>("used")? {
                    0 => MeaningUse::Fresh,
                    _ => MeaningUse::Used,
                };
                leased.insert(stored.id.clone(), (stored, owner, meaning));
            }
            Err(error) => handed.set_aside.push(SetAside {
                id: row.try_get("id")?,
                attempt: row.try_get("attempts")?,
                problem: error.to_string(),
            }),
        }
    }
    let known = known(connection, leased.values().map(|(stored, ..)| stored)).await?;
    for (id, place) in owners {
        let (Some((stored, owner, meaning)), Some(list)) =
            (leased.remove(id), handed.jobs.get_mut(place))
        else {
            continue;
        };
        match known.job(stored, owner, meaning) {
            Ok(job) => list.push(*job),
            Err(set_aside) => handed.set_aside.push(set_aside),
        }
    }
    review(connection, &handed.set_aside, now).await?;
    Ok(handed)
}

/// Gives what cannot be read to a person.
async fn review(
    connection: &mut Connection,
    set_aside: &[SetAside],
    now: Timestamp,
) -> Result<(), Fault> {
    let rows: Vec<[Cell; 4]> = set_aside
        .iter()
        .map(|one| {
            let problem = one.problem.replace('\0', "");
            [one.id.as_str().into(), UNREADABLE.into(), problem.into(), now.as_ms().into()]
        })
        .collect();
    fetch(connection, SET_ASIDE, &rows).await?;
    Ok(())
}

/// What is due, in the order it should run, at most one for each subject.
async fn candidates(
    connection: &mut Connection,
    dialect: Dialect,
    (now, order_block_ms): (Timestamp, i64),
    limit: i64,
) -> Result<Vec<String>, Fault> {
    let lock = dialect.lock(Lock::Free);
    batch::count();
    let rows = query(format!("{DUE}{lock}"))
        .bind(now.as_ms())
        .bind(now.plus_ms(order_block_ms.saturating_neg()).as_ms())
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
    let mut found: Vec<(String, Option<(String, String)>)> = Vec::new();
    let mut taken = HashSet::new();
    for row in rows {
        let business: String = row.try_get("business")?;
        let subject = row.try_get::<Option<String>, _>("subject")?.map(|name| (business, name));
        if subject.as_ref().is_none_or(|subject| taken.insert(subject.clone())) {
            found.push((row.try_get("id")?, subject));
        }
    }
    if dialect == Dialect::Sqlite || taken.is_empty() {
        return Ok(found.into_iter().map(|(id, _)| id).collect());
    }
    // Another host may be handing out another notification of the same order right now, which the
    // statement above could not see. Whoever gets the row of the name goes on.
    let names: BTreeSet<_> = taken.into_iter().collect();
    let rows: Vec<[Cell; 2]> = names
        .iter()
        .map(|(business, name)| [business.as_str().into(), name.as_str().into()])
        .collect();
    let mut free = HashSet::new();
    for row in fetch(connection, Statement { suffix: lock, ..NAMES }, &rows).await? {
        free.insert((row.try_get::<String, _>("business")?, row.try_get::<String, _>("alias")?));
    }
    Ok(found
        .into_iter()
        .filter(|(_, subject)| subject.as_ref().is_none_or(|subject| free.contains(subject)))
        .map(|(id, _)| id)
        .collect())
}

/// Deals the candidates to the claims, one after the other, up to the limit of each.
fn deal<'a>(candidates: &'a [String], claims: &[Claim]) -> Vec<(&'a str, usize)> {
    let places = claims.iter().enumerate().flat_map(|(place, claim)| {
        let limit = usize::try_from(claim.request.limit).unwrap_or(usize::MAX);
        std::iter::repeat_n(place, limit)
    });
    candidates.iter().map(String::as_str).zip(places).collect()
}

/// The orders and commits of leased notifications.
struct Known {
    documents: BTreeMap<DocumentKey, Result<Document, StoreError>>,
    commits: HashMap<String, Committed>,
}

async fn known(
    connection: &mut Connection,
    leased: impl Iterator<Item = &StoredNotification>,
) -> Result<Known, Fault> {
    let mut keys = BTreeSet::new();
    let mut entries = BTreeSet::new();
    for stored in leased {
        entries.extend(stored.history_id.clone().filter(|_| stored.state == InboxState::After));
        if let Some(subject) = &stored.subject {
            keys.insert((stored.business.clone(), ORDERS.to_owned(), subject.clone()));
        }
    }
    let documents = find_each(connection, keys.iter()).await?.into_iter().collect();
    let commits = committed(connection, entries.iter()).await?;
    Ok(Known { documents, commits })
}

impl Known {
    /// Everything that a worker needs; not for an order that cannot be read.
    fn job(
        &self,
        stored: StoredNotification,
        owner: String,
        meaning: MeaningUse,
    ) -> Result<Box<Job>, SetAside> {
        let order = stored.subject.as_ref().and_then(|subject| {
            let key = (stored.business.clone(), ORDERS.to_owned(), subject.clone());
            self.documents.get(&key).cloned()
        });
        let subject = order.transpose().map_err(|error| SetAside {
            id: stored.id.clone(),
            attempt: stored.attempts,
            problem: format!("its order: {error}"),
        })?;
        let lease = Lease {
            id: stored.id.clone(),
            owner,
            attempt: stored.attempts,
            business: stored.business.clone(),
            subject: stored.subject.clone(),
        };
        let committed = stored.history_id.as_ref().and_then(|id| self.commits.get(id).cloned());
        Ok(Box::new(Job { lease, stored, subject, meaning, committed }))
    }
}

impl ClaimRequest {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let owner = self.owner.chars().count();
        if (1..=256).contains(&owner) && self.lease_ms > 0 && self.limit > 0 {
            return Ok(());
        }
        Err(StoreError::invalid(format!(
            "claim of {} jobs for {} ms by an owner of {owner} characters, expected at least one \
             job, a positive lease and 1 to 256 characters",
            self.limit, self.lease_ms
        )))
    }
}

/// Due, free, and nothing of the same order is being worked on or should come first: that is
/// what arrived earlier and is due too, or has failed and is younger than the bound. What a
/// processor put off itself waits for something else and holds up nothing. What is held for a
/// plugin goes before later ones for the same plugin, however old it is.
///
/// The sum keeps PostgreSQL from looking for neighbours in the index of what is open, which is
/// small in its memory of quiet times: with a backlog every row would go through all of it. Those
/// of one order are found by the order.
const DUE: &str = "select t.id, t.business, t.subject from inbox t \
    where t.due_at_ms <= $1 and (t.leased_until_ms is null or t.leased_until_ms <= $1) \
    and not exists (select 1 from inbox e \
        where e.business = t.business and e.subject = t.subject and e.id <> t.id \
        and e.due_at_ms + 0 is not null and (e.leased_until_ms > $1 \
            or ((e.received_at_ms < t.received_at_ms \
                    or (e.received_at_ms = t.received_at_ms and e.id < t.id)) \
                and ((e.due_at_ms <= $1 and e.state <> 'after') \
                    or (e.state <> 'parked' and coalesce(e.outcome, '') <> 'defer' \
                        and e.received_at_ms > $2) \
                    or (e.state = 'ready' and e.plugin = t.plugin \
                        and e.reason_code in ('bulkhead.full', 'bulkhead.open')))))) \
    order by t.due_at_ms, t.received_at_ms, t.id limit $3";

/// The second look at the same order is for what another host leased since the first.
const LEASE: Statement = Statement {
    columns: "row_id, new_owner, until_ms, now_ms",
    text: concat!(
        "update inbox set leased_until_ms = v.until_ms, lease_owner = v.new_owner, \
         attempts = inbox.attempts + 1 from v where inbox.id = v.row_id \
         and not exists (select 1 from inbox e where e.business = inbox.business \
             and e.subject = inbox.subject and e.id <> inbox.id \
             and e.leased_until_ms > v.now_ms) \
         returning ",
        columns!(),
        ", ",
        is_used!("inbox"),
        " as used"
    ),
    suffix: "",
};

/// What was committed before stays so: its outcome says what a replay has to run.
const SET_ASIDE: Statement = Statement {
    columns: "row_id, code, problem, now_ms",
    text: "update inbox set outcome = case when inbox.state = 'after' then inbox.outcome \
           else 'review' end, state = 'review', due_at_ms = null, leased_until_ms = null, \
           lease_owner = null, finished_at_ms = v.now_ms, reason_code = v.code, \
           reason_text = v.problem from v where inbox.id = v.row_id returning id",
    suffix: "",
};

/// Jobs that one group of claims hands out.
pub const CLAIM_MAX: i64 = 512;
