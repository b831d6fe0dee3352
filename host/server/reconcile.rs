//! Whom a repair from a bill asks: the inquiries of this server.

use std::future::Future;
use std::pin::Pin;

use callgate_core::time::Timestamp;
use callgate_store::StoreError;

use crate::inbound::asking::{About, SharedAsks};
use crate::inbound::reconcile::{AskGateways, Asked, Lost};

/// Hands what a bill has and nobody heard of to the inquiries.
pub(super) struct Asking(pub(super) SharedAsks);

impl AskGateways for Asking {
    fn ask<'a>(
        &'a self,
        lost: Lost,
        _: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Result<Asked, StoreError>> + Send + 'a>> {
        Box::pin(async move {
            let Lost { business, channel: _, order_no: order, refund_no } = lost;
            let answered = self.0.put_on_schedule(About { business, order, refund_no }).await?;
            Ok(match answered {
                // Nobody can be asked about an order that is not registered.
                None => Asked::NotAskable,
                Some(answered) if answered.code.is_some() => Asked::NoInquiry,
                Some(_) => Asked::Queued,
            })
        })
    }
}
