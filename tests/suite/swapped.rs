//! What reaches out of the house is changed by a reload as keys are: sinks, endpoints, webhooks; new
//! channels are watched like old ones; and who asked for a reload stands in the audit.

use callgate_trigger::channel::Channel;
use callgate_trigger::message::{Flaw, Sending};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::alerts::{Duty, pay, raised};
use crate::erp::{Erp, Field, caller_toml, databases, post};
use crate::hosts::Addresses;
use crate::house::{House, TOKEN, keys, now, plugins_toml, stage, write_configuration};
use crate::reload::{count_when, folder_of, operate, shown, write};
use crate::sinks::{HttpSink, Shop, secret};

const DONE: &str = "callgate_reloads_total{outcome=\"done\"}";
const REFUSED: &str = "callgate_reloads_total{outcome=\"refused\"}";
const OFTEN: &str = "[reload]\nwatch_ms = 100\n";

/// Changes the configuration of a house with the processors of the mall, and waits for the reload.
async fn change(house: &House, more: &str, reloads: u64) -> Value {
    let plugins = plugins_toml().expect("built, or there were no house");
    write_configuration(&folder_of(house), &format!("{plugins}{more}"));
    count_when(house, DONE, reloads).await;
    shown(house, "keys").await["last_reload"]["waits_for_restart"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_sink_are_changed_with_overlap_and_without_a_restart() {
    let (folder, sink) = (TempDir::new().expect("a folder"), HttpSink::start().await);
    let file = |name: &str| folder.path().join(name);
    for letter in [b'a', b'b'] {
        let name = char::from(letter).to_string();
        std::fs::write(file(&name), secret(letter)).expect("a secret");
    }
    let toml = |names: &[&str], more: &str| {
        let files: Vec<_> = names.iter().map(|name| file(name).display().to_string()).collect();
        let sink = sink.toml("erp", &format!("secret_files = {files:?}\n{more}"));
        format!("{sink}{OFTEN}")
    };
    let Some(house) = House::start_with(&toml(&["a"], "")) else { return };
    let mut shop = Shop::new(&house.public, &house.private);
    let signed = async |shop: &mut Shop, count: usize, expected: [bool; 3]| {
        shop.pay(1).await;
        let taken = sink.when_taken(count).await;
        let last = taken.last().expect("an event");
        let found = [b'a', b'b', b'c'].map(|letter| last.is_signed_with(&secret(letter)));
        assert_eq!(found, expected, "event {count}");
    };
    signed(&mut shop, 1, [true, false, false]).await;
    assert_eq!(change(&house, &toml(&["a", "b"], ""), 1).await, json!([]));
    signed(&mut shop, 2, [true, true, false]).await;
    assert_eq!(change(&house, &toml(&["b"], ""), 2).await, json!([]));
    signed(&mut shop, 3, [false, true, false]).await;

    // The same files with other words in them; and with words that are none.
    write(&file("b"), "whsec_sesame!");
    count_when(&house, REFUSED, 1).await;
    let last = shown(&house, "keys").await["last_reload"].clone();
    assert_eq!((&last["outcome"], &last["key"]), (&json!("refused"), &json!("sinks.erp.secret")));
    signed(&mut shop, 4, [false, true, false]).await;
    write(&file("b"), &secret(b'c'));
    count_when(&house, DONE, 3).await;
    signed(&mut shop, 5, [false, false, true]).await;

    // What the sink takes waits for the next start, and so does a sink that is new.
    let other = sink.toml("second", "").replace("\"*\"", "\"order.*\"");
    let waits = change(&house, &format!("{}{other}", toml(&["b"], "in_flight_max = 2")), 4).await;
    let waits: Vec<_> = waits.as_array().expect("keys").iter().filter_map(Value::as_str).collect();
    assert!(waits.contains(&"sinks.erp.in_flight_max"), "{waits:?}");
    assert!(waits.contains(&"sinks.second.topics"), "{waits:?}");
    signed(&mut shop, 6, [false, false, true]).await;
    let log = house.log();
    let told = [secret(b'a'), secret(b'b'), secret(b'c'), "sesame".to_owned()];
    assert!(!told.iter().any(|secret| log.contains(secret)), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_moves_and_nothing_is_lost_or_told_twice() {
    let (old, new) = (HttpSink::start().await, HttpSink::start().await);
    let toml = |sink: &HttpSink| format!("{}{OFTEN}", sink.toml("erp", ""));
    let Some(house) = House::start_with(&toml(&old)) else { return };
    let mut shop = Shop::new(&house.public, &house.private);
    let orders = shop.pay_orders(3, 1).await;
    old.when_taken(3).await;
    assert_eq!(change(&house, &toml(&new), 1).await, json!([]));
    let more = shop.pay_orders(3, 1).await;
    let taken = new.when_taken(3).await;
    assert!(taken.iter().all(|heard| more.contains(&heard.key())), "{taken:#?}");
    assert!(old.heard().iter().all(|heard| orders.contains(&heard.key())));
    // Into the house itself it may not move unless that is allowed.
    let inside = toml(&new).replace("allow_private = true", "allow_private = false");
    write_configuration(&folder_of(&house), &format!("{}{inside}", plugins_toml().expect("built")));
    count_when(&house, REFUSED, 1).await;
    shop.pay(1).await;
    new.when_taken(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_an_endpoint_is_changed_without_a_restart() {
    let (erp, folder) = (Erp::start().await, TempDir::new().expect("a folder"));
    let file = folder.path().join("erp.header");
    std::fs::write(&file, "Bearer old-7f3a\n").expect("a secret");
    let config = json!({ "requests": [post("/orders")] });
    let more = format!("headers = {{ authorization_file = {:?} }}", file.display().to_string());
    let Some(caller) = caller_toml(&config, "") else { return };
    let toml = format!("{caller}{}", erp.toml(&more));
    let Some(database) = databases().await.into_iter().next() else { return };
    let field = Field::start(database, &toml, &["reload.watch_ms=100"]);
    let order = field.pay(&json!({})).await;
    field.calls_when_paid(&order).await;
    write(&file, "Bearer new-9c21\n");
    while field.metric(DONE).await < 1 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let order = field.pay(&json!({})).await;
    field.calls_when_paid(&order).await;
    let heard = erp.when_heard(2).await;
    let shown: Vec<_> = heard.iter().map(|one| one.header("authorization")).collect();
    assert_eq!(shown, ["Bearer old-7f3a", "Bearer new-9c21"]);
    // A value that no header can have changes nothing.
    write(&file, "Bearer \u{7}bell\n");
    while field.metric(REFUSED).await < 1 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let order = field.pay(&json!({})).await;
    field.calls_when_paid(&order).await;
    assert_eq!(erp.when_heard(3).await[2].header("authorization"), "Bearer new-9c21");
    let log = field.host.log_when(|log| log.contains("endpoints.erp.headers")).await;
    assert!(!log.contains("bell"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_changed_is_told_the_rest() {
    let (one, two) = (Duty::start().await, Duty::start().await);
    let toml = |duty: &Duty| format!("{}{OFTEN}", duty.toml("json", ""));
    let Some(house) = House::start_with(&toml(&one)) else { return };
    let place = Addresses { public: house.public.clone(), private: house.private.clone() };
    let order_no = pay(&place, ("PRODUCT_ORDER", TOKEN, "TO_BE_PAID"), false).await;
    assert_eq!(one.turns("raised", "parked").await, ["raised"]);
    assert_eq!(change(&house, &toml(&two), 1).await, json!([]));
    let body = json!({ "amount_minor": 1, "currency": "CNY", "state": "TO_BE_PAID" });
    assert_eq!(house.put_order(&order_no, &body).await.0, 201);
    assert_eq!(two.turns("recovered", "parked").await, ["recovered"]);
    assert_eq!(one.turns("raised", "parked").await, ["raised"], "the old one hears no more");
    // One that is taken out is told nothing; what is wrong about one changes nothing.
    let wrong = toml(&two).replace("kind = \"json\"", "kind = \"json\"\nsecret = \"sesame\"");
    write_configuration(&folder_of(&house), &format!("{}{wrong}", plugins_toml().expect("built")));
    count_when(&house, REFUSED, 1).await;
    let told = operate(&house, &["alerts", "test", "duty"]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(!house.log().contains("sesame"));
}

/// A channel as `alipay-main`, with another name.
fn second_channel() -> String {
    let (keys, folder) = keys();
    let all = keys.channels_toml(&folder.to_string_lossy());
    let behind = all.split("[channels.alipay-main]").nth(1).expect("the channel");
    let fields = behind.split("[channels.").next().expect("its fields");
    format!("[channels.alipay-second]{fields}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_a_reload_brings_is_watched_like_the_others() {
    let duty = Duty::start().await;
    let toml = format!("{}{OFTEN}", duty.toml("json", ""));
    let Some(house) = House::start_with(&toml) else { return };
    assert_eq!(change(&house, &format!("{toml}{}", second_channel()), 1).await, json!([]));
    let metrics = async || {
        let request = house.http.get(format!("{}/metrics", house.private));
        let request = request.bearer_auth(crate::house::OPERATOR);
        request.send().await.expect("metrics").text().await.expect("text")
    };
    // Its counts are there before anything happens on it, so that a rate can be seen.
    for name in ["signature_failures_total", "untimely_total", "callbacks_recent"] {
        let line = format!("callgate_{name}{{channel=\"alipay-second\"}} 0");
        while !metrics().await.contains(&line) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    for _ in 0..25 {
        let notice = stage.payment(&purchase, &mut draw);
        let forged = notice.sign(keys().0, Sending::flawed(now(), Flaw::WrongKey), &mut draw);
        let mut forged = forged.expect("a message");
        forged.path = "/callback/alipay-second".to_owned();
        house.send(&forged).await;
    }
    assert_eq!(duty.turns("raised", "signatures:alipay-second").await, ["raised"]);
    assert_eq!(raised(&house.private).await, ["signatures:alipay-second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_a_reload_stands_in_the_audit_with_what_came_of_it() {
    let more = "[reload]\nwatch_ms = 0\n";
    let folder = TempDir::new().expect("a folder");
    write_configuration(folder.path(), more);
    let house = House::start_in(folder);
    let path = folder_of(&house);
    let audited = async || {
        let audit = shown(&house, "audit?target=configuration").await;
        audit["audit"].as_array().expect("entries").clone()
    };
    assert!(operate(&house, &["reload", "--why", "the key of the ERP"]).status.success());
    write_configuration(&path, &format!("{more}[log]\nrefused_lines_per_s = 7\n"));
    assert!(operate(&house, &["reload"]).status.success());
    write_configuration(&path, &format!("{more}[nonsense]\nx = 1\n"));
    assert!(!operate(&house, &["reload", "--why", "a try"]).status.success());
    let entries = audited().await;
    let words = |name: &str| -> Vec<String> {
        entries.iter().map(|one| one[name].as_str().expect("a text").to_owned()).collect()
    };
    assert_eq!(words("act"), ["reload"; 3], "{entries:#?}");
    assert_eq!(words("who"), ["operator"; 3]);
    assert_eq!(words("why"), ["a try", "no reason given", "the key of the ERP"]);
    let results = words("result");
    assert!(results[0].contains(": refused: config."), "{results:?}");
    assert!(results[1].ends_with(": done, waits for a restart: log.refused_lines_per_s"));
    assert!(results[2].ends_with(": done"), "{results:?}");
    assert!(!operate(&house, &["reload", "--why", ""]).status.success(), "no reason is none");
    assert_eq!(audited().await.len(), 3);
}
