//! Whom a repair from a bill asks: what a bill knows and the store does not is put on the schedule
//! of questions.

use std::future::Future;
use std::pin::Pin;

use callgate_core::time::Timestamp;
use callgate_store::StoreError;

use crate::inbound::asking::{About, SharedAsks};
use crate::inbound::reconcile::{AskGateways, Asked, Lost};

/// Asks by the same questions that orders are asked about which heard nothing.
pub(super) struct ByQuestion(pub(super) SharedAsks);

impl AskGateways for ByQuestion {
    fn ask<'a>(
        &'a self,
        lost: Lost,
        _: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Result<Asked, StoreError>> + Send + 'a>> {
        let Lost { business, order_no, refund_no, .. } = lost;
        let about = About { business, order: order_no, refund_no };
        Box::pin(async move {
            Ok(match self.0.put_on_schedule(about).await? {
                // Nobody registered the order, so nobody knows whom to ask.
                None => Asked::NotAskable,
                Some(answered) if answered.code.as_deref() == Some("inquiry.not-possible") => {
                    Asked::NoInquiry
                }
                Some(_) => Asked::Queued,
            })
        })
    }
}
