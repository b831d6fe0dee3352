//! What happens at the till, before any gateway puts it into its own words.

use callgate_core::money::{Currency, Money};
use callgate_core::time::Timestamp;

use crate::channel::Gateway;
use crate::draw::Draw;

/// A payment of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// The merchant's order number (`out_trade_no`), at most 32 characters.
    pub order_no: String,
    /// The gateway's number of the payment.
    pub transaction_id: String,
    /// The order's total.
    pub amount: Money,
    /// The payer as the gateway names them.
    pub payer: String,
    /// When it was paid; gateways tell whole seconds.
    pub at: Timestamp,
    /// What was bought; goes into `attach` or `subject`.
    pub subject: String,
}

impl Purchase {
    /// Draws a purchase in the number formats of a gateway.
    #[must_use]
    pub fn draw(gateway: Gateway, at: Timestamp, draw: &mut Draw) -> Self {
        let day = day(at);
        let (transaction_id, payer) = match gateway {
            Gateway::WechatV3 | Gateway::WechatV2 => (
                format!("4200{}{day}{}", draw.digits(6), draw.digits(10)),
                format!("oCallgate{}", draw.letters(19)),
            ),
            Gateway::Alipay => {
                (format!("{day}2200{}", draw.digits(16)), format!("2088{}", draw.digits(12)))
            }
        };
        let fen = draw.below(AMOUNT_FEN_MAX).saturating_add(2);
        let minor = i64::try_from(fen).unwrap_or(2);
        Self {
            order_no: format!("CG{day}{}", draw.digits(20)),
            transaction_id,
            amount: Money { minor, currency: Currency::CNY },
            payer,
            at,
            subject: SUBJECT.to_owned(),
        }
    }

    /// The same purchase with the last ten digits of its numbers given: no double where these are
    /// none.
    #[must_use]
    pub fn numbered(mut self, number: u64) -> Self {
        let digits = format!("{:010}", number % TEN_DIGITS);
        for number in [&mut self.order_no, &mut self.transaction_id] {
            number.truncate(number.len().saturating_sub(digits.len()));
            number.push_str(&digits);
        }
        self
    }

    /// A refund of the whole amount, a few seconds later.
    #[must_use]
    pub fn full_refund(&self, draw: &mut Draw) -> Refund {
        Refund::draw(self.amount.minor, self.amount, draw, self.at)
    }

    /// A refund of `minor` units after `already` were refunded before.
    #[must_use]
    pub fn partial_refund(&self, part: Part, draw: &mut Draw) -> Refund {
        let total = part.already_minor.saturating_add(part.minor);
        let refunded_total = Money { minor: total, currency: self.amount.currency };
        Refund::draw(part.minor, refunded_total, draw, self.at)
    }
}

/// A part of the amount that goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What this refund gives back, in minor units.
    pub minor: i64,
    /// What earlier refunds gave back, in minor units.
    pub already_minor: i64,
}

/// Money that goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The merchant's number of the refund (`out_refund_no`, `out_biz_no`).
    pub refund_no: String,
    /// The gateway's number of the refund; Alipay has none.
    pub refund_id: String,
    /// What this refund gives back.
    pub amount: Money,
    /// Everything given back so far, this refund included: what Alipay tells.
    pub refunded_total: Money,
    /// What became of it.
    pub result: RefundResult,
    /// When it reached the payer.
    pub at: Timestamp,
}

impl Refund {
    fn draw(minor: i64, refunded_total: Money, draw: &mut Draw, paid_at: Timestamp) -> Self {
        let at = paid_at.plus_ms(UNTIL_REFUND_MS);
        let day = day(at);
        Self {
            refund_no: format!("CGR{day}{}", draw.digits(14)),
            refund_id: format!("5030{}{day}{}", draw.digits(6), draw.digits(11)),
            amount: Money { minor, currency: refunded_total.currency },
            refunded_total,
            result: RefundResult::Success,
            at,
        }
    }
}

/// What became of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefundResult {
    /// The payer has the money.
    Success,
    /// It was given up.
    Closed,
    /// The payer's bank refused; a person must act.
    Abnormal,
}

fn day(at: Timestamp) -> String {
    at.format_beijing_compact().chars().take(8).collect()
}

/// Blanks, `+`, `%`, `&`, markup and Chinese: what a careless decoder trips over.
const SUBJECT: &str = "测试商品 A+B 100% <正品> & more";

const AMOUNT_FEN_MAX: u64 = 100_000;

const UNTIL_REFUND_MS: i64 = 5000;

const TEN_DIGITS: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;

    use super::{Part, Purchase, TEN_DIGITS};
    use crate::channel::Gateway;
    use crate::draw::Draw;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_226_406);

    fn purchase(gateway: Gateway) -> Purchase {
        Purchase::draw(gateway, NOW, &mut Draw::seeded(1))
    }

    #[test]
    fn numbers_have_the_lengths_of_the_gateways() {
        for gateway in Gateway::ALL {
            let drawn = purchase(gateway);
            assert_eq!((drawn.order_no.len(), drawn.transaction_id.len()), (30, 28), "{gateway}");
            assert_eq!(drawn.full_refund(&mut Draw::seeded(2)).refund_id.len(), 29);
            assert!(drawn.payer.len() == if gateway == Gateway::Alipay { 16 } else { 28 });
            assert!(drawn.amount.minor >= 2, "half of it must be a refund");
        }
    }

    #[test]
    fn an_index_makes_numbers_that_differ_and_keep_their_length() {
        let (one, two) = (purchase(Gateway::WechatV3).numbered(1), purchase(Gateway::WechatV3));
        let two = two.numbered(TEN_DIGITS - 1);
        assert_ne!(one.order_no, two.order_no);
        assert_ne!(one.transaction_id, two.transaction_id);
        assert_eq!((two.order_no.len(), two.transaction_id.len()), (30, 28));
    }

    #[test]
    fn a_part_adds_to_what_went_back_before() {
        let mut draw = Draw::seeded(2);
        let part = Part { minor: 30, already_minor: 12 };
        let refund = purchase(Gateway::Alipay).partial_refund(part, &mut draw);
        assert_eq!((refund.amount.minor, refund.refunded_total.minor), (30, 42));
    }
}
