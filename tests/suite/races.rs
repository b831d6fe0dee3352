//! Races that payment systems lose in the field, each told to a real server.

use callgate::clock::Clock;
use callgate::config::{Config, Layers};
use callgate::server::Server;
use callgate_trigger::cases::Stage;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::{Message, Notice, Sending};
use callgate_trigger::purchase::{Part, Purchase};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::hosts::Host;
use crate::house::{House, TOKEN, keys, now, plugins_toml, stage, write_configuration};
use crate::load::Load;

fn signed(notice: &Notice, draw: &mut Draw) -> Message {
    notice.sign(keys().0, Sending::genuine(now()), draw).expect("a signed message")
}

fn registration(stage: &Stage, purchase: &Purchase) -> Value {
    let order = stage.order(purchase);
    json!({ "amount_minor": order.amount.minor, "currency": order.amount.currency,
        "state": order.state })
}

async fn register(house: &House, stage: &Stage, purchase: &Purchase) {
    let body = registration(stage, purchase);
    assert_eq!(house.put_order(&purchase.order_no, &body).await.0, 201);
}

/// Posts one callback, which must be taken.
async fn post(house: &House, notice: &Notice, draw: &mut Draw) {
    assert_eq!(house.send(&signed(notice, draw)).await.0, 200);
}

/// Waits until the order is in a state, nothing is left to do about it, and its events are these.
async fn comes_to(house: &House, purchase: &Purchase, (state, events): (&str, &[&str])) -> Value {
    let settled = |order: &Value| {
        let heard = order["notifications"].as_array().expect("notifications");
        order["state"] == state && heard.iter().all(|one| one["state"] == "done")
    };
    let order = house.order_when(&purchase.order_no, settled).await;
    assert_eq!(topics(&order), events, "{order:#}");
    order
}

fn topics(order: &Value) -> Vec<&str> {
    let events = order["events"].as_array().expect("events");
    events.iter().map(|event| event["topic"].as_str().expect("a topic")).collect()
}

