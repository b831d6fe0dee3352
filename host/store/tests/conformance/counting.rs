//! The story of what a group costs.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use callgate_store::{ClaimRequest, Job, Settings, Store, Tally};
use futures_util::future::join_all;
use sqlx::{AnyConnection, Connection as _};

use crate::acts::{at, paid, register, settlement};
use crate::calling::{answered, begin, call, end};
use crate::gateway::payment;
use crate::house::House;

/// Callers at once.
const SIZES: [usize; 4] = [1, 16, 64, 256];

pub(crate) async fn a_group_costs_the_same_statements_whatever_its_size(house: &House) {
    let store = house.open_with(settings).await;
    let mut costs = Vec::new();
    for size in SIZES {
        for n in 0..size {
            register(&store, &format!("o{size}-{n}")).await;
        }
        let accepting = accept_all(house, &store, size).await;
        let (claiming, jobs) = claim_all(&store, size).await;
        let (beginning, ending) = call_all(house, &store, &jobs).await;
        let settling = settle_all(house, &store, jobs).await;
        costs.push([accepting, claiming, beginning, ending, settling]);
    }
    let alone = costs[0];
    assert!(costs.iter().all(|cost| *cost == alone), "{costs:?}");
}

fn settings(settings: &mut Settings) {
    // Nothing else may ask: what is counted is what the story did.
    settings.group_max = 256;
}

/// Statements of each group, which all groups of this time had in common.
fn cost(before: Tally, after: Tally, size: usize) -> u64 {
    let groups = after.groups - before.groups;
    let statements = after.statements - before.statements;
    assert!(groups <= 1.max(u64::try_from(size).unwrap() / 2), "{groups} groups of {size}");
    assert_eq!(statements % groups, 0, "{statements} statements in {groups} groups");
    statements / groups
}

/// Holds the database while everybody asks, so that all but the first stand in line together.
pub(crate) async fn in_line<T>(house: &House, asking: impl Future<Output = T>) -> T {
    let url = &house.settings.url;
    let lock = if url.starts_with("sqlite") {
        "begin immediate"
    } else {
        "begin; lock table inbox, calls in access exclusive mode"
    };
    let mut other = AnyConnection::connect(url).await.unwrap();
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let mut asking = pin!(asking);
    let early = poll_fn(|context| Poll::Ready(asking.as_mut().poll(context))).await;
    assert!(early.is_pending(), "the database is held");
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    asking.await
}

async fn accept_all(house: &House, store: &Store, size: usize) -> u64 {
    let callbacks: Vec<_> =
        (0..size).map(|n| payment(&format!("d{size}-{n}"), &format!("o{size}-{n}"), "t")).collect();
    let before = store.tally();
    let asked = callbacks.into_iter().map(|callback| store.accept(callback, at(1)));
    let receipts = in_line(house, join_all(asked)).await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    cost(before, store.tally(), size)
}

async fn claim_all(store: &Store, size: usize) -> (u64, Vec<Job>) {
    let before = store.tally();
    let limit = u32::try_from(size).unwrap();
    let request = ClaimRequest { limit, owner: "w".to_owned(), lease_ms: 60_000 };
    let jobs = store.claim(request, at(2)).await.unwrap();
    assert_eq!(jobs.len(), size);
    (cost(before, store.tally(), size), jobs)
}

async fn call_all(house: &House, store: &Store, jobs: &[Job]) -> (u64, u64) {
    let before = store.tally();
    let asked = jobs.iter().map(|job| begin(store, call(job, "action.1", 'a'), 2));
    in_line(house, join_all(asked)).await;
    let begun = store.tally();
    let asked = jobs.iter().map(|job| end(store, job, ("action.1", 1), answered(200, "")));
    in_line(house, join_all(asked)).await;
    (cost(before, begun, jobs.len()), cost(begun, store.tally(), jobs.len()))
}

async fn settle_all(house: &House, store: &Store, jobs: Vec<Job>) -> u64 {
    let (before, size) = (store.tally(), jobs.len());
    let asked = jobs.iter().map(|job| store.settle(settlement(job, paid(job)), at(3)));
    let settled = in_line(house, join_all(asked)).await;
    assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    cost(before, store.tally(), size)
}
