//! Stories of retention: events go to files when every sink is past them.

use std::collections::BTreeMap;
use std::path::Path;

use callgate_store::{
    ArchiveReader, DeliveryState, KeptDelivery, PlainRow, Retention, RetentionSettings, SinkHold,
    SinkRecord, SinkStart, SinkStep, Step, Store,
};

use crate::acts::{accept, at, claim_one, paid, register, settle, settlement};
use crate::archiving::{DAY_MS, files, settings};
use crate::gateway::{BUSINESS, payment};
use crate::house::House;

/// Pays so many orders at a moment: an event each.
async fn events(store: &Store, orders: std::ops::Range<usize>, ms: i64) -> Vec<i64> {
    let mut places = Vec::new();
    for n in orders {
        let order = format!("o{n}");
        register(store, &order).await;
        accept(store, payment(&format!("d{n}"), &order, &format!("t{n}")), ms).await;
        let job = claim_one(store, "w", ms).await;
        settle(store, settlement(&job, paid(&job)), ms).await;
        places.push(store.events_of(BUSINESS, &order).await.unwrap()[0].seq);
    }
    places
}

/// A sink comes to a place, with what it did not take.
async fn reaches(store: &Store, sink: &str, (cursor, dead): (i64, &[i64]), ms: i64) {
    let step = |record| SinkStep {
        sink: sink.to_owned(),
        start: SinkStart::Beginning,
        owner: "host".to_owned(),
        lease_ms: 1_000,
        record,
    };
    let held = store.step_sink(step(None), at(ms)).await.unwrap();
    let SinkHold::Held { epoch, .. } = held else { panic!("{held:?}") };
    let mut kept = Vec::new();
    for seq in dead {
        kept.push(KeptDelivery {
            seq: *seq,
            event_id: store.event_at(*seq).await.unwrap().unwrap().event.id,
            state: DeliveryState::Dead,
            attempts: 3,
            first_failed_at: Some(at(ms)),
            due_at: at(ms),
            reason: None,
        });
    }
    let record = SinkRecord { epoch, cursor, kept, delivered: Vec::new() };
    store.step_sink(step(Some(record)), at(ms)).await.unwrap();
}

fn retention(store: &Store, folder: &Path, owner: &str) -> Retention {
    let settings = RetentionSettings { events_days: 5, age_days: 9_000, ..settings(folder) };
    let sinks = vec!["here".to_owned()];
    Retention::new(store.clone(), settings, owner.to_owned(), sinks).unwrap()
}

/// Goes on until nothing is left to do; how many events were removed.
async fn through(retention: &mut Retention, ms: i64) -> u64 {
    let mut removed = 0;
    loop {
        match retention.step(at(ms)).await.unwrap() {
            Step::Idle => return removed,
            Step::Removed(rows) => removed += rows,
            Step::Began | Step::Copied(_) | Step::Archived { .. } => {}
            other @ (Step::Elsewhere | Step::Emptied(_) | Step::Forgotten(_)) => {
                panic!("{other:?}")
            }
        }
    }
}

/// Every archived event by its place; each stands in one file, once.
fn archived(folder: &Path) -> BTreeMap<i64, PlainRow> {
    let mut rows = BTreeMap::new();
    for file in files(folder) {
        for row in ArchiveReader::open(&file).unwrap() {
            let row = row.unwrap();
            assert!(rows.insert(row["seq"].as_i64().unwrap(), row).is_none(), "twice");
        }
    }
    rows
}

async fn left(house: &House) -> i64 {
    house.number("select cast(count(*) as bigint) from outbox").await
}

pub(crate) async fn an_event_goes_when_every_sink_is_past_it(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    let old = events(&store, 0..6, 0).await;
    let young = events(&store, 6..8, 10 * DAY_MS).await;
    let now = 12 * DAY_MS;
    let mut retention = retention(&store, folder.path(), "a");
    reaches(&store, "here", (young[1], &[]), now).await;
    reaches(&store, "elsewhere", (old[3], &[]), now).await;
    assert_eq!(through(&mut retention, now).await, 4);
    assert_eq!(left(house).await, 4, "what one sink has not seen stays for all");
    reaches(&store, "elsewhere", (young[1], &[]), now + 1).await;
    assert_eq!(through(&mut retention, now + 2).await, 2);
    assert_eq!(left(house).await, 2, "what is young stays");
    let rows = archived(folder.path());
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), old);
    let (first, name) = (&rows[&old[0]], files(folder.path())[0].clone());
    assert_eq!((&first["topic"], &first["payload"]), (&"order.paid".into(), &"{}".into()));
    assert!(first.get("wanted").is_none(), "columns alone");
    assert!(name.to_str().unwrap().ends_with("/outbox-2026-11-21-host-a-a-0001.jsonl.zst"));
    let view = store.order(BUSINESS, "o0").await.unwrap().unwrap();
    assert_eq!((view.events.len(), view.history.len()), (0, 1), "history stays");
}

pub(crate) async fn a_sink_that_nobody_has_any_more_keeps_no_event(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    let old = events(&store, 0..4, 0).await;
    reaches(&store, "here", (old[3], &[]), 0).await;
    reaches(&store, "gone", (old[2], &[old[0]]), 0).await;
    let mut retention = retention(&store, folder.path(), "a");
    assert_eq!(through(&mut retention, 29 * DAY_MS).await, 2, "one is wanted, one unseen");
    assert_eq!(through(&mut retention, 31 * DAY_MS).await, 2);
    assert_eq!(left(house).await, 0);
    assert_eq!(house.number("select cast(count(*) as bigint) from deliveries").await, 0);
    // A sink that is configured counts, however long no host has run.
    let more = events(&store, 4..6, 31 * DAY_MS).await;
    let mut late = self::retention(&store, folder.path(), "b");
    assert_eq!(through(&mut late, 90 * DAY_MS).await, 0);
    reaches(&store, "here", (more[1], &[]), 90 * DAY_MS).await;
    assert_eq!(through(&mut late, 90 * DAY_MS).await, 2);
}

pub(crate) async fn a_dead_letter_keeps_its_event(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    let old = events(&store, 0..9, 0).await;
    let now = 12 * DAY_MS;
    // More of them than one look takes, at the front and in the middle.
    reaches(&store, "here", (old[8], &[old[0], old[1], old[2], old[3], old[6]]), now).await;
    let mut retention = retention(&store, folder.path(), "a");
    assert_eq!(through(&mut retention, now).await, 4);
    assert_eq!(store.dead_letter_count("here").await.unwrap(), 5);
    assert_eq!(left(house).await, 5);
    house.execute("delete from deliveries").await;
    assert_eq!(through(&mut retention, now).await, 5);
    assert_eq!(archived(folder.path()).len(), 9);
}

pub(crate) async fn a_crash_at_any_step_loses_no_event(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    events(&store, 0..5, 0).await;
    let last = events(&store, 5..8, DAY_MS).await;
    let mut at_ms = 12 * DAY_MS;
    reaches(&store, "here", (last[2], &[]), at_ms).await;
    'processes: for life in 1.. {
        at_ms += 61_000;
        let mut retention = retention(&store, folder.path(), &format!("life-{life}"));
        for _ in 0..life {
            if retention.step(at(at_ms)).await.unwrap() == Step::Idle {
                break 'processes;
            }
        }
    }
    assert_eq!((archived(folder.path()).len(), files(folder.path()).len()), (8, 2));
    assert_eq!(left(house).await, 0);
}
