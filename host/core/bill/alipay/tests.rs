//! Tests of Alipay's trade bill.

use encoding_rs::GBK;

use super::super::{BillError, Row, RowKind, Total};
use super::{Reader, begins};

const HEAD: [&str; 4] = [
    "#支付宝业务明细查询",
    "#账号:[20880000000000020156]",
    "#起始日期:[2026年11月21日 00:00:00]   终止日期:[2026年11月22日 00:00:00]",
    "#-----------------------------------------业务明细列表----------------------------------------",
];
const NAMES: &str = "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,\
    操作员,终端号,对方账户,订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,\
    商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,\
    服务费（元）,分润（元）,备注";
const PAID: &str = "2026112122001400010500000001\t,CG1\t,交易        ,测试商品,2026-11-21 10:00:00,\
    2026-11-21 10:00:05,\t,\t,\t,\t,某人(a***@example.com),88.00,88.00,0.00,0.00,0.00,0.00,0.00,,\
    0.00\t,0.00\t,,-0.53,0.00,备注";
const BACK: &str = "2026112122001400010500000001\t,CG1\t,退款        ,测试商品,2026-11-21 10:00:00,\
    2026-11-21 11:00:00,\t,\t,\t,\t,某人(a***@example.com),-8.00,-8.00,0.00,0.00,0.00,0.00,0.00,,\
    0.00\t,0.00\t,R1\t,0.05,0.00,";
const TAIL: [&str; 4] = [
    "#-----------------------------------------业务明细列表结束------------------------------------",
    "#交易合计：1笔，商家实收共88.00元，商家优惠共0.00元",
    "#退款合计：1笔，商家实收退款共-8.00元，商家优惠退款共0.00元",
    "#导出时间:[2026年11月22日 09:00:00]",
];

fn lines<'a>(rows: &[&'a str]) -> Vec<&'a str> {
    [&HEAD[..], &[NAMES], rows, &TAIL[..]].concat()
}

fn read(lines: &[&str], encode: impl Fn(&str) -> Vec<u8>) -> Result<(Vec<Row>, Total), BillError> {
    let (mut reader, mut rows) = (Reader::default(), Vec::new());
    for line in lines {
        rows.extend(reader.line(&encode(line))?);
    }
    Ok((rows, reader.end()?))
}

fn gbk(line: &str) -> Vec<u8> {
    let mut bytes = GBK.encode(line).0.into_owned();
    bytes.push(b'\r');
    bytes
}

fn problem(lines: &[&str]) -> String {
    read(lines, gbk).expect_err("it is refused").to_string()
}

#[test]
fn payments_and_refunds_are_read_in_both_encodings() {
    let utf8 = |line: &str| line.as_bytes().to_vec();
    let (rows, total) = read(&lines(&[PAID, BACK]), gbk).expect("a bill");
    assert_eq!(read(&lines(&[PAID, BACK]), utf8).expect("a bill"), (rows.clone(), total));
    assert!(begins(&gbk(HEAD[0])) && begins(HEAD[0].as_bytes()));
    let (from, to) = total.span.expect("a day");
    assert_eq!(
        (from.format_beijing().as_str(), to.ms_since(from)),
        ("2026-11-21 00:00:00", 86_400_000)
    );
    let [paid, back] = rows.as_slice() else { panic!("two rows") };
    assert_eq!((paid.line, paid.kind, paid.amount.minor), (6, RowKind::Payment, 8800));
    assert_eq!((paid.order_no.as_str(), paid.refund_no.as_deref()), ("CG1", None));
    assert_eq!(paid.at.format_beijing(), "2026-11-21 10:00:05");
    assert_eq!((back.kind, back.amount.minor), (RowKind::Refund, 800));
    assert_eq!(back.refund_no.as_deref(), Some("R1"));
}

#[test]
fn commas_in_names_and_notes_shift_nothing() {
    let name = PAID.replace("测试商品", "茶, 红茶, 2026-11-21 10:00:00, 一斤");
    let note = PAID.replace("备注", "一,二,三");
    for line in [name, note] {
        let (rows, _) = read(&lines(&[&line, BACK]), gbk).expect("a bill");
        assert_eq!(
            rows.first().map(|row| (row.amount.minor, row.at.format_beijing())),
            Some((8800, "2026-11-21 10:00:05".to_owned())),
            "{line}"
        );
    }
    let two = PAID.replace("测试商品", "2026-11-21 10:00:00,2026-11-21 10:00:05");
    assert!(problem(&lines(&[&two, BACK])).contains("found 26 fields"), "nobody can tell");
}

#[test]
fn mistakes_name_line_and_column() {
    for (line, place, words) in [
        (PAID.replace("88.00,88", "8.8.00,88"), "line 6, column 订单金额(元)", "decimal"),
        (PAID.replace("10:00:05", "25:00:05"), "line 6, column 完成时间", "expected yyyy"),
        (PAID.replace("交易  ", "转账  "), "line 6, column 业务类型", "expected 交易 or 退款"),
        (BACK.replace("-8.00,-8", "8.00,-8"), "line 6, column 订单金额(元)", "minus"),
        (PAID.replace("CG1", ""), "line 6, column 商户订单号", "found 0 characters"),
        (PAID.replace("CG1", "=cmd|' /C calc'!A0"), "line 6, column 商户订单号", "plain ones"),
        (PAID.replace(",备注", ""), "line 6", "found 24 fields, expected 25"),
        (",".repeat(10_000), "line 6", "fields"),
        ("x".repeat(65_537), "line 6", "longer than 65536 bytes"),
    ] {
        let found = problem(&lines(&[&line, BACK]));
        assert!(found.starts_with(place) && found.contains(words), "{found}");
    }
}

#[test]
fn a_bill_that_is_not_whole_is_refused() {
    assert!(problem(&[&HEAD[..], &[NAMES, PAID]].concat()).contains("not whole"));
    assert!(problem(&lines(&[PAID])).contains("says 1 rows and has 0"));
    assert!(problem(&lines(&[PAID, PAID, BACK])).contains("says 1 rows and has 2"));
    assert!(problem(&[&lines(&[PAID, BACK])[..], &[PAID]].concat()).contains("more after the end"));
    assert!(problem(&HEAD).contains("not whole"));
    assert!(problem(&["#支付宝业务汇总查询"]).contains("no list of details"));
    assert!(problem(&[HEAD[0], PAID]).contains("expected a remark"));
    let names = NAMES.replace("业务类型", "类型");
    assert!(problem(&[HEAD[0], &names]).contains("column 业务类型: the column is missing"));
}

#[test]
fn bytes_of_another_encoding_are_refused() {
    let mut reader = Reader::default();
    reader.line(&gbk(HEAD[0])).expect("a remark");
    let error = reader.line(b"#\xff\xff").expect_err("no GBK");
    assert_eq!((error.line, error.problem.as_str()), (2, "not GBK"));
}
