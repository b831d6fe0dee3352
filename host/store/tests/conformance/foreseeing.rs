//! Stories of callbacks that are decided before they are stored.

use std::sync::Arc;

use callgate_core::outcome::{Draft, Expect, Outcome};
use callgate_store::{
    AfterPhase, Arrived, Bell, Callback, ClaimRequest, DocumentRead, DocumentRef, Foreseen,
    InboxState, Job, Receipt, Settled, Settlement, Store, StoredNotification,
};
use futures_util::future::join_all;

use crate::acts::{
    accept, advance, at, claim, claim_one, done, paid, reason, register, settle, settlement, write,
};
use crate::gateway::{BUSINESS, combined, payment};
use crate::house::House;

async fn foresee(store: &Store, callback: &Arc<Callback>, ms: i64) -> Option<Foreseen> {
    let worker = ClaimRequest { limit: 1, owner: "w".to_owned(), lease_ms: 60_000 };
    store.foresee(callback, &worker, at(ms)).await.unwrap()
}

/// Decides for an order that waits, and stores both.
async fn arrive(store: &Store, foreseen: Foreseen, ms: i64) -> Arrived {
    let Foreseen { job, entry } = foreseen;
    let settling = settlement(&job, paid(&job));
    store.arrive(entry, settling, at(ms)).await.unwrap()
}

/// Nobody is called to work. The bell rings after an answer, and before the writer does anything else.
async fn is_silent(store: &Store, bell: &mut Bell) {
    register(store, "next").await;
    tokio::select! {
        biased;
        () = bell.rung() => panic!("nothing is left to work on"),
        () = std::future::ready(()) => {}
    }
}

fn new(arrived: &Arrived) -> bool {
    arrived.receipt != Receipt::Seen
}

pub(crate) async fn a_callback_and_its_decision_are_one_commit(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let callback = Arc::new(payment("d1", "o1", "t1"));
    let foreseen = foresee(&store, &callback, 1).await.unwrap();
    let job = foreseen.job.clone();
    assert_eq!((job.lease.attempt(), job.stored.attempts), (1, 1));
    assert_eq!(store.notification(&job.stored.id).await.unwrap(), None);
    let before = store.tally();
    let arrived = arrive(&store, foreseen, 2).await;
    assert_eq!(arrived.receipt, Receipt::New(vec![job.stored.id.clone()]));
    assert_eq!(arrived.settled, done("TO_BE_DELIVERED", 2, 1));
    assert_eq!(store.tally().groups - before.groups, 1);
    let stored = store.notification(&job.stored.id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.attempts), (InboxState::Done, 1));
    assert_eq!((stored.received_at, stored.finished_at), (at(1), Some(at(2))));
    // What a worker would have been given is what was given.
    assert_eq!(stored.notification, job.stored.notification);
    assert_eq!(stored.headers, callback.headers);
    assert_eq!(store.raw_callback(&stored.id).await.unwrap().as_ref(), Some(&callback.raw));
    let view = store.order(BUSINESS, "o1").await.unwrap().unwrap();
    assert_eq!((view.history.len(), view.events.len()), (1, 1));
    assert!(claim(&store, "w", 3).await.is_empty());
}

pub(crate) async fn a_job_that_is_foreseen_is_the_one_that_is_claimed(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let callback = Arc::new(payment("d1", "o1", "t1"));
    let foreseen = foresee(&store, &callback, 1).await.unwrap().job;
    let id = accept(&store, payment("d1", "o1", "t1"), 1).await;
    let claimed = claim_one(&store, "w", 1).await;
    let mut expected = foreseen.stored;
    expected.id = id;
    assert_eq!(claimed.stored, expected);
    assert_eq!((claimed.subject, claimed.meaning), (foreseen.subject, foreseen.meaning));
    assert_eq!(claimed.lease.attempt(), foreseen.lease.attempt());
}

