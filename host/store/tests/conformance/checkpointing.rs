//! Stories of SQLite's write-ahead log: it is copied beside the writer and begins anew, however
//! many callbacks come, and a reader who needs the file as it was only makes it wait.

use std::io::Read as _;
use std::path::PathBuf;

use callgate_store::{Callback, Receipt, Store};
use futures_util::future::join_all;
use sqlx::Connection as _;

use crate::acts::at;
use crate::gateway::payment;
use crate::house::House;

/// Callbacks at once.
const TOGETHER: usize = 16;

/// Bytes of a callback: 15 pages.
const BYTES: usize = 60_000;

/// Bytes that the log keeps of the disk.
const KEPT: u64 = 33_554_432;

/// Rounds after which the log must have begun anew: many times of what makes it long.
const ROUNDS_MAX: usize = 400;

fn log(house: &House) -> PathBuf {
    house.file().with_extension("db-wal")
}

/// How often the log began anew: SQLite counts it in the head of the log.
fn begun(house: &House) -> u32 {
    let mut head = [0; 16];
    std::fs::File::open(log(house)).unwrap().read_exact(&mut head).unwrap();
    u32::from_be_bytes([head[12], head[13], head[14], head[15]])
}

/// Stores callbacks, each of its own.
async fn round(store: &Store, round: usize) {
    let callbacks = (0..TOGETHER).map(|place| {
        let name = format!("{round}-{place}");
        Callback { raw: vec![7; BYTES], ..payment(&name, &name, &name) }
    });
    let receipts = join_all(callbacks.map(|callback| store.accept(callback, at(1)))).await;
    assert!(receipts.iter().all(|receipt| matches!(receipt, Ok(Receipt::New(_)))), "{receipts:?}");
}

/// Stores callbacks until the log begins anew; tells how many rounds that took.
async fn until_anew(house: &House, store: &Store, from: usize) -> usize {
    let before = begun(house);
    for rounds in 1..=ROUNDS_MAX {
        round(store, from + rounds).await;
        if begun(house) > before {
            return from + rounds;
        }
    }
    panic!("the log never began anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_is_copied_while_callbacks_come_and_begins_anew() {
    let house = House::sqlite();
    let store = house.open().await;
    let mut rounds = 0;
    for _ in 0..2 {
        rounds = until_anew(&house, &store, rounds).await;
    }
    // It is long before anybody copies: a page that is written often is copied once.
    assert!(rounds >= 2 * 5, "{rounds} rounds");
    let stored = i64::try_from(rounds * TOGETHER).unwrap();
    assert_eq!(store.counts().await.unwrap().ready, stored);
    store.close().await;
    assert!(!log(&house).exists(), "who closes last leaves no log");
    let again = house.open().await;
    assert_eq!(again.counts().await.unwrap().ready, stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_takes_long_keeps_the_log_and_stops_nobody() {
    let house = House::sqlite();
    let store = house.open().await;
    round(&store, 0).await;
    let mut reader = sqlx::AnyConnection::connect(&house.settings.url).await.unwrap();
    let mut reading = reader.begin().await.unwrap();
    let count = || sqlx::query_scalar::<_, i64>("select count(*) from inbox");
    let seen = count().fetch_one(&mut *reading).await.unwrap();
    let before = begun(&house);
    for next in 1..=100 {
        round(&store, next).await;
    }
    assert_eq!(begun(&house), before, "the reader needs it");
    assert_eq!(count().fetch_one(&mut *reading).await.unwrap(), seen);
    let size = || std::fs::metadata(log(&house)).unwrap().len();
    assert!(size() > 2 * KEPT, "{} bytes", size());
    drop(reading);
    reader.close().await.unwrap();
    until_anew(&house, &store, 100).await;
    assert!(size() <= KEPT, "{} bytes", size());
}
