//! Bills against a real server: generated ones of both gateways with every kind of difference, and
//! files that are none.

use std::path::{Path, PathBuf};
use std::process::Output;

use callgate_core::time::Timestamp;
use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;
use callgate_trigger::purchase::Purchase;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::house::{House, as_operator, keys, now, stage};

/// A day of a shop, on one channel.
struct Day {
    house: House,
    channel: Channel,
    folder: TempDir,
    at: Timestamp,
}

/// One line of a bill.
struct Line {
    purchase: Purchase,
    minor: i64,
}

impl Day {
    fn start(channel: Channel) -> Option<Self> {
        let house = House::start()?;
        Some(Self { house, channel, folder: TempDir::new().expect("a folder"), at: now() })
    }

    /// An order that is registered and whose payment is heard, or only one of the two.
    async fn sale(&self, registered: bool, heard: bool) -> Line {
        let (stage, mut draw) = stage(self.channel);
        let purchase = stage.purchase(&mut draw);
        let minor = stage.order(&purchase).amount.minor;
        let body = json!({ "amount_minor": minor, "currency": "CNY", "state": "TO_BE_PAID" });
        if registered {
            assert_eq!(self.house.put_order(&purchase.order_no, &body).await.0, 201);
        }
        if heard {
            let notice = stage.payment(&purchase, &mut draw);
            let message = notice.sign(keys().0, Sending::genuine(self.at), &mut draw);
            assert_eq!(self.house.send(&message.expect("a message")).await.0, 200);
        }
        if registered && heard {
            self.house.order_when(&purchase.order_no, |order| order["version"] == 2).await;
        }
        Line { purchase, minor }
    }

    fn wechat(&self, lines: &[Line]) -> PathBuf {
        let mut text = "\u{feff}交易时间,公众账号ID,商户号,微信订单号,商户订单号,交易状态,货币种类,\
            应结订单金额,微信退款单号,商户退款单号,退款金额,退款状态,商品名称,订单金额,申请退款金额\r\n"
            .to_owned();
        for Line { purchase, minor } in lines {
            let (yuan, at) = (yuan(*minor), self.at.format_beijing());
            let (payment, order) = (&purchase.transaction_id, &purchase.order_no);
            text.push_str(&format!(
                "`{at},`wx01,`1900000001,`{payment},`{order},`SUCCESS,`CNY,`{yuan},`0,`0,`0.00,`,\
                 `茶, 红茶,`{yuan},`0.00\r\n"
            ));
        }
        text.push_str(&format!("总交易单数,应结订单总金额\r\n`{},`0.00\r\n", lines.len()));
        self.write("wechat.csv", text.as_bytes())
    }

    fn alipay(&self, lines: &[Line]) -> PathBuf {
        let mut text = "#支付宝业务明细查询\r\n#账号:[2088]\r\n#---业务明细列表---\r\n\
            支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,对方账户,订单金额（元）,\
            退款批次号/请求号,备注\r\n"
            .to_owned();
        for Line { purchase, minor } in lines {
            let (yuan, at) = (yuan(*minor), self.at.format_beijing());
            let (payment, order) = (&purchase.transaction_id, &purchase.order_no);
            text.push_str(&format!(
                "{payment}\t,{order}\t,交易    ,茶,{at},{at},某人(a***@x.cn),{yuan},\t,\r\n"
            ));
        }
        text.push_str(&format!("#---业务明细列表结束---\r\n#交易合计：{}笔，\r\n", lines.len()));
        self.write("alipay.csv", &gbk(&text))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("a bill");
        path
    }

    fn reconcile(&self, bill: &Path, more: &[&str]) -> Output {
        let bill = bill.display().to_string();
        let words = ["reconcile", "--bill", &bill, "--channel", self.channel.name()];
        let place = ["--url", &self.house.private];
        as_operator(&[&words[..], &place[..], more].concat())
    }

    /// The report as JSON, with its exit status.
    fn report(&self, bill: &Path, more: &[&str]) -> (Option<i32>, Value) {
        let output = self.reconcile(bill, &[&["--json"], more].concat());
        let text = String::from_utf8(output.stdout).expect("text");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{errors}")))
    }
}

fn yuan(minor: i64) -> String {
    callgate_core::money::format_decimal(minor, 2)
}

fn gbk(text: &str) -> Vec<u8> {
    encoding_rs::GBK.encode(text).0.into_owned()
}

/// The difference that the report has for an order.
fn of<'a>(report: &'a Value, line: &Line) -> Vec<&'a str> {
    let order = json!(line.purchase.order_no);
    let findings = report["findings"].as_array().expect("findings").iter();
    let found = findings.filter(|one| one["order_no"] == order);
    found.map(|one| one["difference"].as_str().expect("a word")).collect()
}

