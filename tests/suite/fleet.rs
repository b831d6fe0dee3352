//! Versions go live without a restart: pushed, activated, rolled back, retired, refused.

use std::fs;
use std::process::{Command, Output};

use callgate_trigger::cases::Order;
use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;
use serde_json::{Value, json};

use crate::house::{House, OPERATOR, TOKEN, binary, callgate, keys, now, stage};
use crate::versions::{NAME, Operator, POLICY, Version, in_force};

/// Sends the payment of a new order and answers the order once it is paid.
async fn paid(house: &House) -> Value {
    let order = pay(house).await;
    house.order_when(&order.order_no, |order| order["state"] == "TO_BE_DELIVERED").await
}

async fn pay(house: &House) -> Order {
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    let order = stage.order(&purchase);
    let body = json!({ "amount_minor": order.amount.minor, "currency": order.amount.currency,
        "state": order.state });
    assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
    let notice = stage.payment(&purchase, &mut draw);
    let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
    assert_eq!(house.send(&message).await.0, 200);
    order
}

/// The version that paid a new order.
async fn version(house: &House) -> String {
    let order = paid(house).await;
    assert_eq!(order["history"].as_array().map(Vec::len), Some(1), "{order:#}");
    order["history"][0]["plugin_version"].as_str().expect("a version").to_owned()
}

/// The command line, as an operator.
fn plugin(house: &House, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("plugin").args(words);
    command.env("CALLGATE_OPERATOR_URL", &house.private);
    command.env("CALLGATE_OPERATOR_TOKEN", OPERATOR).output().expect("the binary runs")
}

