//! Stories of settlements.

use callgate_core::outcome::{Draft, Expect, Outcome};
use callgate_store::{
    AfterEnd, AfterPhase, AfterSettlement, DocumentRead, DocumentRef, Effect, InboxState,
    MeaningUse, Settled, Spent,
};

use crate::acts::{
    accept, advance, at, claim, claim_one, done, event, paid, reason, register, settle, settlement,
    state, version, write,
};
use crate::gateway::{BUSINESS, payment};
use crate::house::House;

pub(crate) async fn an_advance_writes_state_documents_history_and_events_together(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    let mut settling = settlement(&job, paid(&job));
    settling.scratch = Some(r#"{"left":1}"#.to_owned());
    assert_eq!(settle(&store, settling, 3).await, done("TO_BE_DELIVERED", 2, 1));
    let view = store.order(BUSINESS, "o1").await.unwrap().unwrap();
    assert_eq!(view.document.state, Some(state("TO_BE_DELIVERED")));
    assert_eq!(view.document.body, r#"{"paid":true}"#);
    assert_eq!((view.document.version, view.document.updated_at), (2, at(3)));
    assert_eq!(version(&store, "ledger", "o1").await, Some(1));
    let entry = &view.history[0];
    assert_eq!((entry.effect, entry.version, entry.attempt), (Effect::Moved, 2, 1));
    assert_eq!(
        (entry.from_state.as_str(), entry.to_state.as_str()),
        ("TO_BE_PAID", "TO_BE_DELIVERED")
    );
    assert_eq!(entry.run.as_ref().unwrap().fuel, 1_000);
    assert_eq!(view.events[0].event, event(&format!("{id}/save/0"), "order.paid", "o1"));
    let stored = store.notification(&id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.due_at), (InboxState::Done, None));
    assert_eq!((stored.finished_at, stored.outcome.as_deref()), (Some(at(3)), Some("advance")));
    assert_eq!(stored.scratch.as_deref(), Some(r#"{"left":1}"#));
}

pub(crate) async fn a_meaning_advances_its_order_once(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    settle(&store, settlement(&job, paid(&job)), 3).await;
    let repeat = accept(&store, payment("d2", "o1", "t1"), 4).await;
    let job = claim_one(&store, "w", 5).await;
    assert_eq!(job.meaning, MeaningUse::Used);
    let draft = Draft { events: vec![event("again", "order.paid", "o1")], ..Draft::default() };
    let again = settlement(&job, advance(draft));
    assert_eq!(settle(&store, again, 6).await, Settled::Repeated);
    assert_eq!(store.events_of(BUSINESS, "o1").await.unwrap().len(), 1);
    let stored = store.notification(&repeat).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.outcome.as_deref()), (InboxState::Done, Some("repeated")));
    assert_eq!(stored.reason.unwrap().code, "order.repeated");
}

pub(crate) async fn two_messages_of_one_meaning_in_one_group_advance_once(house: &House) {
    // The bound of nothing lets both run at once, as a lost lease would.
    let store = house.open_with(|settings| settings.order_block_ms = 0).await;
    register(&store, "o1").await;
    accept(&store, payment("d1", "o1", "t1"), 1).await;
    let first = claim_one(&store, "w", 2).await;
    house.execute("update inbox set leased_until_ms = 1, due_at_ms = 9000000000000000").await;
    accept(&store, payment("d2", "o1", "t1"), 3).await;
    let second = claim_one(&store, "w", 4).await;
    let (one, two) = tokio::join!(
        store.settle(settlement(&first, paid(&first)), at(5)),
        store.settle(settlement(&second, paid(&second)), at(5)),
    );
    let answers = [one.unwrap(), two.unwrap()];
    assert!(answers.contains(&Settled::Repeated), "{answers:?}");
    assert!(answers.contains(&done("TO_BE_DELIVERED", 2, 1)), "{answers:?}");
}

pub(crate) async fn a_version_that_was_lost_is_run_again_and_wins(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    house.execute("update documents set version = version + 1").await;
    assert_eq!(settle(&store, settlement(&job, paid(&job)), 3).await, Settled::Conflict);
    assert!(store.events_of(BUSINESS, "o1").await.unwrap().is_empty());
    assert_eq!(version(&store, "ledger", "o1").await, None);
    let job = claim_one(&store, "w", 3).await;
    assert_eq!((job.lease.id(), job.lease.attempt()), (id.as_str(), 2));
    let settling = settlement(&job, paid(&job));
    assert_eq!(settle(&store, settling, 4).await, done("TO_BE_DELIVERED", 3, 1));
}

pub(crate) async fn races_that_are_lost_are_counted_until_something_else_happens(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 1).await;
    let races = async || store.notification(&id).await.unwrap().unwrap().races;
    for lost in 1..=3 {
        let job = claim_one(&store, "w", 2).await;
        assert_eq!(job.stored.races, lost - 1);
        house.execute("update documents set version = version + 1").await;
        assert_eq!(settle(&store, settlement(&job, paid(&job)), 2).await, Settled::Conflict);
        assert_eq!(races().await, lost);
    }
    // What waits for something else has lost no race, and a claim alone is none.
    let job = claim_one(&store, "w", 2).await;
    settle(&store, settlement(&job, Outcome::Defer(reason("later"))), 3).await;
    assert_eq!(races().await, 0);
    let stored = store.notification(&id).await.unwrap().unwrap();
    assert_eq!((stored.attempts, stored.attempts_before), (4, 4));
}

