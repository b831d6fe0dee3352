//! A channel that answers when the business commit is done, and never later than its budget.

use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;
use serde_json::json;

use crate::house::{House, keys, now, stage};

#[tokio::test]
async fn with_answer_processed_the_order_is_paid_when_the_gateway_hears_success() {
    let flags =
        ["channels.alipay-main.answer=processed", "channels.alipay-main.answer_within_ms=4500"];
    let Some(house) = House::start_set(&flags) else { return };
    for _ in 0..20 {
        let (stage, mut draw) = stage(Channel::AlipayMain);
        let purchase = stage.purchase(&mut draw);
        let order = stage.order(&purchase);
        let body = json!({ "amount_minor": order.amount.minor, "currency": "CNY",
            "state": order.state });
        assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
        let notice = stage.payment(&purchase, &mut draw);
        let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
        assert_eq!(house.send(&message).await, (200, "success".to_owned()));
        let paid = house.order(&order.order_no).await.expect("the order");
        assert_eq!(paid["state"], "TO_BE_DELIVERED");
    }
}

#[tokio::test]
async fn over_the_budget_the_gateway_hears_success_as_stored() {
    let flags =
        ["channels.alipay-main.answer=processed", "channels.alipay-main.answer_within_ms=50"];
    let Some(house) = House::start_set(&flags) else { return };
    // Its order is not registered, so it is parked: no business commit will come in time.
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    let notice = stage.payment(&purchase, &mut draw);
    let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
    assert_eq!(house.send(&message).await, (200, "success".to_owned()));
    assert_eq!(house.rows().await, 1);
}

#[test]
fn a_budget_past_the_gateways_patience_is_a_mistake() {
    let folder = tempfile::TempDir::new().expect("a folder");
    crate::house::write_configuration(folder.path(), "");
    let file = folder.path().join("callgate.toml").to_string_lossy().into_owned();
    let set = "channels.alipay-main.answer_within_ms=5000";
    let output = crate::house::callgate(&["check", "--config", &file, "--set", set]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("channels.alipay-main.answer_within_ms"), "{said}");
}
