//! Whom a repair from a bill asks: what a bill knows and the store does not is put on the schedule
//! of questions.

use std::future::Future;
use std::pin::Pin;

use callgate_core::time::Timestamp;
use callgate_store::StoreError;

use crate::inbound::asking::{Billed, SharedAsks, Word};
use crate::inbound::reconcile::{AskGateways, Asked, Lost, Moved};

/// Asks by the same questions that orders are asked about which heard nothing.
pub(super) struct ByQuestion(pub(super) SharedAsks);

impl AskGateways for ByQuestion {
    fn ask<'a>(
        &'a self,
        lost: Lost,
        _: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Result<Asked, StoreError>> + Send + 'a>> {
        Box::pin(async move {
            let Lost { business, channel, order_no: number, what } = lost;
            let refund_no = match what {
                Moved::Payment => None,
                // By which number should its gateway be asked?
                Moved::Refund(None) => return Ok(Asked::NotAskable),
                Moved::Refund(Some(refund_no)) => Some(refund_no),
            };
            let billed = Billed { business, channel, number, refund_no };
            let Some(answered) = self.0.put_billed(billed).await? else {
                return Ok(Asked::NotAskable);
            };
            Ok(match (answered.told, answered.code.as_deref()) {
                (Word::NoAnswer, Some("inquiry.not-possible")) => Asked::NoInquiry,
                (Word::NoAnswer, _) => Asked::Queued,
                _ => Asked::Settled,
            })
        })
    }
}
