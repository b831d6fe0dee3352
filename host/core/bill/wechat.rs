//! WeChat Pay's trade bill: UTF-8 with a mark at its beginning or without, a head of names, rows
//! whose fields each begin with a back-quote, a second head, one line of sums.
//!
//! Source: the merchant platform's page on the format of trade bills, read 2026-11-22. Names of
//! columns count, not their places. A comma in the name of goods is not escaped; the back-quote
//! behind it tells fields apart.

use std::borrow::Cow;

use super::{BillError, Covers, LINE_BYTES_MAX, Row, RowKind, RowState, Spot, Total, bare};
use crate::money::{Currency, parse_decimal};

/// Reads a bill of all trades, of payments alone, or of refunds alone.
#[derive(Debug, Default)]
pub struct Reader {
    line: u64,
    rows: u64,
    head: Option<Head>,
    part: Part,
}

/// How far it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    Rows,
    Sums,
    Ended,
}

/// Where columns are.
#[derive(Debug)]
struct Head {
    names: Vec<String>,
    covers: Covers,
}

/// Whether a file begins as such a bill.
#[must_use]
pub fn begins(first: &[u8]) -> bool {
    let first = first.strip_prefix(MARK).unwrap_or(first);
    first.starts_with(FIRST.as_bytes())
}

impl Reader {
    pub(super) fn line(&mut self, bytes: &[u8]) -> Result<Option<Row>, BillError> {
        self.line = self.line.saturating_add(1);
        let line = self.line;
        if bytes.len() > LINE_BYTES_MAX {
            return Err(bare(line, format!("longer than {LINE_BYTES_MAX} bytes")));
        }
        let bytes = match line {
            1 => bytes.strip_prefix(MARK).unwrap_or(bytes),
            _ => bytes,
        };
        let text = std::str::from_utf8(bytes).map_err(|_| bare(line, "not UTF-8"))?;
        let text = text.trim_end_matches('\r');
        match self.part {
            Part::Head => {
                self.head = Some(Head::read(text, line)?);
                self.part = Part::Rows;
                Ok(None)
            }
            Part::Rows if text.starts_with(SUMS_FIRST) => {
                self.part = Part::Sums;
                Ok(None)
            }
            Part::Rows => {
                let head = self.head.as_ref().ok_or_else(|| bare(line, "a row before its head"))?;
                let row = head.row(text, line)?;
                self.rows = self.rows.saturating_add(1);
                Ok(Some(row))
            }
            Part::Sums => {
                self.check_sums(text)?;
                self.part = Part::Ended;
                Ok(None)
            }
            Part::Ended if text.trim().is_empty() => Ok(None),
            Part::Ended => Err(bare(line, "there is more after the sums")),
        }
    }

    fn check_sums(&self, text: &str) -> Result<(), BillError> {
        let first = fields(text, self.line)?.first().copied().unwrap_or_default();
        let spot = Spot { line: self.line, column: SUMS_FIRST };
        // Some bills write the number of trades with decimals.
        let count = parse_decimal(first, 2).ok().filter(|count| count.rem_euclid(100) == 0);
        let count = count.map(|count| count.div_euclid(100));
        let rows = i64::try_from(self.rows).unwrap_or(i64::MAX);
        match count {
            Some(count) if count == rows => Ok(()),
            Some(count) => {
                Err(spot
                    .wrong(format!("the bill says {count} rows and has {rows}: it is not whole")))
            }
            None => Err(spot.wrong("expected a number of rows")),
        }
    }

    pub(super) fn end(self) -> Result<Total, BillError> {
        let Some(head) = self.head.filter(|_| self.part == Part::Ended) else {
            return Err(bare(self.line, "the bill has no sums at its end: it is not whole"));
        };
        Ok(Total { rows: self.rows, covers: head.covers, span: None })
    }
}

impl Head {
    fn read(text: &str, line: u64) -> Result<Self, BillError> {
        let names: Vec<String> =
            text.split(',').map(|name| name.trim_start_matches('`').trim().to_owned()).collect();
        if names.len() > COLUMNS_MAX {
            return Err(bare(line, format!("found {} columns, expected 20 to 40", names.len())));
        }
        for name in [TIME, ORDER_NO, TRANSACTION, STATE, CURRENCY, AMOUNT] {
            if !names.iter().any(|known| known == name) {
                return Err(Spot { line, column: name }.wrong("the column is missing"));
            }
        }
        let has = |name: &str| names.iter().any(|known| known == name);
        let refunds = has(REFUND_NO);
        let covers = Covers { payments: !has(REFUND_TIME), refunds };
        Ok(Self { names, covers })
    }

