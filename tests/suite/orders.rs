//! Registering orders: idempotent, told clearly what is wrong, and nobody else's business.

use serde_json::{Value, json};

use crate::house::{House, TOKEN};

fn good() -> Value {
    json!({ "amount_minor": 1999, "currency": "CNY", "state": "TO_BE_PAID",
        "channel": "wechat-v3-main", "aliases": ["PAY-1"], "body": { "items": ["a"] } })
}

fn with(field: &str, value: Value) -> Value {
    let mut body = good();
    body[field] = value;
    body
}

#[tokio::test]
async fn the_same_registration_twice_is_one_order() {
    let Some(house) = House::start() else { return };
    assert_eq!(house.put_order("N1", &good()).await.0, 201);
    let (status, order) = house.put_order("N1", &good()).await;
    assert_eq!(status, 200);
    assert_eq!(order["state"], "TO_BE_PAID");
    let by_alias = house.order("PAY-1").await.expect("found by its alias");
    assert_eq!(by_alias["order_no"], "N1");
    assert_eq!(by_alias["body"]["items"][0], "a");
}

#[tokio::test]
async fn a_second_registration_that_differs_is_a_conflict_that_names_the_field() {
    let Some(house) = House::start() else { return };
    assert_eq!(house.put_order("N1", &good()).await.0, 201);
    for (field, value) in [
        ("amount_minor", json!(2000)),
        ("currency", json!("USD")),
        ("state", json!("CLOSED")),
        ("channel", json!("alipay-main")),
        ("aliases", json!(["PAY-2"])),
        ("body", json!({ "items": ["b"] })),
    ] {
        let (status, problem) = house.put_order("N1", &with(field, value)).await;
        assert_eq!(status, 409, "{field}: {problem}");
        assert_eq!(problem["error"]["code"], "order.conflict");
        let told = problem["error"]["field"].as_str().expect("a field");
        let named = if field == "amount_minor" { "amount" } else { field };
        assert!(told.starts_with(named), "{field}: {problem}");
    }
    let (status, problem) = house.put_order("N2", &good()).await;
    assert_eq!(status, 409, "{problem}");
    assert_eq!(problem["error"]["field"], "aliases");
    let stored = house.order("N1").await.expect("the first one stays");
    assert_eq!(stored["amount_minor"], 1999);
}

#[tokio::test]
async fn a_broken_rule_is_answered_with_the_field_and_the_rule() {
    let Some(house) = House::start() else { return };
    let long = "x".repeat(129);
    for (field, body) in [
        ("amount_minor", with("amount_minor", json!(-1))),
        ("amount_minor", with("amount_minor", json!(1.5))),
        ("amount_minor", with("amount_minor", json!("1999"))),
        ("currency", with("currency", json!("XYZ"))),
        ("currency", with("currency", json!("cny"))),
        ("state", with("state", json!(""))),
        ("state", with("state", json!("x".repeat(65)))),
        ("channel", with("channel", json!("nowhere"))),
        ("aliases[0]", with("aliases", json!([long]))),
        ("aliases[1]", with("aliases", json!(["ok", "not ok"]))),
        ("aliases", with("aliases", json!(vec!["a"; 33]))),
        ("body", with("body", json!([1]))),
        ("body", with("body", json!({ "x": "y".repeat(70_000) }))),
        ("unknown", with("unknown", json!(1))),
    ] {
        let (status, problem) = house.put_order("N1", &body).await;
        assert_eq!(status, 422, "{field}: {problem}");
        assert_eq!(problem["error"]["code"], "order.field");
        assert_eq!(problem["error"]["field"], field, "{problem}");
        assert!(problem["error"]["message"].as_str().is_some_and(|text| text.len() > 10));
    }
    let (status, problem) = house.put_order(&"9".repeat(129), &good()).await;
    assert_eq!((status, &problem["error"]["field"]), (422, &json!("order_no")));
    let broken = house.http.put(house.order_url("N1")).bearer_auth(TOKEN).body("{\"amount");
    assert_eq!(broken.send().await.expect("an answer").status(), 422);
    assert!(house.order("N1").await.is_none(), "nothing of it was stored");
}

#[tokio::test]
async fn a_business_sees_only_its_own_orders_and_only_with_its_token() {
    let Some(house) = House::start() else { return };
    assert_eq!(house.put_order("N1", &good()).await.0, 201);
    let other = house.order_url("N1").replace("PRODUCT_ORDER", "OTHER");
    let nowhere = house.order_url("N1").replace("PRODUCT_ORDER", "NOWHERE");
    for (url, token, status) in [
        (house.order_url("N1"), Some(TOKEN), 200),
        (house.order_url("N1"), Some("other-token"), 401),
        (house.order_url("N1"), Some(""), 401),
        (house.order_url("N1"), None, 401),
        (other.clone(), Some(TOKEN), 401),
        (other, Some("other-token"), 404),
        (nowhere, Some(TOKEN), 401),
    ] {
        let mut request = house.http.get(&url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{url} {token:?}");
    }
    let twice = house.http.get(house.order_url("N1")).bearer_auth(TOKEN).bearer_auth(TOKEN);
    assert_eq!(twice.send().await.expect("an answer").status(), 401);
}
