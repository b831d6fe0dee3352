//! Stories of leases.

use std::collections::BTreeSet;

use callgate_core::outcome::Outcome;
use callgate_store::{ClaimRequest, InboxState, MeaningUse, Settled};

use crate::acts::{accept, at, claim, claim_one, done, paid, reason, register, settle, settlement};
use crate::gateway::{AMOUNT, payment};
use crate::house::House;

pub(crate) async fn a_claim_carries_the_notification_and_its_order(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let callback = payment("d1", "o1", "t1");
    let id = accept(&store, callback.clone(), 1).await;
    let job = claim_one(&store, "w", 2).await;
    assert_eq!((job.lease.id(), job.lease.attempt()), (id.as_str(), 1));
    assert_eq!(job.stored.notification, callback.verified.notifications()[0]);
    assert_eq!((job.stored.state, job.stored.attempts), (InboxState::Ready, 1));
    assert_eq!(job.stored.leased_until, Some(at(60_002)));
    let subject = job.subject.unwrap();
    assert_eq!((subject.key.as_str(), subject.version), ("o1", 1));
    assert_eq!(subject.state.unwrap().as_str(), "TO_BE_PAID");
    assert_eq!(subject.amount.unwrap().minor, AMOUNT);
    assert_eq!(job.meaning, MeaningUse::Fresh);
}

pub(crate) async fn notifications_of_one_order_are_claimed_one_after_the_other(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(accept(&store, payment(&format!("d{n}"), "o1", &format!("t{n}")), n).await);
    }
    for id in &ids {
        let job = claim_one(&store, "w", 10).await;
        assert_eq!(job.lease.id(), id);
        assert!(claim(&store, "other", 11).await.is_empty(), "the order is being worked on");
        let kept = settlement(&job, Outcome::Keep(reason("kept")));
        assert_eq!(settle(&store, kept, 12).await, done("TO_BE_PAID", 1, 0));
    }
    assert!(claim(&store, "w", 13).await.is_empty());
}

pub(crate) async fn different_orders_are_claimed_side_by_side(house: &House) {
    let store = house.open().await;
    for n in 0..6 {
        let order = format!("o{}", n % 3);
        accept(&store, payment(&format!("d{n}"), &order, &format!("t{n}")), n).await;
    }
    let jobs = claim(&store, "w", 10).await;
    let subjects: Vec<_> = jobs.iter().map(|job| job.stored.subject.as_deref().unwrap()).collect();
    assert_eq!(subjects, ["o0", "o1", "o2"]);
}