fn count(order: &Value, list: &str) -> usize {
    order[list].as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_and_an_active_query_at_once_have_one_effect() {
    let Some(house) = House::start() else { return };
    for channel in [Channel::WechatV3Main, Channel::AlipayMain] {
        for _ in 0..10 {
            let (stage, mut draw) = stage(channel);
            let purchase = stage.purchase(&mut draw);
            register(&house, &stage, &purchase).await;
            // What a query finds out comes in with an id of its own and the same meaning.
            let callback = signed(&stage.payment(&purchase, &mut draw), &mut draw);
            let query = signed(&stage.payment(&purchase, &mut draw), &mut draw);
            let (one, two) = tokio::join!(house.send(&callback), house.send(&query));
            assert_eq!((one.0, two.0), (200, 200));
            let order = comes_to(&house, &purchase, ("TO_BE_DELIVERED", &["order.paid"])).await;
            assert_eq!((count(&order, "history"), count(&order, "notifications")), (1, 2));
        }
    }
}

#[tokio::test]
async fn the_same_meaning_under_two_ids_has_one_effect() {
    let Some(house) = House::start() else { return };
    for channel in [Channel::WechatV3Main, Channel::AlipayMain] {
        let (stage, mut draw) = stage(channel);
        let purchase = stage.purchase(&mut draw);
        register(&house, &stage, &purchase).await;
        for messages in 1..=3 {
            post(&house, &stage.payment(&purchase, &mut draw), &mut draw).await;
            let order = comes_to(&house, &purchase, ("TO_BE_DELIVERED", &["order.paid"])).await;
            assert_eq!((count(&order, "history"), count(&order, "notifications")), (1, messages));
        }
    }
}

#[tokio::test]
async fn the_same_id_with_another_body_is_told_and_the_first_one_stands() {
    let Some(house) = House::start() else { return };
    let (stage, mut draw) = stage(Channel::WechatV3Main);
    let (first, other) = (stage.purchase(&mut draw), stage.purchase(&mut draw));
    register(&house, &stage, &first).await;
    register(&house, &stage, &other).await;
    let Notice::WechatV3(told) = stage.payment(&first, &mut draw) else { panic!("not v3") };
    let Notice::WechatV3(mut second) = stage.payment(&other, &mut draw) else { panic!("not v3") };
    second.id.clone_from(&told.id);
    // A true repeat is no contradiction, though it is encrypted and signed anew.
    for _ in 0..2 {
        post(&house, &Notice::WechatV3(told.clone()), &mut draw).await;
    }
    let counter = "callgate_store_contradictions_total";
    assert_eq!(house.metric(counter).await, 0);
    post(&house, &Notice::WechatV3(second), &mut draw).await;
    let order = comes_to(&house, &first, ("TO_BE_DELIVERED", &["order.paid"])).await;
    assert_eq!(order["notifications"][0]["seen"], 3);
    assert_eq!(house.order(&other.order_no).await.expect("the order")["state"], "TO_BE_PAID");
    assert_eq!(house.metric(counter).await, 1);
    let log = house.log_when(|log| log.contains("store.same-key-other-content")).await;
    assert!(!log.contains(&other.order_no), "what it says is not logged");
}

#[tokio::test]
async fn a_success_after_the_close_is_told_as_what_it_is() {
    let Some(house) = House::start() else { return };
    for channel in [Channel::WechatV3Main, Channel::AlipayMain] {
        let (stage, mut draw) = stage(channel);
        let purchase = stage.purchase(&mut draw);
        register(&house, &stage, &purchase).await;
        let closed = stage.payment_closed(&purchase, &mut draw).expect("it tells of closing");
        post(&house, &closed, &mut draw).await;
        comes_to(&house, &purchase, ("CLOSED", &["order.closed"])).await;
        post(&house, &stage.payment(&purchase, &mut draw), &mut draw).await;
        let told = ["order.closed", "order.paid-after-close"];
        let order = house.order_when(&purchase.order_no, |order| topics(order).len() == 2).await;
        assert_eq!(topics(&order), told, "{order:#}");
        assert_eq!(order["state"], "CLOSED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_and_a_close_at_once_leave_one_story() {
    let Some(house) = House::start() else { return };
    for _ in 0..20 {
        let (stage, mut draw) = stage(Channel::AlipayMain);
        let purchase = stage.purchase(&mut draw);
        register(&house, &stage, &purchase).await;
        let closed = stage.payment_closed(&purchase, &mut draw).expect("it tells of closing");
        let (paid, closed) =
            (signed(&stage.payment(&purchase, &mut draw), &mut draw), signed(&closed, &mut draw));
        let (one, two) = tokio::join!(house.send(&paid), house.send(&closed));
        assert_eq!((one.0, two.0), (200, 200));
        let settled = |order: &Value| {
            let heard = order["notifications"].as_array().expect("notifications");
            heard.len() == 2 && heard.iter().all(|one| one["state"] == "done")
        };
        let order = house.order_when(&purchase.order_no, settled).await;
        let story = (order["state"].as_str().expect("a state"), topics(&order));
        let paid_first = ("TO_BE_DELIVERED", vec!["order.paid"]);
        let closed_first = ("CLOSED", vec!["order.closed", "order.paid-after-close"]);
        assert!([paid_first, closed_first].contains(&story), "{order:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_before_its_payment_waits_for_it() {
    let Some(house) = House::start_set(&["engine.retry.first_ms=50"]) else { return };
    for (channel, at_once) in [
        (Channel::WechatV3Main, false),
        (Channel::AlipayMain, false),
        (Channel::WechatV3Main, true),
        (Channel::AlipayMain, true),
    ] {
        let (stage, mut draw) = stage(channel);
        let purchase = stage.purchase(&mut draw);
        register(&house, &stage, &purchase).await;
        let refund = purchase.full_refund(&mut draw);
        let refund = signed(&stage.refund(&purchase, &refund, &mut draw), &mut draw);
        let payment = signed(&stage.payment(&purchase, &mut draw), &mut draw);
        if at_once {
            let (one, two) = tokio::join!(house.send(&refund), house.send(&payment));
            assert_eq!((one.0, two.0), (200, 200));
        } else {
            assert_eq!(house.send(&refund).await.0, 200);
            let tried = |order: &Value| order["notifications"][0]["attempts"] != 0;
            let order = house.order_when(&purchase.order_no, tried).await;
            assert_eq!((order["state"].as_str(), topics(&order).len()), (Some("TO_BE_PAID"), 0));
            assert_eq!(house.send(&payment).await.0, 200);
        }
        comes_to(&house, &purchase, ("REFUNDED", &["order.paid", "order.refunded"])).await;
    }
}

#[tokio::test]
async fn an_old_event_after_a_newer_one_moves_nothing_back() {
    let Some(house) = House::start() else { return };
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    register(&house, &stage, &purchase).await;
    post(&house, &stage.payment(&purchase, &mut draw), &mut draw).await;
    comes_to(&house, &purchase, ("TO_BE_DELIVERED", &["order.paid"])).await;
    let half = purchase.amount.minor.div_euclid(2);
    let part = purchase.partial_refund(Part { minor: half, already_minor: 0 }, &mut draw);
    let rest = purchase.amount.minor.saturating_sub(half);
    let whole = purchase.partial_refund(Part { minor: rest, already_minor: half }, &mut draw);
    post(&house, &stage.refund(&purchase, &whole, &mut draw), &mut draw).await;
    let told = ("REFUNDED", ["order.paid", "order.refunded"].as_slice());
    comes_to(&house, &purchase, told).await;
    // A part of the refund, then the payment itself, told by messages of their own.
    post(&house, &stage.refund(&purchase, &part, &mut draw), &mut draw).await;
    comes_to(&house, &purchase, told).await;
    post(&house, &stage.payment(&purchase, &mut draw), &mut draw).await;
    let order = comes_to(&house, &purchase, told).await;
    assert_eq!(count(&order, "notifications"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_three_seconds_before_its_order_is_done_when_the_order_comes() {
    let clock = Clock::manual(now());
    let folder = TempDir::new().expect("a folder");
    let Some(plugins) = plugins_toml() else { return };
    write_configuration(folder.path(), &plugins);
    let file = Some(folder.path().join("callgate.toml"));
    let config = Config::load(&Layers { file, ..Layers::default() }).expect("a configuration");
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let server = Server::start(config, clock.clone(), metrics).await.expect("a server");
    let load = Load::new(1, 0);
    let addresses = crate::hosts::Addresses {
        public: format!("http://{}", server.public),
        private: format!("http://{}", server.private),
    };
    let mut draw = Draw::seeded(1);
    let stage = Stage::new(&keys().0.accounts, Channel::AlipayMain, clock.now());
    let purchase = stage.purchase(&mut draw);
    let notice = stage.payment(&purchase, &mut draw);
    let message = notice.sign(keys().0, Sending::genuine(clock.now()), &mut draw).expect("signed");
    assert!(load.post(&addresses, &message).await);
    clock.advance_ms(3000);
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/orders/PRODUCT_ORDER/{}", addresses.private, purchase.order_no);
    let body = registration(&stage, &purchase);
    let put = http.put(&url).bearer_auth(TOKEN).json(&body).send().await.expect("an answer");
    assert_eq!(put.status(), 201);
    // No more time passes: the registration itself sets the work going.
    let order = loop {
        let answer = http.get(&url).bearer_auth(TOKEN).send().await.expect("an answer");
        let order: Value = answer.json().await.expect("JSON");
        if order["state"] == "TO_BE_DELIVERED" {
            break order;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((topics(&order), count(&order, "history")), (vec!["order.paid"], 1), "{order:#}");
    assert_eq!(clock.now().ms_since(stage.at), 3000);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_hosts_that_claim_one_order_pay_it_once() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database().await;
    let load = Load::new(2, 10);
    let mut hosts = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..10 {
        let Some(mut host) = Host::new(&url, &["store.readers=2"]) else { return };
        addresses.push(host.start());
        hosts.push(host);
    }
    let (stage, mut draw) = stage(Channel::WechatV3Main);
    let purchase = stage.purchase(&mut draw);
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let order_at = |host: usize| {
        let url = format!("{}/orders/PRODUCT_ORDER/{}", addresses[host].private, purchase.order_no);
        url
    };
    let body = registration(&stage, &purchase);
    let put = http.put(order_at(0)).bearer_auth(TOKEN).json(&body).send().await;
    assert_eq!(put.expect("an answer").status(), 201);
    let mut posts = tokio::task::JoinSet::new();
    for address in addresses.clone() {
        let message = signed(&stage.payment(&purchase, &mut draw), &mut draw);
        let load = std::sync::Arc::clone(&load);
        posts.spawn(async move { load.post(&address, &message).await });
    }
    assert_eq!(posts.join_all().await, [true; 10]);
    let order = loop {
        let answer = http.get(order_at(9)).bearer_auth(TOKEN).send().await.expect("an answer");
        let order: Value = answer.json().await.expect("JSON");
        let heard = order["notifications"].as_array().expect("notifications");
        if heard.len() == 10 && heard.iter().all(|one| one["state"] == "done") {
            break order;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(order["state"], "TO_BE_DELIVERED");
    assert_eq!((topics(&order), count(&order, "history")), (vec!["order.paid"], 1), "{order:#}");
}
