//! The story of many: hosts that hear everything several times and work side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use callgate_store::{Callback, Counts, Settled, Store};

use crate::acts::{at, claim, paid, register, settlement};
use crate::gateway::payment;
use crate::house::House;

const ORDERS: usize = 20;
const MESSAGES: usize = 4;

pub(crate) async fn three_hosts_and_shuffled_repeats_pay_every_order_once(house: &House) {
    let mut hosts = Vec::new();
    for _ in 0..3 {
        hosts.push(house.open_with(|settings| settings.wait_ms = 20_000).await);
    }
    for order in 0..ORDERS {
        register(&hosts[0], &format!("o{order}")).await;
    }
    // Several messages of one meaning for each order; every host hears all of them, each in
    // another sequence.
    let callbacks: Vec<_> = (0..ORDERS * MESSAGES)
        .map(|n| {
            let order = n % ORDERS;
            payment(&format!("d{n}"), &format!("o{order}"), &format!("t{order}"))
        })
        .collect();
    let callbacks = Arc::new(callbacks);
    let heard = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for (host, store) in hosts.iter().enumerate() {
        for lane in 0..4 {
            let (store, callbacks) = (store.clone(), Arc::clone(&callbacks));
            let heard = Arc::clone(&heard);
            tasks.spawn(async move {
                hear(&store, &callbacks, host * 4 + lane).await;
                heard.fetch_add(1, Ordering::Relaxed);
            });
        }
        let (store, owner, heard) = (store.clone(), format!("host{host}"), Arc::clone(&heard));
        tasks.spawn(async move { work(&store, &owner, &heard).await });
    }
    tasks.join_all().await;
    let orders = i64::try_from(ORDERS).unwrap();
    let rows = i64::try_from(ORDERS * MESSAGES).unwrap();
    for (sql, expected) in [
        ("select cast(count(*) as bigint) from inbox where state = 'done'", rows),
        ("select cast(sum(seen) as bigint) from inbox", rows * 12),
        ("select cast(count(*) as bigint) from history where effect = 'moved'", orders),
        ("select cast(count(*) as bigint) from outbox", orders),
        ("select cast(count(*) as bigint) from documents where collection = 'ledger'", orders),
        ("select cast(sum(version) as bigint) from documents where state <> ''", orders * 2),
    ] {
        assert_eq!(house.number(sql).await, expected, "{sql}");
    }
}

/// Sends every callback, from another beginning and with another step in each lane.
async fn hear(store: &Store, callbacks: &[Callback], lane: usize) {
    let step = [7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47][lane];
    for n in 0..callbacks.len() {
        let callback = callbacks[(lane + n * step) % callbacks.len()].clone();
        store.accept(callback, at(1)).await.unwrap();
    }
}

/// Works until everything was heard and is done, wherever it was done.
async fn work(store: &Store, owner: &str, heard: &AtomicUsize) {
    loop {
        let all_heard = heard.load(Ordering::Relaxed) == 12;
        for job in claim(store, owner, 2).await {
            let answer = store.settle(settlement(&job, paid(&job)), at(3)).await.unwrap();
            assert!(matches!(answer, Settled::Done { .. } | Settled::Repeated), "{answer:?}");
        }
        if all_heard && store.counts().await.unwrap() == Counts::default() {
            return;
        }
        tokio::task::yield_now().await;
    }
}
