//! Stories of leases that were lost, and of what the one who has it now may do and know.

use callgate_core::outcome::{Draft, Expect, Outcome};
use callgate_store::{
    AfterEnd, AfterPhase, AfterSettlement, Committed, InboxState, Job, Settled, Spent, Store,
};
use futures_util::future::join3;

use crate::acts::{
    accept, advance, at, claim, claim_one, done, event, paid, reason, register, settle, settlement,
    state, write,
};
use crate::counting::in_line;
use crate::gateway::payment;
use crate::house::House;

/// One notification that two workers think they have; the second one is right.
async fn two_workers(store: &Store) -> (Job, Job) {
    register(store, "o1").await;
    accept(store, payment("d1", "o1", "t1"), 1).await;
    let stale = claim_one(store, "slow", 2).await;
    let held = claim_one(store, "quick", 70_000).await;
    (stale, held)
}

fn after_end(job: &Job, end: AfterEnd) -> AfterSettlement {
    let (events, run, spent) = (Vec::new(), None, Spent::default());
    AfterSettlement { lease: job.lease.clone(), end, events, run, spent }
}

pub(crate) async fn a_lost_lease_takes_nothing_from_the_one_that_holds(house: &House) {
    let store = house.open().await;
    let (stale, held) = two_workers(&store).await;
    // Somebody else is served first, so that the two are answered by one commit.
    let asked = join3(
        store.accept(payment("d2", "o2", "t2"), at(70_001)),
        store.settle(settlement(&stale, Outcome::Keep(reason("late"))), at(70_001)),
        store.settle(settlement(&held, paid(&held)), at(70_001)),
    );
    let (_, late, won) = in_line(house, asked).await;
    assert_eq!(late.unwrap(), Settled::LostLease);
    assert_eq!(won.unwrap(), done("TO_BE_DELIVERED", 2, 1));
}

pub(crate) async fn a_lost_lease_of_a_last_phase_takes_nothing_from_the_one_that_holds(
    house: &House,
) {
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 1).await;
    let stale = claim_one(&store, "slow", 2).await;
    let mut settling = settlement(&stale, paid(&stale));
    settling.after = AfterPhase::Wanted;
    settle(&store, settling, 3).await;
    let held = claim_one(&store, "quick", 70_000).await;
    let asked = join3(
        store.accept(payment("d2", "o2", "t2"), at(70_001)),
        store.finish_after(after_end(&stale, AfterEnd::Review(reason("late"))), at(70_001)),
        store.finish_after(after_end(&held, AfterEnd::Done), at(70_001)),
    );
    let (_, late, won) = in_line(house, asked).await;
    assert_eq!(late.unwrap(), Settled::LostLease);
    assert_eq!(won.unwrap(), done("", 0, 0));
    assert_eq!(store.notification(&id).await.unwrap().unwrap().state, InboxState::Done);
}

pub(crate) async fn a_settlement_that_makes_no_sense_leaves_its_lease_to_the_next_one(
    house: &House,
) {
    let store = house.open().await;
    register(&store, "o1").await;
    accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    let asked = join3(
        store.accept(payment("d2", "o2", "t2"), at(3)),
        store.settle(settlement(&job, Outcome::Park(reason("not-absent"))), at(3)),
        store.settle(settlement(&job, paid(&job)), at(3)),
    );
    let (_, wrong, right) = in_line(house, asked).await;
    assert_eq!(wrong.unwrap_err().code(), "store.invalid");
    assert_eq!(right.unwrap(), done("TO_BE_DELIVERED", 2, 1));
}

pub(crate) async fn a_last_phase_that_runs_again_is_told_the_facts_of_its_commit(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    assert_eq!(job.committed, None, "nothing is committed yet");
    let mut settling = settlement(&job, paid(&job));
    settling.after = AfterPhase::Wanted;
    settle(&store, settling, 3).await;
    let later = AfterEnd::Retry(reason("busy"), at(90_000));
    store.finish_after(after_end(&job, later), at(4)).await.unwrap();
    // The order goes on before the last phase does.
    accept(&store, payment("d2", "o1", "t2"), 5).await;
    let next = claim_one(&store, "w", 40_000).await;
    let draft = Draft { target: Some(state("REFUNDING")), ..Draft::default() };
    settle(&store, settlement(&next, advance(draft)), 40_001).await;
    let again = claim_one(&store, "other", 90_000).await;
    let order = again.subject.unwrap();
    assert_eq!((order.state.unwrap(), order.version), (state("REFUNDING"), 3));
    let facts = Committed {
        state: "TO_BE_DELIVERED".to_owned(),
        version: 2,
        events: 1,
        target: Some("TO_BE_DELIVERED".to_owned()),
        component: Some("ab".repeat(32)),
    };
    assert_eq!(again.committed, Some(facts));
    // A run that kept the state chose none.
    accept(&store, payment("d3", "o9", "t3"), 90_001).await;
    register(&store, "o9").await;
    let stays = claim_one(&store, "w", 90_002).await;
    let note = write("ledger", "o9", "{}", Expect::Absent);
    let told = vec![event("e1", "order.told", "o9"), event("e2", "order.told", "o9")];
    let draft = Draft { target: None, writes: vec![note], events: told };
    let mut settling = settlement(&stays, advance(draft));
    settling.after = AfterPhase::Wanted;
    settle(&store, settling, 90_003).await;
    let jobs = claim(&store, "other", 200_000).await;
    let again = jobs.into_iter().find(|job| job.lease.id() == stays.lease.id()).unwrap();
    let (state, target) = ("TO_BE_PAID".to_owned(), None);
    let component = Some("ab".repeat(32));
    let facts = Committed { state, version: 1, events: 2, target, component };
    assert_eq!(again.committed, Some(facts));
}