pub(crate) async fn a_limit_is_kept_and_claims_of_one_group_share(house: &House) {
    let store = house.open().await;
    for n in 0..20 {
        accept(&store, payment(&format!("d{n}"), &format!("o{n}"), "t"), n).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..4 {
        let store = store.clone();
        let owner = format!("w{worker}");
        let request = ClaimRequest { limit: 3, owner, lease_ms: 1_000 };
        tasks.spawn(async move { store.claim(request, at(30)).await.unwrap() });
    }
    let jobs = tasks.join_all().await;
    assert!(jobs.iter().all(|jobs| jobs.len() == 3));
    let ids: BTreeSet<_> = jobs.iter().flatten().map(|job| job.lease.id()).collect();
    assert_eq!(ids.len(), 12);
    for request in [
        ClaimRequest { limit: 0, owner: "w".to_owned(), lease_ms: 1 },
        ClaimRequest { limit: 1, owner: String::new(), lease_ms: 1 },
        ClaimRequest { limit: 1, owner: "w".to_owned(), lease_ms: 0 },
    ] {
        let error = store.claim(request, at(31)).await.unwrap_err();
        assert_eq!(error.code(), "store.invalid");
    }
}

pub(crate) async fn a_lease_that_ran_out_is_claimed_again_and_the_old_owner_loses(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    accept(&store, payment("d1", "o1", "t1"), 0).await;
    let old = claim_one(&store, "dead", 1).await;
    assert!(claim(&store, "w", 60_000).await.is_empty(), "leased");
    let new = claim_one(&store, "w", 60_001).await;
    assert_eq!((new.lease.id(), new.lease.attempt()), (old.lease.id(), 2));
    let late = settlement(&old, paid(&old));
    assert_eq!(settle(&store, late, 60_002).await, Settled::LostLease);
    let won = settlement(&new, paid(&new));
    assert_eq!(settle(&store, won.clone(), 60_003).await, done("TO_BE_DELIVERED", 2, 1));
    assert_eq!(settle(&store, won, 60_004).await, Settled::LostLease, "settled already");
}

pub(crate) async fn a_poisoned_notification_blocks_its_order_only_for_the_bound(house: &House) {
    let store = house.open_with(|settings| settings.order_block_ms = 1_000).await;
    register(&store, "o1").await;
    let poisoned = accept(&store, payment("d1", "o1", "t1"), 0).await;
    let next = accept(&store, payment("d2", "o1", "t2"), 1).await;
    let other = accept(&store, payment("d3", "o2", "t3"), 2).await;
    let jobs = claim(&store, "w", 10).await;
    let ids: Vec<_> = jobs.iter().map(|job| job.lease.id()).collect();
    assert_eq!(ids, [poisoned.as_str(), other.as_str()], "no other order waits");
    let mut later = settlement(&jobs[0], Outcome::Retry(reason("fault")));
    later.due_at = at(5_000);
    settle(&store, later, 20).await;
    assert!(claim(&store, "w", 999).await.is_empty(), "younger than the bound");
    let job = claim_one(&store, "w", 1_000).await;
    assert_eq!(job.lease.id(), next);
    assert!(claim(&store, "w", 5_000).await.is_empty(), "its order is being worked on");
    settle(&store, settlement(&job, Outcome::Keep(reason("kept"))), 5_001).await;
    assert_eq!(claim_one(&store, "w", 5_002).await.lease.id(), poisoned);
}

pub(crate) async fn a_deferred_notification_lets_its_order_go_on(house: &House) {
    let store = house.open_with(|settings| settings.order_block_ms = 60_000).await;
    register(&store, "o1").await;
    let refund = accept(&store, payment("d1", "o1", "t1"), 0).await;
    let paid = accept(&store, payment("d2", "o1", "t2"), 1).await;
    let job = claim_one(&store, "w", 10).await;
    assert_eq!(job.lease.id(), refund);
    let mut later = settlement(&job, Outcome::Defer(reason("payment-not-here-yet")));
    later.due_at = at(5_000);
    settle(&store, later, 20).await;
    assert_eq!(claim_one(&store, "w", 30).await.lease.id(), paid, "nothing holds it up");
}

pub(crate) async fn ten_hosts_that_claim_one_order_get_it_once(house: &House) {
    let mut stores = Vec::new();
    for _ in 0..10 {
        stores.push(house.open_with(|settings| settings.readers = 1).await);
    }
    register(&stores[0], "o1").await;
    for n in 0..5 {
        accept(&stores[0], payment(&format!("d{n}"), "o1", &format!("t{n}")), n).await;
    }
    for round in 0..5 {
        let mut tasks = tokio::task::JoinSet::new();
        for (host, store) in stores.iter().cloned().enumerate() {
            let owner = format!("host{host}");
            tasks.spawn(async move { claim(&store, &owner, 100 + round).await });
        }
        let jobs: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(jobs.len(), 1, "round {round}");
        let kept = settlement(&jobs[0], Outcome::Keep(reason("kept")));
        assert_eq!(settle(&stores[1], kept, 100 + round).await, done("TO_BE_PAID", 1, 0));
    }
    for store in stores {
        store.close().await;
    }
}

pub(crate) async fn a_claim_that_finds_nothing_is_empty(house: &House) {
    let store = house.open().await;
    assert!(claim(&store, "w", 0).await.is_empty());
    accept(&store, payment("d1", "o1", "t1"), 50).await;
    assert!(claim(&store, "w", 49).await.is_empty(), "not due yet");
    assert_eq!(claim(&store, "w", 50).await.len(), 1);
}
