//! Leases: who works on what, for how long. Time frees what a dead worker held.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use callgate_core::time::Timestamp;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use crate::batch::{self, Cell, Statement, fetch};
use crate::dialect::{Dialect, Lock};
use crate::documents::{Document, DocumentKey, ORDERS, find};
use crate::error::{Fault, StoreError};
use crate::history::{Meaning, advanced};
use crate::inbox::{StoredNotification, columns};
use crate::order::NAMES;

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

/// Hands out jobs; one list for each claim, in their order. Writes nothing where nothing is due.
pub(crate) async fn run(
    connection: &mut AnyConnection,
    dialect: Dialect,
    claims: &[Claim],
    order_block_ms: i64,
) -> Result<Vec<Vec<Job>>, Fault> {
    let wanted: u32 = claims.iter().fold(0, |sum, claim| sum.saturating_add(claim.request.limit));
    // Clocks inside a group differ by less than a commit takes; the earliest hands out nothing
    // that is not due for everybody.
    let Some(now) = claims.iter().map(|claim| claim.now).min() else { return Ok(Vec::new()) };
    let limit = i64::from(wanted).min(CLAIM_MAX);
    let candidates = candidates(connection, dialect, (now, order_block_ms), limit).await?;
    if candidates.is_empty() {
        return Ok(claims.iter().map(|_| Vec::new()).collect());
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
        let stored = StoredNotification::read(&row)?;
        let owner: String = row.try_get("lease_owner")?;
        leased.insert(stored.id.clone(), (stored, owner));
    }
    let mut jobs: Vec<Vec<Job>> = claims.iter().map(|_| Vec::new()).collect();
    let known = known(connection, leased.values().map(|(stored, _)| stored)).await?;
    for (id, place) in owners {
        let (Some((stored, owner)), Some(list)) = (leased.remove(id), jobs.get_mut(place)) else {
            continue;
        };
        list.push(known.job(stored, owner));
    }
    Ok(jobs)
}

/// What is due, in the order it should run, at most one for each subject.
async fn candidates(
    connection: &mut AnyConnection,
    dialect: Dialect,
    (now, order_block_ms): (Timestamp, i64),
    limit: i64,
) -> Result<Vec<String>, Fault> {
    let lock = dialect.lock(Lock::Free);
    batch::count();
    let rows = sqlx::query::<Any>(AssertSqlSafe(format!("{DUE}{lock}")))
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

/// The orders and meanings of leased notifications.
struct Known {
    documents: BTreeMap<DocumentKey, Document>,
    meanings: HashSet<Meaning>,
}

async fn known(
    connection: &mut AnyConnection,
    leased: impl Iterator<Item = &StoredNotification>,
) -> Result<Known, Fault> {
    let mut keys = BTreeSet::new();
    let mut meanings = BTreeSet::new();
    for stored in leased {
        meanings.insert(meaning(stored));
        if let Some(subject) = &stored.subject {
            keys.insert((stored.business.clone(), ORDERS.to_owned(), subject.clone()));
        }
    }
    let documents = find(connection, "", keys.iter())
        .await?
        .into_iter()
        .map(|found| {
            let key = (found.business.clone(), found.collection.clone(), found.key.clone());
            (key, found)
        })
        .collect();
    let meanings = advanced(connection, meanings.iter()).await?.into_iter().collect();
    Ok(Known { documents, meanings })
}

impl Known {
    fn job(&self, stored: StoredNotification, owner: String) -> Job {
        let subject = stored.subject.as_ref().and_then(|subject| {
            let key = (stored.business.clone(), ORDERS.to_owned(), subject.clone());
            self.documents.get(&key).cloned()
        });
        let used = self.meanings.contains(&meaning(&stored));
        let lease = Lease {
            id: stored.id.clone(),
            owner,
            attempt: stored.attempts,
            business: stored.business.clone(),
            subject: stored.subject.clone(),
        };
        let meaning = if used { MeaningUse::Used } else { MeaningUse::Fresh };
        Job { lease, stored, subject, meaning }
    }
}

fn meaning(stored: &StoredNotification) -> Meaning {
    let subject = stored.subject.clone().unwrap_or_default();
    (stored.business.clone(), subject, stored.notification.meaning_key.clone())
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
const DUE: &str = "select t.id, t.business, t.subject from inbox t \
    where t.due_at_ms <= $1 and (t.leased_until_ms is null or t.leased_until_ms <= $1) \
    and not exists (select 1 from inbox e \
        where e.business = t.business and e.subject = t.subject and e.id <> t.id \
        and e.due_at_ms is not null and (e.leased_until_ms > $1 \
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
        columns!()
    ),
    suffix: "",
};

/// Jobs that one group of claims hands out.
pub const CLAIM_MAX: i64 = 512;
