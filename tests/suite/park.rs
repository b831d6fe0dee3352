//! A callback that comes before its order waits for it, but not for ever.

use callgate::clock::Clock;
use callgate::config::{Config, Layers};
use callgate::server::Server;
use callgate::telemetry;
use callgate_trigger::cases::{Order, Stage};
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::Sending;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::house::{House, TOKEN, keys, now, plugins_toml, stage, write_configuration};

fn registration(order: &Order) -> Value {
    json!({ "amount_minor": order.amount.minor, "currency": order.amount.currency,
        "state": order.state })
}

#[tokio::test]
async fn a_callback_before_its_order_runs_the_moment_the_order_is_registered() {
    let Some(house) = House::start_set(&["engine.poll_ms=3600000"]) else { return };
    for channel in Channel::ALL {
        let (stage, mut draw) = stage(channel);
        let purchase = stage.purchase(&mut draw);
        let notice = stage.payment(&purchase, &mut draw);
        let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
        assert_eq!(house.send(&message).await.0, 200);
        let order = stage.order(&purchase);
        assert_eq!(house.put_order(&order.order_no, &registration(&order)).await.0, 201);
        let paid =
            house.order_when(&order.order_no, |order| order["state"] == "TO_BE_DELIVERED").await;
        assert_eq!(paid["events"].as_array().map(Vec::len), Some(1), "{paid:#}");
    }
}

#[tokio::test]
async fn a_callback_by_payment_number_finds_its_order_by_alias() {
    let Some(house) = House::start() else { return };
    let (stage, mut draw) = stage(Channel::WechatV3Main);
    let purchase = stage.purchase(&mut draw);
    let notice = stage.payment(&purchase, &mut draw);
    let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
    assert_eq!(house.send(&message).await.0, 200);
    let mut body = registration(&stage.order(&purchase));
    body["aliases"] = json!([purchase.order_no]);
    assert_eq!(house.put_order("SHOP-1", &body).await.0, 201);
    house.order_when("SHOP-1", |order| order["state"] == "TO_BE_DELIVERED").await;
}

/// A server in this process, on a clock that the story moves.
async fn on_a_manual_clock(clock: &Clock) -> Option<(Server, TempDir)> {
    let folder = TempDir::new().expect("a folder");
    write_configuration(folder.path(), &plugins_toml()?);
    let file = Some(folder.path().join("callgate.toml"));
    let config = Config::load(&Layers { file, ..Layers::default() }).expect("a configuration");
    let metrics = telemetry::start_metrics().expect("metrics start once in this process");
    let server = Server::start(config, clock.clone(), metrics).await.expect("a server");
    Some((server, folder))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_whose_order_never_comes_goes_to_review_after_the_configured_wait() {
    let clock = Clock::manual(now());
    let Some((server, _folder)) = on_a_manual_clock(&clock).await else { return };
    let mut draw = Draw::seeded(1);
    let stage = Stage::new(&keys().0.accounts, Channel::AlipayMain, clock.now());
    let purchase = stage.purchase(&mut draw);
    let notice = stage.payment(&purchase, &mut draw);
    let message = notice.sign(keys().0, Sending::genuine(clock.now()), &mut draw).expect("signed");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://{}{}", server.public, message.path);
    let mut request = http.post(url).body(message.body);
    for (name, value) in &message.headers {
        request = request.header(name, value);
    }
    assert_eq!(request.send().await.expect("an answer").text().await.expect("text"), "success");
    let health = |state: &'static str| {
        let (http, private) = (http.clone(), server.private);
        async move {
            let request =
                http.get(format!("http://{private}/metrics")).bearer_auth(crate::house::OPERATOR);
            let text = request.send().await.expect("metrics").text().await.expect("text");
            text.contains(&format!("callgate_notifications{{state=\"{state}\"}} 1"))
        }
    };
    while !health("parked").await {
        tokio::task::yield_now().await;
    }
    // A minute short of the hour nothing happens to it; a minute past it does.
    clock.advance_ms(59 * 60_000);
    assert!(health("parked").await);
    clock.advance_ms(2 * 60_000);
    while !health("review").await {
        clock.advance_ms(100);
        tokio::task::yield_now().await;
    }
    // Registered after all: it runs, without a person.
    let url = format!("http://{}/orders/PRODUCT_ORDER/{}", server.private, purchase.order_no);
    let body = registration(&stage.order(&purchase));
    let put = http.put(&url).bearer_auth(TOKEN).json(&body).send().await.expect("an answer");
    assert_eq!(put.status(), 201);
    loop {
        let order = http.get(&url).bearer_auth(TOKEN).send().await.expect("an answer");
        let order: Value = order.json().await.expect("an order");
        if order["state"] == "TO_BE_DELIVERED" {
            break;
        }
        // Time goes on: a run that a busy machine held up is tried again.
        clock.advance_ms(100);
        tokio::task::yield_now().await;
    }
    server.stop().await;
}
