//! Alipay's trade bill: GBK (or UTF-8), lines of remarks that begin with `#`, a head of names, rows
//! padded with blanks, and sums in remarks at the end.
//!
//! Source: the open platform's pages on `alipay.data.dataservice.bill.downloadurl.query` and
//! samples of its `业务明细` file, read 2026-11-22. Names of columns count, not their places. A
//! comma in the name of goods is not escaped there, so where a row has too many fields the two times
//! behind the name tell where it ends.

use std::borrow::Cow;

use encoding_rs::GBK;

use super::{BillError, Covers, LINE_BYTES_MAX, Row, RowKind, RowState, Spot, Total, bare};
use crate::money::Currency;
use crate::time::Timestamp;

/// Reads a bill of details.
#[derive(Debug, Default)]
pub struct Reader {
    line: u64,
    payments: u64,
    refunds: u64,
    span: Option<(Timestamp, Timestamp)>,
    names: Vec<String>,
    is_utf8: bool,
    part: Part,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Remarks,
    Rows,
    Ended,
}

/// Whether a file begins as such a bill, in either encoding.
#[must_use]
pub fn begins(first: &[u8]) -> bool {
    let first = first.strip_prefix(MARK).unwrap_or(first);
    let gbk = GBK.encode(FIRST).0;
    first.starts_with(FIRST.as_bytes()) || first.starts_with(&gbk)
}

impl Reader {
    pub(super) fn line(&mut self, bytes: &[u8]) -> Result<Option<Row>, BillError> {
        self.line = self.line.saturating_add(1);
        let line = self.line;
        if bytes.len() > LINE_BYTES_MAX {
            return Err(bare(line, format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        let bytes = match line {
            1 => {
                let rest = bytes.strip_prefix(MARK).unwrap_or(bytes);
                self.is_utf8 = rest.starts_with(FIRST.as_bytes());
                rest
            }
            _ => bytes,
        };
        let text = self.decode(bytes)?;
        let text = text.trim_end_matches('\r');
        if let Some(remark) = text.strip_prefix('#') {
            self.remark(remark)?;
            return Ok(None);
        }
        match self.part {
            Part::Remarks if text.starts_with(TRANSACTION) => {
                self.head(text)?;
                Ok(None)
            }
            Part::Rows => {
                let row = self.row(text)?;
                let count = match row.kind {
                    RowKind::Payment => &mut self.payments,
                    RowKind::Refund => &mut self.refunds,
                };
                *count = count.saturating_add(1);
                Ok(Some(row))
            }
            Part::Remarks | Part::Ended if text.trim().is_empty() => Ok(None),
            Part::Remarks => Err(bare(line, "expected a remark with `#`, or the names of columns")),
            Part::Ended => Err(bare(line, "there is more after the end of the list")),
        }
    }

    fn decode<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, str>, BillError> {
        if self.is_utf8 {
            let text = std::str::from_utf8(bytes).map_err(|_| bare(self.line, "not UTF-8"))?;
            return Ok(Cow::Borrowed(text));
        }
        let text = GBK.decode_without_bom_handling_and_without_replacement(bytes);
        text.ok_or_else(|| bare(self.line, "not GBK"))
    }

    fn remark(&mut self, remark: &str) -> Result<(), BillError> {
        if self.line == 1 && !remark.contains(DETAILS) {
            let problem = "this is no list of details (业务明细), perhaps the one of sums";
            return Err(bare(1, problem));
        }
        if self.part == Part::Rows && remark.contains(LIST_ENDS) {
            self.part = Part::Ended;
            return Ok(());
        }
        if remark.starts_with(SPAN) {
            self.span = span(remark);
        }
        if self.part == Part::Ended {
            self.check_sum(remark, (PAYMENTS_SUM, self.payments))?;
            self.check_sum(remark, (REFUNDS_SUM, self.refunds))?;
        }
        Ok(())
    }

    /// `#交易合计：5笔，商家实收共…`.
    fn check_sum(&self, remark: &str, (name, rows): (&str, u64)) -> Result<(), BillError> {
        let Some(rest) = remark.strip_prefix(name) else { return Ok(()) };
        let digits: String = rest
            .trim_start_matches([':', '：', ' '])
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        match digits.parse::<u64>() {
            Ok(count) if count == rows => Ok(()),
            Ok(count) => {
                let problem = format!("the bill says {count} rows and has {rows}: it is not whole");
                Err(bare(self.line, problem))
            }
            Err(_) => Err(bare(self.line, "expected a number of rows")),
        }
    }

    fn head(&mut self, text: &str) -> Result<(), BillError> {
        // Brackets are written in both widths.
        let name = |name: &str| plain(name).replace('（', "(").replace('）', ")");
        self.names = text.split(',').map(name).collect();
        if self.names.len() > COLUMNS_MAX {
            let found = self.names.len();
            return Err(bare(self.line, format!("found {found} columns, expected 10 to 40")));
        }
        for column in [TRANSACTION, ORDER_NO, KIND, CREATED, FINISHED, AMOUNT, REFUND_NO] {
            if !self.names.iter().any(|known| known == column) {
                return Err(Spot { line: self.line, column }.wrong("the column is missing"));
            }
        }
        self.part = Part::Rows;
        Ok(())
    }

    fn row(&self, text: &str) -> Result<Row, BillError> {
        let line = self.line;
        let fields = self.fields(text)?;
        let at = |column: &'static str| {
            let found = self.names.iter().zip(&fields).find(|(known, _)| *known == column);
            (Spot { line, column }, found.map(|(_, value)| *value).unwrap_or_default())
        };
        let (here, text) = at(KIND);
        let kind = match text {
            "交易" => RowKind::Payment,
            "退款" => RowKind::Refund,
            _ => return Err(here.wrong("expected 交易 or 退款")),
        };
        let (here, text) = at(AMOUNT);
        let text = match kind {
            RowKind::Payment => text,
            RowKind::Refund => {
                text.strip_prefix('-').ok_or_else(|| here.wrong("a refund without a minus sign"))?
            }
        };
        let amount = here.amount(text, Currency::CNY)?;
        let number = |column| {
            let (here, text) = at(column);
            here.number(text)
        };
        let refund_no = match (kind, at(REFUND_NO)) {
            (RowKind::Payment, _) | (RowKind::Refund, (_, "")) => None,
            (RowKind::Refund, (here, text)) => Some(here.number(text)?),
        };
        let (here, text) = at(FINISHED);
        Ok(Row {
            line,
            kind,
            order_no: number(ORDER_NO)?,
            transaction_id: number(TRANSACTION)?,
            refund_no,
            refund_id: None,
            amount,
            state: RowState::Done,
            at: here.time(text)?,
        })
    }

    /// As many fields as there are names. What is too much belongs to the name of goods, which the
    /// two times follow, or to the note at the end.
    fn fields<'a>(&self, text: &'a str) -> Result<Vec<&'a str>, BillError> {
        let mut fields: Vec<&str> =
            text.split(',').take(FIELDS_MAX.saturating_add(1)).map(plain).collect();
        let (found, expected) = (fields.len(), self.names.len());
        let wrong = || bare(self.line, format!("found {found} fields, expected {expected}"));
        if found < expected || found > FIELDS_MAX {
            return Err(wrong());
        }
        if found == expected {
            return Ok(fields);
        }
        let times = self.names.iter().position(|name| name == CREATED).ok_or_else(wrong)?;
        let is_time =
            |text: Option<&&str>| text.is_some_and(|text| Timestamp::parse_beijing(text).is_some());
        let extra = found.saturating_sub(expected);
        let after = |shift: usize| times.saturating_add(shift);
        let mut fitting = (0..=extra).filter(|shift| {
            is_time(fields.get(after(*shift)))
                && is_time(fields.get(after(shift.saturating_add(1))))
        });
        let (Some(shift), None) = (fitting.next(), fitting.next()) else { return Err(wrong()) };
        fields.drain(times..after(shift));
        fields.truncate(expected);
        Ok(fields)
    }