    fn row(&self, text: &str, line: u64) -> Result<Row, BillError> {
        let fields = fields(text, line)?;
        if fields.len() != self.names.len() {
            let (found, expected) = (fields.len(), self.names.len());
            return Err(bare(line, format!("found {found} fields, expected {expected}")));
        }
        let get = |name: &str| {
            let found = self.names.iter().zip(&fields).find(|(known, _)| *known == name);
            found.map(|(_, value)| value.trim())
        };
        let at = |column: &'static str| (Spot { line, column }, get(column).unwrap_or_default());
        let spot = |column| Spot { line, column };
        let (here, text) = at(CURRENCY);
        let currency = Currency::parse(text).map_err(|error| here.wrong(error.to_string()))?;
        let number = |column| {
            let (here, text) = at(column);
            here.number(text)
        };
        // A payment has `0` where a refund has its numbers.
        let optional = |column: &'static str| {
            let text = get(column).filter(|text| !matches!(*text, "" | "0"));
            text.map(|text| spot(column).number(text)).transpose()
        };
        let kind = match get(STATE) {
            Some("SUCCESS") => RowKind::Payment,
            Some("REFUND" | "REVOKED") => RowKind::Refund,
            _ => return Err(spot(STATE).wrong("expected SUCCESS, REFUND or REVOKED")),
        };
        let state = match (kind, get(STATE)) {
            (RowKind::Payment, _) => RowState::Done,
            (RowKind::Refund, Some("REVOKED")) => RowState::Revoked,
            (RowKind::Refund, _) => refund_state(get(REFUND_STATE), spot(REFUND_STATE))?,
        };
        let column = match (kind, get(REFUND_ASKED).is_some()) {
            (RowKind::Payment, _) => AMOUNT,
            (RowKind::Refund, true) => REFUND_ASKED,
            (RowKind::Refund, false) => REFUND_AMOUNT,
        };
        let (here, text) = at(column);
        let amount = here.amount(text, currency)?;
        let (here, text) = at(TIME);
        let refund = kind == RowKind::Refund;
        Ok(Row {
            line,
            kind,
            order_no: number(ORDER_NO)?,
            transaction_id: number(TRANSACTION)?,
            refund_no: if refund { optional(REFUND_NO)? } else { None },
            refund_id: if refund { optional(REFUND_ID)? } else { None },
            amount,
            state,
            at: here.time(text)?,
        })
    }
}

fn refund_state(word: Option<&str>, spot: Spot) -> Result<RowState, BillError> {
    match word {
        Some("SUCCESS") => Ok(RowState::Done),
        Some("PROCESSING") => Ok(RowState::Pending),
        Some("FAIL" | "CHANGE") => Ok(RowState::Failed),
        _ => Err(spot.wrong("expected SUCCESS, PROCESSING, FAIL or CHANGE")),
    }
}

/// The fields of a row: each begins with a back-quote.
fn fields(text: &str, line: u64) -> Result<Vec<&str>, BillError> {
    let rest = text.strip_prefix('`').ok_or_else(|| {
        let shown: Cow<'_, str> = text.chars().take(1).collect();
        bare(line, format!("begins with `{}`, expected a back-quote", shown.escape_default()))
    })?;
    let fields: Vec<&str> = rest.split(",`").take(COLUMNS_MAX.saturating_add(1)).collect();
    Ok(fields)
}

/// The mark of UTF-8 that some programs want at the beginning of a file.
const MARK: &[u8] = b"\xEF\xBB\xBF";

const FIRST: &str = "交易时间,";
const TIME: &str = "交易时间";
const TRANSACTION: &str = "微信订单号";
const ORDER_NO: &str = "商户订单号";
const STATE: &str = "交易状态";
const CURRENCY: &str = "货币种类";
const AMOUNT: &str = "订单金额";
const REFUND_ID: &str = "微信退款单号";
const REFUND_NO: &str = "商户退款单号";
const REFUND_AMOUNT: &str = "退款金额";
const REFUND_ASKED: &str = "申请退款金额";
const REFUND_STATE: &str = "退款状态";
const REFUND_TIME: &str = "退款申请时间";
const SUMS_FIRST: &str = "总交易单数";

/// More columns than any bill has.
const COLUMNS_MAX: usize = 40;

#[cfg(test)]
mod tests;