/// What may come out of a run, with a name for it.
fn ends(job: &Job) -> Vec<(&'static str, Settlement)> {
    let with = |outcome| {
        let scratch = Some("{}".to_owned());
        Settlement { scratch, due_at: at(500), ..settlement(job, outcome) }
    };
    let long = |settlement| Settlement { after: AfterPhase::Wanted, ..settlement };
    let raced = |settlement| {
        let document = DocumentRef { collection: "ledger".to_owned(), key: "none".to_owned() };
        let read = DocumentRead { document, version: Some(9) };
        Settlement { reads: vec![read], ..settlement }
    };
    let native = |settlement| Settlement { run: None, scratch: None, ..settlement };
    let twice = [0, 1].map(|_| write("ledger", "k", "{}", Expect::Any));
    let twice = Draft { target: None, writes: twice.into(), events: Vec::new() };
    let told = || reason("plugin.told");
    vec![
        ("advance", with(paid(job))),
        ("advance with a last phase", long(with(paid(job)))),
        ("advance without a processor", native(with(paid(job)))),
        ("keep", with(Outcome::Keep(told()))),
        ("review", with(Outcome::Review(told()))),
        ("retry", with(Outcome::Retry(told()))),
        ("defer", with(Outcome::Defer(told()))),
        ("hold", with(Outcome::Hold { reason: told(), plugin: "mall/other".to_owned() })),
        ("advance, race lost", raced(with(paid(job)))),
        ("advance with a last phase, race lost", raced(long(with(paid(job))))),
        ("keep, race lost", raced(with(Outcome::Keep(told())))),
        ("park a known order", with(Outcome::Park(told()))),
        ("write a document twice", with(advance(twice))),
    ]
}

/// A row, without what differs between any two.
fn bare(stored: StoredNotification) -> StoredNotification {
    StoredNotification {
        id: String::new(),
        delivery_key: String::new(),
        subject: None,
        history_id: stored.history_id.map(|_| String::new()),
        notification: payment("d", "o", "t").verified.notifications()[0].clone(),
        ..stored
    }
}

pub(crate) async fn a_row_ends_the_same_however_it_was_decided(house: &House) {
    let store = house.open().await;
    register(&store, "any").await;
    let any = foresee(&store, &Arc::new(payment("d", "any", "t")), 1).await.unwrap().job;
    for (place, (name, _)) in ends(&any).into_iter().enumerate() {
        let orders = ["first", "stored"].map(|way| format!("{way}-{place}"));
        let [first, stored] = orders.each_ref().map(String::as_str);
        register(&store, first).await;
        register(&store, stored).await;
        let told = Arc::new(payment(first, first, first));
        let Foreseen { job, entry } = foresee(&store, &told, 1).await.unwrap();
        let end = ends(&job).remove(place).1;
        let one = store.arrive(entry, end, at(2)).await.map(|arrived| arrived.settled);
        let first = store.notification(&job.stored.id).await.unwrap().unwrap();
        accept(&store, payment(stored, stored, stored), 1).await;
        let job = claim_one(&store, "w", 1).await;
        let two = store.settle(ends(&job).remove(place).1, at(2)).await;
        let stored = store.notification(&job.stored.id).await.unwrap().unwrap();
        assert_eq!(bare(first), bare(stored), "{name}");
        assert_eq!(one.map_err(|error| error.code()), two.map_err(|error| error.code()), "{name}");
    }
}

pub(crate) async fn what_no_order_waits_for_is_not_foreseen(house: &House) {
    let store = house.open().await;
    let first = Arc::new(payment("d1", "o1", "t1"));
    assert!(foresee(&store, &first, 1).await.is_none(), "not registered");
    register(&store, "o1").await;
    register(&store, "o2").await;
    let both = Arc::new(combined("d2", &["o1", "o2"]));
    assert!(foresee(&store, &both, 1).await.is_none(), "several parts");
    let other = Arc::new(payment("d3", "o1", "t2"));
    accept(&store, payment("d1", "o1", "t1"), 2).await;
    assert!(foresee(&store, &other, 3).await.is_none(), "another one is open");
    let job = claim_one(&store, "w", 4).await;
    assert!(foresee(&store, &other, 5).await.is_none(), "another one is under way");
    settle(&store, settlement(&job, paid(&job)), 6).await;
    assert!(foresee(&store, &other, 7).await.is_some());
    let again = Arc::new(payment("d4", "o1", "t1"));
    assert!(foresee(&store, &again, 8).await.is_none(), "its meaning is used up");
}

