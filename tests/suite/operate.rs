//! Repair: what waits for a person is seen, mended and run again, by the calls and by the command
//! line; nothing is doubled, and every act stands beside a name and a reason.

use std::process::{Command, Output};

use callgate::inbound::tokens::hash_text;
use callgate_trigger::cases::Order;
use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;
use serde_json::{Value, json};

use crate::house::{House, OPERATOR, TOKEN, binary, keys, now, stage};

/// The token of an operator with a name.
const ADA: &str = "ada-token";

/// A house whose parked notifications give up at once, and where ada works.
fn house() -> Option<House> {
    House::start_with(&configuration())
}

fn configuration() -> String {
    let ada = hash_text(ADA);
    format!(
        "[operators.ada]\ntoken_sha256 = [\"{ada}\"]\n[engine]\npark_ms = 1\npoll_ms = 50\n\
         lease_ms = 1000\n"
    )
}

fn url(house: &House, path: &str) -> String {
    format!("{}/operator/{path}", house.private)
}

async fn get(house: &House, path: &str) -> (u16, Value) {
    let request = house.http.get(url(house, path)).bearer_auth(ADA);
    let response = request.send().await.expect("the call is answered");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

async fn post(house: &House, path: &str, body: &Value) -> (u16, Value) {
    let request = house.http.post(url(house, path)).bearer_auth(ADA).json(body);
    let response = request.send().await.expect("the call is answered");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// Looks until something is true of the answer; the work behind it takes a moment.
async fn get_when(house: &House, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1500 {
        let (status, answer) = get(house, path).await;
        assert_eq!(status, 200, "{answer:#}");
        if fits(&answer) {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{path} never became as expected: {:#}\n{}", get(house, path).await.1, house.log());
}

/// The command line, as ada.
fn operate(house: &House, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(["operate", "--url", &house.private]).args(words);
    command.env("CALLGATE_OPERATOR_TOKEN", ADA).output().expect("the binary runs")
}

fn told(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Sends the payment of an order that is new, and gives the order.
async fn pay(house: &House, state: Option<&str>) -> Order {
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    let order = stage.order(&purchase);
    if let Some(state) = state {
        register(house, &order, state).await;
    }
    let notice = stage.payment(&purchase, &mut draw);
    let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
    assert_eq!(house.send(&message).await.0, 200);
    order
}

async fn register(house: &House, order: &Order, state: &str) {
    let body = json!({ "amount_minor": order.amount.minor, "currency": order.amount.currency,
        "state": state });
    assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
}

/// The only notification about an order, once it is in this state.
async fn about(house: &House, order: &Order, state: &str) -> Value {
    let path = format!("notifications?business=PRODUCT_ORDER&order_no={}", order.order_no);
    let found = get_when(house, &path, |answer| {
        answer["notifications"][0]["state"].as_str() == Some(state)
    });
    let found = found.await;
    assert_eq!(found["notifications"].as_array().map(Vec::len), Some(1), "{found:#}");
    found["notifications"][0].clone()
}

fn id(notification: &Value) -> &str {
    notification["id"].as_str().expect("an id")
}

/// Paid, by one transition and with one event.
async fn paid_once(house: &House, order: &Order) {
    let paid = house.order_when(&order.order_no, |order| order["state"] == "TO_BE_DELIVERED").await;
    assert_eq!(paid["history"].as_array().map(Vec::len), Some(1), "{paid:#}");
    assert_eq!(paid["events"].as_array().map(Vec::len), Some(1), "{paid:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_person_is_seen_mended_and_replayed_with_one_effect() {
    let Some(house) = House::start_without_processors(&configuration()) else { return };
    let order = pay(&house, Some("TO_BE_PAID")).await;
    let found = about(&house, &order, "review").await;
    assert_eq!(found["reason_code"], "route.none", "{found:#}");
    assert_eq!(house.metric("callgate_review{code=\"route.none\"}").await, 1);
    assert!(house.metric("callgate_attempts_total{step=\"run\",class=\"review\"}").await >= 1);
    let house = house.deploy_processors(&configuration());
    let why = json!({ "why": "the processor was deployed late" });
    let path = format!("notifications/{}/replay", id(&found));
    let (status, answer) = post(&house, &path, &why).await;
    assert_eq!((status, &answer["from"], &answer["to"]), (200, &json!("review"), &json!("ready")));
    paid_once(&house, &order).await;
    let path = format!("notifications/{}", id(&found));
    let shown = get_when(&house, &path, |shown| shown["state"] == "done").await;
    let attempts = shown["attempts_ended"].as_array().expect("attempts");
    let last = attempts.last().expect("the replay");
    assert_eq!((&last["mode"], &last["outcome"]), (&json!("replay"), &json!("advance")));
    assert!(last["fuel"].as_i64().is_some_and(|fuel| fuel > 0), "{last:#}");
    let phases = last["phases"].as_array().expect("phases");
    let names: Vec<_> = phases.iter().filter_map(|phase| phase["phase"].as_str()).collect();
    assert!(names.contains(&"check") && names.contains(&"save"), "{names:?}");
    let first = attempts.first().expect("the first try");
    assert_eq!(first["mode"], "live");
    let act = &shown["audit"][0];
    assert_eq!((&act["who"], &act["act"]), (&json!("ada"), &json!("replay")));
    assert_eq!(act["why"], "the processor was deployed late");
    assert_eq!(house.metric("callgate_review{code=\"route.none\"}").await, 0);
    assert!(shown["body"].is_null() && shown["payer"].is_null(), "personal: {shown:#}");
    let (_, raw) = get(&house, &format!("notifications/{}?raw=true", id(&found))).await;
    assert!(raw["raw_base64"].is_string() && raw["body"].is_object(), "{raw:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_processor_rejects_shows_its_phases_and_is_discarded_on_the_command_line() {
    let Some(house) = house() else { return };
    // Nobody noted a payment, and yet the order says that it was paid.
    let order = pay(&house, Some("TO_BE_DELIVERED")).await;
    let found = about(&house, &order, "review").await;
    assert_eq!(found["reason_code"], "plugin.payment-unexpected", "{found:#}");
    let id = id(&found);
    let list = told(&operate(&house, &["search", "--state", "review"]));
    assert!(list.contains(id) && list.contains("plugin.payment-unexpected"), "{list}");
    let shown = told(&operate(&house, &["inspect", id]));
    assert!(shown.contains("check ") && shown.contains(" fuel "), "{shown}");
    assert!(shown.contains("order-payment"), "{shown}");
    let json = told(&operate(&house, &["--json", "inspect", id]));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["attempts_ended"][0]["outcome"], "review");
    assert_eq!(json["attempts_ended"][0]["phases"][0]["phase"], "start");
    // Without a reason nothing is done.
    assert!(!operate(&house, &["discard", id]).status.success());
    let empty = operate(&house, &["discard", id, "--why", " "]);
    assert!(String::from_utf8_lossy(&empty.stderr).contains("422 operator.field"));
    let parked = told(&operate(&house, &["park", id, "--why", "asking", "--for-ms", "60000"]));
    assert!(parked.contains("review -> parked"), "{parked}");
    let ended = told(&operate(&house, &["discard", id, "--why", "refunded by hand"]));
    assert!(ended.contains("parked -> done"), "{ended}");
    let again = operate(&house, &["release", id, "--why", "no"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("409 operator.state"));
    assert_eq!(about(&house, &order, "done").await["outcome"], "discarded");
    let audit = told(&operate(&house, &["audit", "--target", id]));
    for words in ["ada", "park", "asking", "discard", "refunded by hand"] {
        assert!(audit.contains(words), "{words}: {audit}");
    }
    assert_eq!(audit.lines().count(), 3, "two acts and a head: {audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_what_is_done_has_no_second_effect() {
    let Some(house) = house() else { return };
    let order = pay(&house, Some("TO_BE_PAID")).await;
    paid_once(&house, &order).await;
    let found = about(&house, &order, "done").await;
    let words = operate(&house, &["replay", id(&found), "--why", "to be sure"]);
    assert!(told(&words).contains("done -> ready"));
    let path = format!("notifications/{}", id(&found));
    // A notification is read before its attempts, which may be newer.
    let shown = get_when(&house, &path, |shown| shown["outcome"] == "keep").await;
    assert_eq!(shown["reason_code"], "order.meaning-repeated", "{shown:#}");
    assert_eq!((&shown["state"], &shown["attempts"]), (&json!("done"), &json!(2)));
    assert_eq!(shown["attempts_ended"].as_array().map(Vec::len), Some(2), "{shown:#}");
    paid_once(&house, &order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_replayed_at_a_rate_and_the_rest_after_a_kill() {
    let Some(mut house) = House::start_without_processors(&configuration()) else { return };
    let mut orders = Vec::new();
    for _ in 0..12 {
        let order = pay(&house, Some("TO_BE_PAID")).await;
        about(&house, &order, "review").await;
        orders.push(order);
    }
    house = house.deploy_processors(&configuration());
    let words = ["replay", "--state", "review", "--reason-code", "route.none"];
    let dry = told(&operate(&house, &words));
    assert!(dry.contains("dry run: 12 fit"), "{dry}");
    let (_, none) = get(&house, "replays").await;
    assert_eq!(none["replays"], json!([]), "a dry run changes nothing");
    let more = ["--json", "--rate-per-s", "5", "--go", "--why", "the shop was down"];
    let started = told(&operate(&house, &[&words[..], &more[..]].concat()));
    let started: Value = serde_json::from_str(&started).expect("JSON");
    assert_eq!((&started["total"], &started["who"]), (&json!(12), &json!("ada")));
    let path = format!("replays/{}", id(&started));
    let half = get_when(&house, &path, |replay| replay["done"].as_i64() >= Some(3)).await;
    assert_eq!(half["state"], "running", "killed in the middle: {half:#}");
    house = house.kill_and_restart();
    let followed = operate(&house, &["replays", id(&started), "--follow"]);
    assert!(told(&followed).contains("finished"), "followed to the end");
    assert!(String::from_utf8_lossy(&followed.stderr).contains(" of 12, "));
    let ended = get_when(&house, &path, |replay| replay["state"] == "finished").await;
    assert_eq!((&ended["done"], &ended["skipped"]), (&json!(12), &json!(0)), "{ended:#}");
    for order in &orders {
        paid_once(&house, order).await;
    }
    let (_, audit) = get(&house, &format!("audit?target={}", id(&started))).await;
    let acts: Vec<_> =
        audit["audit"].as_array().into_iter().flatten().map(|act| act["act"].clone()).collect();
    assert_eq!(acts, ["replays.finish", "replays.start"]);
    let (_, audit) = get(&house, "audit?who=ada&limit=500").await;
    let by: Vec<_> = audit["audit"].as_array().into_iter().flatten().collect();
    let replayed = by.iter().filter(|act| act["act"] == "replay");
    assert_eq!(replayed.filter(|act| act["why"] == "the shop was down").count(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_replay_leaves_the_rest_alone() {
    let Some(house) = house() else { return };
    for _ in 0..4 {
        let order = pay(&house, None).await;
        about(&house, &order, "review").await;
    }
    let body = json!({ "filter": { "state": "review" }, "rate_per_s": 1, "dry_run": false,
        "why": "a mistake" });
    let (status, started) = post(&house, "replays", &body).await;
    assert_eq!(status, 201, "{started:#}");
    let cancelled = told(&operate(&house, &["cancel", id(&started), "--why", "wrong filter"]));
    assert!(cancelled.contains("cancelled"), "{cancelled}");
    let path = format!("replays/{}", id(&started));
    let (_, seen) = get(&house, &path).await;
    assert!(seen["done"].as_i64() < Some(4), "{seen:#}");
    let why = json!({ "why": "again" });
    let (status, problem) = post(&house, &format!("{path}/cancel"), &why).await;
    assert_eq!((status, &problem["error"]["code"]), (409, &json!("operator.state")));
    let listed = told(&operate(&house, &["replays"]));
    assert!(listed.contains(id(&started)) && listed.contains("a mistake"), "{listed}");
}

/// A refund that comes before its payment: the processor wants to be asked again later.
async fn put_off(age_max_ms: i64) -> Option<Value> {
    let house = House::start_with(&format!(
        "[operators.ada]\ntoken_sha256 = [\"{}\"]\n[engine]\nretry.age_max_ms = {age_max_ms}\n",
        hash_text(ADA)
    ))?;
    let (stage, mut draw) = stage(Channel::WechatV3Main);
    let purchase = stage.purchase(&mut draw);
    let order = stage.order(&purchase);
    register(&house, &order, "TO_BE_PAID").await;
    let refund = purchase.full_refund(&mut draw);
    let notice = stage.refund(&purchase, &refund, &mut draw);
    let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
    assert_eq!(house.send(&message).await.0, 200);
    let path = format!("notifications?business=PRODUCT_ORDER&order_no={}", order.order_no);
    let decided = |answer: &Value| answer["notifications"][0]["outcome"].is_string();
    Some(get_when(&house, &path, decided).await["notifications"][0].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_off_goes_to_review_where_it_would_get_too_old_and_not_before() {
    let Some(young) = put_off(259_200_000).await else { return };
    assert_eq!((&young["state"], &young["outcome"]), (&json!("ready"), &json!("defer")));
    let Some(old) = put_off(1).await else { return };
    assert_eq!((&old["state"], &old["reason_code"]), (&json!("review"), &young["reason_code"]));
    let reason = old["reason"].as_str().expect("a reason");
    assert!(reason.contains("given up") && reason.contains("older than 1 ms"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_operators_token_opens_and_a_wrong_question_names_the_field() {
    let Some(house) = house() else { return };
    let nobody = "01890000-0000-7000-8000-000000000000";
    for path in ["notifications", "replays", "audit", &format!("notifications/{nobody}")] {
        for token in [Some(TOKEN), Some("wrong"), None] {
            let mut request = house.http.get(url(&house, path));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let status = request.send().await.expect("an answer").status();
            assert_eq!(status, 401, "{path} {token:?}");
        }
    }
    let act = url(&house, &format!("notifications/{nobody}/replay"));
    let request = house.http.post(act).bearer_auth(TOKEN).json(&json!({ "why": "x" }));
    assert_eq!(request.send().await.expect("an answer").status(), 401);
    let unnamed = house.http.get(url(&house, "audit")).bearer_auth(OPERATOR);
    assert_eq!(unnamed.send().await.expect("an answer").status(), 200);
    for (query, field) in [
        ("state=lost", "state"),
        ("stat=done", "stat"),
        ("state=done&state=review", "state"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("order_no=N1", "order_no"),
        ("channel=", "channel"),
        ("cursor=x", "cursor"),
        ("received_from_ms=-1", "received_from_ms"),
        ("received_from_ms=2&received_to_ms=2", "received_to_ms"),
    ] {
        let (status, problem) = get(&house, &format!("notifications?{query}")).await;
        assert_eq!((status, &problem["error"]["field"]), (422, &json!(field)), "{problem}");
        assert_eq!(problem["error"]["code"], "operator.field");
    }
    for (body, field) in [
        (json!({ "filter": {} }), "filter.state"),
        (json!({ "filter": { "state": "after" } }), "filter.state"),
        (json!({ "filter": { "state": "done", "order_no": "N1" } }), "filter.order_no"),
        (json!({ "filter": { "state": "done" }, "rate_per_s": 0 }), "rate_per_s"),
        (json!({ "filter": { "state": "done" }, "rate_per_s": 1001 }), "rate_per_s"),
        (json!({ "filter": { "state": "done" }, "dry_run": false }), "why"),
        (json!({ "filter": { "staat": "done" } }), "filter.staat"),
    ] {
        let (status, problem) = post(&house, "replays", &body).await;
        assert_eq!((status, &problem["error"]["field"]), (422, &json!(field)), "{problem}");
    }
    let why = json!({ "why": "x" });
    for path in ["notifications/1/replay", "notifications/1/burn", "replays/1/cancel"] {
        assert_eq!(post(&house, path, &why).await.0, 404, "{path}");
    }
    assert_eq!(post(&house, &format!("notifications/{nobody}/park"), &why).await.0, 404);
    assert_eq!(get(&house, &format!("notifications/{nobody}")).await.0, 404);
}
