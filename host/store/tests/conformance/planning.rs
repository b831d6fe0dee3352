//! PostgreSQL's plans: nothing that a store does reads a large table from end to end.

use std::collections::{BTreeMap, BTreeSet};

use crate::house::House;

/// Tables that grow with the years.
const LARGE: [&str; 7] =
    ["inbox", "outbox", "history", "documents", "order_aliases", "attempts", "deliveries"];

/// Rows of a large table that one node of a plan may look at.
const ROWS_MAX: u64 = 3_000;

/// Statements of a server's log whose plan reads much of a large table, with their plans; and how
/// many plans there are.
pub(crate) fn scans(log: &str) -> (usize, BTreeSet<String>) {
    let (mut plans, mut found) = (0, BTreeSet::new());
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !(line.contains("duration: ") && line.ends_with("plan:")) {
            continue;
        }
        plans += 1;
        let mut plan = String::new();
        let mut reads_much = false;
        while let Some(next) = lines.next_if(|next| next.starts_with('\t')) {
            reads_much |= much(next);
            // The values of a list are of no interest.
            plan.extend(next.chars().take(400));
            plan.push('\n');
        }
        if reads_much {
            found.insert(plan);
        }
    }
    (plans, found)
}

/// How many pages each statement touched, each time, by its beginning.
#[allow(dead_code, reason = "the bench shows it, the stories do not")]
pub(crate) fn pages(log: &str) -> BTreeMap<String, Vec<u64>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut statement = None;
    for line in log.lines() {
        if let Some(text) = line.strip_prefix("\tQuery Text: ") {
            // What follows the list of values says what it is.
            let text = if text.starts_with("with v") {
                text.rsplit("))").find(|part| part.len() > 30)
            } else {
                Some(text)
            };
            statement = text.map(|text| text.trim().chars().take(44).collect::<String>());
        } else if let (Some(buffers), Some(name)) =
            (line.strip_prefix("\t  Buffers: shared "), &statement)
        {
            // The first line of a plan sums everything up.
            let parts = buffers
                .split(' ')
                .filter(|part| part.starts_with("hit=") || part.starts_with("read="));
            let numbers = parts.filter_map(|part| part.split_once('=')?.1.parse::<u64>().ok());
            found.entry(name.clone()).or_default().push(numbers.sum());
            statement = None;
        }
    }
    found
}

/// Whether a line of a plan tells of many rows of a large table.
fn much(line: &str) -> bool {
    let number = |name: &str| {
        let digits = line.rsplit_once(name)?.1;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    if let Some(removed) = number("Rows Removed by Filter: ").or_else(|| number("by Join Filter: "))
    {
        return removed > ROWS_MAX;
    }
    let large = LARGE.iter().any(|table| line.contains(&format!(" on {table} ")));
    let rows = line.contains("(actual ").then(|| number(" rows=")).flatten().unwrap_or(0);
    let loops = number(" loops=").unwrap_or(1);
    large && (line.contains("Seq Scan") || rows * loops > ROWS_MAX)
}

/// Has the server log the plan of every statement on a database.
pub(crate) async fn explain_everything(house: &House, name: &str) {
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_buffers = on",
    ] {
        house.execute_text(format!("alter database {name} set {setting}")).await;
    }
}

#[test]
fn a_plan_that_reads_much_is_recognised() {
    let head = "2026 LOG:  duration: 1.1 ms  plan:\n\tQuery Text: select\n";
    for (line, expected) in [
        (
            "\tIndex Scan using a on inbox t  (cost=0.29..7.1 rows=9 width=4) (actual rows=64 loops=1)",
            0,
        ),
        (
            "\tIndex Scan using a on inbox t  (cost=0.29..7.1 rows=9 width=4) (actual rows=9 loops=400)",
            1,
        ),
        ("\tSeq Scan on outbox o  (cost=0.29..7.1 rows=9 width=4) (actual rows=1 loops=1)", 1),
        ("\tSeq Scan on sinks s  (cost=0.29..7.1 rows=9 width=4) (actual rows=1 loops=1)", 0),
        ("\t  Rows Removed by Filter: 19999", 1),
        ("\t  Rows Removed by Join Filter: 6399936", 1),
    ] {
        assert_eq!((scans(&format!("{head}{line}\n")).1.len(), line), (expected, line));
    }
}

/// Does all work of some days on a database that was filled, and looks at every plan. One that is
/// not analyzed was worked on before, when it was small.
#[allow(dead_code, reason = "the stories work on it, the bench on its own")]
async fn nothing_reads_much(analyzed: bool) {
    use crate::cluster::Cluster;
    use crate::filling::{Fill, fill};
    use crate::working::{Worker, after_months};

    let Some(cluster) = Cluster::own() else { return };
    let url = cluster.database().await;
    let name = url.split(['/', '?']).find(|part| part.starts_with("story_")).unwrap().to_owned();
    let house = House::at(url);
    if !analyzed {
        house.execute("alter system set autovacuum = off").await;
        house.execute("select pg_reload_conf()").await;
    }
    house.open().await.close().await;
    let large = Fill { analyzed, ..after_months(20_000) };
    let folder = tempfile::tempdir().unwrap();
    // A statement gets its lasting plan at the sixth time.
    let (first, before) = if analyzed { (1, 0) } else { (3_001, 8) };
    if !analyzed {
        let small = Fill { open: 3, analyzed, ..after_months(80) };
        fill(&house.settings.url, small).await;
    }
    explain_everything(&house, &name).await;
    let store = house.open().await;
    let mut worker = Worker::new(&store, 80, folder.path());
    for _ in 0..before {
        worker.round().await;
    }
    fill(&house.settings.url, Fill { first, ..large }).await;
    (worker.rows, worker.first) = (large.rows, first);
    let mut acts = BTreeSet::new();
    for _ in 0..40 {
        acts.extend(worker.round().await.into_iter().map(|(act, _)| act));
    }
    for act in ["empty archived rows", "remove events", "forget keys", "settle the others at once"]
    {
        assert!(acts.contains(act), "{act} never came: {acts:?}");
    }
    store.close().await;
    let (plans, found) = scans(&cluster.log());
    assert!(plans > 500, "{plans} plans");
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test]
async fn nothing_reads_a_large_table_from_end_to_end() {
    nothing_reads_much(true).await;
}

/// In the minute before PostgreSQL looks at new tables for the first time, it takes all orders of a
/// business for as easily read as one.
#[tokio::test]
async fn nothing_reads_a_table_from_end_to_end_that_was_not_looked_at() {
    nothing_reads_much(false).await;
}
