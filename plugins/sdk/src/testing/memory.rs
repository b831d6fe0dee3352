//! The host that one run sees: a snapshot of the documents, and what the run staged on it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::document::{Document, DocumentRef, State};
use crate::error::Denial;
use crate::event::Event;
use crate::exchange::{Level, Mode};
use crate::host::{Amount, Expect, Fact, Host, OptionalFact};
use crate::http::{HttpError, Request, Response};
use crate::money::Money;

use super::endpoints::Desk;
use super::notification::Notification;

/// Bytes of scratch that the host keeps.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a document's key.
const KEY_BYTES_MAX: usize = 256;

/// Documents in one `get_many`.
const GET_MANY_MAX: usize = 100;

/// The phases, as permissions need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Describe,
    Prepare,
    Check,
    NextState,
    Action,
    Save,
    After,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Prepare => "prepare",
            Self::Check => "check",
            Self::NextState => "next-state",
            Self::Action => "action",
            Self::Save => "save",
            Self::After => "after",
        }
    }

    fn stages(self) -> bool {
        matches!(self, Self::Action | Self::Save)
    }
}

/// What does not change while a run lasts.
pub(super) struct Fixed {
    pub(super) notification: Notification,
    pub(super) documents: BTreeMap<DocumentRef, Document>,
    pub(super) subject: Option<DocumentRef>,
    pub(super) config: Value,
    pub(super) now_ms: u64,
    pub(super) attempt: u32,
    pub(super) blind_writes: bool,
    pub(super) desk: Desk,
}

/// What a run changes.
#[derive(Default)]
pub(super) struct Moving {
    pub(super) scratch: String,
    pub(super) target: Option<State>,
    /// Documents that the run asked for: what it decided holds only while they stay as they are.
    pub(super) reads: BTreeSet<DocumentRef>,
    pub(super) writes: BTreeMap<DocumentRef, (Value, Expect)>,
    pub(super) events: Vec<Event>,
    pub(super) lines: Vec<String>,
    /// Calls that brought no key of their own.
    pub(super) calls: u32,
    /// How the run broke the contract, where an import noticed.
    pub(super) broken: Option<String>,
    ids: u32,
}

/// The host in memory.
pub(super) struct Memory {
    pub(super) fixed: Fixed,
    pub(super) moving: RefCell<Moving>,
    pub(super) phase: RefCell<Phase>,
}

impl Memory {
    fn permit(&self, permitted: impl FnOnce(Phase) -> bool, what: &str) -> Result<(), Denial> {
        let phase = *self.phase.borrow();
        if permitted(phase) {
            Ok(())
        } else {
            Err(Denial::Denied(format!("{what} is not permitted in {}", phase.name())))
        }
    }

    fn stage(
        &self,
        place: &DocumentRef,
        expect: Expect,
        change: impl FnOnce(Value) -> Value,
    ) -> Result<(), Denial> {
        self.permit(Phase::stages, "a write")?;
        if place.collection.is_empty() || !(1..=KEY_BYTES_MAX).contains(&place.key.len()) {
            return Err(Denial::Invalid(format!("key is not 1 to {KEY_BYTES_MAX} bytes")));
        }
        if expect == Expect::Any && !self.fixed.blind_writes {
            return Err(Denial::Denied("blind writes are not granted".to_owned()));
        }
        let current = self.read(place).map(|document| document.text);
        let current = current.and_then(|text| serde_json::from_str(&text).ok());
        let body = change(current.unwrap_or_else(|| json!({})));
        let mut moving = self.moving.borrow_mut();
        let expect = moving.writes.get(place).map_or(expect, |(_, first)| *first);
        moving.writes.insert(place.clone(), (body, expect));
        Ok(())
    }

    fn read(&self, place: &DocumentRef) -> Option<Document> {
        let stored = self.fixed.documents.get(place);
        let moving = self.moving.borrow();
        let Some((body, _)) = moving.writes.get(place) else {
            return stored.cloned();
        };
        Some(Document {
            place: place.clone(),
            version: stored.map_or(0, |document| document.version),
            state: stored.and_then(|document| document.state.clone()),
            text: body.to_string(),
            updated_at_ms: self.fixed.now_ms,
        })
    }
}

impl Host for Memory {
    fn fact(&self, fact: Fact) -> String {
        let notification = &self.fixed.notification;
        match fact {
            Fact::NotificationId => notification.id.clone(),
            Fact::Channel => notification.channel.clone(),
            Fact::EventType => notification.event_type.clone(),
            Fact::DeliveryKey => format!("delivery-{}", notification.id),
            Fact::MeaningKey => notification.meaning_key(),
            Fact::Body => notification.body.clone(),
            Fact::Business => notification.business.clone(),
            Fact::Scene => notification.scene.clone(),
            Fact::Summary => self.summary(),
            Fact::ConfigRevision => "test".to_owned(),
        }
    }

    fn optional(&self, fact: OptionalFact) -> Option<String> {
        let notification = &self.fixed.notification;
        match fact {
            OptionalFact::OrderNo => notification.order_no.clone(),
            OptionalFact::TransactionId => notification.transaction_id.clone(),
            OptionalFact::RefundId => notification.refund_id.clone(),
            OptionalFact::RefundNo => notification.refund_no.clone(),
            OptionalFact::Payer => notification.payer.clone(),
            OptionalFact::TargetState => {
                self.moving.borrow().target.as_ref().map(|state| state.as_str().to_owned())
            }
        }
    }

    fn amount(&self, amount: Amount) -> Option<Money> {
        match amount {
            Amount::Moved => self.fixed.notification.amount.clone(),
            Amount::RefundedTotal => self.fixed.notification.refunded_total.clone(),
            Amount::Order => self.fixed.notification.order_amount.clone(),
        }
    }

