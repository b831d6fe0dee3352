//! What was lost is found: by who looks at an order, and by the gateway's bill. Both have the
//! gateway asked, and what it tells walks the line of a callback.

use std::path::PathBuf;

use callgate::clock::Clock;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::erp::databases;
use crate::front::{ORIGIN, claims, path, signed, status_toml};
use crate::house::{as_operator, keys, now};
use crate::market::{ASKABLE, Market};
use crate::standin::{StandIn, What};

const HOUR: i64 = 3_600_000;

/// A market whose schedule asks first after an hour, and is over after three.
const RARELY: &str = "first_ms = 3600000\nmax_ms = 3600000\ngive_up_ms = 10800000";

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_at_an_order_that_waits_too_long_has_its_gateway_asked() {
    for database in databases().await {
        let clock = Clock::manual(now());
        let standin = StandIn::start(clock.clone()).await;
        let fronts = status_toml("127.0.0.1:0", ORIGIN, "repair_after_ms = 60000");
        let toml = format!("{}{fronts}", standin.toml(&ASKABLE, RARELY));
        let started = Market::with(database, 1, (clock, standin, &toml)).await;
        let Some(market) = started else { return };
        let mut draw = Draw::seeded(31);
        let purchase = market.order(Channel::WechatV3Main, &mut draw).await;
        let order_no = purchase.order_no.as_str();
        market.standin.pay(order_no);
        let address = market.servers[0].status.expect("front ends are answered");
        let token = signed(("k1", crate::front::SECRET), &claims(order_no, 600));
        let look = async |query: &str| -> Value {
            let url = format!("http://{address}{}{query}", path(order_no));
            let request = reqwest::Client::new().get(url).bearer_auth(&token);
            request.send().await.expect("an answer").json().await.expect("a status")
        };
        // Who looks early has nobody asked.
        assert_eq!(look("").await["state"], "TO_BE_PAID");
        market.clock.advance_ms(60_000);
        assert_eq!(market.standin.asked().len(), 0);
        let told = look("?wait=30s&version=1").await;
        assert_eq!(told["state"], "TO_BE_DELIVERED", "{told:#}");
        let order = market.look(order_no).await;
        assert_eq!(order["notifications"][0]["source"], "inquiry", "{order:#}");
        assert_eq!(order["events"].as_array().map(Vec::len), Some(1), "{order:#}");
        assert_eq!(market.standin.asked().len(), 1);
        // Nobody asks about an order that has moved, however often it is looked at.
        market.clock.advance_ms(HOUR / 12);
        assert_eq!(look("").await["state"], "TO_BE_DELIVERED");
        market.pass(2 * HOUR).await;
        assert_eq!(market.standin.asked().len(), 1);
        market.stop().await;
    }
}

