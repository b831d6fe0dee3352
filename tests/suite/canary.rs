//! A new version is tried on some orders; one that fails is taken back by itself.

use callgate_core::canary::Share;
use callgate_trigger::cases::{Order, Stage};
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::Sending;
use callgate_trigger::purchase::Purchase;
use serde_json::{Value, json};

use crate::house::{House, keys, now, stage};
use crate::reload::logged;
use crate::versions::{NAME, Operator, POLICY, Version};

/// An order that is registered and not paid yet.
struct Open {
    stage: Stage,
    purchase: Purchase,
    draw: Draw,
    order: Order,
}

impl Open {
    async fn register(house: &House) -> Self {
        let (stage, mut draw) = stage(Channel::AlipayMain);
        let purchase = stage.purchase(&mut draw);
        let order = stage.order(&purchase);
        let body = json!({ "amount_minor": order.amount.minor, "currency": order.amount.currency,
            "state": order.state });
        assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
        Self { stage, purchase, draw, order }
    }

    async fn pay(&mut self, house: &House) {
        let notice = self.stage.payment(&self.purchase, &mut self.draw);
        let message = notice.sign(keys().0, Sending::genuine(now()), &mut self.draw);
        assert_eq!(house.send(&message.expect("a message")).await.0, 200);
    }

    async fn paid_by(&self, house: &House) -> String {
        let paid = |order: &Value| order["state"] == "TO_BE_DELIVERED";
        let order = house.order_when(&self.order.order_no, paid).await;
        order["history"][0]["plugin_version"].as_str().expect("a version").to_owned()
    }
}

async fn house_with(versions: &[Option<Version>]) -> Option<(House, Operator)> {
    // A second try comes soon, so that what the canary left behind is done in time.
    let more = format!("{POLICY}[engine]\nretry.first_ms = 200\npoll_ms = 50\n");
    let house = House::start_with(&more)?;
    let operator = Operator::at(&house.private);
    for version in versions {
        operator.pushed(version.as_ref()?).await;
    }
    Some((house, operator))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_stays_with_its_version() {
    let Some((house, operator)) = house_with(&[Version::of("0.1.1")]).await else { return };
    let mut orders = Vec::new();
    for _ in 0..40 {
        orders.push(Open::register(&house).await);
    }
    let named = orders[0].order.order_no.clone();
    let canary = json!({ "version": "0.1.1", "canary": { "percent": "50", "orders": [named] } });
    operator.done("activate", &canary).await;
    let share = Share { parts: 5_000, orders: [named].into() };
    for order in &mut orders {
        order.pay(&house).await;
    }
    let mut canaries = 0u32;
    for order in &orders {
        let tried = share.takes(NAME, &order.order.order_no);
        let expected = if tried { "0.1.1" } else { "0.1.0" };
        assert_eq!(order.paid_by(&house).await, expected);
        canaries = canaries.saturating_add(u32::from(tried));
    }
    assert!(canaries > 5 && canaries < 35, "{canaries} of 40");
    // Another message about the same order goes the same way: it is on trial in the list.
    let listed = operator.listed().await;
    assert_eq!(listed["canary"]["percent"], "50%", "{listed:#}");
    let counted = operator
        .list_when(|list| list.to_string().contains(&format!("\"total\":{canaries}")))
        .await;
    assert!(counted.to_string().contains("\"failed\":0"), "{counted:#}");
    operator.done("canary", &json!({ "act": "change", "percent": "100%" })).await;
    let mut last = Open::register(&house).await;
    last.pay(&house).await;
    assert_eq!(last.paid_by(&house).await, "0.1.1");
    operator.done("canary", &json!({ "act": "promote" })).await;
    let listed = operator.listed().await;
    assert_eq!((&listed["active"]["version"], &listed["canary"]), (&json!("0.1.1"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_is_rolled_back_by_itself() {
    let Some((house, operator)) = house_with(&[Version::broken("0.1.1")]).await else { return };
    let canary = json!({ "percent": "50%", "budget_runs": 3, "budget_percent": "10" });
    operator.done("activate", &json!({ "version": "0.1.1", "canary": canary })).await;
    let mut orders = Vec::new();
    for _ in 0..30 {
        let mut order = Open::register(&house).await;
        order.pay(&house).await;
        orders.push(order);
    }
    let list = operator.list_when(|list| !list.to_string().contains("\"canary\":{")).await;
    assert_eq!(list["revision"], 2, "{list:#}");
    let audit = operator.audit().await;
    assert_eq!(
        (&audit[0]["act"], &audit[0]["who"]),
        (&json!("plugins.canary-failed"), &json!("callgate"))
    );
    let result = audit[0]["result"].as_str().expect("a text");
    assert!(result.starts_with("canary 0.1.1 is stopped:"), "{result}");
    assert!(house.metric("callgate_canary_rollbacks_total").await == 1);
    logged(&house, "a canary failed too often and was rolled back").await;
    // What it left behind is done by the version that stays.
    for order in &orders {
        assert_eq!(order.paid_by(&house).await, "0.1.0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_that_the_active_version_has_too_is_not_the_canarys() {
    let versions = [Version::broken("0.1.1"), Version::broken("0.1.2")];
    let Some((house, operator)) = house_with(&versions).await else { return };
    operator.activated("0.1.1").await;
    let mut orders = Vec::new();
    for _ in 0..24 {
        orders.push(Open::register(&house).await);
    }
    let (tried, others) = orders.split_at_mut(12);
    let named: Vec<_> = tried.iter().map(|one| one.order.order_no.as_str()).collect();
    let canary = json!({ "orders": named, "budget_runs": 3, "budget_percent": "10" });
    operator.done("activate", &json!({ "version": "0.1.2", "canary": canary })).await;
    let runs = |list: &Value, which: &str| {
        let mut plugins = list["plugins"].as_array().expect("plugins").iter();
        let one = plugins.find(|one| one["name"] == NAME).expect("the plugin");
        one["canary"]["runs"][which]["total"].as_i64()
    };
    for (which, orders) in [("active", others), ("canary", tried)] {
        for order in orders {
            order.pay(&house).await;
        }
        operator.list_when(|list| runs(list, which) == Some(12)).await;
    }
    assert_eq!(operator.listed().await["canary"]["version"], "0.1.2", "it was judged, and stays");
    // Whoever rolls back in a hurry ends the trial first.
    let (told, _) = operator.done("rollback", &json!({})).await;
    assert_eq!(told["told"], "canary 0.1.2 is stopped; 0.1.1 stays");
}
