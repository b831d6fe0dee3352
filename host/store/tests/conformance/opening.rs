//! Stories of databases that cannot be opened.

use callgate_store::{Settings, Store};
use sqlx::{AnyConnection, Connection as _};

use crate::acts::{accept, at, claim_one, done, paid, register, settle, settlement};
use crate::gateway::{BUSINESS, payment};
use crate::house::House;

#[tokio::test]
async fn a_database_newer_than_the_program_is_refused() {
    for house in [Some(House::sqlite()), House::postgres().await].into_iter().flatten() {
        house.open().await.close().await;
        house
            .execute(
                "insert into _sqlx_migrations \
                 (version, description, success, checksum, execution_time) \
                 select 9999, 'later', success, checksum, 0 from _sqlx_migrations where version = 1",
            )
            .await;
        let error = Store::open(&house.settings).await.unwrap_err();
        assert_eq!(error.code(), "store.newer", "{error}");
        assert!(error.to_string().contains("9999"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    std::fs::write(&path, "this is a text, not a database, and long enough to tell".repeat(40))
        .unwrap();
    let url = format!("sqlite://{}", path.display());
    let error = Store::open(&Settings { url, ..Settings::default() }).await.unwrap_err();
    assert_eq!(error.code(), "store.corrupt", "{error}");
}

#[tokio::test]
async fn a_missing_folder_and_an_unknown_scheme_are_named() {
    for (url, expected) in [
        ("sqlite:///no/such/folder/store.db", "/no/such/folder does not exist"),
        ("oracle://x", "scheme is `oracle`"),
    ] {
        let settings = Settings { url: url.to_owned(), ..Settings::default() };
        let error = Store::open(&settings).await.unwrap_err();
        assert_eq!(error.code(), "store.settings");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_refuses_is_told_apart() {
    let url = "postgres://nobody@127.0.0.1:1/none".to_owned();
    let settings = Settings { url, wait_ms: 200, ..Settings::default() };
    let error = Store::open(&settings).await.unwrap_err();
    assert_eq!(error.code(), "store.unavailable", "{error}");
    if let Some(house) = House::postgres().await {
        let url = house.settings.url.replace("story_", "no_story_");
        let error = Store::open(&Settings { url, ..Settings::default() }).await.unwrap_err();
        assert_eq!(error.code(), "store.denied", "{error}");
        house.execute("create role guest login").await;
        let url = house.settings.url.replace("callgate@", "guest@");
        let error = Store::open(&Settings { url, ..Settings::default() }).await.unwrap_err();
        assert_eq!(error.code(), "store.denied", "{error}");
    }
}

#[tokio::test]
async fn a_database_that_fails_fails_everybody_and_heals() {
    let house = House::sqlite();
    let store = house.open_with(|settings| settings.wait_ms = 50).await;
    // Another program that holds the write lock stands in for a full disk: both are faults of the
    // database and of no operation in particular.
    let mut holder = AnyConnection::connect(&house.settings.url).await.unwrap();
    sqlx::raw_sql("begin immediate").execute(&mut holder).await.unwrap();
    let (one, two) = tokio::join!(
        store.accept(payment("d1", "o1", "t1"), at(0)),
        store.accept(payment("d2", "o1", "t2"), at(0)),
    );
    for receipt in [one, two] {
        assert_eq!(receipt.unwrap_err().code(), "store.unavailable");
    }
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    store.accept(payment("d1", "o1", "t1"), at(1)).await.unwrap();
    assert_eq!(store.counts().await.unwrap().ready, 1);
}

#[tokio::test]
async fn a_server_that_drops_connections_is_found_again() {
    let Some(house) = House::postgres().await else { return };
    let store = house.open().await;
    store.accept(payment("d1", "o1", "t1"), at(0)).await.unwrap();
    house
        .execute(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .await;
    // The first one may still meet the broken connection; it was told so, and comes again.
    if let Err(error) = store.accept(payment("d2", "o1", "t2"), at(1)).await {
        assert_eq!(error.code(), "store.unavailable");
        store.accept(payment("d2", "o1", "t2"), at(2)).await.unwrap();
    }
    assert_eq!(store.counts().await.unwrap().ready, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_that_start_together_migrate_once() {
    for _ in 0..10 {
        for house in [Some(House::sqlite()), House::postgres().await].into_iter().flatten() {
            let tasks = (0..4).map(|_| {
                let settings = house.settings.clone();
                tokio::spawn(async move { Store::open(&settings).await })
            });
            let mut hosts = Vec::new();
            for task in tasks.collect::<Vec<_>>() {
                hosts.push(task.await.unwrap().unwrap());
            }
            hosts[0].accept(payment("d1", "o1", "t1"), at(0)).await.unwrap();
            assert_eq!(hosts[3].counts().await.unwrap().ready, 1);
            let twice = "select cast(count(*) - count(distinct version) as bigint) \
                         from _sqlx_migrations";
            assert_eq!(house.number(twice).await, 0);
        }
    }
}

#[tokio::test]
async fn a_migration_that_another_host_is_running_is_named() {
    let sqlite = (House::sqlite(), "begin immediate");
    // Whoever migrates a PostgreSQL database holds a lock on its list of migrations.
    let postgres = House::postgres().await.map(|house| {
        let lock = "begin; lock table _sqlx_migrations in access exclusive mode";
        (house, lock)
    });
    for (house, lock) in [Some(sqlite), postgres].into_iter().flatten() {
        house.open().await.close().await;
        let mut other = AnyConnection::connect(&house.settings.url).await.unwrap();
        sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
        let settings = Settings { wait_ms: 100, ..house.settings.clone() };
        let error = Store::open(&settings).await.unwrap_err();
        assert_eq!(error.code(), "store.migrating", "{error}");
        sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
        house.open().await.close().await;
    }
}

#[tokio::test]
async fn a_running_host_goes_on_when_a_newer_one_expands_the_schema() {
    for house in [Some(House::sqlite()), House::postgres().await].into_iter().flatten() {
        let old = house.open().await;
        register(&old, "o1").await;
        accept(&old, payment("d1", "o1", "t1"), 0).await;
        // What an expanding migration may do: new tables, new columns that may be empty or have a
        // default, new indexes.
        house.execute("alter table inbox add column note text").await;
        house.execute("alter table history add column place bigint not null default 0").await;
        house.execute("alter table documents add column note text").await;
        house.execute("alter table outbox add column note text").await;
        house.execute("create index inbox_note on inbox (note)").await;
        house.execute("create table newer (id text primary key)").await;
        house
            .execute(
                "insert into _sqlx_migrations \
                 (version, description, success, checksum, execution_time) \
                 select 9999, 'later', success, checksum, 0 from _sqlx_migrations where version = 1",
            )
            .await;
        // The old host goes on, with statements that it prepared before and with new ones.
        accept(&old, payment("d2", "o1", "t2"), 1).await;
        let job = claim_one(&old, "old", 2).await;
        assert_eq!(
            settle(&old, settlement(&job, paid(&job)), 3).await,
            done("TO_BE_DELIVERED", 2, 1)
        );
        let view = old.order(BUSINESS, "o1").await.unwrap().unwrap();
        assert_eq!((view.history.len(), view.events.len(), view.notifications.len()), (1, 1, 2));
        // It only cannot start again.
        let error = Store::open(&house.settings).await.unwrap_err();
        assert_eq!(error.code(), "store.newer", "{error}");
    }
}