    pub(super) fn end(self) -> Result<Total, BillError> {
        if self.part != Part::Ended {
            return Err(bare(self.line, "the list has no end: the bill is not whole"));
        }
        let covers = Covers { payments: true, refunds: true };
        let rows = self.payments.saturating_add(self.refunds);
        Ok(Total { rows, covers, span: self.span })
    }
}

/// A field without its padding.
fn plain(field: &str) -> &str {
    field.trim_matches([' ', '\t', '"'])
}

/// `起始日期:[2026年11月21日 00:00:00] 终止日期:[2026年11月22日 00:00:00]`.
fn span(remark: &str) -> Option<(Timestamp, Timestamp)> {
    let mut moments = remark.split('[').skip(1).filter_map(|piece| {
        let text = piece.split(']').next()?;
        let text = text.replace(['年', '月'], "-").replace('日', "");
        Timestamp::parse_beijing(text.trim())
    });
    let (from, to) = (moments.next()?, moments.next()?);
    (from < to).then_some((from, to))
}

const MARK: &[u8] = b"\xEF\xBB\xBF";
const FIRST: &str = "#支付宝";
const DETAILS: &str = "业务明细";
const SPAN: &str = "起始日期";
const LIST_ENDS: &str = "业务明细列表结束";
const PAYMENTS_SUM: &str = "交易合计";
const REFUNDS_SUM: &str = "退款合计";
const TRANSACTION: &str = "支付宝交易号";
const ORDER_NO: &str = "商户订单号";
const KIND: &str = "业务类型";
const CREATED: &str = "创建时间";
const FINISHED: &str = "完成时间";
const AMOUNT: &str = "订单金额(元)";
const REFUND_NO: &str = "退款批次号/请求号";

const COLUMNS_MAX: usize = 40;

/// Names of goods with more commas are nobody's.
const FIELDS_MAX: usize = 200;

#[cfg(test)]
mod tests;
