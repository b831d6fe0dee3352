//! What a run proposes, and what the host decides.

use std::borrow::Cow;

use crate::order::{Illegal, State, Table, Transition};

/// Why something was decided: a stable code for machines and a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Stable, such as `order.amount-mismatch`.
    pub code: Cow<'static, str>,
    /// For a person: what was found and what was expected. No personal data, no secret.
    pub text: String,
}

impl Reason {
    /// Makes a reason.
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: text.into() }
    }
}

/// What a run proposes, not yet judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// The state the processor chose; `None` to stay.
    pub target: Option<State>,
    /// Whole documents to write, each named once.
    pub writes: Vec<Write>,
    /// Messages for the outbox, in the order staged.
    pub events: Vec<Event>,
}

/// A staged write of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The collection, such as `ledger`.
    pub collection: String,
    /// The key inside the collection.
    pub key: String,
    /// The whole new body, a JSON text.
    pub body: String,
    /// What must hold at the commit.
    pub expect: Expect,
}

/// What must hold of a document at the commit for a write to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The document must not exist.
    Absent,
    /// It must still have this version.
    Version(i64),
    /// No condition.
    Any,
}

/// A staged message for the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The same on every run of the notification: consumers de-duplicate on it.
    pub id: String,
    /// The topic, such as `order.paid`.
    pub topic: String,
    /// Events with one key leave in commit order.
    pub key: String,
    /// The payload, a JSON text.
    pub payload: String,
    /// Extra headers for the consumer.
    pub headers: Vec<(String, String)>,
}

/// A draft whose step the host has permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    transition: Option<Transition>,
    writes: Vec<Write>,
    events: Vec<Event>,
}

impl Step {
    /// The permitted transition; `None` to stay.
    #[must_use]
    pub fn transition(&self) -> Option<&Transition> {
        self.transition.as_ref()
    }

    /// The writes.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

/// What the host decided about one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Transition, writes and events land together.
    Advance(Step),
    /// True, but nothing to do: late, repeated in meaning, not ours.
    Keep(Reason),
    /// Wait until the order is known; bounded.
    Park(Reason),
    /// Failed; tried again later, and until then it holds up its order for a bounded time.
    Retry(Reason),
    /// The processor waits for something else, such as the payment before a refund: tried again
    /// later, and what came after it may go first.
    Defer(Reason),
    /// Its processor cannot be run now: it has enough runs under way, or failed too often. Nothing
    /// was tried, so no attempt is spent; it keeps its place in its order.
    Hold {
        /// Why, by a code that no processor can give.
        reason: Reason,
        /// The plugin that it waits for.
        plugin: String,
    },
    /// A person must look: mismatch, illegal step, attempts used up.
    Review(Reason),
}

/// Judges a draft by the processor's own table: the host has the last word on every step.
///
/// `current` is the state of the order; `None` where the run had none, and so can move nothing.
///
/// # Errors
/// [`Illegal`] where the processor chose a step that it did not declare.
pub fn judge(draft: Draft, current: Option<&State>, table: &Table) -> Result<Step, Illegal> {
    let transition = match (&draft.target, current) {
        (Some(target), Some(current)) => Some(table.step(current, target)?),
        (Some(target), None) => return Err(Illegal::without_order(target.clone())),
        (None, _) => None,
    };
    Ok(Step { transition, writes: draft.writes, events: draft.events })
}
