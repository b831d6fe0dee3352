//! What must not show: keys, tokens, signatures, bodies, and who paid.

use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;
use serde_json::json;

use crate::house::{House, OPERATOR, TOKEN, keys, now, stage};

#[tokio::test]
async fn the_log_holds_no_secret_no_body_and_nobody() {
    let Some(house) = House::start_set(&["log.filter=trace", "log.format=json"]) else { return };
    let mut hidden = vec![TOKEN.to_owned(), OPERATOR.to_owned()];
    for file in keys().0.files().expect("key files") {
        if file.name.ends_with(".key") {
            hidden.push(file.content.trim().to_owned());
        } else if file.name.ends_with(".key.pem") {
            hidden.extend(file.content.lines().nth(1).map(str::to_owned));
        }
    }
    for channel in Channel::ALL {
        let (stage, mut draw) = stage(channel);
        let purchase = stage.purchase(&mut draw);
        let order = stage.order(&purchase);
        let body = json!({ "amount_minor": order.amount.minor, "currency": "CNY",
            "state": order.state, "body": { "note": "free text of the shop" } });
        assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
        let notice = stage.payment(&purchase, &mut draw);
        let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
        assert_eq!(house.send(&message).await.0, 200);
        house.order_when(&order.order_no, |order| order["state"] == "TO_BE_DELIVERED").await;
        hidden.push(purchase.payer.clone());
        hidden.extend(message.header("Wechatpay-Signature").map(str::to_owned));
        hidden.push(String::from_utf8_lossy(&message.body).into_owned());
    }
    hidden.push("free text of the shop".to_owned());
    let log = house.log();
    assert!(log.contains("callback stored"), "{log}");
    for secret in hidden {
        assert!(!log.contains(&secret), "the log shows {secret}");
    }
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(line["level"].is_string(), "{line}");
    }
}
