//! Bills: what a gateway says, the day after, that it moved. Lines of bytes in, rows out; nothing
//! is kept but sums, so a bill may have any length.
//!
//! Bills come as files that people download and mail around, so they are read as hostile input:
//! every line has a bound, every number its form, and a file without its end is refused.
//!
//! Reading order: this file (a row, and what can be wrong), `wechat` and `alipay` (their formats),
//! `compare` (a row against what is stored).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::money::{Currency, Money, parse_decimal};
use crate::time::Timestamp;

pub mod alipay;

pub mod compare;

pub mod wechat;

/// One movement of a bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its line in the file, from 1.
    pub line: u64,
    /// Whether money came or went.
    pub kind: RowKind,
    /// Order number as the gateway was given it.
    pub order_no: String,
    /// The gateway's number of the payment.
    pub transaction_id: String,
    /// For a refund: the merchant's number of it, where the bill has it.
    pub refund_no: Option<String>,
    /// For a refund: the gateway's number of it, where the bill has it.
    pub refund_id: Option<String>,
    /// The total of the order, or of the refund.
    pub amount: Money,
    /// What the bill says became of it.
    pub state: RowState,
    /// When, as the bill has it.
    pub at: Timestamp,
}

impl Row {
    /// Whether every number has its form, as in a row that was read here.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let numbers = [Some(&self.order_no), Some(&self.transaction_id)];
        let optional = [self.refund_no.as_ref(), self.refund_id.as_ref()];
        numbers.into_iter().chain(optional).flatten().all(|number| is_number(number))
    }
}

/// Whether money came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowKind {
    /// It came.
    Payment,
    /// It went back.
    Refund,
}

/// What the bill says became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowState {
    /// It is done.
    Done,
    /// It was on its way when the bill was made.
    Pending,
    /// It failed.
    Failed,
    /// The payment was revoked at the till: no callback tells of it.
    Revoked,
}

/// Which movements a bill can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covers {
    /// Payments.
    pub payments: bool,
    /// Refunds.
    pub refunds: bool,
}

/// A whole bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// Rows that were read.
    pub rows: u64,
    /// Which movements it can have.
    pub covers: Covers,
    /// From when until before when it tells, where it says so itself.
    pub span: Option<(Timestamp, Timestamp)>,
}

/// Why a bill cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BillError {
    /// The line, from 1.
    pub line: u64,
    /// The column by its name, where it is one.
    pub column: Option<&'static str>,
    /// What was found and what was expected; nothing personal.
    pub problem: String,
}

impl fmt::Display for BillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "line {}, column {column}: {}", self.line, self.problem),
            None => write!(f, "line {}: {}", self.line, self.problem),
        }
    }
}

/// Reads one kind of bill, line by line.
#[derive(Debug)]
pub enum Reader {
    /// WeChat Pay's.
    Wechat(wechat::Reader),
    /// Alipay's.
    Alipay(alipay::Reader),
}

impl Reader {
    /// Picks the reader by the first line; `None` where it begins no bill that is known.
    #[must_use]
    pub fn of(first: &[u8]) -> Option<Self> {
        if wechat::begins(first) {
            return Some(Self::Wechat(wechat::Reader::default()));
        }
        alipay::begins(first).then(|| Self::Alipay(alipay::Reader::default()))
    }

    /// Reads the next line, without its line feed; `None` for a line that is no movement.
    ///
    /// # Errors
    /// Line, column and what is wrong.
    pub fn line(&mut self, bytes: &[u8]) -> Result<Option<Row>, BillError> {
        match self {
            Self::Wechat(reader) => reader.line(bytes),
            Self::Alipay(reader) => reader.line(bytes),
        }
    }

    /// Ends the bill.
    ///
    /// # Errors
    /// Where its end is missing, or its sums say something else than its rows.
    pub fn end(self) -> Result<Total, BillError> {
        match self {
            Self::Wechat(reader) => reader.end(),
            Self::Alipay(reader) => reader.end(),
        }
    }
}

/// Where a mistake is.
#[derive(Debug, Clone, Copy)]
struct Spot {
    line: u64,
    column: &'static str,
}

impl Spot {
    fn wrong(self, problem: impl Into<String>) -> BillError {
        BillError { line: self.line, column: Some(self.column), problem: problem.into() }
    }

    /// A number of an order, payment or refund.
    fn number(self, text: &str) -> Result<String, BillError> {
        let length = text.chars().count();
        if is_number(text) {
            return Ok(text.to_owned());
        }
        let found = format!("found {length} characters");
        Err(self.wrong(format!("{found}, expected a number of 1 to {NUMBER_MAX} plain ones")))
    }

    /// An amount in yuan; `-1.00` only where a bill writes refunds so.
    fn amount(self, text: &str, currency: Currency) -> Result<Money, BillError> {
        let minor = parse_decimal(text, currency.digits())
            .map_err(|error| self.wrong(error.to_string()))?;
        Ok(Money { minor, currency })
    }

    fn time(self, text: &str) -> Result<Timestamp, BillError> {
        let time = Timestamp::parse_beijing(text);
        time.ok_or_else(|| self.wrong("expected yyyy-MM-dd HH:mm:ss"))
    }
}

fn is_number(text: &str) -> bool {
    (1..=NUMBER_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn bare(line: u64, problem: impl Into<String>) -> BillError {
    BillError { line, column: None, problem: problem.into() }
}

/// Characters of an order's number: the store holds 256, gateways have at most 64.
const NUMBER_MAX: usize = 128;

/// Bytes of a line; a whole row of either gateway has some hundred.
pub const LINE_BYTES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Reader;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            wechat in any::<bool>(),
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)
        ) {
            let mut reader = if wechat {
                Reader::Wechat(super::wechat::Reader::default())
            } else {
                Reader::Alipay(super::alipay::Reader::default())
            };
            let read = lines.iter().try_for_each(|line| reader.line(line).map(drop));
            if read.is_ok() {
                let _ = reader.end();
            }
        }

        #[test]
        fn what_is_no_bill_is_none(first in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(Reader::of(&first).is_none());
        }
    }
}
