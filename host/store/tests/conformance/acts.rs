//! The verbs of the stories.

use callgate_core::money::{Currency, Money};
use callgate_core::order::{State, Table};
use callgate_core::outcome::{Draft, Event, Expect, Outcome, Reason, Write, judge};
use callgate_core::time::Timestamp;
use callgate_store::{
    AfterPhase, Callback, ClaimRequest, DocumentRef, Job, NewOrder, Receipt, Registered, RunRecord,
    Settled, Settlement, Spent, Store, SubjectSeen,
};

use crate::gateway::{AMOUNT, BUSINESS};

/// A moment of a story, in milliseconds after its beginning.
pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(1_795_226_400_000).plus_ms(ms)
}

pub(crate) fn state(text: &str) -> State {
    State::parse(text).unwrap()
}

/// An order that waits to be paid.
pub(crate) fn order(order_no: &str) -> NewOrder {
    NewOrder {
        business: BUSINESS.to_owned(),
        order_no: order_no.to_owned(),
        amount: Money { minor: AMOUNT, currency: Currency::CNY },
        channel: None,
        state: state("TO_BE_PAID"),
        aliases: Vec::new(),
        body: r#"{"items":[1,2]}"#.to_owned(),
    }
}

pub(crate) async fn register(store: &Store, order_no: &str) {
    let registered = store.register(order(order_no), at(0)).await.unwrap();
    assert!(matches!(registered, Registered::Created(_)), "{registered:?}");
}

/// Stores a callback with one part, and gives its id.
pub(crate) async fn accept(store: &Store, callback: Callback, ms: i64) -> String {
    match store.accept(callback, at(ms)).await.unwrap() {
        Receipt::New(mut ids) => {
            assert_eq!(ids.len(), 1);
            ids.remove(0)
        }
        Receipt::Seen => panic!("seen before"),
    }
}

/// Claims up to ten jobs for a minute.
pub(crate) async fn claim(store: &Store, owner: &str, ms: i64) -> Vec<Job> {
    let request = ClaimRequest { limit: 10, owner: owner.to_owned(), lease_ms: 60_000 };
    store.claim(request, at(ms)).await.unwrap()
}

/// Claims, and expects one job.
pub(crate) async fn claim_one(store: &Store, owner: &str, ms: i64) -> Job {
    let mut jobs = claim(store, owner, ms).await;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    jobs.remove(0)
}

pub(crate) fn reason(code: &'static str) -> Reason {
    Reason::new(code, "a reason")
}

/// What a run of this job decided, having read its order.
pub(crate) fn settlement(job: &Job, outcome: Outcome) -> Settlement {
    Settlement {
        lease: job.lease.clone(),
        outcome,
        subject: job
            .subject
            .as_ref()
            .map_or(SubjectSeen::Absent, |subject| SubjectSeen::At(subject.version)),
        reads: Vec::new(),
        scratch: None,
        after: AfterPhase::None,
        run: Some(RunRecord {
            plugin: "shop/order-payment".to_owned(),
            plugin_version: "1.0.0".to_owned(),
            component: "ab".repeat(32),
            fuel: 1_000,
        }),
        spent: Spent {
            duration_us: 1_500,
            phases: r#"[{"phase":"check","fuel":1000,"duration_us":900}]"#.to_owned(),
            inputs: None,
        },
        due_at: at(0),
    }
}

/// What a paid order leads to: the next state, a ledger document, an event.
pub(crate) fn paid(job: &Job) -> Outcome {
    let order_no = job.stored.subject.clone().unwrap();
    advance(Draft {
        target: Some(state("TO_BE_DELIVERED")),
        writes: vec![
            write("orders", &order_no, r#"{"paid":true}"#, Expect::Any),
            write("ledger", &order_no, r#"{"amount":8800}"#, Expect::Absent),
        ],
        events: vec![event(&format!("{}/save/0", job.stored.id), "order.paid", &order_no)],
    })
}

/// Judges a draft by the table of the stories.
pub(crate) fn advance(draft: Draft) -> Outcome {
    let table = Table::new([
        (state("TO_BE_PAID"), state("TO_BE_DELIVERED")),
        (state("TO_BE_DELIVERED"), state("REFUNDING")),
    ]);
    let from = match draft.target.as_ref().map(State::as_str) {
        Some("REFUNDING") => "TO_BE_DELIVERED",
        Some(_) | None => "TO_BE_PAID",
    };
    Outcome::Advance(judge(draft, Some(&state(from)), &table).unwrap())
}

pub(crate) fn write(collection: &str, key: &str, body: &str, expect: Expect) -> Write {
    Write { collection: collection.to_owned(), key: key.to_owned(), body: body.to_owned(), expect }
}

pub(crate) fn event(id: &str, topic: &str, key: &str) -> Event {
    Event {
        id: id.to_owned(),
        topic: topic.to_owned(),
        key: key.to_owned(),
        payload: "{}".to_owned(),
        headers: vec![("kind".to_owned(), "story".to_owned())],
    }
}

pub(crate) async fn settle(store: &Store, settlement: Settlement, ms: i64) -> Settled {
    store.settle(settlement, at(ms)).await.unwrap()
}

/// The version of a document; `None` where it does not exist.
pub(crate) async fn version(store: &Store, collection: &str, key: &str) -> Option<i64> {
    let refs = [DocumentRef { collection: collection.to_owned(), key: key.to_owned() }];
    let found = store.documents(BUSINESS, &refs).await.unwrap();
    found.into_iter().next().unwrap().map(|document| document.version)
}

/// Done, in this state and version, with so many events.
pub(crate) fn done(state: &str, version: i64, events: usize) -> Settled {
    Settled::Done { state: state.to_owned(), version, events }
}