fn told(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_pushed_activated_and_rolled_back_by_the_command_line() {
    let Some(house) = House::start_with(POLICY) else { return };
    let Some(next) = Version::of("0.1.1") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    fs::write(path("c.wasm"), &next.component).expect("a file");
    fs::write(path("m.toml"), &next.manifest).expect("a file");
    fs::write(path("config.json"), "{\"a\": 1}").expect("a file");
    assert_eq!(version(&house).await, "0.1.0");
    let push = ["push", &path("c.wasm"), "--manifest", &path("m.toml")];
    let text = told(&plugin(&house, &push));
    assert!(text.contains("mall/order-payment 0.1.1: stored; it is not in force yet"), "{text}");
    assert!(text.contains("signed by   nobody") && text.contains("writes      ledger"), "{text}");
    assert!(told(&plugin(&house, &push)).contains("known already"));
    assert_eq!(version(&house).await, "0.1.0", "a push alone changes nothing");
    let which = format!("{NAME}@0.1.1");
    let configured =
        ["activate", &which, "--config", &path("config.json"), "--why", "a configuration"];
    let refused = plugin(&house, &configured);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("package.config"), "{said}");
    let text = told(&plugin(&house, &["activate", &which, "--why", "it was told"]));
    assert!(text.contains("the configuration's -> 0.1.1 (revision 1)"), "{text}");
    assert_eq!(version(&house).await, "0.1.1");
    let list = told(&plugin(&house, &["list"]));
    assert!(list.contains("0.1.1 / 0.1.1") && list.contains("mall/order-refund"), "{list}");
    let stale = ["rollback", NAME, "--why", "it was told", "--revision", "0"];
    let stale = plugin(&house, &stale);
    let said = String::from_utf8_lossy(&stale.stderr);
    assert!(said.contains("409") && said.contains("revision 1"), "{said}");
    let text = told(&plugin(&house, &["rollback", NAME, "--why", "it was told"]));
    assert!(text.contains("0.1.1 -> the configuration's (revision 2)"), "{text}");
    assert_eq!(version(&house).await, "0.1.0");
    let text = told(&plugin(&house, &["retire", &which, "--why", "it was told"]));
    assert!(text.contains("0.1.1 must not be activated any more"), "{text}");
    let again = plugin(&house, &["activate", &which, "--why", "it was told"]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && said.contains("was retired"), "{said}");
    let acts: Vec<_> =
        Operator::at(&house.private).audit().await.iter().map(|one| one["act"].clone()).collect();
    assert_eq!(acts, ["plugins.retire", "plugins.rollback", "plugins.activate", "plugins.push"]);
    assert!(house.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_active_survives_a_restart_and_a_power_cut() {
    let Some(house) = House::start_with(POLICY) else { return };
    let Some(next) = Version::of("0.1.1") else { return };
    let operator = Operator::at(&house.private);
    operator.pushed(&next).await;
    operator.activated("0.1.1").await;
    let house = house.kill_and_restart();
    assert_eq!(version(&house).await, "0.1.1");
    let operator = Operator::at(&house.private);
    operator.done("rollback", &json!({})).await;
    let house = house.stop_and_restart();
    assert_eq!(version(&house).await, "0.1.0");
    let cached = house.configuration().with_file_name("callgate.db.compiled");
    assert!(cached.is_dir(), "compiled code is kept beside the database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_in_force_when_it_is_answered() {
    let Some(house) = House::start_with(POLICY) else { return };
    let versions = ["0.1.1", "0.1.2"].map(Version::of);
    let operator = Operator::at(&house.private);
    for version in versions {
        let Some(version) = version else { return };
        operator.pushed(&version).await;
        operator.activated(&version.number).await;
    }
    for expected in ["0.1.1", "0.1.0"] {
        let (_, took) = operator.done("rollback", &json!({})).await;
        eprintln!("a rollback to {expected} took {took:?}");
        assert_eq!(version(&house).await, expected, "at once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_not_let_in_says_why_and_stores_nothing() {
    let Some(house) = House::start_with(POLICY) else { return };
    let Some(good) = Version::of("0.1.1") else { return };
    let operator = Operator::at(&house.private);
    let refused = async |body: Vec<u8>, status: u16, code: &str| {
        let (found, told) = operator.post("", body).await;
        assert_eq!((found, told["error"]["code"].as_str()), (status, Some(code)), "{told:#}");
    };
    let with = |manifest: &str| Version { manifest: manifest.to_owned(), ..good.clone() }.body();
    refused(Vec::new(), 422, "operator.field").await;
    refused(b"no line at all".to_vec(), 422, "operator.field").await;
    refused(b"{\"manifest\": 1}\n".to_vec(), 422, "operator.field").await;
    refused(with("no manifest"), 422, "package.format").await;
    let other = Version { component: b"\0asm".to_vec(), ..good.clone() };
    refused(other.body(), 422, "package.hash").await;
    // What the policy does not allow is never compiled.
    let asking = Version::with("0.1.2", "blind_writes = true\n").expect("built");
    refused(asking.body(), 422, "package.grant").await;
    // The number in the manifest is not the one that the component gives itself.
    let lying = good.manifest.replace("version = \"0.1.1\"", "version = \"0.1.7\"");
    refused(with(&lying), 422, "package.descriptor").await;
    operator.pushed(&good).await;
    let taken = Version::with("0.1.1", "[limits]\nfuel = 30000\n").expect("built");
    refused(taken.body(), 422, "plugin.version-taken").await;
    let list = operator.listed().await;
    assert_eq!(list["versions"].as_array().map(Vec::len), Some(1), "{list:#}");
    // Nobody but an operator makes the server read megabytes.
    let url = format!("{}/operator/plugins", house.private);
    let long = vec![b'x'; 40 << 20];
    for token in [TOKEN, "nobody"] {
        let sent = house.http.post(&url).bearer_auth(token).body(good.body()).send().await;
        assert_eq!(sent.expect("an answer").status(), 401);
    }
    let sent = house.http.post(&url).bearer_auth(OPERATOR).body(long).send().await;
    // The server may hang up before it has read what it does not want.
    assert!(sent.is_err() || sent.is_ok_and(|answer| answer.status() == 413));
    for (act, more, status) in [
        ("activate", json!({ "version": "9.9.9" }), 404),
        ("activate", json!({ "version": "" }), 422),
        ("activate", json!({ "version": "0.1.1", "config": { "a": 1 } }), 422),
        ("activate", json!({ "version": "0.1.1", "canary": { "percent": "101%" } }), 422),
        ("activate", json!({ "version": "0.1.1", "canary": {} }), 422),
        ("activate", json!({ "version": "0.1.1", "sooner": true }), 422),
        ("activate", json!({ "version": "0.1.1", "revision": 7 }), 409),
        ("rollback", json!({}), 409),
        ("rollback", json!({ "why": " " }), 422),
        ("canary", json!({ "act": "promote" }), 409),
        ("canary", json!({ "act": "stop", "percent": "5%" }), 422),
        ("retire", json!({ "version": "9.9.9" }), 404),
    ] {
        let (found, told) = operator.act(act, &more).await;
        assert_eq!(found, status, "{act} {more}: {told:#}");
    }
    assert_eq!(operator.list().await["revision"], 0);
    assert_eq!(version(&house).await, "0.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_policy_became_stricter_says_which_version_it_refuses() {
    let Some(house) = House::start_with(POLICY) else { return };
    let Some(next) = Version::of("0.1.1") else { return };
    let operator = Operator::at(&house.private);
    operator.pushed(&next).await;
    operator.activated("0.1.1").await;
    let file = house.configuration();
    let text = fs::read_to_string(&file).expect("the configuration");
    let strict = text.replace("topics = [\"order.*\"]\n", "topics = []\n");
    assert_ne!(text, strict);
    fs::write(&file, strict).expect("the configuration");
    house.kill();
    let config = file.to_string_lossy();
    let start = callgate(&["serve", "--config", &config]);
    let said = String::from_utf8_lossy(&start.stderr);
    assert!(!start.status.success());
    for words in ["mall/order-payment 0.1.1", "package.grant", "topics", "fleet.pinned"] {
        assert!(said.contains(words), "expected `{words}` in: {said}");
    }
    // In an emergency a host goes on with what its configuration names.
    let text = fs::read_to_string(&file).expect("the configuration");
    let pinned = format!("{text}\n[fleet]\npinned = [\"{NAME}\"]\n");
    fs::write(&file, pinned).expect("the configuration");
    let house = house.kill_and_restart();
    assert_eq!(version(&house).await, "0.1.0");
    let list = Operator::at(&house.private).list().await;
    assert_eq!(list["pinned"][0], NAME);
    // The host that was killed is in the list for a while.
    let here = list["hosts"].as_array().expect("hosts").iter().position(|one| one["this"] == true);
    assert_eq!(in_force(&list)[here.expect("this host")], (Some("0.1.0".to_owned()), None));
}
