//! Stories of storing callbacks.

use callgate_store::{InboxState, Receipt, StoreError};

use crate::acts::{accept, at};
use crate::gateway::{AMOUNT, BUSINESS, CHANNEL, combined, payment};
use crate::house::House;

pub(crate) async fn a_callback_is_stored_with_everything_it_says(house: &House) {
    let store = house.open().await;
    let callback = payment("d1", "o1", "t1");
    let id = accept(&store, callback.clone(), 5).await;
    let stored = store.notification(&id).await.unwrap().unwrap();
    assert_eq!(stored.notification, callback.verified.notifications()[0]);
    assert_eq!(stored.notification.amount.unwrap().minor, AMOUNT);
    assert_eq!((stored.channel.as_str(), stored.business.as_str()), (CHANNEL, BUSINESS));
    assert_eq!((stored.delivery_key.as_str(), stored.part), ("d1", 0));
    assert_eq!((stored.state, stored.attempts, stored.seen), (InboxState::Ready, 0, 1));
    assert_eq!((stored.received_at, stored.due_at), (at(5), Some(at(5))));
    assert_eq!(stored.subject.as_deref(), Some("o1"));
    assert_eq!(stored.headers, callback.headers);
    assert_eq!(store.raw_callback(&id).await.unwrap(), Some(callback.raw));
    assert_eq!(store.oldest_open_ms(at(105)).await.unwrap(), Some(100));
    assert_eq!(store.counts().await.unwrap().ready, 1);
}

pub(crate) async fn a_repeat_is_counted_and_not_stored_again(house: &House) {
    let store = house.open().await;
    let id = accept(&store, payment("d1", "o1", "t1"), 0).await;
    for ms in [10, 20] {
        let receipt = store.accept(payment("d1", "o1", "t1"), at(ms)).await.unwrap();
        assert_eq!(receipt, Receipt::Seen);
    }
    let stored = store.notification(&id).await.unwrap().unwrap();
    assert_eq!((stored.seen, stored.last_seen_at, stored.received_at), (3, at(20), at(0)));
    assert_eq!(house.number("select cast(count(*) as bigint) from inbox").await, 1);
}

pub(crate) async fn concurrent_repeats_of_one_delivery_key_make_one_row(house: &House) {
    let store = house.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let (store, callback) = (store.clone(), payment("d1", "o1", "t1"));
        tasks.spawn(async move { store.accept(callback, at(n)).await.unwrap() });
    }
    let receipts = tasks.join_all().await;
    let new = receipts.iter().filter(|receipt| matches!(receipt, Receipt::New(_))).count();
    assert_eq!(new, 1);
    assert_eq!(house.number("select seen from inbox").await, 64);
}

pub(crate) async fn two_hosts_that_hear_the_same_callbacks_store_each_once(house: &House) {
    let (one, two) = (house.open().await, house.open().await);
    let callbacks: Vec<_> = (0..40)
        .map(|n| payment(&format!("d{n}"), &format!("o{}", n % 7), &format!("t{n}")))
        .collect();
    let mut tasks = tokio::task::JoinSet::new();
    for store in [one, two] {
        for (n, callback) in callbacks.iter().cloned().enumerate() {
            let store = store.clone();
            let ms = i64::try_from(n).unwrap();
            tasks.spawn(async move { store.accept(callback, at(ms)).await.unwrap() });
        }
    }
    let receipts = tasks.join_all().await;
    let new = receipts.iter().filter(|receipt| matches!(receipt, Receipt::New(_))).count();
    assert_eq!(new, 40);
    assert_eq!(house.number("select cast(sum(seen) as bigint) from inbox").await, 80);
}

