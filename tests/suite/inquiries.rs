//! Orders that hear nothing: their gateway is asked, and what it tells is worth a callback.

use std::sync::Arc;
use std::time::Duration;

use callgate::clock::Clock;
use callgate::config::{Config, Layers};
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use serde_json::{Value, json};

use crate::erp::databases;
use crate::house::{keys, now, write_configuration};
use crate::market::{ASKABLE, Market};
use crate::standin::{Asked, Manner, StandIn, What};

const MINUTE: i64 = 60_000;

fn questions(asked: &[Asked], order_no: &str) -> usize {
    asked.iter().filter(|one| one.what == What::Payment(order_no.to_owned())).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_callback_is_lost_is_asked_about_and_paid() {
    for database in databases().await {
        let Some(market) = Market::start(database, 1, "").await else { return };
        let mut draw = Draw::seeded(11);
        for channel in ASKABLE {
            let purchase = market.order(channel, &mut draw).await;
            let order_no = purchase.order_no.as_str();
            // A minute later nobody has paid; four minutes later somebody has.
            market.pass(MINUTE + MINUTE / 4).await;
            assert_eq!(questions(&market.standin.asked(), order_no), 1, "{channel:?}");
            assert_eq!(market.look(order_no).await["state"], "TO_BE_PAID");
            market.standin.pay(order_no);
            market.pass(4 * MINUTE).await;
            let order = market.look(order_no).await;
            assert_eq!(order["state"], "TO_BE_DELIVERED", "{channel:?} {order:#}");
            assert_eq!(order["events"].as_array().map(Vec::len), Some(1), "{order:#}");
            assert_eq!(order["notifications"][0]["source"], "inquiry", "{order:#}");
            let inquiry = &market.inquiries(order_no).await[0];
            assert_eq!((&inquiry["code"], &inquiry["asked"]), (&json!("inquiry.told"), &json!(2)));
            assert_eq!(inquiry["next_at_ms"], Value::Null);
            // The callback comes after all, and changes nothing; nobody asks any more.
            let notice = market.stage(channel).payment(&purchase, &mut draw);
            let keys = market.standin.keys();
            assert_eq!(market.tell(&notice, &keys, &mut draw).await, 200);
            market.pass(30 * 60 * MINUTE).await;
            let order = market.look(order_no).await;
            assert_eq!(order["history"].as_array().map(Vec::len), Some(1), "{order:#}");
            assert_eq!(order["events"].as_array().map(Vec::len), Some(1), "{order:#}");
            assert_eq!(questions(&market.standin.asked(), order_no), 2);
            assert!(market.standin.asked().iter().all(|one| one.genuine));
        }
        market.stop().await;
    }
}

/// One market on the first database.
async fn market(ask: &str) -> Option<Market> {
    Market::start(databases().await.into_iter().next()?, 1, ask).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_to_be_believed_changes_nothing_and_the_question_is_put_again() {
    let Some(market) = market("timeout_ms = 400").await else { return };
    let mut draw = Draw::seeded(12);
    for channel in ASKABLE {
        for manner in [
            Manner::Forged,
            Manner::Another,
            Manner::Garbage,
            Manner::TooLong,
            Manner::Status(500),
            Manner::Status(429),
            Manner::Never,
        ] {
            let purchase = market.order(channel, &mut draw).await;
            let order_no = purchase.order_no.as_str();
            market.standin.pay(order_no);
            market.standin.mood(move |_| manner);
            market.pass(MINUTE + MINUTE / 4).await;
            assert_eq!(questions(&market.standin.asked(), order_no), 1, "{channel:?} {manner:?}");
            let order = market.look(order_no).await;
            assert_eq!(order["state"], "TO_BE_PAID", "{channel:?} {manner:?}");
            assert_eq!(order["notifications"], json!([]), "{channel:?} {manner:?}");
            market.standin.mood(|_| Manner::Late(Duration::from_millis(30)));
            market.pass(20 * MINUTE).await;
            let order = market.look(order_no).await;
            assert_eq!(order["state"], "TO_BE_DELIVERED", "{channel:?} {manner:?} {order:#}");
        }
    }
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_one_gateway_stops_no_other_and_costs_it_few_questions() {
    let clock = Clock::manual(now());
    let (well, ill) = (StandIn::start(clock.clone()).await, StandIn::start(clock.clone()).await);
    let many = "per_minute = 60000\nburst = 1000";
    let toml = format!(
        "{}{}",
        well.toml(&[Channel::WechatV3Main], many),
        ill.toml(&[Channel::AlipayMain], many)
    );
    let database = databases().await.into_iter().next().expect("a database");
    let started = Market::with(database, 1, (clock, Arc::clone(&well), &toml)).await;
    let Some(market) = started else { return };
    let mut draw = Draw::seeded(13);
    ill.mood(|_| Manner::Status(503));
    let mut orders = Vec::new();
    for number in 0..60 {
        let channel = if number % 2 == 0 { Channel::WechatV3Main } else { Channel::AlipayMain };
        let purchase = market.order(channel, &mut draw).await;
        ill.order(&purchase);
        well.pay(&purchase.order_no);
        ill.pay(&purchase.order_no);
        orders.push((channel, purchase));
    }
    for _ in 0..10 {
        market.pass_badly(MINUTE).await;
    }
    for (channel, purchase) in &orders {
        let order = market.look(&purchase.order_no).await;
        let paid = order["state"] == "TO_BE_DELIVERED";
        assert_eq!(paid, *channel == Channel::WechatV3Main, "{order:#}");
    }
    assert_eq!(well.asked().len(), 30);
    // Thirty orders would have been asked about three times each; it was left in peace.
    let in_outage = ill.asked().len();
    assert!((5..=25).contains(&in_outage), "{in_outage} questions in ten minutes of outage");
    ill.mood(|_| Manner::Well);
    for _ in 0..10 {
        market.pass_badly(10 * MINUTE).await;
    }
    for (_, purchase) in &orders {
        let order = market.look(&purchase.order_no).await;
        assert_eq!(order["state"], "TO_BE_DELIVERED", "{order:#}");
    }
    assert_eq!(ill.asked().len(), in_outage + 30);
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_an_order_is_closed_its_gateway_is_asked() {
    for database in databases().await {
        let Some(market) = Market::start(database, 1, "timeout_ms = 10000").await else { return };
        let mut draw = Draw::seeded(14);
        for channel in ASKABLE {
            let purchase = market.order(channel, &mut draw).await;
            let order_no = purchase.order_no.as_str();
            let nothing = json!({});
            let ask = || market.ask(order_no, "?wait=10s", &nothing);
            let (status, told) = ask().await;
            assert_eq!((status, &told["told"]), (200, &json!("pending")), "{channel:?} {told}");
            assert_eq!(told["asked"], true);
            // A moment later nobody is asked again, however many want to know.
            market.standin.pay(order_no);
            let (_, told) = ask().await;
            assert_eq!(
                (&told["told"], &told["code"]),
                (&json!("pending"), &json!("inquiry.too-soon"))
            );
            assert_eq!(questions(&market.standin.asked(), order_no), 1);
            market.clock.advance_ms(30_000);
            let (_, told) = ask().await;
            assert_eq!((&told["told"], &told["asked"]), (&json!("paid"), &json!(true)), "{told}");
            let id = told["notification"].clone();
            market.pass(1).await;
            let order = market.look(order_no).await;
            assert_eq!(
                (&order["state"], &order["notifications"][0]["id"]),
                (&json!("TO_BE_DELIVERED"), &id)
            );
            let (_, told) = ask().await;
            assert_eq!((&told["told"], &told["asked"]), (&json!("paid"), &json!(false)), "{told}");
            assert_eq!(questions(&market.standin.asked(), order_no), 2);
        }
        // An order that its gateway knows nothing of, and a gateway that says nothing.
        let nowhere = market.stage(Channel::WechatV3Main).purchase(&mut draw);
        market.register(&nowhere, &json!({ "channel": "wechat-v3-main" })).await;
        let (_, told) = market.ask(&nowhere.order_no, "?wait=10s", &json!({})).await;
        assert_eq!(told["told"], "unknown", "{told}");
        let purchase = market.order(Channel::AlipayMain, &mut draw).await;
        market.standin.mood(|_| Manner::Never);
        let (_, told) = market.ask(&purchase.order_no, "?wait=100ms", &json!({})).await;
        assert_eq!(
            (&told["told"], &told["code"]),
            (&json!("no-answer"), &json!("inquiry.wait-over"))
        );
        assert_eq!(market.ask("NO-SUCH", "?wait=1s", &json!({})).await.0, 404);
        assert_eq!(market.ask(&purchase.order_no, "?wait=31s", &json!({})).await.0, 422);
        assert_eq!(market.ask(&purchase.order_no, "", &json!({"refund": 1})).await.0, 422);
        market.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_whose_callback_is_lost_is_asked_about() {
    let Some(market) = market("").await else { return };
    let mut draw = Draw::seeded(15);
    for channel in ASKABLE {
        let purchase = market.order(channel, &mut draw).await;
        let order_no = purchase.order_no.as_str();
        market.standin.pay(order_no);
        let notice = market.stage(channel).payment(&purchase, &mut draw);
        assert_eq!(market.tell(&notice, &market.standin.keys(), &mut draw).await, 200);
        market.pass(1).await;
        let refund = purchase.full_refund(&mut draw);
        market.standin.refund(order_no, &refund);
        let asked = json!({ "refund_no": refund.refund_no });
        let (status, put) = market.ask(order_no, "", &asked).await;
        assert_eq!(status, 202, "{put}");
        market.pass(MINUTE + MINUTE / 4).await;
        assert_ne!(market.look(order_no).await["state"], "REFUNDED");
        market.standin.refund_ends(&refund.refund_no);
        market.pass(5 * MINUTE).await;
        let order = market.look(order_no).await;
        assert_eq!(order["state"], "REFUNDED", "{channel:?} {order:#}");
        market.pass(60 * MINUTE).await;
        let times = market.standin.asked();
        let about = What::Refund(refund.refund_no.clone());
        assert_eq!(times.iter().filter(|one| one.what == about).count(), 2);
        // The payment was told by its callback: nobody asked for it.
        assert_eq!(questions(&times, order_no), 0);
    }
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_from_before_the_wish_to_ask_are_asked_about_and_so_are_payment_numbers() {
    let clock = Clock::manual(now());
    let standin = StandIn::start(clock.clone()).await;
    let database = databases().await.into_iter().next().expect("a database");
    let started = Market::with(database, 1, (clock, Arc::clone(&standin), "")).await;
    let Some(mut market) = started else { return };
    let mut draw = Draw::seeded(16);
    let purchase = market.order(Channel::WechatV3Main, &mut draw).await;
    let (status, refused) = market.ask(&purchase.order_no, "", &json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("inquiry.not-possible")));
    let numbered = market.stage(Channel::WechatV3Main).purchase(&mut draw);
    standin.order(&numbered);
    let shop =
        callgate_trigger::purchase::Purchase { order_no: "SHOP-1".to_owned(), ..numbered.clone() };
    market.register(&shop, &json!({ "aliases": [numbered.order_no] })).await;
    for order_no in [&purchase.order_no, &numbered.order_no] {
        standin.pay(order_no);
    }
    market.pass(10 * MINUTE).await;
    assert_eq!(standin.asked(), []);
    market.restart(&standin.toml(&[Channel::WechatV3Main], "")).await;
    for _ in 0..10 {
        market.pass_badly(2_000).await;
    }
    for order_no in [purchase.order_no.as_str(), "SHOP-1"] {
        let order = market.look(order_no).await;
        assert_eq!(order["state"], "TO_BE_DELIVERED", "{order:#}");
    }
    market.stop().await;
}

#[test]
fn a_channel_that_cannot_be_asked_as_it_says_stops_the_start() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let key = keys().1.join("stranger.key.pem").display().to_string();
    let asking = |base: &str, ask: &str| {
        let toml = format!(
            "[channels.alipay-main.inquiry]\napplication_private_key_file = {key:?}\n\
             base_url = {base:?}\n[channels.alipay-main.ask]\n{ask}\n"
        );
        write_configuration(folder.path(), &toml);
        let file = Some(folder.path().join("callgate.toml"));
        match Config::load(&Layers { file, ..Layers::default() }) {
            Ok(_) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    let good = "https://openapi.alipay.com";
    assert_eq!(asking(good, ""), "none");
    for (base, ask, expected) in [
        (good, "first_ms = 0", "channels.alipay-main.ask.first_ms: found 0, expected 100 to"),
        (good, "places = 1000", "channels.alipay-main.ask.places: found 1000"),
        (good, "ca = \"none\"", "channels.alipay-main.ask"),
        (good, "patience = 1", "channels.alipay-main.ask"),
        ("https://127.0.0.1", "", "not a public address and not allowed"),
        ("http://openapi.alipay.com", "", "https"),
        ("https://openapi.alipay.com/path", "", "without a path"),
        ("no address", "", "https://host"),
    ] {
        let found = asking(base, ask);
        assert!(found.contains(expected), "{base} {ask}: {found}");
    }
}
