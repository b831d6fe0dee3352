//! What the gateway tells of a refund.

use callgate_processor::{Exchange, Money, PhaseError, PhaseResult};
use serde::{Deserialize, Serialize};

/// What the notification says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// Money reached the payer.
    Succeeded {
        refund: Refund,
        told: Told,
        /// The total of the payment as the gateway has it.
        paid: Option<Money>,
    },
    /// No money moved.
    Failed { refund: Refund, failure: Failure },
}

/// Names a refund and says when and where it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refund {
    /// The same for every notification of one refund; see [`key`].
    pub(crate) key: String,
    pub(crate) transaction_id: Option<String>,
    pub(crate) refund_id: Option<String>,
    pub(crate) refund_no: Option<String>,
    pub(crate) at_ms: u64,
    pub(crate) channel: String,
    pub(crate) scene: String,
    pub(crate) notification_id: String,
}

/// How the gateway tells the amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// The amount of this refund alone (WeChat Pay).
    Amount(Money),
    /// Everything refunded so far (Alipay's `refund_fee`).
    Total(Money),
}

/// Why no money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Failure {
    /// It failed at the payer's bank; a person must act, and it may still succeed.
    Abnormal,
    /// It was given up.
    Closed,
}

impl Notice {
    /// Reads the notification.
    pub(crate) fn read(exchange: &Exchange) -> PhaseResult<Self> {
        let event = exchange.event_type();
        if event == super::ABNORMAL_EVENT {
            return Ok(Self::Failed {
                refund: refund(exchange, None)?,
                failure: Failure::Abnormal,
            });
        }
        if event == super::CLOSED_EVENT {
            return Ok(Self::Failed { refund: refund(exchange, None)?, failure: Failure::Closed });
        }
        let told = match (exchange.refunded_total(), exchange.amount()) {
            (Some(total), _) => Told::Total(total),
            (None, Some(amount)) => Told::Amount(amount),
            (None, None) => {
                return Err(PhaseError::reject(
                    "amount-missing",
                    "the refund has neither an amount nor a total",
                ));
            }
        };
        let refund = refund(exchange, Some(&told))?;
        Ok(Self::Succeeded { refund, told, paid: exchange.order_amount() })
    }

    pub(crate) fn refund(&self) -> &Refund {
        match self {
            Self::Succeeded { refund, .. } | Self::Failed { refund, .. } => refund,
        }
    }
}

fn refund(exchange: &Exchange, told: Option<&Told>) -> PhaseResult<Refund> {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let transaction_id = filled(exchange.transaction_id());
    let refund_id = filled(exchange.refund_id());
    let refund_no = filled(exchange.refund_no());
    let names = Names {
        transaction_id: transaction_id.as_deref(),
        refund_id: refund_id.as_deref(),
        refund_no: refund_no.as_deref(),
    };
    Ok(Refund {
        key: key(names, told)?,
        transaction_id,
        refund_id,
        refund_no,
        at_ms: exchange.occurred_at_ms().unwrap_or_else(|| exchange.received_at_ms()),
        channel: exchange.channel(),
        scene: exchange.scene(),
        notification_id: exchange.notification_id(),
    })
}

/// The numbers that a gateway gives a refund; none of them is on every notification.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) transaction_id: Option<&'a str>,
    pub(crate) refund_id: Option<&'a str>,
    pub(crate) refund_no: Option<&'a str>,
}

/// One key per refund. The gateway's own number where there is one; where it tells totals
/// instead, payment, merchant's number and total, since Alipay has no number of its own and the
/// merchant's may be missing.
pub(crate) fn key(names: Names<'_>, told: Option<&Told>) -> PhaseResult<String> {
    match (names, told) {
        (Names { transaction_id: Some(transaction_id), .. }, Some(Told::Total(total))) => {
            let refund_no = names.refund_no.unwrap_or_default();
            Ok(format!("{transaction_id}:{refund_no}:{}", total.minor))
        }
        (Names { refund_id: Some(refund_id), .. }, _) => Ok(refund_id.to_owned()),
        (Names { refund_no: Some(refund_no), .. }, _) => Ok(format!("no:{refund_no}")),
        (Names { refund_id: None, refund_no: None, .. }, _) => Err(PhaseError::reject(
            "refund-unnamed",
            "the refund has no number of the gateway's and none of the merchant's",
        )),
    }
}
