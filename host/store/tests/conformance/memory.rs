//! What a story of chance keeps in memory, and the dice that it throws.

use callgate_core::outcome::Outcome;
use callgate_store::{InboxState, Settled, StoreError};

use crate::acts::done;

pub(crate) const STATES: [&str; 3] = ["TO_BE_PAID", "TO_BE_DELIVERED", "REFUNDING"];

/// Numbers by chance, the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed | 1))
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() >> 33).unwrap() % limit
    }
}

/// What the model keeps of a notification.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) delivery: String,
    pub(crate) subject: String,
    pub(crate) meaning: String,
    pub(crate) received: i64,
    pub(crate) state: InboxState,
    pub(crate) due: Option<i64>,
    /// Owner and end.
    pub(crate) lease: Option<(String, i64)>,
    pub(crate) attempt: i64,
    pub(crate) seen: i64,
    /// Whether its processor put it off the last time.
    pub(crate) deferred: bool,
    /// Whether it waits for its plugin.
    pub(crate) held: bool,
    /// Whether it has come to its plugin.
    pub(crate) ran: bool,
}

/// What the model keeps of an order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    pub(crate) version: i64,
    pub(crate) state: usize,
    pub(crate) events: Vec<String>,
}

pub(crate) fn check<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found:?}, expected {expected:?}")) }
}

pub(crate) fn words(error: StoreError) -> String {
    format!("{}: {error}", error.code())
}

pub(crate) fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Advance(_) => "advance",
        Outcome::Keep(_) => "keep",
        Outcome::Park(_) => "park",
        Outcome::Retry(_) => "retry",
        Outcome::Defer(_) => "defer",
        Outcome::Review(_) => "review",
        Outcome::Hold { .. } => "hold",
    }
}

pub(crate) fn standing(order: Option<&mut Order>, events: usize) -> Settled {
    order.map_or_else(
        || done("", 0, events),
        |order| done(STATES[order.state], order.version, events),
    )
}