    fn occurred_at_ms(&self) -> Option<u64> {
        self.fixed.notification.occurred_at_ms
    }

    fn received_at_ms(&self) -> u64 {
        self.fixed.now_ms
    }

    fn mode(&self) -> Mode {
        Mode::Live
    }

    fn attempt(&self) -> u32 {
        self.fixed.attempt
    }

    fn remaining_ms(&self) -> u32 {
        50
    }

    fn subject(&self) -> Option<Document> {
        self.fixed.subject.as_ref().and_then(|place| self.read(place))
    }

    fn scratch(&self) -> String {
        self.moving.borrow().scratch.clone()
    }

    fn set_scratch(&self, value: &str) -> Result<(), String> {
        if value.len() > SCRATCH_BYTES_MAX {
            return Err(format!("{} bytes of scratch, limit is {SCRATCH_BYTES_MAX}", value.len()));
        }
        value.clone_into(&mut self.moving.borrow_mut().scratch);
        Ok(())
    }

    fn get(&self, place: &DocumentRef) -> Result<Option<Document>, Denial> {
        self.moving.borrow_mut().reads.insert(place.clone());
        Ok(self.read(place))
    }

    fn get_many(&self, places: &[DocumentRef]) -> Result<Vec<Option<Document>>, Denial> {
        if places.len() > GET_MANY_MAX {
            return Err(Denial::Quota(format!("{} documents asked for at once", places.len())));
        }
        places.iter().map(|place| self.get(place)).collect()
    }

    fn put(&self, place: &DocumentRef, body: &str, expect: Expect) -> Result<(), Denial> {
        let body = parse(body)?;
        self.stage(place, expect, |_| body)
    }

    fn merge(&self, place: &DocumentRef, patch: &str, expect: Expect) -> Result<(), Denial> {
        let patch = parse(patch)?;
        self.stage(place, expect, |current| merged(current, patch))
    }

    fn emit(&self, event: &Event) -> Result<String, Denial> {
        self.permit(|phase| phase.stages() || phase == Phase::After, "an event")?;
        if event.topic.is_empty() || event.key.is_empty() {
            return Err(Denial::Invalid("an event needs a topic and a key".to_owned()));
        }
        let phase = self.phase.borrow().name();
        let mut moving = self.moving.borrow_mut();
        let id = format!("{}:{phase}:{}", self.fixed.notification.id, moving.events.len());
        moving.events.push(event.clone());
        Ok(id)
    }

    fn send(&self, request: &Request) -> Result<Response, HttpError> {
        self.call(request)
    }

    fn config(&self, path: &str) -> Option<String> {
        let found = path.split('.').try_fold(&self.fixed.config, |value, name| value.get(name));
        found.map(Value::to_string)
    }

    fn now_ms(&self) -> u64 {
        self.fixed.now_ms
    }

    fn new_id(&self) -> String {
        let mut moving = self.moving.borrow_mut();
        moving.ids = moving.ids.saturating_add(1);
        format!("{}-{}-{}", self.fixed.notification.id, self.phase.borrow().name(), moving.ids)
    }

    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let line = format!("{level:?} {message}{}", fields.concat());
        self.moving.borrow_mut().lines.push(line);
    }

    fn log_enabled(&self, _level: Level) -> bool {
        true
    }
}

impl Memory {
    fn summary(&self) -> String {
        let notification = &self.fixed.notification;
        let money = |money: &Option<Money>| {
            money
                .as_ref()
                .map(|money| json!({ "minor-units": money.minor, "currency": money.currency }))
        };
        json!({
            "notification-id": notification.id,
            "channel": notification.channel,
            "event-type": notification.event_type,
            "meaning-key": notification.meaning_key(),
            "occurred-at": notification.occurred_at_ms,
            "received-at": self.fixed.now_ms,
            "body": parse(&notification.body).unwrap_or_default(),
            "amount": money(&notification.amount),
            "refunded-total": money(&notification.refunded_total),
            "order-amount": money(&notification.order_amount),
            "attempt": self.fixed.attempt,
            "business": notification.business,
            "scene": notification.scene,
            "order-no": notification.order_no,
            "transaction-id": notification.transaction_id,
            "refund-id": notification.refund_id,
            "refund-no": notification.refund_no,
            "payer": notification.payer,
        })
        .to_string()
    }
}

fn parse(text: &str) -> Result<Value, Denial> {
    serde_json::from_str(text).map_err(|_| Denial::Invalid("not a JSON text".to_owned()))
}

/// Applies a merge patch (RFC 7396, section 2).
fn merged(target: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch;
    };
    let mut target = match target {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    for (name, value) in patch {
        let before = target.remove(&name);
        if !value.is_null() {
            target.insert(name, merged(before.unwrap_or(Value::Null), value));
        }
    }
    Value::Object(target)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::merged;

    fn check(target: Value, patch: Value, expected: Value) {
        assert_eq!(merged(target, patch), expected);
    }

    #[test]
    fn a_patch_replaces_adds_and_removes_members() {
        check(json!({"a": 1, "b": 2}), json!({"a": 3, "c": 4}), json!({"a": 3, "b": 2, "c": 4}));
        check(json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null}}), json!({"a": {"c": 2}}));
        check(json!({"a": [1]}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}}));
    }

    #[test]
    fn a_patch_that_is_no_object_replaces_the_whole() {
        check(json!({"a": 1}), json!([1]), json!([1]));
        check(json!([1]), json!({"a": 1}), json!({"a": 1}));
    }
}