pub(crate) async fn an_expectation_that_fails_leaves_nothing_behind(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    for (n, expect) in [Expect::Absent, Expect::Version(2)].into_iter().enumerate() {
        let key = format!("o{n}");
        let job = {
            accept(&store, payment(&format!("d{n}"), "o1", &format!("t{n}")), 1).await;
            claim_one(&store, "w", 2).await
        };
        let make = write("ledger", &key, "{}", Expect::Absent);
        let draft = Draft { writes: vec![make], ..Draft::default() };
        settle(&store, settlement(&job, advance(draft)), 3).await;
        accept(&store, payment(&format!("e{n}"), "o1", &format!("u{n}")), 4).await;
        let job = claim_one(&store, "w", 5).await;
        let writes =
            vec![write("ledger", "new", "{}", Expect::Absent), write("ledger", &key, "{}", expect)];
        let target = Some(state("TO_BE_DELIVERED"));
        let events = vec![event("never", "order.paid", "o1")];
        let draft = Draft { target, writes, events };
        let answer = settle(&store, settlement(&job, advance(draft)), 6).await;
        assert_eq!(answer, Settled::Conflict);
        assert_eq!(version(&store, "orders", "o1").await, Some(1));
        assert_eq!(version(&store, "ledger", "new").await, None);
        assert_eq!(version(&store, "ledger", &key).await, Some(1));
        let job = claim_one(&store, "w", 7).await;
        settle(&store, settlement(&job, Outcome::Keep(reason("kept"))), 8).await;
    }
    assert!(store.events_of(BUSINESS, "o1").await.unwrap().is_empty());
}

pub(crate) async fn a_document_that_was_read_must_still_hold(house: &House) {
    let store = house.open().await;
    for n in 0..2 {
        register(&store, &format!("o{n}")).await;
        accept(&store, payment(&format!("d{n}"), &format!("o{n}"), "t"), n).await;
    }
    let jobs = claim(&store, "w", 5).await;
    let document = DocumentRef { collection: "stock".to_owned(), key: "shelf".to_owned() };
    let put = write("stock", "shelf", "{}", Expect::Absent);
    let first = settlement(&jobs[0], advance(Draft { writes: vec![put], ..Draft::default() }));
    settle(&store, first, 6).await;
    let mut second = settlement(&jobs[1], Outcome::Keep(reason("empty-shelf")));
    second.reads = vec![DocumentRead { document: document.clone(), version: None }];
    assert_eq!(settle(&store, second, 7).await, Settled::Conflict);
    let job = claim_one(&store, "w", 8).await;
    let mut again = settlement(&job, Outcome::Keep(reason("empty-shelf")));
    again.reads = vec![DocumentRead { document, version: Some(1) }];
    assert_eq!(settle(&store, again, 9).await, done("TO_BE_PAID", 1, 0));
}

