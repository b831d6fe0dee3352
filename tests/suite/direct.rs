//! Callbacks that are decided before they are stored: the effect stands when the gateway has its
//! answer, once, whoever comes first.

use std::sync::Arc;

use callgate_trigger::burst::Burst;
use callgate_trigger::channel::Channel;
use serde_json::json;

use crate::cluster::Cluster;
use crate::hosts::Host;
use crate::house::{House, OPERATOR, keys, now, stage};
use crate::load::Load;
use crate::reload::logged;
use crate::together::reaches;

const DECIDED: &str = "callgate_direct_total{business=\"PRODUCT_ORDER\",way=\"decided\"}";

fn burst(seed: u64, orders: u32) -> Burst {
    Burst { stage: stage(Channel::WechatV3Main).0, seed, orders, deliveries: 3 }
}

async fn register(house: &House, burst: &Burst) {
    for index in 0..burst.orders {
        let order = burst.order(index);
        let body = json!({ "amount_minor": order.amount.minor, "currency": "CNY",
            "state": order.state });
        assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
    }
}

/// Posts the first delivery of each order, one after the other.
async fn post(house: &House, burst: &Burst) {
    for delivery in burst.deliveries().into_iter().filter(|delivery| delivery.delivery == 0) {
        let message = burst.message(keys().0, delivery, now()).expect("a signed message");
        assert_eq!(house.send(&message).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effect_stands_when_the_gateway_has_its_answer() {
    let Some(house) = House::start_set(&["engine.direct.patience_ms=2000"]) else { return };
    let burst = burst(1, 5);
    register(&house, &burst).await;
    post(&house, &burst).await;
    for index in 0..burst.orders {
        let order = house.order(&burst.order(index).order_no).await.expect("registered");
        assert_eq!(order["state"], "TO_BE_DELIVERED", "{order:#}");
        assert_eq!(order["history"][0]["attempt"], 1, "{order:#}");
        assert_eq!(order["events"].as_array().map(Vec::len), Some(1), "{order:#}");
    }
    assert_eq!(house.metric(DECIDED).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_the_race_with_patience_ends_each_order_is_paid_once() {
    let flags = ["engine.direct.patience_ms=1", "engine.direct.rest_ms=0", "engine.poll_ms=100"];
    let Some(house) = House::start_set(&flags) else { return };
    let burst = burst(2, 40);
    register(&house, &burst).await;
    let house = Arc::new(house);
    let mut sending = tokio::task::JoinSet::new();
    for delivery in burst.deliveries() {
        let message = burst.message(keys().0, delivery, now()).expect("a signed message");
        let house = Arc::clone(&house);
        sending.spawn(async move { house.send(&message).await.0 });
    }
    while let Some(status) = sending.join_next().await {
        assert_eq!(status.expect("sent"), 200);
    }
    for index in 0..burst.orders {
        let order_no = burst.order(index).order_no;
        let paid = house.order_when(&order_no, |order| order["state"] == "TO_BE_DELIVERED").await;
        assert_eq!(paid["history"].as_array().map(Vec::len), Some(1), "{paid:#}");
        assert_eq!(paid["history"][0]["attempt"], 1, "{paid:#}");
        assert_eq!(paid["events"].as_array().map(Vec::len), Some(1), "{paid:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_last_run_came_down_callbacks_are_stored_first() {
    let Some(house) = House::start_set(&["engine.direct.patience_ms=2000"]) else { return };
    house.kill();
    let house = house.kill_and_restart();
    logged(&house, "the last run did not end well").await;
    let stored = burst(3, 3);
    register(&house, &stored).await;
    post(&house, &stored).await;
    for index in 0..stored.orders {
        let order_no = stored.order(index).order_no;
        house.order_when(&order_no, |order| order["state"] == "TO_BE_DELIVERED").await;
    }
    assert_eq!(house.metric(DECIDED).await, 0);
    let house = house.stop_and_restart();
    let decided = burst(4, 3);
    register(&house, &decided).await;
    post(&house, &decided).await;
    assert_eq!(house.metric(DECIDED).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_that_decide_before_they_store_agree_with_the_books() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let flags = ["engine.direct.calm_ms=0", "engine.lease_ms=2000", "engine.poll_ms=100"];
    let load = Load::new(13, 2);
    let (mut hosts, mut metrics) = (Vec::new(), Vec::new());
    for place in 0..2 {
        let Some(mut host) = Host::new(&url, &flags) else { return };
        let addresses = host.start();
        metrics.push(format!("{}/metrics", addresses.private));
        load.place(place, Some(addresses));
        hosts.push(host);
    }
    let posters = load.start(8);
    reaches(&load, 150).await;
    load.finish(posters).await;
    assert!(load.hold_against(&url).await >= 20);
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    for metrics in metrics {
        let request = http.get(metrics).bearer_auth(OPERATOR);
        let text = request.send().await.expect("metrics").text().await.expect("text");
        assert!(text.contains(DECIDED), "{text}");
    }
    for host in &mut hosts {
        assert!(host.stop(), "it ends well: {}", host.log());
    }
}