pub(crate) async fn every_part_of_a_combined_callback_is_a_notification(house: &House) {
    let store = house.open().await;
    let callback = combined("d1", &["o1", "o2", "o3"]);
    let Receipt::New(ids) = store.accept(callback.clone(), at(0)).await.unwrap() else {
        panic!("seen before");
    };
    assert_eq!(ids.len(), 3);
    for (part, id) in ids.iter().enumerate() {
        let stored = store.notification(id).await.unwrap().unwrap();
        assert_eq!(stored.notification, callback.verified.notifications()[part]);
        assert_eq!(stored.part, i64::try_from(part).unwrap());
        let raw = store.raw_callback(id).await.unwrap();
        assert_eq!(raw, (part == 0).then(|| callback.raw.clone()));
    }
    assert_eq!(store.accept(callback, at(1)).await.unwrap(), Receipt::Seen);
    assert_eq!(house.number("select cast(sum(seen) as bigint) from inbox").await, 6);
}

pub(crate) async fn the_same_key_of_another_channel_is_another_message(house: &House) {
    let store = house.open().await;
    accept(&store, payment("d1", "o1", "t1"), 0).await;
    let mut callback = payment("d1", "o1", "t1");
    callback.channel = "wechat-other".to_owned();
    accept(&store, callback, 1).await;
    assert_eq!(store.counts().await.unwrap().ready, 2);
}

pub(crate) async fn an_impossible_callback_fails_alone_and_its_neighbours_are_stored(
    house: &House,
) {
    let store = house.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..32 {
        let mut callback = payment(&format!("d{n}"), "o1", &format!("t{n}"));
        if n == 13 {
            callback.business = String::new();
        }
        let store = store.clone();
        tasks.spawn(async move { (n, store.accept(callback, at(0)).await) });
    }
    for (n, receipt) in tasks.join_all().await {
        match receipt {
            Ok(Receipt::New(_)) => assert_ne!(n, 13),
            Err(StoreError::Invalid { .. }) => assert_eq!(n, 13),
            other => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(store.counts().await.unwrap().ready, 31);
}

pub(crate) async fn what_was_accepted_is_there_after_closing_and_opening(house: &House) {
    let store = house.open().await;
    let waiting: Vec<_> = (0..50)
        .map(|n| {
            let (store, callback) = (store.clone(), payment(&format!("d{n}"), "o1", "t1"));
            tokio::spawn(async move { store.accept(callback, at(0)).await })
        })
        .collect();
    store.close().await;
    let mut acknowledged = 0;
    for receipt in waiting {
        match receipt.await.unwrap() {
            Ok(_) => acknowledged += 1,
            Err(error) => assert_eq!(error.code(), "store.closed"),
        }
    }
    let late = store.accept(payment("late", "o1", "t1"), at(0)).await;
    assert_eq!(late.unwrap_err().code(), "store.closed");
    let again = house.open().await;
    assert_eq!(again.counts().await.unwrap().ready, acknowledged);
}

pub(crate) async fn the_bell_rings_also_for_what_came_before_waiting(house: &House) {
    let store = house.open().await;
    let mut bell = store.work_bell();
    bell.listen();
    accept(&store, payment("d1", "o1", "t1"), 0).await;
    bell.rung().await;
    bell.listen();
    let quiet = store.accept(payment("d1", "o1", "t1"), at(1)).await.unwrap();
    assert_eq!(quiet, Receipt::Seen);
    tokio::select! {
        biased;
        () = bell.rung() => panic!("a repeat is no work"),
        () = std::future::ready(()) => {}
    }
}

pub(crate) async fn a_repeat_that_says_something_else_is_counted_and_the_first_one_stands(
    house: &House,
) {
    let store = house.open().await;
    let first = payment("d1", "o1", "t1");
    let id = accept(&store, first.clone(), 0).await;
    // Alone, and two in one group; what differs is the order, then the meaning.
    for ms in [10, 20] {
        let (one, two) = tokio::join!(
            store.accept(payment("d1", "o2", "t1"), at(ms)),
            store.accept(payment("d1", "o1", "t2"), at(ms)),
        );
        assert_eq!((one.unwrap(), two.unwrap()), (Receipt::Seen, Receipt::Seen));
    }
    let stored = store.notification(&id).await.unwrap().unwrap();
    assert_eq!(stored.notification, first.verified.notifications()[0]);
    assert_eq!((stored.seen, stored.subject.as_deref()), (5, Some("o1")));
    assert_eq!(house.number("select cast(count(*) as bigint) from inbox").await, 1);
}
