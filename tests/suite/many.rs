//! Many at once: one effect each, however often and in whatever order they come.

use std::sync::Arc;

use callgate_trigger::burst::Burst;
use callgate_trigger::channel::Channel;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::house::{House, keys, now, stage};

/// 1,000 callbacks for 100 orders, each sent 10 times, shuffled, 32 at a time.
async fn burst(channel: Channel, success: &'static str) {
    let Some(house) = House::start() else { return };
    let house = Arc::new(house);
    let burst = Burst { stage: stage(channel).0, seed: 7, orders: 100, deliveries: 10 };
    for index in 0..burst.orders {
        let order = burst.order(index);
        let body = json!({ "amount_minor": order.amount.minor, "currency": order.amount.currency,
            "state": order.state });
        assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
    }
    let at_once = Arc::new(Semaphore::new(32));
    let mut sending = tokio::task::JoinSet::new();
    for delivery in burst.deliveries() {
        let permit = Arc::clone(&at_once).acquire_owned().await.expect("a permit");
        let message = burst.message(keys().0, delivery, now()).expect("a signed message");
        let house = Arc::clone(&house);
        sending.spawn(async move {
            let answer = house.send(&message).await;
            drop(permit);
            answer
        });
    }
    while let Some(answer) = sending.join_next().await {
        let (status, body) = answer.expect("a sender ends");
        assert_eq!((status, body.as_str()), (200, success));
    }
    for index in 0..burst.orders {
        let order_no = burst.order(index).order_no;
        let order = house.order_when(&order_no, |order| order["state"] == "TO_BE_DELIVERED").await;
        assert_eq!(order["history"].as_array().map(Vec::len), Some(1), "{order:#}");
        let events = order["events"].as_array().expect("events");
        assert_eq!(events.len(), 1, "{order:#}");
        assert_eq!(events[0]["topic"], "order.paid");
        assert_eq!(order["notifications"].as_array().map(Vec::len), Some(1), "{order:#}");
        assert_eq!(order["notifications"][0]["seen"], 10, "{order:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callbacks_for_a_hundred_orders_make_a_hundred_transitions_wechat_v3() {
    burst(Channel::WechatV3Main, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callbacks_for_a_hundred_orders_make_a_hundred_transitions_alipay() {
    burst(Channel::AlipayMain, "success").await;
}
