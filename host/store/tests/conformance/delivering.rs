//! Stories of sinks: whose turn it is, how far they have come, and what is kept for later.

use callgate_store::{
    AuditQuery, DeadAct, DeadLetters, DeliveryState, KeptDelivery, SinkHold, SinkRecord, SinkStart,
    SinkStep, Store, StoreError,
};

use crate::acts::{accept, at, claim_one, paid, reason, register, settle, settlement};
use crate::gateway::{BUSINESS, payment};
use crate::house::House;

/// Pays orders, and gives the places of their events.
async fn events(store: &Store, orders: &[&str]) -> Vec<i64> {
    let mut places = Vec::new();
    for order in orders {
        register(store, order).await;
        accept(store, payment(&format!("d-{order}"), order, &format!("t-{order}")), 1).await;
        let job = claim_one(store, "w", 2).await;
        settle(store, settlement(&job, paid(&job)), 3).await;
        places.push(store.events_of(BUSINESS, order).await.unwrap()[0].seq);
    }
    places
}

fn step(owner: &str, record: Option<SinkRecord>) -> SinkStep {
    SinkStep {
        sink: "erp".to_owned(),
        start: SinkStart::Beginning,
        owner: owner.to_owned(),
        lease_ms: 1_000,
        record,
    }
}

async fn held(store: &Store, step: SinkStep, ms: i64) -> (i64, i64, i64) {
    match store.step_sink(step, at(ms)).await.unwrap() {
        SinkHold::Held { epoch, cursor, revision } => (epoch, cursor, revision),
        SinkHold::Elsewhere => panic!("another host has it"),
    }
}

fn record(epoch: i64, cursor: i64) -> SinkRecord {
    SinkRecord { epoch, cursor, kept: Vec::new(), delivered: Vec::new() }
}

async fn kept(store: &Store, seq: i64, state: DeliveryState) -> KeptDelivery {
    KeptDelivery {
        seq,
        event_id: store.event_at(seq).await.unwrap().unwrap().event.id,
        state,
        attempts: 3,
        first_failed_at: Some(at(5)),
        due_at: at(900),
        reason: Some(reason("sink.status")),
    }
}

fn dead_letters(limit: i64) -> DeadLetters {
    DeadLetters {
        sink: "erp".to_owned(),
        event_id: None,
        business: Some(BUSINESS.to_owned()),
        after_seq: 0,
        limit,
    }
}

pub(crate) async fn a_sink_begins_with_the_first_event_or_with_the_next(house: &House) {
    let store = house.open().await;
    let places = events(&store, &["o1", "o2"]).await;
    assert_eq!(held(&store, step("a", None), 10).await, (1, 0, 0));
    let found = store.events_after(0, 10).await.unwrap();
    assert_eq!(found.iter().map(|event| event.seq).collect::<Vec<_>>(), places);
    let late = SinkStep { sink: "late".to_owned(), start: SinkStart::Now, ..step("a", None) };
    let (_, cursor, _) = held(&store, late, 10).await;
    assert_eq!(cursor, places[1]);
    assert!(store.events_after(cursor, 10).await.unwrap().is_empty());
    let next = events(&store, &["o3"]).await;
    assert_eq!(store.events_after(cursor, 10).await.unwrap()[0].seq, next[0]);
}

pub(crate) async fn one_host_at_a_time_delivers_to_a_sink(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    let places = events(&one, &["o1", "o2"]).await;
    assert_eq!(held(&one, step("one", None), 10).await, (1, 0, 0));
    let refused = two.step_sink(step("two", None), at(1_009)).await.unwrap();
    assert_eq!(refused, SinkHold::Elsewhere);
    assert_eq!(
        held(&one, step("one", Some(record(1, places[0]))), 20).await,
        (1, places[0], 0),
        "renewed under the same epoch"
    );
    let refused = two.step_sink(step("two", None), at(1_019)).await.unwrap();
    assert_eq!(refused, SinkHold::Elsewhere, "the lease was renewed");
    assert_eq!(held(&two, step("two", None), 1_020).await, (2, places[0], 0), "time is up");
    let late = one.step_sink(step("one", Some(record(1, places[1]))), at(1_021)).await.unwrap();
    assert_eq!(late, SinkHold::Elsewhere);
    let given_up = SinkStep { lease_ms: 0, ..step("two", Some(record(2, places[0]))) };
    held(&two, given_up, 1_022).await;
    let (epoch, cursor, _) = held(&one, step("one", Some(record(1, places[1]))), 1_022).await;
    assert_eq!((epoch, cursor), (3, places[0]), "what an earlier lease wants is dropped");
}

pub(crate) async fn what_a_sink_did_not_take_is_there_for_the_next_host(house: &House) {
    let store = house.open().await;
    let places = events(&store, &["o1", "o2", "o3"]).await;
    held(&store, step("one", None), 10).await;
    let waiting = kept(&store, places[0], DeliveryState::Waiting).await;
    let mut write = record(1, places[2]);
    write.kept = vec![waiting.clone(), kept(&store, places[1], DeliveryState::Waiting).await];
    held(&store, step("one", Some(write)), 11).await;
    let other = house.open().await;
    let (epoch, cursor, _) = held(&other, step("two", None), 2_000).await;
    assert_eq!((epoch, cursor), (2, places[2]));
    let found = other.waiting_deliveries("erp", 10).await.unwrap();
    assert_eq!(found.iter().map(|one| one.seq).collect::<Vec<_>>(), places[..2]);
    assert_eq!((found[0].attempts, found[0].first_failed_at), (3, Some(at(5))));
    assert_eq!((found[0].due_at, found[0].created_at), (at(900), at(3)));
    assert_eq!((found[0].key.as_str(), &found[0].event_id), ("o1", &waiting.event_id));
    let mut write = record(2, places[2]);
    write.delivered = vec![places[0], places[1]];
    held(&other, step("two", Some(write)), 2_001).await;
    assert!(other.waiting_deliveries("erp", 10).await.unwrap().is_empty());
}

