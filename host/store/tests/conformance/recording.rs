//! Stories of what is kept of runs: their inputs for back-tests, their costs for statistics, and
//! what shadows find.

use callgate_core::outcome::Outcome;
use callgate_store::{
    Measured, MeasuredQuery, NewShadow, NewVersion, ReadOnly, RecordedQuery, Retention,
    ShadowReport, ShadowStarted, Step, Store,
};
use sqlx::{AnyConnection, Connection as _};

use crate::acts::{accept, at, claim_one, reason, register, settle, settlement};
use crate::gateway::{BUSINESS, payment};
use crate::house::House;

/// The plugin of the stories' runs.
const PLUGIN: &str = "shop/order-payment";

/// One notification of its own order, ended at a moment by a run that was told `inputs`.
async fn ran(store: &Store, (name, ms): (&str, i64), inputs: Option<&str>) -> String {
    register(store, name).await;
    let id = accept(store, payment(&format!("d-{name}"), name, &format!("t-{name}")), ms).await;
    let job = claim_one(store, "w", ms).await;
    let mut keep = settlement(&job, Outcome::Keep(reason("kept")));
    keep.spent.inputs = inputs.map(str::to_owned);
    settle(store, keep, ms).await;
    id
}

fn query(from: i64, to: i64) -> RecordedQuery {
    RecordedQuery { plugin: PLUGIN.to_owned(), from: at(from), to: at(to), business: None }
}

pub(crate) async fn what_a_run_was_told_is_read_back_page_by_page(house: &House) {
    let store = house.open().await;
    let mut expected = Vec::new();
    for (place, name) in (1i64..).zip(["a", "b", "c", "d", "e"]) {
        let inputs = (name != "c").then(|| format!("{{\"told\":\"{name}\"}}"));
        let id = ran(&store, (name, place * 1_000), inputs.as_deref()).await;
        expected.push((id, inputs));
    }
    let reader = ReadOnly::open(&house.settings).await.unwrap();
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = reader.recorded(&query(0, 9_000), after.as_deref(), 2).await.unwrap();
        found.extend(page.runs.into_iter().map(|run| (run.stored.id, run.inputs)));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, expected);
    let some = reader.recorded(&query(2_000, 4_000), None, 10).await.unwrap();
    assert_eq!(some.runs.len(), 2, "the end of a window is not in it");
    assert_eq!(some.runs[0].stored.notification.order_no.as_deref(), Some("b"));
    let own = RecordedQuery { business: Some(BUSINESS.to_owned()), ..query(0, 9_000) };
    assert_eq!(reader.recorded(&own, None, 10).await.unwrap().runs.len(), 5);
    let other = RecordedQuery { business: Some("OTHER".to_owned()), ..query(0, 9_000) };
    assert!(reader.recorded(&other, None, 10).await.unwrap().runs.is_empty());
    let other = RecordedQuery { plugin: "other".to_owned(), ..query(0, 9_000) };
    assert!(reader.recorded(&other, None, 10).await.unwrap().runs.is_empty());
    reader.close().await;
}

pub(crate) async fn of_several_runs_the_last_one_is_read(house: &House) {
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 1_000).await;
    for attempt in 1..=3i64 {
        let job = claim_one(&store, "w", 1_000 + attempt).await;
        let outcome = match attempt {
            3 => Outcome::Keep(reason("kept")),
            _ => Outcome::Retry(reason("sandbox.fuel")),
        };
        let mut settlement = settlement(&job, outcome);
        settlement.spent.inputs = Some(format!("{attempt}"));
        settle(&store, settlement, 1_000 + attempt).await;
    }
    let reader = ReadOnly::open(&house.settings).await.unwrap();
    let page = reader.recorded(&query(0, 9_000), None, 10).await.unwrap();
    assert_eq!(page.runs.len(), 1);
    assert_eq!(page.runs[0].stored.id, id);
    assert_eq!((page.runs[0].attempt.attempt, page.runs[0].inputs.as_deref()), (3, Some("3")));
    reader.close().await;
}

pub(crate) async fn retention_takes_what_runs_were_told_with_the_content(house: &House) {
    let store = house.open().await;
    let day = 86_400_000;
    ran(&store, ("old", 1_000), Some("{}")).await;
    ran(&store, ("new", 8 * day), Some("{}")).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = crate::archiving::settings(folder.path());
    let mut retention =
        Retention::new(store.clone(), settings, "r".to_owned(), Vec::new()).unwrap();
    while retention.step(at(10 * day)).await.unwrap() != Step::Idle {}
    let reader = ReadOnly::open(&house.settings).await.unwrap();
    let page = reader.recorded(&query(0, 10 * day), None, 10).await.unwrap();
    let kept: Vec<_> = page
        .runs
        .iter()
        .map(|run| (run.stored.archived_at.is_some(), run.inputs.is_some()))
        .collect();
    assert_eq!(kept, [(false, true)], "the attempts of the old one went with its content");
    reader.close().await;
}