/// A bill of WeChat Pay with one payment.
fn bill(folder: &TempDir, (payment, order_no, minor): (&str, &str, i64), at: &str) -> PathBuf {
    let yuan = callgate_core::money::format_decimal(minor, 2);
    let text = format!(
        "\u{feff}交易时间,公众账号ID,商户号,微信订单号,商户订单号,交易状态,货币种类,应结订单金额,\
         微信退款单号,商户退款单号,退款金额,退款状态,商品名称,订单金额,申请退款金额\r\n\
         `{at},`wx01,`1900000001,`{payment},`{order_no},`SUCCESS,`CNY,`{yuan},`0,`0,`0.00,`,`茶,\
         `{yuan},`0.00\r\n总交易单数,应结订单总金额\r\n`1,`{yuan}\r\n"
    );
    let path = folder.path().join("bill.csv");
    std::fs::write(&path, text).expect("a bill");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_bill_knows_is_asked_about_and_paid() {
    for database in databases().await {
        let Some(market) = Market::start(database, 1, RARELY).await else { return };
        let mut draw = Draw::seeded(32);
        let purchase = market.order(Channel::WechatV3Main, &mut draw).await;
        let order_no = purchase.order_no.as_str();
        // Nobody pays as long as anybody asks; then somebody does, and its callback is lost.
        for _ in 0..5 {
            market.pass(HOUR).await;
        }
        let asked = market.standin.asked().len();
        market.standin.pay(order_no);
        market.pass(24 * HOUR).await;
        assert_eq!(market.standin.asked().len(), asked, "the schedule is over");
        assert_eq!(market.look(order_no).await["state"], "TO_BE_PAID");

        let folder = TempDir::new().expect("a folder");
        let line = (purchase.transaction_id.as_str(), order_no, purchase.amount.minor);
        let bill = bill(&folder, line, &market.clock.now().format_beijing()).display().to_string();
        let reconcile = |more: &[&str]| reconcile(&market, &bill, more);
        let (code, report) = reconcile(&["--repair", "--why", "a callback was lost"]);
        assert_eq!(code, Some(1), "{report:#}");
        assert_eq!(report["findings"][0]["difference"], "missing-callback", "{report:#}");
        assert_eq!(report["asked"]["queued"], json!(1), "{report:#}");
        market.pass(HOUR).await;
        assert_eq!(market.standin.asked().last().expect("a question").what, what(order_no));
        let order = market.look(order_no).await;
        assert_eq!(order["state"], "TO_BE_DELIVERED", "{order:#}");
        assert_eq!(order["notifications"][0]["source"], "inquiry", "{order:#}");
        assert_eq!(order["events"].as_array().map(Vec::len), Some(1), "{order:#}");
        let (code, report) = reconcile(&[]);
        assert_eq!((code, &report["agrees"]), (Some(0), &json!(true)), "{report:#}");
        market.stop().await;
    }
}

/// Holds a bill against a market's first server: exit status and report.
fn reconcile(market: &Market, bill: &str, more: &[&str]) -> (Option<i32>, Value) {
    let private = format!("http://{}", market.servers[0].private);
    let words = ["reconcile", "--bill", bill, "--channel", "wechat-v3-main", "--json"];
    let args = [&words[..], &["--url", &private], more].concat();
    let output = tokio::task::block_in_place(|| as_operator(&args));
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

/// The differences of a report, in words.
fn differences(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings").iter();
    findings.map(|one| one["difference"].as_str().expect("a word")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bill_has_and_nobody_registered_waits_for_its_order() {
    for database in databases().await {
        let Some(market) = Market::start(database, 1, RARELY).await else { return };
        let mut draw = Draw::seeded(33);
        let purchase = market.stage(Channel::WechatV3Main).purchase(&mut draw);
        let order_no = purchase.order_no.as_str();
        market.standin.order(&purchase);
        market.standin.pay(order_no);
        let folder = TempDir::new().expect("a folder");
        let line = (purchase.transaction_id.as_str(), order_no, purchase.amount.minor);
        let bill = bill(&folder, line, &market.clock.now().format_beijing()).display().to_string();
        let repair = ["--repair", "--why", "whose payment is it?"];
        let (code, report) = reconcile(&market, &bill, &repair);
        assert_eq!(code, Some(1), "{report:#}");
        assert_eq!(differences(&report), ["missing-order", "missing-callback"], "{report:#}");
        assert_eq!(report["asked"], json!({ "queued": 1 }), "{report:#}");
        // Wished for twice, asked once.
        assert_eq!(reconcile(&market, &bill, &repair).1["asked"], json!({ "queued": 1 }));
        market.pass(HOUR).await;
        assert_eq!(market.standin.asked().len(), 1);
        assert_eq!(market.standin.asked().last().expect("a question").what, what(order_no));
        let (code, report) = reconcile(&market, &bill, &repair);
        assert_eq!((code, differences(&report)), (Some(1), vec!["missing-order"]), "{report:#}");
        assert_eq!(report["asked"], json!({}), "nothing is left to be asked: {report:#}");
        let private = format!("http://{}", market.servers[0].private);
        let search = ["operate", "--url", &private, "--json", "search", "--state", "parked"];
        let found = tokio::task::block_in_place(|| as_operator(&search));
        let found: Value = serde_json::from_slice(&found.stdout).expect("JSON");
        let found = found["notifications"].as_array().expect("a list");
        assert_eq!((found.len(), &found[0]["order_no"]), (1, &json!(order_no)), "{found:#?}");

        // Its order comes, and it has its effect; its callback, late as it is, has none.
        market.register(&purchase, &json!({ "channel": "wechat-v3-main" })).await;
        market.pass(1).await;
        let notice = market.stage(Channel::WechatV3Main).payment(&purchase, &mut draw);
        assert_eq!(market.tell(&notice, keys().0, &mut draw).await, 200);
        market.pass(3 * HOUR).await;
        let order = market.look(order_no).await;
        assert_eq!(order["state"], "TO_BE_DELIVERED", "{order:#}");
        assert_eq!(order["events"].as_array().map(Vec::len), Some(1), "{order:#}");
        assert_eq!(market.standin.asked().len(), 1, "{order:#}");
        let (code, report) = reconcile(&market, &bill, &[]);
        assert_eq!((code, &report["agrees"]), (Some(0), &json!(true)), "{report:#}");
        market.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_payment_under_another_name_is_asked_about_by_itself() {
    for database in databases().await {
        let Some(market) = Market::start(database, 1, RARELY).await else { return };
        let mut draw = Draw::seeded(34);
        let first = market.stage(Channel::WechatV3Main).purchase(&mut draw);
        let mut second = market.stage(Channel::WechatV3Main).purchase(&mut draw);
        second.amount = first.amount;
        for purchase in [&first, &second] {
            market.standin.order(purchase);
        }
        let names = json!({ "channel": "wechat-v3-main", "aliases": [second.order_no] });
        market.register(&first, &names).await;
        let notice = market.stage(Channel::WechatV3Main).payment(&first, &mut draw);
        assert_eq!(market.tell(&notice, keys().0, &mut draw).await, 200);
        market.standin.pay(&second.order_no);
        market.pass(24 * HOUR).await;
        let asked = market.standin.asked().len();
        let folder = TempDir::new().expect("a folder");
        let line = (second.transaction_id.as_str(), second.order_no.as_str(), first.amount.minor);
        let bill = bill(&folder, line, &market.clock.now().format_beijing()).display().to_string();
        let (_, report) = reconcile(&market, &bill, &["--repair", "--why", "paid twice?"]);
        assert_eq!(differences(&report), ["missing-callback"], "{report:#}");
        assert_eq!(report["asked"], json!({ "queued": 1 }), "{report:#}");
        market.pass(HOUR).await;
        assert_eq!(market.standin.asked().len(), asked.saturating_add(1));
        let order = market.look(&first.order_no).await;
        assert_eq!(order["notifications"].as_array().map(Vec::len), Some(2), "{order:#}");
        // The same under the order's own number: it is settled, and nobody is asked.
        let stranger =
            ("4200009999202611220000000001", first.order_no.as_str(), first.amount.minor);
        let bill = self::bill(&folder, stranger, &market.clock.now().format_beijing());
        let bill = bill.display().to_string();
        let (_, report) = reconcile(&market, &bill, &["--repair", "--why", "another?"]);
        assert_eq!(report["asked"], json!({ "settled": 1 }), "{report:#}");
        market.stop().await;
    }
}

fn what(order_no: &str) -> What {
    What::Payment(order_no.to_owned())
}
