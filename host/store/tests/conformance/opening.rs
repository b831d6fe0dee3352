//! Stories of databases that cannot be opened.

use callgate_store::{Settings, Store};
use sqlx::{AnyConnection, Connection as _};

use crate::acts::at;
use crate::gateway::payment;
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

#[tokio::test]
async fn hosts_that_start_together_migrate_once() {
    let Some(house) = House::postgres().await else { return };
    let (one, two, three) = tokio::join!(house.open(), house.open(), house.open());
    one.accept(payment("d1", "o1", "t1"), at(0)).await.unwrap();
    assert_eq!(two.counts().await.unwrap(), three.counts().await.unwrap());
    assert_eq!(house.number("select cast(count(*) as bigint) from _sqlx_migrations").await, 7);
}
