//! A row that the program cannot read: operators see it, the others run, and it can be put away.

use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _};

use crate::house::{House, OPERATOR, keys, now, stage};

async fn get(house: &House, path: &str) -> Value {
    let url = format!("{}/operator/{path}", house.private);
    let answer = house.http.get(url).bearer_auth(OPERATOR).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_cannot_be_read_and_puts_it_away() {
    let Some(house) = House::start_with("[engine]\npoll_ms = 50\n") else { return };
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    let notice = stage.payment(&purchase, &mut draw);
    let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("signed");
    assert_eq!(house.send(&message).await.0, 200);
    let parked = loop {
        let found = get(&house, "notifications?state=parked").await;
        if let Some(id) = found["notifications"][0]["id"].as_str() {
            break id.to_owned();
        }
    };
    // A fault of the disk, or a newer host's word.
    let file = house.configuration().with_file_name("callgate.db");
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}", file.display());
    let mut connection = AnyConnection::connect(&url).await.expect("the database");
    let spoil = "update inbox set currency = '?!?', due_at_ms = 1";
    sqlx::raw_sql(spoil).execute(&mut connection).await.expect("an update");
    connection.close().await.expect("it closes");
    let shown = loop {
        let found = get(&house, "notifications?state=review").await;
        if !found["notifications"][0].is_null() {
            break found["notifications"][0].clone();
        }
    };
    assert_eq!((&shown["id"], &shown["reason_code"]), (&json!(parked), &json!("store.corrupt")));
    assert!(shown["unreadable"].as_str().expect("why").contains("?!?"), "{shown:#}");
    assert!(shown.get("payer").is_none() && shown.get("body").is_none(), "{shown:#}");
    let raw = get(&house, &format!("notifications/{parked}?raw=true")).await;
    assert!(raw["body"].as_str().expect("a body").contains(&purchase.order_no));
    assert!(raw["raw_base64"].as_str().is_some_and(|text| !text.is_empty()), "{raw:#}");
    assert_eq!(house.metric("callgate_review{code=\"store.corrupt\"}").await, 1);
    // Others are paid meanwhile.
    let mut shop = crate::sinks::Shop::new(&house.public, &house.private);
    for order in shop.pay_orders(2, 1).await {
        house.order_when(&order, |order| order["state"] == "TO_BE_DELIVERED").await;
    }
    let url = format!("{}/operator/notifications/{parked}/discard", house.private);
    let why = json!({ "why": "told the customer" });
    let done = house.http.post(url).bearer_auth(OPERATOR).json(&why).send().await;
    assert_eq!(done.expect("an answer").status(), 200);
    assert_eq!(get(&house, "notifications?state=review").await["notifications"], json!([]));
    assert!(house.stop(), "the server ends well");
}
