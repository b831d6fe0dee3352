//! Stories of databases that cannot be opened.

use callgate_store::{Settings, Store};

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
async fn a_database_that_is_full_fails_everybody_and_heals() {
    let house = House::sqlite();
    let store = house.open().await;
    // The limit is the connection's own, so a second program that holds the only write lock
    // stands in for the disk: both are faults of the database and not of an operation.
    let blocked = house.open_with(|settings| settings.wait_ms = 50).await;
    let mut holder = sqlx_connection(&house).await;
    sqlx::raw_sql("begin immediate").execute(&mut holder).await.unwrap();
    let error = blocked.accept(payment("d1", "o1", "t1"), at(0)).await.unwrap_err();
    assert_eq!(error.code(), "store.unavailable", "{error}");
    sqlx::raw_sql("rollback").execute(&mut holder).await.unwrap();
    blocked.accept(payment("d1", "o1", "t1"), at(1)).await.unwrap();
    assert_eq!(store.counts().await.unwrap().ready, 1);
}

async fn sqlx_connection(house: &House) -> sqlx::AnyConnection {
    use sqlx::Connection as _;
    sqlx::AnyConnection::connect(&house.settings.url).await.unwrap()
}