pub(crate) async fn many_who_foresee_at_once_get_their_own_order(house: &House) {
    let store = house.open().await;
    let orders = 0..150;
    for order in orders.clone().filter(|order| order % 3 != 1) {
        register(&store, &format!("o{order}")).await;
    }
    for used in orders.clone().filter(|order| order % 3 == 2) {
        let (order, id) = (format!("o{used}"), format!("first-{used}"));
        accept(&store, payment(&id, &order, &format!("t{used}")), 1).await;
    }
    loop {
        let jobs = claim(&store, "w", 1).await;
        if jobs.is_empty() {
            break;
        }
        for job in jobs {
            settle(&store, settlement(&job, paid(&job)), 1).await;
        }
    }
    let ask = async |order: i32| {
        let (name, id) = (format!("o{order}"), format!("second-{order}"));
        let callback = Arc::new(payment(&id, &name, &format!("t{order}")));
        (order, foresee(&store, &callback, 2).await)
    };
    for (order, found) in join_all(orders.map(ask)).await {
        let found = found.map(|found| found.job.subject.unwrap().key);
        let waits = order % 3 == 0;
        assert_eq!(found, waits.then(|| format!("o{order}")), "registered, and not yet paid");
    }
}

pub(crate) async fn of_one_callback_on_ten_ways_one_decides(house: &House) {
    let hosts = join_all((0..10).map(|_| house.open())).await;
    register(&hosts[0], "o1").await;
    let callback = Arc::new(payment("d1", "o1", "t1"));
    let foreseen = join_all(hosts.iter().map(|host| foresee(host, &callback, 1))).await;
    let ways = hosts.iter().zip(foreseen.into_iter().flatten());
    let arrived = join_all(ways.map(|(host, foreseen)| arrive(host, foreseen, 2))).await;
    assert_eq!(arrived.len(), 10);
    let (first, others): (Vec<_>, Vec<_>) = arrived.iter().partition(|arrived| new(arrived));
    assert_eq!(first.len(), 1, "{arrived:?}");
    assert_eq!(first[0].settled, done("TO_BE_DELIVERED", 2, 1));
    assert!(others.iter().all(|other| other.settled == Settled::LostLease), "{others:?}");
    let view = hosts[0].order(BUSINESS, "o1").await.unwrap().unwrap();
    assert_eq!((view.history.len(), view.events.len()), (1, 1));
    assert_eq!(view.notifications[0].seen, 10);
}

pub(crate) async fn of_two_messages_of_one_meaning_one_decides(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let one = foresee(&store, &Arc::new(payment("d1", "o1", "t1")), 1).await.unwrap();
    let two = foresee(&store, &Arc::new(payment("d2", "o1", "t1")), 1).await.unwrap();
    let (one, two) = tokio::join!(arrive(&store, one, 2), arrive(&store, two, 2));
    assert!(new(&one) && new(&two));
    let ends = [one.settled, two.settled];
    assert!(ends.contains(&Settled::Repeated), "{ends:?}");
    assert!(ends.contains(&done("TO_BE_DELIVERED", 2, 1)), "{ends:?}");
    assert!(claim(&store, "w", 3).await.is_empty());
}

pub(crate) async fn a_decision_that_does_not_hold_leaves_the_callback_ready(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let one = foresee(&store, &Arc::new(payment("d1", "o1", "t1")), 1).await.unwrap();
    let two = foresee(&store, &Arc::new(payment("d2", "o1", "t2")), 1).await.unwrap();
    let mut bell = store.work_bell();
    bell.listen();
    assert_eq!(arrive(&store, one, 2).await.settled, done("TO_BE_DELIVERED", 2, 1));
    is_silent(&store, &mut bell).await;
    let late = arrive(&store, two, 3).await;
    assert!(new(&late));
    assert_eq!(late.settled, Settled::Conflict);
    bell.rung().await;
    let job = claim_one(&store, "w", 4).await;
    assert_eq!((job.stored.delivery_key.as_str(), job.lease.attempt()), ("d2", 2));
    let keep = settlement(&job, Outcome::Keep(reason("plugin.ignored")));
    assert_eq!(settle(&store, keep, 5).await, done("TO_BE_DELIVERED", 2, 0));
}

