//! Whom a repair from a bill asks.

use std::future::Future;
use std::pin::Pin;

use callgate_core::time::Timestamp;
use callgate_store::StoreError;

use crate::inbound::reconcile::{AskGateways, Asked, Lost};

/// A server that asks no gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsksNobody;

impl AskGateways for AsksNobody {
    fn ask<'a>(
        &'a self,
        _: Lost,
        _: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Result<Asked, StoreError>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(Asked::NoInquiry)))
    }
}
