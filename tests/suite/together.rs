//! Hosts that start at the same moment on a database that is empty, and hosts that go on while a
//! newer one changes the schema.

use std::time::Duration;

use callgate::clock::Stopwatch;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

use crate::cluster::Cluster;
use crate::hosts::Host;
use crate::load::Load;

/// How many start at once.
const HOSTS: usize = 5;

/// Starts hosts at the same moment; all of them come to listen, and all of them work.
async fn start_together(url: &str) {
    let mut hosts = Vec::new();
    for _ in 0..HOSTS {
        let Some(host) = Host::new(url, FLAGS) else { return };
        hosts.push(host);
    }
    let spoken: Vec<_> = hosts.iter_mut().map(Host::spawn).collect();
    let load = Load::new(9, HOSTS);
    for (place, (host, stdout)) in hosts.iter().zip(spoken).enumerate() {
        load.place(place, Some(host.listens(stdout)));
    }
    let posters = load.start(8);
    reaches(&load, 60).await;
    load.finish(posters).await;
    assert!(load.hold_against(url).await >= 20);
    for host in &mut hosts {
        assert!(host.lives(), "{}", host.log());
        assert!(host.stop(), "it ends well: {}", host.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_start_together_on_an_empty_server_share_it() {
    let Some(cluster) = Cluster::shared() else { return };
    start_together(&cluster.database().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_start_together_on_no_file_yet_share_it() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("callgate.db").display());
    start_together(&url).await;
}

/// A newer release migrates beside a host that works; it goes on, and only cannot start again.
async fn upgrade_beside(url: &str) {
    let Some(mut old) = Host::new(url, FLAGS) else { return };
    let load = Load::new(11, 1);
    load.place(0, Some(old.start()));
    let posters = load.start(4);
    reaches(&load, 40).await;
    for migration in NEWER {
        execute(url, migration).await;
        reaches(&load, 20).await;
    }
    reaches(&load, 40).await;
    load.finish(posters).await;
    assert!(old.lives(), "{}", old.log());
    assert!(!old.log().contains("store.corrupt"), "{}", old.log());
    assert!(old.stop(), "it ends well: {}", old.log());
    // Started again it refuses, in words that tell what to do.
    drop(old.spawn());
    let watch = Stopwatch::start();
    while old.lives() {
        assert!(watch.elapsed() < Duration::from_secs(30), "it serves on: {}", old.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = old.log();
    assert!(log.contains("database has migration 9999"), "{log}");
    // The newer release, which keeps the books, knows its own migration.
    execute(url, "delete from _sqlx_migrations where version = 9999").await;
    // What it left undone is done by whoever comes next.
    let Some(mut next) = Host::new(url, FLAGS) else { return };
    drop(next.start());
    assert!(load.hold_against(url).await >= 20);
    assert!(next.stop(), "it ends well: {}", next.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_goes_on_while_a_newer_one_changes_the_schema_of_a_server() {
    let Some(cluster) = Cluster::shared() else { return };
    upgrade_beside(&cluster.database().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_goes_on_while_a_newer_one_changes_the_schema_of_a_file() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("callgate.db").display());
    upgrade_beside(&url).await;
}

/// Everything that a migration may do: new tables, new columns that may be empty or have a
/// default, new indexes. At last it is written down.
const NEWER: &[&str] = &[
    "create table newer (id text not null primary key)",
    "alter table inbox add column note text",
    "alter table history add column place bigint not null default 0",
    "alter table documents add column note text",
    "alter table outbox add column note text",
    "alter table attempts add column note text",
    "alter table sinks add column note text",
    "create index inbox_note on inbox (note)",
    "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
     select 9999, 'later', success, checksum, 0 from _sqlx_migrations where version = 1",
];

/// Does what a newer release would, as often as it takes while a host writes.
async fn execute(url: &str, sql: &'static str) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.expect("a connection");
    let ran = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
    ran.unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.expect("it closes");
}

/// Waits for so many more acknowledgements.
pub(crate) async fn reaches(load: &Load, more: u64) {
    let wanted = load.acknowledged().saturating_add(more);
    let watch = Stopwatch::start();
    while load.acknowledged() < wanted {
        assert!(watch.elapsed() < Duration::from_secs(120), "callbacks are not taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What failed is looked at again soon.
const FLAGS: &[&str] = &["engine.lease_ms=2000", "engine.poll_ms=100"];