pub(crate) async fn of_two_jobs_that_write_one_document_the_second_loses(house: &House) {
    let store = house.open().await;
    for n in 0..2 {
        register(&store, &format!("o{n}")).await;
        accept(&store, payment(&format!("d{n}"), &format!("o{n}"), "t"), n).await;
    }
    let jobs = claim(&store, "w", 5).await;
    let put = |n: usize, expect| {
        let writes = vec![write("stock", "shelf", &format!("{{\"by\":{n}}}"), expect)];
        settlement(&jobs[n], advance(Draft { writes, ..Draft::default() }))
    };
    let (one, two) = tokio::join!(
        store.settle(put(0, Expect::Absent), at(6)),
        store.settle(put(1, Expect::Absent), at(6)),
    );
    let answers = [one.unwrap(), two.unwrap()];
    assert!(answers.contains(&Settled::Conflict), "{answers:?}");
    assert!(answers.contains(&done("TO_BE_PAID", 1, 0)), "{answers:?}");
    let loser = claim_one(&store, "w", 7).await;
    let writes = vec![write("stock", "shelf", "{}", Expect::Version(1))];
    let again = settlement(&loser, advance(Draft { writes, ..Draft::default() }));
    assert_eq!(settle(&store, again, 8).await, done("TO_BE_PAID", 1, 0));
    assert_eq!(version(&store, "stock", "shelf").await, Some(2));
}

pub(crate) async fn a_kept_notification_is_done_with_its_reason(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    for (n, outcome) in
        [Outcome::Keep(reason("order.late")), Outcome::Review(reason("order.amount-mismatch"))]
            .into_iter()
            .enumerate()
    {
        let id = accept(&store, payment(&format!("d{n}"), "o1", "t"), 1).await;
        let job = claim_one(&store, "w", 2).await;
        settle(&store, settlement(&job, outcome), 3).await;
        let stored = store.notification(&id).await.unwrap().unwrap();
        let expected = [
            (InboxState::Done, "order.late", "keep"),
            (InboxState::Review, "order.amount-mismatch", "review"),
        ];
        let (state, code, outcome) = expected[n];
        assert_eq!(stored.state, state);
        assert_eq!(stored.reason.unwrap().code, code);
        assert_eq!(stored.outcome.as_deref(), Some(outcome));
        assert_eq!((stored.finished_at, stored.leased_until), (Some(at(3)), None));
    }
    assert!(store.order(BUSINESS, "o1").await.unwrap().unwrap().history.is_empty());
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.review, counts.ready), (1, 0));
    assert_eq!(store.oldest_open_ms(at(9)).await.unwrap(), None);
}

pub(crate) async fn a_retry_is_due_later_and_not_before(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    let mut later = settlement(&job, Outcome::Retry(reason("downstream")));
    later.due_at = at(500);
    settle(&store, later, 3).await;
    assert!(claim(&store, "w", 499).await.is_empty());
    let job = claim_one(&store, "w", 500).await;
    assert_eq!(job.lease.attempt(), 2);
    assert_eq!(job.stored.reason.unwrap().code, "downstream");
}

pub(crate) async fn the_last_phase_runs_under_the_same_lease_and_commits_its_events(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 1).await;
    let job = claim_one(&store, "w", 2).await;
    let mut settling = settlement(&job, paid(&job));
    settling.after = AfterPhase::Wanted;
    settling.scratch = Some("7".to_owned());
    settle(&store, settling, 3).await;
    assert!(claim(&store, "other", 4).await.is_empty(), "the worker still has it");
    let end = |lease, end, id: &str| AfterSettlement {
        lease,
        end,
        events: vec![event(id, "order.told", "o1")],
        run: None,
        spent: Spent::default(),
    };
    let later = end(job.lease.clone(), AfterEnd::Retry(reason("busy"), at(100)), "dropped");
    assert_eq!(store.finish_after(later, at(5)).await.unwrap(), done("", 0, 0));
    let job = claim_one(&store, "w", 100).await;
    assert_eq!((job.stored.state, job.stored.scratch.as_deref()), (InboxState::After, Some("7")));
    let late = settlement(&job, Outcome::Keep(reason("wrong-door")));
    assert_eq!(settle(&store, late, 101).await, Settled::LostLease, "it is committed already");
    let over = end(job.lease.clone(), AfterEnd::Done, "told");
    assert_eq!(store.finish_after(over.clone(), at(102)).await.unwrap(), done("", 0, 1));
    assert_eq!(store.finish_after(over, at(103)).await.unwrap(), Settled::LostLease);
    let events = store.events_of(BUSINESS, "o1").await.unwrap();
    let topics: Vec<_> = events.iter().map(|event| event.event.topic.as_str()).collect();
    assert_eq!(topics, ["order.paid", "order.told"]);
    let stored = store.notification(&id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.outcome.as_deref()), (InboxState::Done, Some("advance")));
}

