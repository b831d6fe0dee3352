//! The contract's imports as one trait, with two implementations: the real host, reached from a
//! component, and the host in memory that native tests run against.

use crate::document::{Document, DocumentRef};
use crate::error::Denial;
use crate::event::Event;
use crate::exchange::{Level, Mode};
use crate::http::{HttpError, Request, Response};
use crate::money::Money;

/// What must hold at the commit for a staged write to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Absent,
    AsRead,
    Any,
}

/// A fact of the notification or of the run that is a plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    NotificationId,
    Channel,
    EventType,
    DeliveryKey,
    MeaningKey,
    Body,
    Business,
    Scene,
    Summary,
    ConfigRevision,
}

/// A fact that a notification may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OptionalFact {
    OrderNo,
    TransactionId,
    RefundId,
    RefundNo,
    Payer,
    TargetState,
}

/// An amount that a notification may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amount {
    Moved,
    RefundedTotal,
    Order,
}

/// Everything that a processor may ask of the host.
pub(crate) trait Host {
    fn fact(&self, fact: Fact) -> String;
    fn optional(&self, fact: OptionalFact) -> Option<String>;
    fn amount(&self, amount: Amount) -> Option<Money>;
    fn occurred_at_ms(&self) -> Option<u64>;
    fn received_at_ms(&self) -> u64;
    fn mode(&self) -> Mode;
    fn attempt(&self) -> u32;
    fn remaining_ms(&self) -> u32;
    fn subject(&self) -> Option<Document>;
    fn scratch(&self) -> String;
    fn set_scratch(&self, value: &str) -> Result<(), String>;

    fn get(&self, place: &DocumentRef) -> Result<Option<Document>, Denial>;
    fn get_many(&self, places: &[DocumentRef]) -> Result<Vec<Option<Document>>, Denial>;
    fn put(&self, place: &DocumentRef, body: &str, expect: Expect) -> Result<(), Denial>;
    fn merge(&self, place: &DocumentRef, patch: &str, expect: Expect) -> Result<(), Denial>;
    fn emit(&self, event: &Event) -> Result<String, Denial>;
    fn send(&self, request: &Request) -> Result<Response, HttpError>;

    fn config(&self, path: &str) -> Option<String>;
    fn now_ms(&self) -> u64;
    fn new_id(&self) -> String;
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);
    fn log_enabled(&self, level: Level) -> bool;
}
