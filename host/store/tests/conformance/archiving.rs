//! Stories of retention: what is old goes to files, and keys stay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use callgate_core::outcome::Outcome;
use callgate_store::{
    ArchiveReader, InboxState, PlainRow, Receipt, Retention, RetentionSettings, Step, Store,
    StoredNotification,
};
use serde_json::json;

use crate::acts::{accept, at, claim_one, reason, register, settle, settlement};
use crate::gateway::{BUSINESS, payment};
use crate::house::House;

/// A mistake in the settings.
type Change = fn(&mut RetentionSettings);

pub(crate) const DAY_MS: i64 = 86_400_000;

/// Ten days in milliseconds after the beginning of the stories.
pub(crate) const LATER: i64 = 10 * DAY_MS;

pub(crate) fn settings(folder: &Path) -> RetentionSettings {
    RetentionSettings {
        enabled: true,
        archive_dir: folder.to_owned(),
        host_name: "host-a".to_owned(),
        age_days: 5,
        keys_days: 0,
        events_days: 0,
        file_rows: 1_000,
        step_rows: 3,
        pause_ms: 0,
        look_ms: 1_000,
    }
}

fn retention(store: &Store, folder: &Path, owner: &str) -> Retention {
    Retention::new(store.clone(), settings(folder), owner.to_owned(), Vec::new()).unwrap()
}

/// Stores notifications of one order and finishes them at a moment.
pub(crate) async fn finished(store: &Store, names: std::ops::Range<usize>, ms: i64) -> Vec<String> {
    let mut ids = Vec::new();
    for n in names {
        let callback = payment(&format!("d{n}"), "o1", &format!("t{n}"));
        ids.push(accept(store, callback, ms).await);
        let job = claim_one(store, "w", ms).await;
        settle(store, settlement(&job, Outcome::Keep(reason("kept"))), ms).await;
    }
    ids
}

/// Goes on until nothing is left to do; how many rows were emptied and forgotten.
async fn through(retention: &mut Retention, ms: i64) -> (u64, u64) {
    let (mut emptied, mut forgotten) = (0, 0);
    loop {
        match retention.step(at(ms)).await.unwrap() {
            Step::Idle => return (emptied, forgotten),
            Step::Elsewhere => panic!("another host does it"),
            Step::Began | Step::Copied(_) | Step::Archived { .. } => {}
            Step::Emptied(rows) => {
                assert!(rows <= 3, "a step is small");
                emptied += rows;
            }
            Step::Forgotten(rows) => forgotten += rows,
            Step::Removed(_) => panic!("events stay"),
        }
    }
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.collect();
    found.sort();
    found
}

/// Every archived row by its id; each stands in one file, once.
fn archived(folder: &Path) -> BTreeMap<String, PlainRow> {
    let mut rows = BTreeMap::new();
    for file in files(folder) {
        for row in ArchiveReader::open(&file).unwrap() {
            let row = row.unwrap();
            let id = row["id"].as_str().unwrap().to_owned();
            assert!(rows.insert(id.clone(), row).is_none(), "{id} stands twice");
        }
    }
    rows
}

