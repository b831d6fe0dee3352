//! PostgreSQL's plans: nothing that a store does reads a large table from end to end.

use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::filling::fill;
use crate::house::House;
use crate::working::{Worker, after_months};

/// Tables that grow with the years.
const LARGE: [&str; 7] =
    ["inbox", "outbox", "history", "documents", "order_aliases", "attempts", "deliveries"];

/// Statements of a server's log whose plan reads a large table from end to end, with their plans.
pub(crate) fn scans(log: &str) -> (usize, BTreeSet<String>) {
    let (mut plans, mut found) = (0, BTreeSet::new());
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !(line.contains("duration: ") && line.ends_with("plan:")) {
            continue;
        }
        plans += 1;
        let mut plan = String::new();
        while let Some(next) = lines.next_if(|next| next.starts_with('\t')) {
            // The values of a list are of no interest.
            plan.extend(next.chars().take(400));
            plan.push('\n');
        }
        if LARGE.iter().any(|table| plan.contains(&format!("Seq Scan on {table} "))) {
            found.insert(plan);
        }
    }
    (plans, found)
}

/// Has the server log the plan of every statement on a database.
pub(crate) async fn explain_everything(house: &House, name: &str) {
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
    ] {
        house.execute_text(format!("alter database {name} set {setting}")).await;
    }
}

#[tokio::test]
async fn nothing_reads_a_large_table_from_end_to_end() {
    let Some(cluster) = Cluster::own() else { return };
    let url = cluster.database().await;
    let name = url.split(['/', '?']).find(|part| part.starts_with("story_")).unwrap().to_owned();
    let house = House::at(url);
    house.open().await.close().await;
    fill(&house.settings.url, after_months(20_000)).await;
    explain_everything(&house, &name).await;
    let store = house.open().await;
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::new(&store, 20_000, folder.path());
    // A statement gets its lasting plan at the sixth time.
    let mut acts = BTreeSet::new();
    for _ in 0..40 {
        acts.extend(worker.round().await.into_iter().map(|(act, _)| act));
    }
    for act in ["empty archived rows", "copy rows to a file", "settle 15 at once"] {
        assert!(acts.contains(act), "{act} never came: {acts:?}");
    }
    store.close().await;
    let (plans, found) = scans(&cluster.log());
    assert!(plans > 500, "{plans} plans");
    assert!(found.is_empty(), "{found:#?}");
}