pub(crate) async fn a_decision_to_come_again_leaves_the_callback_for_later(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let foreseen = foresee(&store, &Arc::new(payment("d1", "o1", "t1")), 1).await.unwrap();
    let Foreseen { job, entry } = foreseen;
    let mut failed = settlement(&job, Outcome::Retry(reason("sandbox.trap")));
    failed.due_at = at(1_000);
    let arrived = store.arrive(entry, failed, at(2)).await.unwrap();
    assert_eq!(arrived.settled, done("TO_BE_PAID", 1, 0));
    assert!(claim(&store, "w", 999).await.is_empty());
    assert_eq!(claim_one(&store, "w", 1_000).await.lease.attempt(), 2);
}

pub(crate) async fn what_is_put_off_before_it_is_stored_wakes_nobody(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let foreseen = foresee(&store, &Arc::new(payment("d1", "o1", "t1")), 1).await.unwrap();
    let Foreseen { job, entry } = foreseen;
    let mut later = settlement(&job, Outcome::Defer(reason("plugin.waits")));
    later.due_at = at(1_000);
    let mut bell = store.work_bell();
    bell.listen();
    let arrived = store.arrive(entry, later, at(2)).await.unwrap();
    assert_eq!(arrived.settled, done("TO_BE_PAID", 1, 0));
    is_silent(&store, &mut bell).await;
}

pub(crate) async fn an_impossible_decision_stores_the_callback_all_the_same(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let foreseen = foresee(&store, &Arc::new(payment("d1", "o1", "t1")), 1).await.unwrap();
    let Foreseen { job, entry } = foreseen;
    let twice = [0, 1].map(|_| write("ledger", "k", "{}", Expect::Any));
    let draft = Draft { target: None, writes: twice.into(), events: Vec::new() };
    let settling = settlement(&job, advance(draft));
    assert_eq!(store.arrive(entry, settling, at(2)).await.unwrap_err().code(), "store.invalid");
    let receipt = store.accept(payment("d1", "o1", "t1"), at(3)).await.unwrap();
    assert_eq!(receipt, Receipt::Seen);
    // Whoever decided is taken for dead when the lease is over.
    assert!(claim(&store, "w", 4).await.is_empty());
    assert_eq!(claim_one(&store, "w", 60_001).await.lease.attempt(), 2);
}

pub(crate) async fn a_decision_that_takes_long_follows_its_callback(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let foreseen = foresee(&store, &Arc::new(payment("d1", "o1", "t1")), 1).await.unwrap();
    let Foreseen { job, entry } = foreseen;
    assert_eq!(store.enter(entry).await.unwrap(), Receipt::New(vec![job.stored.id.clone()]));
    assert!(claim(&store, "other", 2).await.is_empty(), "it is under way");
    let settled = settle(&store, settlement(&job, paid(&job)), 3).await;
    assert_eq!(settled, done("TO_BE_DELIVERED", 2, 1));
}

pub(crate) async fn a_run_that_did_not_end_is_known_at_the_next(house: &House) {
    let store = house.open().await;
    assert!(!store.begin_run(at(1), 600_000).await.unwrap());
    assert!(store.begin_run(at(2), 600_000).await.unwrap(), "it came down");
    store.end_run().await.unwrap();
    assert!(!store.begin_run(at(3), 600_000).await.unwrap(), "it ended well");
    store.end_run().await.unwrap();
    // A container that came down, and has another name now.
    let elsewhere = "insert into runs_under_way (machine, began_at_ms) values ('elsewhere', ";
    house.execute_text(format!("{elsewhere}{})", at(4).as_ms())).await;
    for (after_ms, recent_ms, expected) in [(100, 101, true), (100, 100, false), (100, 0, false)] {
        let began = store.begin_run(at(4 + after_ms), recent_ms).await.unwrap();
        assert_eq!(began, expected, "{recent_ms} ms");
        store.end_run().await.unwrap();
    }
    // What began again began then, whatever it was called.
    assert!(!store.begin_run(at(5), 0).await.unwrap());
    assert!(store.begin_run(at(1_000), 0).await.unwrap());
    assert_eq!(
        house.number("select max(began_at_ms) from runs_under_way").await,
        at(1_000).as_ms()
    );
    store.end_run().await.unwrap();
    let long_ms = 1_000 * 86_400_000;
    store.begin_run(at(4 + long_ms), 0).await.unwrap();
    assert_eq!(house.number("select count(*) from runs_under_way").await, 2);
    store.begin_run(at(5 + long_ms), 0).await.unwrap();
    assert_eq!(house.number("select count(*) from runs_under_way").await, 1, "it is forgotten");
}