async fn every_difference(day: &Day, write: impl Fn(&Day, &[Line]) -> PathBuf) {
    let good = day.sale(true, true).await;
    let lost = day.sale(true, false).await;
    let nobody = day.sale(false, false).await;
    let parked = day.sale(false, true).await;
    let mut dear = day.sale(true, true).await;
    dear.minor = dear.minor.saturating_add(100);
    let ours = day.sale(true, true).await;
    let lines = [good, lost, nobody, parked, dear];
    let bill = write(day, &lines);
    let (code, report) = day.report(&bill, &[]);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(report["rows"], json!({ "payments": 5, "refunds": 0 }));
    let expected: [&[&str]; 5] = [
        &[],
        &["missing-callback"],
        &["missing-order", "missing-callback"],
        &["missing-order"],
        &["amount", "amount"],
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(of(&report, line), expected, "{report:#}");
    }
    assert_eq!(of(&report, &ours), ["not-in-bill"], "{report:#}");
    let shown = day.reconcile(&bill, &[]);
    assert_eq!(shown.status.code(), Some(1));
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("2 missing-callback\n") && shown.contains("1 not-in-bill\n"), "{shown}");
    // A server without keys to ask with says so, and the wish stands in the audit.
    let (code, report) = day.report(&bill, &["--repair", "--why", "the bill of the day"]);
    assert_eq!(
        (code, report["asked"].as_object().map(|asked| !asked.is_empty())),
        (Some(1), Some(true))
    );
    let audit = as_operator(&["operate", "--url", &day.house.private, "audit"]);
    let audit = String::from_utf8(audit.stdout).expect("text");
    assert!(audit.contains("reconcile.repair") && audit.contains("the bill of the day"), "{audit}");
    // What agrees is told as that, and its status is 0.
    let mut agreed: Vec<Line> = Vec::new();
    for line in [lines.into_iter().next().expect("a line"), ours] {
        agreed.push(line);
    }
    let (code, report) = day.report(&write(day, &agreed), &[]);
    assert_eq!((code, &report["differences"]["missing-callback"]), (Some(1), &json!(0)));
    assert_eq!(report["differences"]["not-in-bill"], 2, "the parked and the dear one: {report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_of_wechat_is_held_against_what_is_stored() {
    let Some(day) = Day::start(Channel::WechatV3Main) else { return };
    every_difference(&day, Day::wechat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_of_alipay_is_held_against_what_is_stored() {
    let Some(day) = Day::start(Channel::AlipayMain) else { return };
    every_difference(&day, Day::alipay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_go_in_many_calls_and_agree() {
    let Some(day) = Day::start(Channel::AlipayMain) else { return };
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(day.sale(true, true).await);
    }
    let (code, report) = day.report(&day.alipay(&lines), &[]);
    assert_eq!((code, &report["agrees"]), (Some(0), &json!(true)), "{report:#}");
    // The same orders again and again: more than one call takes.
    let again = |line: &Line| Line { purchase: line.purchase.clone(), minor: line.minor };
    let many: Vec<Line> = lines.iter().cycle().take(700).map(again).collect();
    let (code, report) = day.report(&day.alipay(&many), &[]);
    assert_eq!((code, &report["rows"]["payments"]), (Some(0), &json!(700)), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compared_has_a_status_of_its_own() {
    let Some(day) = Day::start(Channel::WechatV3Main) else { return };
    let line = day.sale(true, true).await;
    let bill = day.wechat(&[line]);
    let bytes = std::fs::read(&bill).expect("a bill");
    let cut = day.write("cut.csv", &bytes[..bytes.len() / 2]);
    let none = day.write("none.csv", b"no bill\n");
    let empty = day.wechat(&[]);
    for (path, more, words) in [
        (&cut, &[][..], "line "),
        (&none, &[][..], "begins as no bill"),
        (&day.folder.path().join("absent"), &[][..], "cannot be opened"),
        (&empty, &[][..], "--date"),
        (&empty, &["--date", "yesterday"][..], "no yyyy-MM-dd"),
    ] {
        let output = day.reconcile(path, more);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(words), "{told}");
    }
    let date = day.at.format_beijing();
    let date = date.split(' ').next().expect("a day");
    let (code, report) = day.report(&day.wechat(&[]), &["--date", date]);
    assert_eq!((code, &report["differences"]["not-in-bill"]), (Some(1), &json!(1)), "{report:#}");
    let wrong = ["--bill", "x", "--channel", "nobody", "--url", "http://127.0.0.1:1"];
    assert_eq!(as_operator(&[&["reconcile"], &wrong[..]].concat()).status.code(), Some(2));
}
