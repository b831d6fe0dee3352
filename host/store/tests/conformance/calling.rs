//! Stories of outgoing calls: a log that a run again is answered from.

use callgate_core::outcome::Outcome;
use callgate_store::{
    CallBegun, CallEnd, CallKept, EndedCall, Job, NewCall, Retention, Step, Store,
};

use crate::acts::{accept, at, claim, claim_one, reason, register, settle, settlement};
use crate::gateway::payment;
use crate::house::House;

const DAY_MS: i64 = 86_400_000;

/// A call of a job: its name, and a letter for what it asks.
pub(crate) fn call(job: &Job, name: &str, asks: char) -> NewCall {
    let id = job.lease.id();
    NewCall {
        lease: job.lease.clone(),
        name: name.to_owned(),
        phase: "action",
        endpoint: "erp".to_owned(),
        key: format!("{id}.{name}"),
        changed_key: format!("{id}.{name}.{asks}"),
        plugin: "shop/order-payment".to_owned(),
        method: "POST",
        path: format!("/orders/{asks}"),
        request_bytes: 20,
        digest: asks.to_string().repeat(64),
        answer_bytes_max: 1_000,
        lease_ms: 60_000,
    }
}

pub(crate) fn answered(status: u16, body: &str) -> CallEnd {
    let headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
    CallEnd::Answered { status, headers, body: body.as_bytes().to_vec() }
}

pub(crate) async fn begin(store: &Store, call: NewCall, ms: i64) -> CallBegun {
    store.begin_call(call, at(ms)).await.unwrap()
}

pub(crate) async fn end(
    store: &Store,
    job: &Job,
    (name, tries): (&str, i64),
    end: CallEnd,
) -> CallKept {
    let ended = EndedCall {
        notification_id: job.lease.id().to_owned(),
        name: name.to_owned(),
        tries,
        end,
        duration_us: 1_500,
    };
    store.end_call(ended, at(1)).await.unwrap()
}

fn send(job: &Job, name: &str, tries: i64) -> CallBegun {
    CallBegun::Send { tries, key: format!("{}.{name}", job.lease.id()) }
}

/// Makes a call and lets it end so.
async fn made(store: &Store, job: &Job, name: &str, ended: CallEnd) {
    let CallBegun::Send { tries, .. } = begin(store, call(job, name, 'a'), 0).await else {
        panic!("{name} was to be sent");
    };
    assert_eq!(end(store, job, (name, tries), ended).await, CallKept::Kept);
}

async fn job(store: &Store) -> Job {
    register(store, "o1").await;
    accept(store, payment("d1", "o1", "t1"), 0).await;
    claim_one(store, "w", 0).await
}

/// The same notification, by another host, once the lease is over.
async fn taken_over(store: &Store, ms: i64) -> Job {
    claim_one(store, "other", ms).await
}

pub(crate) async fn a_call_is_answered_from_the_log_ever_after(house: &House) {
    let store = house.open().await;
    let first = job(&store).await;
    assert_eq!(begin(&store, call(&first, "action.1", 'a'), 0).await, send(&first, "action.1", 1));
    let [begun] = store.calls_of(first.lease.id()).await.unwrap().try_into().unwrap();
    assert_eq!((begun.ended_at, begun.end), (None, None), "it is on disk before it is sent");
    let whole = answered(201, "made 订单");
    assert_eq!(end(&store, &first, ("action.1", 1), whole.clone()).await, CallKept::Kept);
    drop(store);

    let store = house.open().await;
    let again = taken_over(&store, 200_000).await;
    let known = begin(&store, call(&again, "action.1", 'a'), 200_000).await;
    assert_eq!(known, CallBegun::Known(whole.clone()));
    let [kept] = store.calls_of(again.lease.id()).await.unwrap().try_into().unwrap();
    assert_eq!((kept.seq, kept.tries, kept.attempt), (1, 1, 1));
    assert_eq!((kept.endpoint.as_str(), kept.method.as_str()), ("erp", "POST"));
    assert_eq!((kept.ended_at, kept.duration_us), (Some(at(1)), Some(1_500)));
    assert_eq!(kept.end, Some(whole));
}