fn agrees(row: &PlainRow, stored: &StoredNotification, raw: &[u8]) {
    let told = &stored.notification;
    for (column, value) in [
        ("id", json!(stored.id)),
        ("channel", json!(stored.channel)),
        ("delivery_key", json!(stored.delivery_key)),
        ("part", json!(stored.part)),
        ("body", json!(told.body)),
        ("headers", json!(stored.headers)),
        ("payer", json!(told.payer)),
        ("meaning_key", json!(told.meaning_key)),
        ("amount_minor", json!(told.amount.unwrap().minor)),
        ("refund_id", json!(null)),
        ("raw", json!(base64::engine::general_purpose::STANDARD.encode(raw))),
        ("received_at_ms", json!(stored.received_at.as_ms())),
        ("finished_at_ms", json!(stored.finished_at.unwrap().as_ms())),
        ("attempts", json!(stored.attempts)),
        ("reason_text", json!("a reason")),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
}

pub(crate) async fn an_archive_reads_back_to_the_same_content(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    let ids = finished(&store, 0..7, 0).await;
    let mut before = Vec::new();
    for id in &ids {
        let raw = store.raw_callback(id).await.unwrap().unwrap();
        before.push((store.notification(id).await.unwrap().unwrap(), raw));
    }
    let mut retention = retention(&store, folder.path(), "a");
    assert_eq!(through(&mut retention, LATER).await, (7, 0));
    let rows = archived(folder.path());
    assert_eq!((rows.len(), files(folder.path()).len()), (7, 1));
    let name = files(folder.path())[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(name, "inbox-2026-11-21-host-a-a-0001.jsonl.zst");
    for (stored, raw) in &before {
        agrees(&rows[&stored.id], stored, raw);
        let after = store.notification(&stored.id).await.unwrap().unwrap();
        assert_eq!(after.archived_at, Some(at(LATER)));
        assert_eq!((after.notification.body.as_str(), after.headers.as_str()), ("", ""));
        assert_eq!((after.notification.payer, after.scratch), (None, None));
        assert_eq!(store.raw_callback(&stored.id).await.unwrap(), None);
        let attempts = rows[&stored.id]["attempts_ended"].as_array().unwrap();
        assert_eq!((attempts.len(), &attempts[0]["fuel"]), (1, &json!(1_000)));
        assert!(store.inspect(&stored.id).await.unwrap().unwrap().attempts.is_empty());
        assert_eq!(after.notification.meaning_key, stored.notification.meaning_key);
    }
}

pub(crate) async fn a_repeat_after_archiving_is_still_seen(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    let ids = finished(&store, 0..1, 0).await;
    through(&mut retention(&store, folder.path(), "a"), LATER).await;
    let repeat = store.accept(payment("d0", "o1", "t0"), at(LATER + 1)).await.unwrap();
    assert_eq!(repeat, Receipt::Seen);
    let stored = store.notification(&ids[0]).await.unwrap().unwrap();
    assert_eq!((stored.seen, stored.state), (2, InboxState::Done));
    assert_eq!(stored.last_seen_at, at(LATER + 1));
    assert_eq!(house.number("select cast(count(*) as bigint) from inbox").await, 1);
    assert!(crate::acts::claim(&store, "w", LATER + 2).await.is_empty(), "nothing runs again");
}

pub(crate) async fn an_order_that_lives_keeps_its_keys(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    finished(&store, 0..4, 0).await;
    let far = 3_000 * DAY_MS;
    assert_eq!(through(&mut retention(&store, folder.path(), "a"), far).await, (4, 0));
    assert_eq!(house.number("select cast(count(*) as bigint) from inbox").await, 4);
    let view = store.order(BUSINESS, "o1").await.unwrap().unwrap();
    assert_eq!(view.notifications.len(), 4);
}

pub(crate) async fn keys_are_forgotten_only_after_their_time(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    let ids = finished(&store, 0..5, 0).await;
    let forgetting = RetentionSettings { keys_days: 40, ..settings(folder.path()) };
    let mut forgetting =
        Retention::new(store.clone(), forgetting, "a".to_owned(), Vec::new()).unwrap();
    assert_eq!(through(&mut forgetting, 39 * DAY_MS).await, (5, 0));
    // A key that was heard again stays for as long again.
    store.accept(payment("d2", "o1", "t2"), at(39 * DAY_MS)).await.unwrap();
    assert_eq!(through(&mut forgetting, 42 * DAY_MS).await, (0, 4));
    assert!(store.notification(&ids[2]).await.unwrap().is_some());
    assert_eq!(through(&mut forgetting, 81 * DAY_MS).await, (0, 1));
    assert_eq!(archived(folder.path()).len(), 5);
}

pub(crate) async fn what_is_young_open_or_for_a_person_stays(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    accept(&store, payment("review", "o1", "t90"), 0).await;
    let job = claim_one(&store, "w", 0).await;
    settle(&store, settlement(&job, Outcome::Review(reason("look"))), 0).await;
    let old = finished(&store, 0..2, 0).await;
    let young = finished(&store, 2..4, LATER - 5 * DAY_MS).await;
    accept(&store, payment("open", "o1", "t91"), 0).await;
    assert_eq!(through(&mut retention(&store, folder.path(), "a"), LATER).await, (2, 0));
    let rows = archived(folder.path());
    assert!(old.iter().all(|id| rows.contains_key(id)));
    assert!(young.iter().all(|id| !rows.contains_key(id)));
    assert_eq!(store.counts().await.unwrap().review, 1);
}

pub(crate) async fn a_crash_at_any_step_loses_nothing_and_doubles_nothing(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    let mut ids = finished(&store, 0..5, 0).await;
    ids.extend(finished(&store, 5..8, DAY_MS).await);
    // Every process takes one step more than the one before it, then it is gone.
    let mut at_ms = LATER;
    'processes: for life in 1.. {
        at_ms += 61_000;
        let mut retention = retention(&store, folder.path(), &format!("life-{life}"));
        for _ in 0..life {
            if retention.step(at(at_ms)).await.unwrap() == Step::Idle {
                break 'processes;
            }
        }
    }
    let rows = archived(folder.path());
    assert_eq!(rows.len(), 8);
    assert_eq!(files(folder.path()).len(), 2);
    assert!(ids.iter().all(|id| !rows[id]["body"].as_str().unwrap().is_empty()));
    assert_eq!(house.number("select cast(count(archived_at_ms) as bigint) from inbox").await, 8);
}

pub(crate) async fn a_crash_between_archive_and_removal_is_mended_from_the_file(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    finished(&store, 0..5, 0).await;
    let mut first = retention(&store, folder.path(), "a");
    while !matches!(first.step(at(LATER)).await.unwrap(), Step::Archived { rows: 5, .. }) {}
    assert_eq!(house.number("select cast(count(archived_at_ms) as bigint) from inbox").await, 0);
    drop(first);
    let written = files(folder.path());
    let mut second = retention(&store, folder.path(), "b");
    assert_eq!(second.step(at(LATER + 59_000)).await.unwrap(), Step::Elsewhere, "its lease runs");
    assert_eq!(through(&mut second, LATER + 61_000).await, (5, 0));
    assert_eq!(files(folder.path()), written, "nothing was written twice");
    assert_eq!(archived(folder.path()).len(), 5);
}

pub(crate) async fn a_row_that_a_days_file_lacks_gets_a_file_of_its_own(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    finished(&store, 0..2, 0).await;
    let mut retention = retention(&store, folder.path(), "a");
    assert_eq!(through(&mut retention, LATER).await, (2, 0));
    // A host whose clock was slow.
    finished(&store, 2..3, 1).await;
    assert_eq!(through(&mut retention, LATER).await, (1, 0));
    assert_eq!((files(folder.path()).len(), archived(folder.path()).len()), (2, 3));
}

pub(crate) async fn a_day_with_many_rows_gets_several_files(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    finished(&store, 0..10, 0).await;
    let small = RetentionSettings { file_rows: 4, ..settings(folder.path()) };
    let mut small = Retention::new(store.clone(), small, "a".to_owned(), Vec::new()).unwrap();
    assert_eq!(through(&mut small, LATER).await, (10, 0));
    assert_eq!((files(folder.path()).len(), archived(folder.path()).len()), (3, 10));
}

pub(crate) async fn hosts_of_one_name_share_a_folder(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    finished(&store, 0..6, 0).await;
    let [one, two] = ["019ab-aaaa", "019ab-bbbb"];
    let mut first = retention(&store, folder.path(), one);
    while !matches!(first.step(at(LATER)).await.unwrap(), Step::Copied(_)) {}
    // The first one is held up for longer than its lease, and goes on when the other is through.
    let mut second = retention(&store, folder.path(), two);
    assert_eq!(through(&mut second, LATER + 61_000).await, (6, 0));
    let written = files(folder.path());
    let name = written[0].file_name().unwrap().to_str().unwrap();
    assert_eq!((written.len(), name), (1, "inbox-2026-11-21-host-a-bbbb-0001.jsonl.zst"));
    loop {
        match first.step(at(LATER + 200_000)).await {
            Ok(Step::Idle) => break,
            Ok(Step::Archived { .. }) => panic!("rows stand in two files"),
            Ok(_) | Err(_) => {}
        }
    }
    assert_eq!(files(folder.path()), written);
    assert_eq!(archived(folder.path()).len(), 6);
}

pub(crate) async fn what_was_archived_cannot_run_again(house: &House) {
    let (store, folder) = (house.open().await, tempfile::tempdir().unwrap());
    register(&store, "o1").await;
    finished(&store, 0..1, 0).await;
    through(&mut retention(&store, folder.path(), "a"), LATER).await;
    let again = "update inbox set state = 'ready', due_at_ms = 1, finished_at_ms = null";
    let refused = house.try_execute(again).await.unwrap_err();
    assert!(refused.to_lowercase().contains("check"), "{refused}");
}

#[tokio::test]
async fn a_wrong_setting_of_retention_is_named() {
    let (house, folder) = (House::sqlite(), tempfile::tempdir().unwrap());
    let store = house.open().await;
    let wrong: [(&str, Change); 6] = [
        ("retention.age_days", |settings| settings.age_days = 0),
        ("retention.keys_days", |settings| settings.keys_days = 29),
        ("retention.step_rows", |settings| settings.step_rows = 1_001),
        ("retention.pause_ms", |settings| settings.pause_ms = 60_001),
        ("retention.host_name", |settings| settings.host_name = "a/b".to_owned()),
        ("retention.archive_dir", |settings| settings.archive_dir = PathBuf::from("/no/such")),
    ];
    for (key, change) in wrong {
        let mut settings = settings(folder.path());
        change(&mut settings);
        let error =
            Retention::new(store.clone(), settings, "a".to_owned(), Vec::new()).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    let right = RetentionSettings { keys_days: 30, ..settings(folder.path()) };
    assert!(Retention::new(store, right, "a".to_owned(), Vec::new()).is_ok());
}

#[tokio::test]
async fn an_archive_that_cannot_be_written_removes_nothing() {
    let (house, folder) = (House::sqlite(), tempfile::tempdir().unwrap());
    let store = house.open().await;
    register(&store, "o1").await;
    finished(&store, 0..2, 0).await;
    let place = folder.path().join("archive");
    std::fs::create_dir(&place).unwrap();
    let mut retention = retention(&store, &place, "a");
    std::fs::remove_dir(&place).unwrap();
    retention.step(at(LATER)).await.unwrap_err();
    std::fs::create_dir(&place).unwrap();
    assert_eq!(through(&mut retention, LATER).await, (2, 0), "it heals by itself");
}
