//! The story of what a group costs.

use callgate_store::{ClaimRequest, Job, Settings, Store, Tally};

use crate::acts::{at, paid, register, settlement};
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
        let accepting = accept_all(&store, size).await;
        let (claiming, jobs) = claim_all(&store, size).await;
        let settling = settle_all(&store, jobs).await;
        costs.push([accepting, claiming, settling]);
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

async fn accept_all(store: &Store, size: usize) -> u64 {
    let callbacks: Vec<_> =
        (0..size).map(|n| payment(&format!("d{size}-{n}"), &format!("o{size}-{n}"), "t")).collect();
    let before = store.tally();
    let mut tasks = tokio::task::JoinSet::new();
    for callback in callbacks {
        let store = store.clone();
        tasks.spawn(async move { store.accept(callback, at(1)).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.len(), size);
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

async fn settle_all(store: &Store, jobs: Vec<Job>) -> u64 {
    let (before, size) = (store.tally(), jobs.len());
    let mut tasks = tokio::task::JoinSet::new();
    for job in jobs {
        let store = store.clone();
        tasks
            .spawn(async move { store.settle(settlement(&job, paid(&job)), at(3)).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.len(), size);
    cost(before, store.tally(), size)
}