pub(crate) async fn a_call_whose_end_nobody_knows_is_sent_again_with_its_key(house: &House) {
    let store = house.open().await;
    let first = job(&store).await;
    begin(&store, call(&first, "action.1", 'a'), 0).await;
    let again = taken_over(&store, 200_000).await;
    let begun = begin(&store, call(&again, "action.1", 'a'), 200_000).await;
    assert_eq!(begun, send(&again, "action.1", 2));
    // The host that was thought to be dead is not, but its word counts no more.
    let late = end(&store, &first, ("action.1", 1), answered(200, "late")).await;
    assert_eq!(late, CallKept::Superseded);
    assert_eq!(end(&store, &again, ("action.1", 2), answered(200, "")).await, CallKept::Kept);
    let [kept] = store.calls_of(again.lease.id()).await.unwrap().try_into().unwrap();
    assert_eq!((kept.tries, kept.end), (2, Some(answered(200, ""))));
}

pub(crate) async fn only_the_last_call_is_sent_again_and_only_without_success(house: &House) {
    let store = house.open().await;
    let job = job(&store).await;
    let failed = || CallEnd::Failed("calls.timeout".to_owned());
    let mut tries = 0;
    for ended in [failed(), answered(500, ""), answered(429, ""), answered(404, "no")] {
        tries += 1;
        let begun = begin(&store, call(&job, "action.1", 'a'), 0).await;
        assert_eq!(begun, send(&job, "action.1", tries), "after {ended:?}");
        end(&store, &job, ("action.1", tries), ended).await;
    }
    // The processor went on: what it went on from stands.
    made(&store, &job, "action.2", failed()).await;
    let known = begin(&store, call(&job, "action.1", 'a'), 0).await;
    assert_eq!(known, CallBegun::Known(answered(404, "no")));
    assert_eq!(begin(&store, call(&job, "action.2", 'a'), 0).await, send(&job, "action.2", 2));
    end(&store, &job, ("action.2", 2), answered(303, "")).await;
    let known = begin(&store, call(&job, "action.2", 'a'), 0).await;
    assert_eq!(known, CallBegun::Known(answered(303, "")));
    let log = store.calls_of(job.lease.id()).await.unwrap();
    let places: Vec<_> = log.iter().map(|call| (call.seq, call.name.as_str())).collect();
    assert_eq!(places, [(1, "action.1"), (2, "action.2")]);
}

pub(crate) async fn something_else_under_a_name_that_is_taken_is_never_answered(house: &House) {
    let store = house.open().await;
    let job = job(&store).await;
    let differs = CallBegun::Differs { was: "erp POST /orders/a".to_owned() };
    // Begun and unknown, without an answer, answered: it may have had its effect.
    begin(&store, call(&job, "action.1", 'a'), 0).await;
    assert_eq!(begin(&store, call(&job, "action.1", 'b'), 0).await, differs);
    end(&store, &job, ("action.1", 1), CallEnd::Failed("calls.timeout".to_owned())).await;
    assert_eq!(begin(&store, call(&job, "action.1", 'b'), 0).await, differs);
    made(&store, &job, "action.1", answered(502, "")).await;
    assert_eq!(begin(&store, call(&job, "action.1", 'b'), 0).await, differs);
    made(&store, &job, "action.1", answered(200, "")).await;
    assert_eq!(begin(&store, call(&job, "action.1", 'b'), 0).await, differs);
    assert_eq!(
        begin(&store, call(&job, "action.1", 'a'), 0).await,
        CallBegun::Known(answered(200, "")),
        "what was asked first is still known"
    );
}

pub(crate) async fn what_was_refused_may_be_asked_otherwise_under_another_key(house: &House) {
    let store = house.open().await;
    let job = job(&store).await;
    made(&store, &job, "action.1", answered(422, "bad amount")).await;
    let changed = format!("{}.action.1.b", job.lease.id());
    let begun = begin(&store, call(&job, "action.1", 'b'), 0).await;
    assert_eq!(begun, CallBegun::Send { tries: 2, key: changed.clone() });
    // From now on this is what is known, with the key that it was sent with.
    let begun = begin(&store, call(&job, "action.1", 'b'), 0).await;
    assert_eq!(begun, CallBegun::Send { tries: 3, key: changed });
    end(&store, &job, ("action.1", 3), answered(422, "")).await;
    made(&store, &job, "action.2", answered(200, "")).await;
    let begun = begin(&store, call(&job, "action.1", 'c'), 0).await;
    assert_eq!(begun, CallBegun::Differs { was: "erp POST /orders/b".to_owned() }, "it went on");
}

