//! Stories of rows that this program cannot read: damaged ones, and those with a word of a newer
//! host.

use callgate_core::outcome::Outcome;
use callgate_store::{Act, Acted, Filter, Found, InboxState, Instruction, NewReplay};

use crate::acts::{accept, at, claim, claim_one, reason, register, settle, settlement};
use crate::gateway::payment;
use crate::house::House;

pub(crate) async fn a_notification_that_cannot_be_read_goes_to_review_and_its_neighbours_run(
    house: &House,
) {
    let store = house.open().await;
    let bad = accept(&store, payment("bad", "o1", "t1"), 1).await;
    let same_order = accept(&store, payment("d2", "o1", "t2"), 2).await;
    let other = accept(&store, payment("d3", "o2", "t3"), 2).await;
    house.execute("update inbox set currency = 'c-y' where delivery_key = 'bad'").await;
    let jobs = claim(&store, "w", 10).await;
    assert_eq!(jobs.len(), 1, "of the same order the next one waits for the next look");
    assert_eq!(jobs[0].lease.id(), other);
    let job = claim_one(&store, "w", 11).await;
    assert_eq!(job.lease.id(), same_order);
    assert!(claim(&store, "w", 12).await.is_empty(), "it is not tried again and again");
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.review, counts.ready), (1, 2));
    assert_eq!(store.reviews().await.unwrap(), [("store.corrupt".to_owned(), 1)]);
    let all = Filter { state: Some(InboxState::Review), ..Filter::default() };
    let found = store.search(&all, None, 10).await.unwrap();
    let Found::Unreadable(shown) = &found[0] else { panic!("{found:?}") };
    assert_eq!((shown.id.as_str(), shown.received_at), (bad.as_str(), at(1)));
    assert!(shown.problem.contains("c-y"), "{}", shown.problem);
    let inspected = store.inspect(&bad).await.unwrap().unwrap().found;
    let Found::Unreadable(shown) = inspected else { panic!("{inspected:?}") };
    assert_eq!(shown.row["currency"], "c-y");
    assert_eq!(shown.row["state"], "review");
    assert!(shown.row["body"].as_str().unwrap().contains("out_trade_no"));
    assert!(store.raw_callback(&bad).await.unwrap().is_some());
    let (who, why) = ("ada".to_owned(), "it was a test".to_owned());
    let instruction = Instruction { id: bad.clone(), act: Act::Discard, who, why };
    let acted = store.operate(instruction, at(20)).await.unwrap();
    assert_eq!(acted, Acted::Done { from: InboxState::Review, to: InboxState::Done });
    assert_eq!(store.counts().await.unwrap().review, 0);
}

pub(crate) async fn a_state_of_a_newer_host_goes_to_review(house: &House) {
    let store = house.open().await;
    accept(&store, payment("d1", "o1", "t1"), 1).await;
    let good = accept(&store, payment("d2", "o2", "t2"), 2).await;
    if house.settings.url.starts_with("sqlite") {
        let ignoring = "pragma ignore_check_constraints = on; \
                        update inbox set state = 'asleep' where delivery_key = 'd1'";
        house.execute(ignoring).await;
    } else {
        let wider = "alter table inbox drop constraint inbox_state_check; \
                     update inbox set state = 'asleep' where delivery_key = 'd1'";
        house.execute(wider).await;
    }
    assert_eq!(store.counts().await.unwrap().ready, 1, "what is known is counted");
    assert_eq!(claim_one(&store, "w", 3).await.lease.id(), good);
    let (code, count) = store.reviews().await.unwrap().remove(0);
    assert_eq!((code.as_str(), count), ("store.corrupt", 1));
}

pub(crate) async fn an_order_that_cannot_be_read_stops_no_other(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    register(&store, "o2").await;
    let bad = accept(&store, payment("d1", "o1", "t1"), 1).await;
    accept(&store, payment("d2", "o2", "t2"), 2).await;
    house.execute("update documents set state = 'no state' where key = 'o1'").await;
    let job = claim_one(&store, "w", 3).await;
    assert_eq!(job.stored.subject.as_deref(), Some("o2"));
    settle(&store, settlement(&job, Outcome::Keep(reason("kept"))), 4).await;
    let stored = store.notification(&bad).await.unwrap().unwrap();
    assert_eq!(
        (stored.state, stored.reason.unwrap().code.as_ref()),
        (InboxState::Review, "store.corrupt")
    );
    // Once the order is mended a replay runs it.
    house.execute("update documents set state = 'TO_BE_PAID' where key = 'o1'").await;
    let (who, why) = ("ada".to_owned(), "mended".to_owned());
    let instruction = Instruction { id: bad.clone(), act: Act::Replay, who, why };
    store.operate(instruction, at(5)).await.unwrap();
    assert_eq!(claim_one(&store, "w", 6).await.lease.id(), bad);
}

pub(crate) async fn a_replay_that_cannot_be_read_holds_up_no_other(house: &House) {
    let store = house.open().await;
    accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    settle(&store, settlement(&job, Outcome::Park(reason("order.unknown"))), 3).await;
    house.execute("update inbox set due_at_ms = 9000000000000000").await;
    for ms in [10, 11] {
        let filter = Filter { state: Some(InboxState::Parked), ..Filter::default() };
        let (who, why) = ("ada".to_owned(), "again".to_owned());
        store.start_replay(NewReplay { filter, who, why, rate_per_s: 10 }, at(ms)).await.unwrap();
    }
    let newer = "update replays set filter = '{\"colour\":\"red\"}' \
                 where created_at_ms = (select min(created_at_ms) from replays)";
    house.execute(newer).await;
    let stepped = store.step_replay(at(20)).await.unwrap().unwrap();
    assert_eq!((stepped.replayed, stepped.skipped), (1, 0));
}
