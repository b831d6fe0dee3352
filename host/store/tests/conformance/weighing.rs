//! Stories of large operations: what they share, and what waits in front of the line.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use callgate_store::{Callback, Settings};
use futures_util::future::join_all;
use sqlx::{AnyConnection, Connection as _};

use crate::acts::at;
use crate::counting::in_line;
use crate::gateway::payment;
use crate::house::House;

/// A callback of so many bytes.
fn heavy(number: usize, bytes: usize) -> Callback {
    let raw = vec![b'x'; bytes];
    let callback = payment(&format!("d{number}"), &format!("o{number}"), &format!("t{number}"));
    Callback { raw, ..callback }
}

fn small(settings: &mut Settings) {
    settings.group_bytes_max = 65_536;
    settings.queue_bytes_max = 262_144;
}

pub(crate) async fn a_group_is_bounded_in_bytes(house: &House) {
    let store = house.open_with(|settings| settings.group_bytes_max = 65_536).await;
    // Two fit into one commit, three do not.
    let asked = (0..12).map(|number| store.accept(heavy(number, 25_000), at(1)));
    let receipts = in_line(house, join_all(asked)).await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    let groups = store.tally().groups;
    assert!((6..=7).contains(&groups), "{groups} groups, two callbacks each");
    // What is light still shares a commit.
    let asked = (100..112).map(|number| store.accept(heavy(number, 10), at(2)));
    in_line(house, join_all(asked)).await;
    assert!(store.tally().groups <= groups + 2);
}

pub(crate) async fn the_line_is_bounded_in_bytes(house: &House) {
    let store = house.open_with(small).await;
    let lock = if house.settings.url.starts_with("sqlite") {
        "begin immediate"
    } else {
        "begin; lock table inbox in access exclusive mode"
    };
    let mut other = AnyConnection::connect(&house.settings.url).await.unwrap();
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    {
        // Twenty gateways whose patience ends before the database is free.
        let asked = (0..20).map(|number| store.accept(heavy(number, 50_000), at(1)));
        let mut asking = pin!(join_all(asked));
        let early = poll_fn(|context| Poll::Ready(asking.as_mut().poll(context))).await;
        assert!(early.is_pending(), "the database is held");
    }
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    store.accept(heavy(100, 10), at(2)).await.unwrap();
    let stored = house.number("select cast(count(*) as bigint) from inbox").await;
    // Five of them fit into the line; whoever waited in front of it went away unheard.
    assert!((2..=6).contains(&stored), "{stored} rows");
}

pub(crate) async fn what_is_larger_than_every_bound_is_stored_alone(house: &House) {
    let store = house.open_with(small).await;
    let asked = [heavy(0, 10), heavy(1, 1_000_000), heavy(2, 10), heavy(3, 1_000_000)];
    let receipts = join_all(asked.map(|callback| store.accept(callback, at(1)))).await;
    assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    assert_eq!(store.counts().await.unwrap().ready, 4);
}