pub(crate) async fn an_answer_that_was_too_large_is_asked_for_again_by_who_takes_more(
    house: &House,
) {
    let store = house.open().await;
    let job = job(&store).await;
    made(&store, &job, "action.1", CallEnd::TooLarge { status: 200 }).await;
    let known = begin(&store, call(&job, "action.1", 'a'), 0).await;
    assert_eq!(known, CallBegun::Known(CallEnd::TooLarge { status: 200 }));
    let more = NewCall { answer_bytes_max: 2_000, ..call(&job, "action.1", 'a') };
    assert_eq!(begin(&store, more, 0).await, send(&job, "action.1", 2));
}

pub(crate) async fn who_lost_the_lease_calls_nobody(house: &House) {
    let store = house.open().await;
    let first = job(&store).await;
    let again = taken_over(&store, 60_001).await;
    let begun = begin(&store, call(&first, "action.1", 'a'), 60_002).await;
    assert_eq!(begun, CallBegun::LostLease);
    assert!(store.calls_of(first.lease.id()).await.unwrap().is_empty());
    assert_eq!(
        begin(&store, call(&again, "action.1", 'a'), 60_002).await,
        send(&again, "action.1", 1)
    );
}

pub(crate) async fn a_call_lengthens_the_lease_and_never_shortens_it(house: &House) {
    let store = house.open().await;
    let job = job(&store).await;
    let lease = async || store.notification(job.lease.id()).await.unwrap().unwrap().leased_until;
    assert_eq!(lease().await, Some(at(60_000)));
    let short = NewCall { lease_ms: 10, ..call(&job, "action.1", 'a') };
    begin(&store, short, 5).await;
    assert_eq!(lease().await, Some(at(60_000)));
    let long = NewCall { lease_ms: 90_000, ..call(&job, "action.1", 'a') };
    begin(&store, long, 50_000).await;
    assert_eq!(lease().await, Some(at(140_000)));
    assert!(claim(&store, "other", 139_999).await.is_empty());
    assert_eq!(claim(&store, "other", 140_000).await.len(), 1);
}

pub(crate) async fn two_hosts_that_work_on_many_calls_do_not_wait_for_each_other(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    for n in 0..20 {
        register(&one, &format!("o{n}")).await;
        accept(&one, payment(&format!("d{n}"), &format!("o{n}"), &format!("t{n}")), 0).await;
    }
    let (mine, theirs) = (claim(&one, "one", 0).await, claim(&two, "two", 0).await);
    assert_eq!((mine.len(), theirs.len()), (10, 10));
    let work = async |store: &Store, jobs: &[Job]| {
        for round in 1..=5 {
            let name = format!("action.{round}");
            let begun = jobs.iter().map(|job| begin(store, call(job, &name, 'a'), 0));
            let begun = futures_util::future::join_all(begun).await;
            assert!(begun.iter().all(|one| matches!(one, CallBegun::Send { tries: 1, .. })));
            let ended = jobs.iter().map(|job| end(store, job, (&name, 1), answered(200, "")));
            let ended = futures_util::future::join_all(ended).await;
            assert!(ended.iter().all(|one| *one == CallKept::Kept));
        }
    };
    tokio::join!(work(&one, &mine), work(&two, &theirs));
    assert_eq!(house.number("select cast(count(*) as bigint) from calls").await, 100);
}

pub(crate) async fn calls_leave_with_the_content_of_their_notification(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    let job = job(&store).await;
    made(&store, &job, "action.1", answered(200, "personal")).await;
    settle(&store, settlement(&job, Outcome::Keep(reason("kept"))), 0).await;
    let settings = crate::archiving::settings(folder.path());
    let mut retention =
        Retention::new(store.clone(), settings, "a".to_owned(), Vec::new()).unwrap();
    while retention.step(at(10 * DAY_MS)).await.unwrap() != Step::Idle {}
    assert!(store.notification(job.lease.id()).await.unwrap().unwrap().archived_at.is_some());
    assert!(store.calls_of(job.lease.id()).await.unwrap().is_empty());
}
