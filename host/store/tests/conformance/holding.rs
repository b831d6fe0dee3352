//! Stories of notifications that wait for a plugin.

use callgate_core::outcome::{Outcome, Reason};
use callgate_store::{
    AfterEnd, AfterPhase, AfterSettlement, HELD_FULL, HELD_OPEN, InboxState, Job, Recall, Spent,
    Store,
};

use crate::acts::{accept, at, claim, claim_one, done, paid, reason, register, settle, settlement};
use crate::gateway::payment;
use crate::house::House;

async fn hold(store: &Store, job: &Job, plugin: &str, (ms, due_ms): (i64, i64)) {
    let reason = Reason::new(HELD_OPEN, "it failed too often");
    let mut held = settlement(job, Outcome::Hold { reason, plugin: plugin.to_owned() });
    (held.run, held.spent, held.due_at) = (None, Spent::default(), at(due_ms));
    let order = job.subject.is_some();
    let settled = settle(store, held, ms).await;
    assert_eq!(settled, if order { done("TO_BE_PAID", 1, 0) } else { done("", 0, 0) });
}

async fn recall(store: &Store, plugin: &str, limit: u32, ms: i64) -> u64 {
    let recall = Recall { plugin: plugin.to_owned(), limit };
    store.recall(recall, at(ms)).await.unwrap()
}

pub(crate) async fn what_is_held_spends_nothing_and_keeps_its_place(house: &House) {
    let store = house.open_with(|settings| settings.order_block_ms = 1_000).await;
    register(&store, "o1").await;
    let first = accept(&store, payment("d1", "o1", "t1"), 0).await;
    let next = accept(&store, payment("d2", "o1", "t2"), 1).await;
    let job = claim_one(&store, "w", 10).await;
    hold(&store, &job, "shop/a", (20, 90_000)).await;
    assert!(claim(&store, "w", 999).await.is_empty(), "its order waits as behind a failure");
    // A later one is free after the bound, for it may be another plugin's. This one's it is not.
    let job = claim_one(&store, "w", 1_000).await;
    assert_eq!(job.lease.id(), next);
    hold(&store, &job, "shop/a", (1_010, 2_000)).await;
    assert!(claim(&store, "w", 50_000).await.is_empty(), "the first one goes first");
    for id in [&first, &next] {
        let seen = store.inspect(id).await.unwrap().unwrap();
        let stored = store.notification(id).await.unwrap().unwrap();
        assert_eq!(stored.state, InboxState::Ready);
        assert_eq!((stored.attempts, stored.attempts_before), (1, 1));
        assert_eq!(stored.reason.unwrap().code, HELD_OPEN);
        assert_eq!(stored.plugin.as_deref(), Some("shop/a"));
        assert!(seen.attempts.is_empty(), "nothing was tried");
    }
    let job = claim_one(&store, "w", 90_000).await;
    assert_eq!(job.lease.id(), first);
    settle(&store, settlement(&job, Outcome::Keep(reason("kept"))), 90_001).await;
    assert_eq!(claim_one(&store, "w", 90_002).await.lease.id(), next);
}

pub(crate) async fn what_is_held_is_called_back_by_plugin_and_number(house: &House) {
    let store = house.open().await;
    for n in 0..8 {
        register(&store, &format!("o{n}")).await;
        accept(&store, payment(&format!("d{n}"), &format!("o{n}"), "t"), n).await;
    }
    for (place, job) in claim(&store, "w", 10).await.iter().enumerate() {
        let plugin = if place < 6 { "shop/a" } else { "shop/b" };
        let place = i64::try_from(place).unwrap();
        hold(&store, job, plugin, (20, 10_000 - place)).await;
    }
    let held = store.held().await.unwrap();
    assert_eq!(
        held.into_iter().collect::<Vec<_>>(),
        [("shop/a".to_owned(), 6), ("shop/b".to_owned(), 2)]
    );
    assert!(claim(&store, "w", 30).await.is_empty());
    assert_eq!(recall(&store, "shop/c", 10, 30).await, 0);
    let mut bell = store.work_bell();
    bell.listen();
    assert_eq!(recall(&store, "shop/a", 2, 30).await, 2);
    bell.rung().await;
    let jobs = claim(&store, "w", 30).await;
    let subjects: Vec<_> = jobs.iter().map(|job| job.stored.subject.as_deref().unwrap()).collect();
    assert_eq!(subjects, ["o4", "o5"], "those that were due soonest, in order of arrival");
    // Who is being worked on is not held.
    assert_eq!(store.held().await.unwrap()["shop/a"], 4);
    assert_eq!(recall(&store, "shop/a", 10, 31).await, 4);
    assert_eq!(recall(&store, "shop/a", 10, 32).await, 0, "they are due already");
    assert_eq!(claim(&store, "w", 32).await.len(), 4);
    settle(&store, settlement(&jobs[0], paid(&jobs[0])), 40).await;
    assert_eq!(store.held().await.unwrap().get("shop/a"), None);
}

pub(crate) async fn a_last_phase_is_held_and_called_back_too(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    let mut settling = settlement(&job, paid(&job));
    settling.after = AfterPhase::Wanted;
    settle(&store, settling, 3).await;
    let held = |lease| AfterSettlement {
        lease,
        end: AfterEnd::Hold(Reason::new(HELD_FULL, "it has enough to do"), at(9_000)),
        events: Vec::new(),
        run: None,
        spent: Spent::default(),
    };
    store.finish_after(held(job.lease.clone()), at(4)).await.unwrap();
    assert_eq!(store.held().await.unwrap()["shop/order-payment"], 1);
    assert_eq!(recall(&store, "shop/order-payment", 1, 5).await, 1);
    let job = claim_one(&store, "w", 5).await;
    assert_eq!(job.stored.state, InboxState::After);
    assert_eq!(job.stored.attempts - job.stored.attempts_before, 1, "the first of this phase");
    let end = AfterSettlement { end: AfterEnd::Done, ..held(job.lease) };
    store.finish_after(end, at(6)).await.unwrap();
    let seen = store.inspect(&id).await.unwrap().unwrap();
    let stored = store.notification(&id).await.unwrap().unwrap();
    assert_eq!(stored.state, InboxState::Done);
    let steps: Vec<_> = seen.attempts.iter().map(|attempt| attempt.step.as_str()).collect();
    assert_eq!(steps, ["run", "after"]);
}
