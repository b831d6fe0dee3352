//! Stories of backups: SQLite files are copied while they are worked on, and checked before they
//! replace anything.

use std::path::PathBuf;

use callgate_store::{Existing, Settings, Store, backup, restore};

use crate::acts::{accept, register};
use crate::gateway::payment;
use crate::house::House;

fn at_file(path: &std::path::Path) -> Settings {
    Settings { url: format!("sqlite://{}", path.display()), ..Settings::default() }
}

#[tokio::test]
async fn a_backup_of_an_open_store_restores_to_what_was_there() {
    let (house, folder) = (House::sqlite(), tempfile::tempdir().unwrap());
    let store = house.open().await;
    register(&store, "o1").await;
    let id = accept(&store, payment("d1", "o1", "t1"), 0).await;
    let copy = folder.path().join("copy.db");
    let contents = backup(&house.settings, &copy).await.unwrap();
    assert_eq!((contents.notifications, contents.documents), (1, 1));
    let later = accept(&store, payment("d2", "o1", "t2"), 1).await;
    let place = folder.path().join("restored.db");
    assert_eq!(restore(&copy, &place, Existing::Refuse).await.unwrap(), contents);
    let restored = Store::open(&at_file(&place)).await.unwrap();
    assert_eq!(restored.notification(&id).await.unwrap(), store.notification(&id).await.unwrap());
    assert_eq!(restored.notification(&later).await.unwrap(), None);
    let again = backup(&house.settings, &copy).await.unwrap_err();
    assert!(again.to_string().contains("is there already"), "{again}");
}

#[tokio::test]
async fn a_database_in_use_is_not_replaced_and_a_closed_one_is_kept_aside() {
    let (house, folder) = (House::sqlite(), tempfile::tempdir().unwrap());
    let store = house.open().await;
    let copy = folder.path().join("copy.db");
    backup(&house.settings, &copy).await.unwrap();
    let id = accept(&store, payment("d1", "o1", "t1"), 0).await;
    let place = house.file();
    let refused = restore(&copy, &place, Existing::Refuse).await.unwrap_err();
    assert!(refused.to_string().contains("--force"), "{refused}");
    let refused = restore(&copy, &place, Existing::Replace).await.unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    assert!(store.notification(&id).await.unwrap().is_some(), "nothing was replaced");
    store.close().await;
    restore(&copy, &place, Existing::Replace).await.unwrap();
    let restored = house.open().await;
    assert!(restored.notification(&id).await.unwrap().is_none());
    let aside = PathBuf::from(format!("{}.replaced", place.display()));
    let old = Store::open(&at_file(&aside)).await.unwrap();
    assert!(old.notification(&id).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_damaged_foreign_newer_or_live_is_not_restored() {
    let (house, folder) = (House::sqlite(), tempfile::tempdir().unwrap());
    let store = house.open().await;
    for n in 0..50 {
        accept(&store, payment(&format!("d{n}"), "o1", &format!("t{n}")), n).await;
    }
    let copy = folder.path().join("copy.db");
    backup(&house.settings, &copy).await.unwrap();
    let place = folder.path().join("place.db");
    let live = restore(&house.file(), &place, Existing::Refuse).await.unwrap_err();
    assert!(live.to_string().contains("write-ahead log"), "{live}");
    // A page in the middle that a disk forgot.
    let mut bytes = std::fs::read(&copy).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x5a);
    let damaged = folder.path().join("damaged.db");
    std::fs::write(&damaged, bytes).unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "a text, not a database, and long enough to tell ".repeat(40)).unwrap();
    for file in [&damaged, &text] {
        let error = restore(file, &place, Existing::Refuse).await.unwrap_err();
        assert_eq!(error.code(), "store.corrupt", "{error}");
    }
    store.close().await;
    house
        .execute(
            "insert into _sqlx_migrations \
             (version, description, success, checksum, execution_time) \
             select 9999, 'later', success, checksum, 0 from _sqlx_migrations where version = 1",
        )
        .await;
    let newer = folder.path().join("newer.db");
    let error = backup(&house.settings, &newer).await.unwrap_err();
    assert_eq!(error.code(), "store.newer", "{error}");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!((left, place.exists(), newer.exists()), (3, false, false), "nothing is left behind");
}

#[tokio::test]
async fn a_postgres_store_is_told_which_tools_to_use() {
    let url = "postgres://callgate:secret@db/callgate".to_owned();
    let settings = Settings { url, ..Settings::default() };
    let to = PathBuf::from("/nowhere/copy.db");
    let error = backup(&settings, &to).await.unwrap_err().to_string();
    assert!(error.contains("pg_dump") && error.contains("pg_basebackup"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}