pub(crate) async fn a_settlement_that_makes_no_sense_spoils_no_neighbour(house: &House) {
    let store = house.open().await;
    for n in 0..4 {
        register(&store, &format!("o{n}")).await;
        accept(&store, payment(&format!("d{n}"), &format!("o{n}"), "t"), n).await;
    }
    let jobs = claim(&store, "w", 5).await;
    let stray = write("orders", "nobody", "{}", Expect::Any);
    let twice = write("ledger", "x", "{}", Expect::Any);
    let wrong = [
        settlement(&jobs[0], Outcome::Park(reason("not-absent"))),
        settlement(&jobs[1], advance(Draft { writes: vec![stray], ..Draft::default() })),
        settlement(
            &jobs[2],
            advance(Draft { writes: vec![twice.clone(), twice], ..Draft::default() }),
        ),
    ];
    let [a, b, c] = wrong.map(|settling| store.settle(settling, at(6)));
    let (a, b, c, good) =
        tokio::join!(a, b, c, store.settle(settlement(&jobs[3], paid(&jobs[3])), at(6)));
    for answer in [a, b, c] {
        assert_eq!(answer.unwrap_err().code(), "store.invalid");
    }
    assert_eq!(good.unwrap(), done("TO_BE_DELIVERED", 2, 1));
    // What was refused holds its lease, so the worker can decide otherwise.
    let instead = settlement(&jobs[0], Outcome::Keep(reason("kept")));
    assert_eq!(settle(&store, instead, 7).await, done("TO_BE_PAID", 1, 0));
}

pub(crate) async fn events_keep_the_order_of_commits(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    for n in 0..20 {
        register(&one, &format!("o{n}")).await;
        accept(&one, payment(&format!("d{n}"), &format!("o{n}"), "t"), n).await;
    }
    for round in 0..2 {
        let jobs = claim(&one, "w", 100).await;
        let mut tasks = tokio::task::JoinSet::new();
        for (n, job) in jobs.into_iter().enumerate() {
            let store = if n % 2 == 0 { one.clone() } else { two.clone() };
            tasks.spawn(async move {
                let settling = settlement(&job, paid(&job));
                store.settle(settling, at(101 + round)).await.unwrap()
            });
        }
        for settled in tasks.join_all().await {
            assert_eq!(settled, done("TO_BE_DELIVERED", 2, 1));
        }
    }
    assert_eq!(house.number("select cast(count(*) as bigint) from outbox").await, 20);
    assert_eq!(house.number("select cast(max(seq) as bigint) from outbox").await, 20);
}

pub(crate) async fn a_run_that_keeps_the_state_uses_its_meaning_up(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let run = |n: i64, draft: Draft| {
        let store = store.clone();
        async move {
            accept(&store, payment(&format!("d{n}"), "o1", "t1"), n).await;
            let job = claim_one(&store, "w", n + 1).await;
            settle(&store, settlement(&job, advance(draft)), n + 2).await
        }
    };
    // A run that writes nothing leaves the meaning to a later one.
    assert_eq!(run(10, Draft::default()).await, done("TO_BE_PAID", 1, 0));
    let told = |id| Draft { events: vec![event(id, "order.told", "o1")], ..Draft::default() };
    assert_eq!(run(20, told("e1")).await, done("TO_BE_PAID", 1, 1));
    assert_eq!(run(30, told("e2")).await, Settled::Repeated);
    let view = store.order(BUSINESS, "o1").await.unwrap().unwrap();
    let effects: Vec<_> = view.history.iter().map(|entry| entry.effect).collect();
    assert_eq!(effects, [Effect::None, Effect::Stayed]);
    assert_eq!(view.events.len(), 1);
}