async fn redeliver(store: &Store, which: DeadLetters, ms: i64) -> Result<i64, StoreError> {
    let words = ("ada", "the consumer is mended");
    store.dead_letter_act((which, DeadAct::Redeliver), words, at(ms)).await
}

pub(crate) async fn dead_letters_are_given_up_and_every_act_is_written_down(house: &House) {
    let store = house.open().await;
    let places = events(&store, &["o1", "o2"]).await;
    held(&store, step("one", None), 10).await;
    let mut write = record(1, places[1]);
    for place in &places {
        write.kept.push(kept(&store, *place, DeliveryState::Dead).await);
    }
    held(&store, step("one", Some(write)), 11).await;
    let standing = store.sinks().await.unwrap();
    assert_eq!((standing.len(), standing[0].name.as_str()), (1, "erp"));
    assert_eq!((standing[0].dead, standing[0].waiting), (2, 0));
    assert_eq!((standing[0].cursor, standing[0].last_seq), (places[1], places[1]));
    let id = store.event_at(places[0]).await.unwrap().unwrap().event.id;
    let one = DeadLetters { event_id: Some(id.clone()), ..dead_letters(10) };
    let words = ("ada", "told them by telephone");
    let given_up = store.dead_letter_act((one, DeadAct::Discard), words, at(12)).await.unwrap();
    assert_eq!((given_up, store.dead_letter_count("erp").await.unwrap()), (1, 1));
    assert_eq!(redeliver(&store, dead_letters(10), 13).await.unwrap(), 1);
    let audit = store.audit(&AuditQuery { limit: 10, ..AuditQuery::default() }).await.unwrap();
    let told: Vec<_> =
        audit.iter().map(|one| [&one.act, &one.target, &one.result].map(String::as_str)).collect();
    assert_eq!(
        told,
        [
            ["sinks.redeliver", "erp", "1 dead letters of erp"],
            ["sinks.discard", &id, "1 dead letters of erp"],
        ]
    );
    let silent = store.dead_letter_act((dead_letters(1), DeadAct::Discard), ("ada", ""), at(14));
    assert_eq!(silent.await.unwrap_err().code(), "store.invalid");
}

pub(crate) async fn dead_letters_are_listed_and_sent_again(house: &House) {
    let store = house.open().await;
    let places = events(&store, &["o1", "o2", "o3"]).await;
    held(&store, step("one", None), 10).await;
    let mut write = record(1, places[2]);
    for place in &places {
        write.kept.push(kept(&store, *place, DeliveryState::Dead).await);
    }
    held(&store, step("one", Some(write)), 11).await;
    assert_eq!(store.dead_letter_count("erp").await.unwrap(), 3);
    assert_eq!(store.dead_letter_count("other").await.unwrap(), 0);
    let page = store.dead_letters(&dead_letters(2)).await.unwrap();
    assert_eq!(page.iter().map(|one| one.event.seq).collect::<Vec<_>>(), places[..2]);
    assert_eq!((page[0].attempts, page[0].dead_since), (3, at(11)));
    assert_eq!(page[0].reason.as_ref().unwrap().code, "sink.status");
    let next = DeadLetters { after_seq: places[1], ..dead_letters(2) };
    assert_eq!(store.dead_letters(&next).await.unwrap().len(), 1);
    let nobody = DeadLetters { business: Some("NOBODY".to_owned()), ..dead_letters(10) };
    assert_eq!(redeliver(&store, nobody, 20).await.unwrap(), 0);
    let one = DeadLetters { event_id: Some(page[1].event.event.id.clone()), ..dead_letters(10) };
    assert_eq!(redeliver(&store, one.clone(), 21).await.unwrap(), 1);
    assert_eq!(redeliver(&store, one, 22).await.unwrap(), 0, "it waits already");
    let waiting = store.waiting_deliveries("erp", 10).await.unwrap();
    assert_eq!((waiting.len(), waiting[0].seq), (1, places[1]));
    assert_eq!((waiting[0].attempts, waiting[0].due_at), (0, at(21)));
    assert_eq!(waiting[0].first_failed_at, None);
    let (_, _, revision) = held(&store, step("one", None), 23).await;
    assert!(revision > 0, "the owner learns of it");
    for limit in [0, 1_001] {
        let error = redeliver(&store, dead_letters(limit), 24).await.unwrap_err();
        assert_eq!(error.code(), "store.invalid");
    }
}

pub(crate) async fn hosts_that_step_many_sinks_at_once_do_not_wait_for_each_other(house: &House) {
    let hosts = [house.open().await, house.open().await, house.open().await];
    let mut tasks = tokio::task::JoinSet::new();
    for (number, store) in hosts.iter().enumerate() {
        for sink in 0..8 {
            let step = SinkStep { sink: format!("s{sink}"), ..step(&format!("h{number}"), None) };
            let store = store.clone();
            tasks.spawn(async move { (sink, store.step_sink(step, at(1)).await.unwrap()) });
        }
    }
    let mut owners = [0; 8];
    for (sink, hold) in tasks.join_all().await {
        if hold != SinkHold::Elsewhere {
            owners[sink] += 1;
        }
    }
    assert_eq!(owners, [1; 8], "every sink has one host");
}