pub(crate) async fn a_database_of_another_schema_is_not_read(house: &House) {
    let store = house.open().await;
    store.close().await;
    let mut connection = AnyConnection::connect(&house.settings.url).await.unwrap();
    let sql = "delete from _sqlx_migrations where version = \
               (select max(version) from _sqlx_migrations)";
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = ReadOnly::open(&house.settings).await.unwrap_err().to_string();
    assert!(error.contains("start this program's server on it once"), "{error}");
}

pub(crate) async fn costs_are_read_from_the_last_notification_on(house: &House) {
    let store = house.open().await;
    let mut ids = Vec::new();
    for (place, name) in (1i64..).zip(["a", "b", "c", "d", "e"]) {
        ids.push(ran(&store, (name, place * 1_000), Some("{}")).await);
    }
    ids.reverse();
    let asked = MeasuredQuery { plugin: PLUGIN.to_owned(), from: at(0), to: at(9_000) };
    let mut found: Vec<Measured> = Vec::new();
    loop {
        let page = store.measured(&asked, found.last(), 2).await.unwrap();
        let last = page.len() < 2;
        found.extend(page);
        if last {
            break;
        }
    }
    let told: Vec<_> = found.iter().map(|one| one.notification.as_str()).collect();
    assert_eq!(told, ids);
    assert_eq!(found[0].attempt.run.as_ref().map(|run| run.fuel), Some(1_000));
    let none = MeasuredQuery { to: at(1_000), ..asked };
    assert!(store.measured(&none, None, 2).await.unwrap().is_empty());
}

async fn start(store: &Store, version: &str, ms: i64) -> ShadowStarted {
    let new = NewShadow {
        name: PLUGIN.to_owned(),
        version: version.to_owned(),
        config: None,
        parts: 500,
        who: "ada".to_owned(),
        why: "a look ahead".to_owned(),
    };
    store.start_shadow(new, at(ms)).await.unwrap()
}

async fn say(store: &Store, run: &str, report: &str) {
    let report = ShadowReport {
        run: run.to_owned(),
        host: "h".to_owned(),
        at: at(5),
        report: report.to_owned(),
    };
    store.report_shadow(report).await.unwrap();
}

pub(crate) async fn a_shadow_is_started_reported_of_and_stopped(house: &House) {
    let store = house.open().await;
    assert_eq!(start(&store, "1.0.0", 1).await, ShadowStarted::NotFound);
    let version = NewVersion {
        name: PLUGIN.to_owned(),
        version: "1.0.0".to_owned(),
        sha256: "ab".repeat(32),
        component: vec![1],
        manifest: String::new(),
        manifest_sha256: "1".repeat(64),
        signed_by: String::new(),
        who: "ada".to_owned(),
        why: "a new version".to_owned(),
    };
    store.push_plugin(version, at(1)).await.unwrap();
    let ShadowStarted::Done(first) = start(&store, "1.0.0", 2).await else { panic!("not started") };
    assert_eq!(store.shadows().await.unwrap(), std::slice::from_ref(&first));
    say(&store, &first.run, "one").await;
    say(&store, &first.run, "two").await;
    let reports = store.shadow_reports(&first.run).await.unwrap();
    assert_eq!(reports.iter().map(|one| one.report.as_str()).collect::<Vec<_>>(), ["two"]);
    // Another start takes its place, and what is still said of the first one is not kept.
    let ShadowStarted::Done(second) = start(&store, "1.0.0", 3).await else {
        panic!("not started")
    };
    say(&store, &first.run, "late").await;
    assert!(store.shadow_reports(&first.run).await.unwrap().is_empty());
    say(&store, &second.run, "three").await;
    let words = ("ada", "seen enough");
    let stopped = store.stop_shadow(PLUGIN, words, at(4)).await.unwrap().expect("it ran");
    assert_eq!((stopped.run.as_str(), stopped.stopped_at), (second.run.as_str(), Some(at(4))));
    assert_eq!(store.stop_shadow(PLUGIN, words, at(5)).await.unwrap(), None);
    assert_eq!(store.shadow_reports(&second.run).await.unwrap().len(), 1, "it stays");
    let wide = NewShadow {
        name: PLUGIN.to_owned(),
        version: "1.0.0".to_owned(),
        config: None,
        parts: 10_001,
        who: "ada".to_owned(),
        why: "too much".to_owned(),
    };
    assert!(store.start_shadow(wide, at(6)).await.is_err());
}
