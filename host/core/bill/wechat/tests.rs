//! Tests of WeChat Pay's trade bill.

use super::super::{BillError, Row, RowKind, RowState, Total};
use super::{Reader, begins};

const ALL: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,\
    交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,\
    充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注";
const SUMS: &str = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,\
    申请退款总金额";
const PAID: &str = "`2026-11-21 10:00:05,`wx01,`1900000001,`0,`,`4200000001202611210000000001,\
    `CG1,`openid,`JSAPI,`SUCCESS,`OTHERS,`CNY,`19.99,`0.00,`0,`0,`0.00,`0.00,`,`,`茶, 红茶,`,\
    `0.12000,`0.60%,`19.99,`0.00,`";
const BACK: &str = "`2026-11-21 12:00:00,`wx01,`1900000001,`0,`,`4200000001202611210000000001,\
    `CG1,`openid,`JSAPI,`REFUND,`OTHERS,`CNY,`0.00,`0.00,`50000001,`R1,`5.00,`0.00,`ORIGINAL,\
    `SUCCESS,`茶,`,`-0.03000,`0.60%,`0.00,`5.00,`";

fn read(lines: &[&str]) -> Result<(Vec<Row>, Total), BillError> {
    let (mut reader, mut rows) = (Reader::default(), Vec::new());
    for line in lines {
        rows.extend(reader.line(line.as_bytes())?);
    }
    Ok((rows, reader.end()?))
}

fn problem(lines: &[&str]) -> String {
    read(lines).expect_err("it is refused").to_string()
}

#[test]
fn payments_and_refunds_are_read_by_the_names_of_columns() {
    let mark = format!("\u{feff}{ALL}\r");
    assert!(begins(mark.as_bytes()) && begins(ALL.as_bytes()));
    let (rows, total) =
        read(&[&mark, PAID, BACK, SUMS, "`2,`19.99,`5.00,`0.00,`0.09,`19.99,`5.00", ""])
            .expect("a bill");
    assert_eq!((total.rows, total.covers.payments, total.covers.refunds), (2, true, true));
    let [paid, back] = rows.as_slice() else { panic!("two rows") };
    assert_eq!((paid.line, paid.kind, paid.state), (2, RowKind::Payment, RowState::Done));
    assert_eq!((paid.order_no.as_str(), paid.amount.minor), ("CG1", 1999));
    assert_eq!(paid.at.format_beijing(), "2026-11-21 10:00:05");
    assert_eq!((paid.refund_no.as_deref(), paid.refund_id.as_deref()), (None, None));
    assert_eq!((back.kind, back.state, back.amount.minor), (RowKind::Refund, RowState::Done, 500));
    assert_eq!(
        (back.refund_no.as_deref(), back.refund_id.as_deref()),
        (Some("R1"), Some("50000001"))
    );
}

#[test]
fn bills_of_payments_or_refunds_alone_say_so() {
    let payments =
        ALL.replace("微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,", "");
    let (_, total) = read(&[&payments, SUMS, "`0,`0.00"]).expect("an empty bill");
    assert_eq!((total.covers.payments, total.covers.refunds), (true, false));
    let refunds = ALL.replace("微信退款单号,", "退款申请时间,退款成功时间,微信退款单号,");
    let (_, total) = read(&[&refunds, SUMS, "`0.0,`0.00"]).expect("an empty bill");
    assert_eq!((total.covers.payments, total.covers.refunds), (false, true));
}

#[test]
fn states_of_refunds_are_told_apart() {
    for (from, to, expected) in [
        ("`SUCCESS,`茶", "`PROCESSING,`茶", RowState::Pending),
        ("`SUCCESS,`茶", "`FAIL,`茶", RowState::Failed),
        ("`SUCCESS,`茶", "`CHANGE,`茶", RowState::Failed),
        ("`REFUND,", "`REVOKED,", RowState::Revoked),
    ] {
        let line = BACK.replace(from, to);
        let (rows, _) = read(&[ALL, &line, SUMS, "`1"]).expect("a bill");
        assert_eq!(rows.first().map(|row| row.state), Some(expected), "{to}");
    }
}

#[test]
fn mistakes_name_line_and_column() {
    let cases = [
        (PAID.replace("`19.99,`0.00,`\n", ""), "", ""),
        (
            PAID.replace("2026-11-21 10", "2026-13-21 10"),
            "line 2, column 交易时间",
            "expected yyyy",
        ),
        (PAID.replace("`CNY", "`YUAN"), "line 2, column 货币种类", "not a currency"),
        (PAID.replace("`19.99,`0.00,`", "`1e3,`0.00,`"), "line 2, column 订单金额", "decimal"),
        (PAID.replace("`SUCCESS", "`PAID"), "line 2, column 交易状态", "expected SUCCESS"),
        (PAID.replace("`CG1,", "`,"), "line 2, column 商户订单号", "found 0 characters"),
        (PAID.replace("`CG1,", "`C G,"), "line 2, column 商户订单号", "plain ones"),
        (
            PAID.replace("`CG1,", &format!("`{},", "9".repeat(129))),
            "line 2, column 商户订单号",
            "129",
        ),
        (PAID.replace(",`OTHERS", ""), "line 2", "found 26 fields, expected 27"),
        (PAID.replace("`茶", "`茶,`水"), "line 2", "found 28 fields, expected 27"),
        (PAID.replacen('`', "", 1), "line 2", "expected a back-quote"),
        ("x".repeat(65_537), "line 2", "longer than 65536 bytes"),
    ];
    for (line, place, words) in cases.iter().skip(1) {
        let found = problem(&[ALL, line, SUMS, "`1"]);
        assert!(found.starts_with(place) && found.contains(words), "{found}");
    }
}

#[test]
fn a_bill_that_is_not_whole_is_refused() {
    assert!(problem(&[ALL, PAID]).contains("not whole"));
    assert!(problem(&[ALL, PAID, SUMS]).contains("not whole"));
    assert!(problem(&[ALL, PAID, SUMS, "`2,`39.98"]).contains("says 2 rows and has 1"));
    assert!(problem(&[ALL, PAID, SUMS, "`1,`19.99", PAID]).contains("more after the sums"));
    assert!(problem(&[]).contains("not whole"));
    assert!(problem(&["交易时间,微信订单号"]).contains("column 商户订单号: the column is missing"));
}

#[test]
fn bytes_of_another_encoding_are_refused() {
    let mut reader = Reader::default();
    reader.line(ALL.as_bytes()).expect("a head");
    let error = reader.line(b"`2026-11-21 10:00:05,`\xb2\xe8").expect_err("GBK");
    assert_eq!((error.line, error.problem.as_str()), (2, "not UTF-8"));
}
