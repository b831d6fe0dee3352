//! A power cut at any moment: what was acknowledged is there, and happens once.

use std::sync::Arc;

use callgate_trigger::burst::Burst;
use callgate_trigger::channel::Channel;
use serde_json::json;

use crate::house::{House, keys, now, stage};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_is_done_once_after_it() {
    let Some(mut house) = House::start_set(&["engine.lease_ms=1000", "engine.poll_ms=100"]) else {
        return;
    };
    for round in 0..5u64 {
        let burst =
            Burst { stage: stage(Channel::AlipayMain).0, seed: round, orders: 40, deliveries: 2 };
        for index in 0..burst.orders {
            let order = burst.order(index);
            let body = json!({ "amount_minor": order.amount.minor, "currency": "CNY",
                "state": order.state });
            assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
        }
        let shared = Arc::new(house);
        let mut sending = tokio::task::JoinSet::new();
        for delivery in burst.deliveries() {
            let message = burst.message(keys().0, delivery, now()).expect("a signed message");
            let house = Arc::clone(&shared);
            sending.spawn(async move { (delivery.order, house.try_send(&message).await) });
        }
        // The kill comes after a number of answers that differs from round to round.
        let mut acknowledged = std::collections::BTreeSet::new();
        let kill_after = usize::try_from(round * 17 % 40).expect("small");
        let mut answers = 0usize;
        while answers < kill_after {
            let (order, answer) = sending.join_next().await.expect("more answers").expect("sent");
            if answer.is_ok_and(|answer| answer == (200, "success".to_owned())) {
                acknowledged.insert(order);
            }
            answers = answers.saturating_add(1);
        }
        shared.kill();
        while let Some(ended) = sending.join_next().await {
            let (order, answer) = ended.expect("a sender ends");
            if answer.is_ok_and(|answer| answer == (200, "success".to_owned())) {
                acknowledged.insert(order);
            }
        }
        let Ok(killed) = Arc::try_unwrap(shared).map_err(drop) else {
            panic!("somebody still holds the house");
        };
        house = killed.kill_and_restart();
        for order in acknowledged {
            let order_no = burst.order(order).order_no;
            let paid =
                house.order_when(&order_no, |order| order["state"] == "TO_BE_DELIVERED").await;
            assert_eq!(paid["history"].as_array().map(Vec::len), Some(1), "{paid:#}");
            assert_eq!(paid["events"].as_array().map(Vec::len), Some(1), "{paid:#}");
        }
    }
}
