//! A verified callback on its way into the inbox.

use std::sync::Arc;

use callgate_core::notification::{Notification, Verified};
use callgate_core::time::Timestamp;

use crate::error::StoreError;

/// A callback whose signature was checked, and where it came in.
#[derive(Debug, Clone)]
pub struct Callback {
    /// The channel that it came through.
    pub channel: String,
    /// Who owns its orders.
    pub business: String,
    /// How they are paid.
    pub scene: String,
    /// What it says.
    pub verified: Verified,
    /// The request headers that the channel keeps, as JSON.
    pub headers: String,
    /// The callback as received.
    pub raw: Vec<u8>,
}

/// What became of a callback. Whoever holds one may tell the gateway: it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// Stored now; the ids of the new notifications, in the order of the message.
    New(Vec<String>),
    /// Stored before; this time was counted.
    Seen,
}

/// A callback on its way into the inbox.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) callback: Arc<Callback>,
    /// One id for each part; the same when the group has to be run again.
    pub(crate) ids: Vec<String>,
    /// Who has decided what becomes of it, and until when they may say so.
    pub(crate) lease: Option<(String, Timestamp)>,
    pub(crate) now: Timestamp,
}

impl Arrival {
    /// Whether it was decided what becomes of it.
    pub(crate) fn is_decided(&self) -> bool {
        self.lease.is_some() && self.callback.verified.notifications().len() == 1
    }

    /// Holds the texts against what PostgreSQL cannot store and SQLite could.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let nul = |text: &str| text.contains('\0');
        let in_part = |part: &Notification| {
            let texts = [
                &part.order_no,
                &part.transaction_id,
                &part.refund_id,
                &part.refund_no,
                &part.payer,
            ];
            nul(&part.meaning_key)
                || nul(&part.body)
                || texts.into_iter().flatten().any(|text| nul(text))
        };
        let parts = self.callback.verified.notifications();
        if nul(self.callback.verified.delivery_key())
            || nul(&self.callback.headers)
            || parts.iter().any(in_part)
        {
            return Err(StoreError::invalid("a text of the callback has a NUL character"));
        }
        if parts.len() > PARTS_MAX {
            let found = parts.len();
            return Err(StoreError::invalid(format!(
                "{found} parts, at most {PARTS_MAX} expected"
            )));
        }
        Ok(())
    }
}

/// Parts of one combined callback: WeChat Pay combines at most 50 orders.
pub const PARTS_MAX: usize = 64;
