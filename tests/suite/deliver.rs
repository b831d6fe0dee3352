//! Events at their sinks: at least once, with one id, in order for each key, whatever the sink
//! does meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callgate_store::DeadLetters;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::house::{House, OPERATOR};
use crate::sinks::{Heard, HttpSink, Nats, Reply, Shop, each_once_in_order, secret};

/// Delays that a story can wait for, and a lease that a dead host does not hold for long.
const QUICK: &str = "timeout_ms = 2000\nlease_ms = 4000\n\
    retry = { first_ms = 20, max_ms = 40, attempts_max = 1000 }\n\
    circuit = { first_ms = 20, max_ms = 40 }";

fn shop(house: &House) -> Shop {
    Shop::new(&house.public, &house.private)
}

fn dead_letters(sink: &str) -> DeadLetters {
    let sink = sink.to_owned();
    DeadLetters { sink, event_id: None, business: None, after_seq: 0, limit: 100 }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sink_hears_every_event_of_its_topics_once_and_signed() {
    let (all, some, none) =
        (HttpSink::start().await, HttpSink::start().await, HttpSink::start().await);
    let toml = all.toml("all", "")
        + &some.toml("some", "").replace("\"*\"", "\"order.paid-twice\"")
        + &none.toml("none", "businesses = [\"OTHER\"]");
    let Some(house) = House::start_with(&toml) else { return };
    let orders = shop(&house).pay_orders(15, 3).await;
    let taken = all.when_taken(45).await;
    each_once_in_order(&taken, &orders, 3);
    each_once_in_order(&some.when_taken(30).await, &orders, 2);
    for heard in &taken {
        assert!(heard.is_signed_with(&secret(b'a')), "{heard:?}");
        assert!(!heard.is_signed_with(&secret(b'b')), "{heard:?}");
        assert_eq!(heard.event["id"], heard.id.as_str());
        assert_eq!(heard.event["business"], "PRODUCT_ORDER");
        assert!(heard.event["data"].is_object() && heard.event["timestamp"].is_string());
        let order = house.order(&heard.key()).await.expect("the order");
        let events = order["events"].as_array().expect("events");
        let stored = events.iter().find(|event| event["id"] == heard.id.as_str());
        assert_eq!(stored.expect("a stored event")["topic"], heard.event["type"]);
    }
    let delivered = house.metric("callgate_sink_delivered_total{sink=\"all\"}").await;
    assert_eq!(delivered, 45);
    assert!(none.heard().is_empty());
    assert!(house.stop(), "the server ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_event_holds_back_its_key_alone_and_goes_on_with_one_id() {
    // Every event fails on its first two tries; those of the first key until it heals.
    let healed = Arc::new(AtomicBool::new(false));
    let (ill, mut tries) = (Arc::clone(&healed), BTreeMap::new());
    let mut first_key = None;
    let sink = HttpSink::start_with(move |heard: &Heard| {
        let first = first_key.get_or_insert_with(|| heard.key()).clone();
        let tried = tries.entry(heard.id.clone()).or_insert(0u32);
        *tried = tried.saturating_add(1);
        let poisoned = first == heard.key() && !ill.load(Ordering::SeqCst);
        Reply::Status(if *tried <= 2 || poisoned { 500 } else { 200 })
    })
    .await;
    let Some(house) = House::start_with(&sink.toml("erp", QUICK)) else { return };
    let orders = shop(&house).pay_orders(8, 3).await;
    let taken = sink.when_taken(21).await;
    let poisoned = sink.heard()[0].key();
    assert!(taken.iter().all(|heard| heard.key() != poisoned), "its key waits");
    healed.store(true, Ordering::SeqCst);
    each_once_in_order(&sink.when_taken(24).await, &orders, 3);
    let mut bodies = BTreeMap::new();
    for heard in sink.heard() {
        let body = bodies.entry(heard.id.clone()).or_insert_with(|| heard.body.clone());
        assert_eq!(*body, heard.body, "the same bytes on every try");
    }
    assert!(house.stop(), "the server ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sink_delays_neither_callbacks_nor_orders_nor_other_sinks() {
    let (good, silent) = (HttpSink::start().await, HttpSink::start_with(|_| Reply::Silence).await);
    let refused = HttpSink::start_with(|_| Reply::Status(500)).await;
    let nobody = "[sinks.nobody]\nkind = \"http\"\nurl = \"http://127.0.0.1:9/\"\n\
        allow_private = true\nsecret = \"whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\"\n\
        topics = [\"*\"]\nfrom = \"beginning\"\n";
    let toml = good.toml("good", "")
        + &silent.toml("silent", "timeout_ms = 60000\nlease_ms = 120000")
        + &refused.toml("refused", QUICK)
        + nobody;
    let Some(house) = House::start_with(&toml) else { return };
    let orders = shop(&house).pay_orders(20, 1).await;
    each_once_in_order(&good.when_taken(20).await, &orders, 1);
    refused.when(|heard| heard.len() >= 6).await;
    for order in &orders {
        house.order_when(order, |order| order["state"] == "TO_BE_DELIVERED").await;
    }
    assert!(silent.heard().len() <= 16, "in_flight_max is kept");
    assert!(house.metric("callgate_sink_failed_total{sink=\"nobody\"").await >= 1);
    assert!(house.metric("callgate_sink_held{sink=\"refused\"}").await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn during_a_rotation_both_secrets_sign() {
    let sink = HttpSink::start().await;
    let both = format!("secrets = [{:?}, {:?}]", secret(b'n'), secret(b'o'));
    let Some(house) = House::start_with(&sink.toml("erp", &both)) else { return };
    shop(&house).pay(1).await;
    let taken = sink.when_taken(1).await;
    assert!(taken[0].is_signed_with(&secret(b'n')) && taken[0].is_signed_with(&secret(b'o')));
    assert!(!taken[0].is_signed_with(&secret(b'x')));
    assert_eq!(taken[0].signatures.split(' ').count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let other = HttpSink::start().await;
    let to = other.url.clone();
    let sink = HttpSink::start_with(move |_| Reply::Redirect(to.clone())).await;
    let Some(house) = House::start_with(&sink.toml("erp", QUICK)) else { return };
    shop(&house).pay(1).await;
    sink.when(|heard| heard.len() >= 3).await;
    assert!(other.heard().is_empty(), "nobody went there");
    let failed = "callgate_sink_failed_total{sink=\"erp\",code=\"sink.redirect\"}";
    assert!(house.metric(failed).await >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sink_times_out_and_hears_the_event_again() {
    let mut first = true;
    let sink = HttpSink::start_with(move |_| {
        if std::mem::take(&mut first) { Reply::Silence } else { Reply::Status(200) }
    })
    .await;
    let quick = QUICK.replace("timeout_ms = 2000", "timeout_ms = 100");
    let Some(house) = House::start_with(&sink.toml("erp", &quick)) else { return };
    shop(&house).pay(1).await;
    sink.when_taken(1).await;
    let heard = sink.heard();
    assert_eq!((heard.len(), &heard[0].id), (2, &heard[1].id));
    let failed = "callgate_sink_failed_total{sink=\"erp\",code=\"sink.timeout\"}";
    assert_eq!(house.metric(failed).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_never_taken_becomes_a_dead_letter_and_is_sent_again_on_order() {
    let mut first_key = None;
    let sink = HttpSink::start_with(move |heard: &Heard| {
        let first: String = first_key.get_or_insert_with(|| heard.key()).clone();
        let is_first = heard.key() == first && heard.event["type"] == "order.paid";
        Reply::Status(if is_first { 422 } else { 200 })
    })
    .await;
    let few = QUICK.replace("attempts_max = 1000", "attempts_max = 3");
    let Some(house) = House::start_with(&sink.toml("erp", &few)) else { return };
    shop(&house).pay_orders(4, 2).await;
    let taken = sink.when_taken(7).await;
    let heard = sink.heard();
    let refused: Vec<&Heard> = heard.iter().filter(|heard| heard.status == 422).collect();
    assert_eq!(refused.len(), 3, "attempts_max is kept");
    assert!(taken.iter().any(|heard| heard.key() == refused[0].key()), "its key goes on");
    let store = house.store().await;
    let dead = loop {
        // Written right after the attempt, which the sink hears first.
        let dead = store.dead_letters(&dead_letters("erp")).await.expect("a read");
        if !dead.is_empty() {
            break dead;
        }
    };
    assert_eq!((dead.len(), dead[0].attempts), (1, 3));
    assert_eq!(dead[0].event.event.id, refused[0].id);
    assert_eq!(dead[0].reason.as_ref().expect("a reason").code, "sink.status");
    sink.set_mood(|_| Reply::Status(200));
    let order = json!({ "all": true, "why": "the consumer is mended" });
    let url = format!("{}/operator/sinks/erp/redeliver", house.private);
    let asked = house.http.post(url).bearer_auth(OPERATOR).json(&order);
    let told: Value = asked.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!((&told["changed"], &told["dead"]), (&json!(1), &json!(0)), "{told}");
    let taken = sink.when_taken(8).await;
    assert_eq!(taken.iter().filter(|heard| heard.id == refused[0].id).count(), 1);
    store.close().await;
    assert!(house.stop(), "the server ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_is_a_dead_letter_and_the_others_go_on() {
    let sink = HttpSink::start().await;
    // The sink is told of nothing before the second start, when one event is spoilt.
    let Some(house) = House::start_with("") else { return };
    let orders = shop(&house).pay_orders(3, 1).await;
    let [bad, good @ ..] = orders.as_slice() else { unreachable!("three orders") };
    for order in &orders {
        house.order_when(order, |order| order["state"] == "TO_BE_DELIVERED").await;
    }
    let file = house.configuration().with_file_name("callgate.db");
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}", file.display());
    let mut connection = sqlx::AnyConnection::connect(&url).await.expect("the database");
    let spoil = format!("update outbox set headers = '[[' where order_no = '{bad}'");
    let spoilt = sqlx::raw_sql(sqlx::AssertSqlSafe(spoil)).execute(&mut connection).await;
    spoilt.expect("an update");
    connection.close().await.expect("it closes");
    let house = house.deploy_processors(&sink.toml("erp", QUICK));
    each_once_in_order(&sink.when_taken(2).await, good, 1);
    let url = format!("{}/operator/sinks/erp/dead-letters", house.private);
    let shown = loop {
        // Written right after the others, which the sink hears first.
        let asked = house.http.get(&url).bearer_auth(OPERATOR).send().await;
        let shown: Value = asked.expect("an answer").json().await.expect("JSON");
        if !shown["dead_letters"][0].is_null() {
            break shown["dead_letters"].clone();
        }
    };
    assert_eq!((&shown[0]["reason_code"], &shown[1]), (&json!("store.corrupt"), &Value::Null));
    assert_eq!(shown[0]["order_no"], json!(bad));
    assert!(house.stop(), "the server ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_gets_the_event_no_more() {
    let sink = HttpSink::start_with(|_| Reply::Status(410)).await;
    let Some(house) = House::start_with(&sink.toml("erp", QUICK)) else { return };
    shop(&house).pay_orders(3, 2).await;
    sink.when(|heard| heard.len() >= 6).await;
    let ids: BTreeSet<String> = sink.heard().into_iter().map(|heard| heard.id).collect();
    assert_eq!((ids.len(), sink.heard().len()), (6, 6), "once each");
    assert!(house.stop(), "the server ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_in_the_middle_loses_no_event() {
    let sink = HttpSink::start().await;
    let quick = QUICK.replace("lease_ms = 4000", "lease_ms = 400");
    let quick = quick.replace("timeout_ms = 2000", "timeout_ms = 200");
    let Some(mut house) = House::start_with(&sink.toml("erp", &quick)) else { return };
    let mut orders = Vec::new();
    for round in 1..=3usize {
        orders.extend(shop(&house).pay_orders(20, 2).await);
        let so_far = round.saturating_sub(1).saturating_mul(40);
        sink.when_taken(so_far.saturating_add(round.saturating_mul(7))).await;
        house.kill();
        house = house.kill_and_restart();
    }
    let taken = sink.when_taken(120).await;
    let mut seen = BTreeSet::new();
    let firsts: Vec<Heard> =
        taken.into_iter().filter(|heard| seen.insert(heard.id.clone())).collect();
    each_once_in_order(&firsts, &orders, 2);
    assert!(house.stop(), "the server ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_sends_nothing_again() {
    let sink = HttpSink::start().await;
    let Some(house) = House::start_with(&sink.toml("erp", QUICK)) else { return };
    let orders = shop(&house).pay_orders(20, 2).await;
    sink.when_taken(10).await;
    let house = house.stop_and_restart();
    each_once_in_order(&sink.when_taken(40).await, &orders, 2);
    assert!(house.stop(), "the server ends well");
    each_once_in_order(&sink.taken(), &orders, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_nats_gets_every_event_once_even_over_a_power_cut() {
    let Some(program) = Nats::program() else { return };
    let url = Nats::free_url();
    let toml = format!(
        "[sinks.stream]\nkind = \"nats\"\nurl = {url:?}\ntopics = [\"*\"]\nfrom = \"beginning\"\n\
         timeout_ms = 500\nlease_ms = 1000\nretry = {{ first_ms = 20, max_ms = 40, \
         attempts_max = 100000 }}\ncircuit = {{ first_ms = 20, max_ms = 40 }}\n"
    );
    let Some(mut house) = House::start_with(&toml) else { return };
    // The server is not there yet: the host starts nevertheless, and the events wait.
    let mut orders = shop(&house).pay_orders(10, 2).await;
    let nats = Nats::start(&program, &url).await;
    assert!(nats.messages(20).await.len() >= 20);
    orders.extend(shop(&house).pay_orders(10, 2).await);
    nats.messages(23).await;
    house.kill();
    house = house.kill_and_restart();
    let found = nats.messages(40).await;
    let ids: BTreeSet<&String> = found.iter().map(|(_, id, _)| id).collect();
    assert_eq!((found.len(), ids.len()), (40, 40), "the stream drops what came twice");
    let mut by_key: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (subject, id, body) in &found {
        let topic = body["type"].as_str().expect("a topic");
        assert_eq!(*subject, format!("callgate.PRODUCT_ORDER.{topic}"));
        assert_eq!(body["id"], id.as_str());
        let key = body["key"].as_str().expect("a key");
        by_key.entry(key).or_default().push(body["sequence"].as_i64().expect("a sequence"));
    }
    for order in &orders {
        let found = by_key.remove(order.as_str()).unwrap_or_default();
        assert!(found.len() == 2 && found.is_sorted(), "{order}: {found:?}");
    }
    assert!(house.stop(), "the server ends well");
}
