//! What waits for one sink, and in which order. Pure: events and times in, decisions out.
//!
//! An item is fresh while only the cursor knows of it, and held once it stands in the store beside
//! the outbox: because it failed, or because it waits behind one that did. The cursor ends before
//! the first fresh item, so held items never stop it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use callgate_core::outcome::Reason;
use callgate_core::time::Timestamp;
use callgate_store::{DeliveryState, KeptDelivery, SinkRecord, StoredEvent, WaitingDelivery};

/// Whose events keep their order: a business and a key of it.
type Key = (String, String);

/// One event that is not delivered.
#[derive(Debug)]
struct Item {
    event_id: String,
    key: Key,
    created_at: Timestamp,
    attempts: u32,
    first_failed_at: Option<Timestamp>,
    due_at: Timestamp,
    reason: Option<Reason>,
    held: bool,
    /// Present for fresh items; held ones are read again when it is their turn.
    event: Option<StoredEvent>,
}

/// The events of one key.
#[derive(Debug, Default)]
struct Line {
    seqs: BTreeSet<i64>,
    /// The first one, where it stands among the heads.
    head: Option<(Timestamp, i64)>,
    /// The one that is on its way; until it is back no other goes.
    sending: Option<i64>,
}

/// What is to be written about one event.
#[derive(Debug)]
enum Change {
    Keep(KeptDelivery),
    Delivered,
}

/// An event whose turn it is.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) seq: i64,
    /// The event, where it is at hand.
    pub(super) event: Option<StoredEvent>,
}

/// Everything that waits for one sink.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: BTreeMap<i64, Item>,
    /// The items of each key, in order; the first one blocks the others.
    keys: HashMap<Key, Line>,
    /// First items of their keys, of which none is on its way, by when they are due.
    heads: BTreeSet<(Timestamp, i64)>,
    fresh: BTreeSet<i64>,
    changes: BTreeMap<i64, Change>,
    /// Up to here the outbox was read.
    read: i64,
    /// The last event that was delivered or given up.
    ended: i64,
    /// The cursor that is stored.
    stored: i64,
}

impl Queue {
    /// A queue that begins at a stored cursor.
    pub(super) fn at(cursor: i64) -> Self {
        Self { read: cursor, stored: cursor, ..Self::default() }
    }

    /// Up to here the outbox was read.
    pub(super) fn read(&self) -> i64 {
        self.read
    }

    pub(super) fn fresh(&self) -> usize {
        self.fresh.len()
    }

    pub(super) fn held(&self) -> usize {
        self.items.len().saturating_sub(self.fresh.len())
    }

    /// When the oldest event was committed that is not delivered.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.items.first_key_value().map(|(_, item)| item.created_at)
    }

    /// When the next event is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.heads.first().map(|(due, _)| *due)
    }

    /// Everything up to here was read, and what came in between is not for this sink.
    pub(super) fn skip_to(&mut self, seq: i64) {
        self.read = self.read.max(seq);
    }

    /// An event that was read from the outbox.
    pub(super) fn add(&mut self, event: StoredEvent) {
        let seq = event.seq;
        self.skip_to(seq);
        let item = Item {
            event_id: event.event.id.clone(),
            key: (event.business.clone(), event.event.key.clone()),
            created_at: event.created_at,
            attempts: 0,
            first_failed_at: None,
            due_at: event.created_at,
            reason: None,
            held: false,
            event: Some(event),
        };
        let key = item.key.clone();
        self.fresh.insert(seq);
        self.insert(seq, item);
        if self.head_is_held(&key) {
            self.hold(seq);
        }
    }

    /// A delivery that was kept; one that is known already stays as it is.
    pub(super) fn add_waiting(&mut self, waiting: WaitingDelivery) {
        if self.items.contains_key(&waiting.seq) {
            return;
        }
        let item = Item {
            event_id: waiting.event_id,
            key: (waiting.business, waiting.key),
            created_at: waiting.created_at,
            attempts: waiting.attempts,
            first_failed_at: waiting.first_failed_at,
            due_at: waiting.due_at,
            reason: None,
            held: true,
            event: None,
        };
        self.insert(waiting.seq, item);
    }

    /// Takes up to `room` events that are due and whose turn it is.
    pub(super) fn take(&mut self, now: Timestamp, room: usize) -> Vec<Turn> {
        let mut turns = Vec::new();
        while turns.len() < room {
            match self.heads.first().copied() {
                Some((due, seq)) if due <= now => {
                    self.heads.pop_first();
                    let Some(item) = self.items.get(&seq) else { continue };
                    if let Some(line) = self.keys.get_mut(&item.key) {
                        line.head = None;
                        line.sending = Some(seq);
                    }
                    turns.push(Turn { seq, event: item.event.clone() });
                }
                Some(_) | None => break,
            }
        }
        turns
    }

    /// Failed attempts that count, and when the first one was.
    pub(super) fn tries(&self, seq: i64) -> (u32, Option<Timestamp>) {
        self.items.get(&seq).map_or((0, None), |item| (item.attempts, item.first_failed_at))
    }

    /// The sink has it.
    pub(super) fn delivered(&mut self, seq: i64) {
        if let Some(item) = self.remove(seq)
            && item.held
        {
            self.changes.insert(seq, Change::Delivered);
        }
    }

    /// It failed, and is due again at `due_at`; so many attempts count now.
    pub(super) fn failed(&mut self, seq: i64, retry: Retry, now: Timestamp) {
        let Some(item) = self.items.get_mut(&seq) else { return };
        item.attempts = retry.attempts;
        item.first_failed_at.get_or_insert(now);
        item.due_at = retry.due_at;
        item.reason = Some(retry.reason);
        let key = item.key.clone();
        let behind: Vec<i64> = self
            .keys
            .get(&key)
            .map(|line| line.seqs.intersection(&self.fresh).copied().collect())
            .unwrap_or_default();
        self.hold(seq);
        for seq in behind {
            self.hold(seq);
        }
        self.back(&key, seq);
    }

    /// It is given up; the next ones of its key go on.
    pub(super) fn dead(&mut self, seq: i64, (attempts, reason): (u32, Reason), now: Timestamp) {
        let Some(item) = self.remove(seq) else { return };
        let first_failed_at = item.first_failed_at.or(Some(now));
        let item = Item { attempts, first_failed_at, due_at: now, reason: Some(reason), ..item };
        self.changes.insert(seq, Change::Keep(item.kept(seq, DeliveryState::Dead)));
    }

    /// It could not be sent for a reason of our own; nothing happened to it.
    pub(super) fn put_back(&mut self, seq: i64) {
        if let Some(key) = self.items.get(&seq).map(|item| item.key.clone()) {
            self.back(&key, seq);
        }
    }

    /// Holds what is fresh and older than something that ended, so that the next owner does not
    /// send again what was delivered already. For the end of an ownership.
    pub(super) fn hold_gaps(&mut self) {
        let before: Vec<i64> = self.fresh.range(..self.ended).copied().collect();
        for seq in before {
            self.hold(seq);
        }
    }

    /// Whether there is something that should be written soon.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty() || (self.cursor() > self.stored && self.ended > self.stored)
    }

    /// What is to be written; also where only the cursor moved.
    pub(super) fn record(&self, epoch: i64) -> SinkRecord {
        let mut record =
            SinkRecord { epoch, cursor: self.cursor(), kept: Vec::new(), delivered: Vec::new() };
        for (seq, change) in &self.changes {
            match change {
                Change::Keep(kept) => record.kept.push(kept.clone()),
                Change::Delivered => record.delivered.push(*seq),
            }
        }
        record
    }

    /// The record is stored.
    pub(super) fn recorded(&mut self, cursor: i64) {
        self.changes.clear();
        self.stored = cursor;
    }

    fn cursor(&self) -> i64 {
        self.fresh.first().map_or(self.read, |seq| seq.saturating_sub(1).max(self.stored))
    }

    fn head_is_held(&self, key: &Key) -> bool {
        let head = self.keys.get(key).and_then(|line| line.seqs.first());
        head.is_some_and(|head| !self.fresh.contains(head))
    }

    fn insert(&mut self, seq: i64, item: Item) {
        let key = item.key.clone();
        self.keys.entry(key.clone()).or_default().seqs.insert(seq);
        self.items.insert(seq, item);
        self.line_up(&key);
    }

    fn remove(&mut self, seq: i64) -> Option<Item> {
        let item = self.items.remove(&seq)?;
        self.fresh.remove(&seq);
        self.ended = self.ended.max(seq);
        if let Some(line) = self.keys.get_mut(&item.key) {
            line.seqs.remove(&seq);
        }
        self.back(&item.key, seq);
        Some(item)
    }

    /// It is not on its way any more.
    fn back(&mut self, key: &Key, seq: i64) {
        if let Some(line) = self.keys.get_mut(key)
            && line.sending == Some(seq)
        {
            line.sending = None;
        }
        self.line_up(key);
    }

    /// Puts the first of a key among the heads, if none of the key is on its way.
    fn line_up(&mut self, key: &Key) {
        let Some(line) = self.keys.get_mut(key) else { return };
        if let Some(head) = line.head.take() {
            self.heads.remove(&head);
        }
        match line.seqs.first().and_then(|seq| Some((self.items.get(seq)?.due_at, *seq))) {
            None => drop(self.keys.remove(key)),
            Some(head) if line.sending.is_none() => {
                line.head = Some(head);
                self.heads.insert(head);
            }
            Some(_) => {}
        }
    }

    fn hold(&mut self, seq: i64) {
        self.fresh.remove(&seq);
        if let Some(item) = self.items.get_mut(&seq) {
            item.held = true;
            item.event = None;
            self.changes.insert(seq, Change::Keep(item.kept(seq, DeliveryState::Waiting)));
        }
    }
}

/// When a failed event is tried again.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) attempts: u32,
    pub(super) due_at: Timestamp,
    pub(super) reason: Reason,
}

impl Item {
    fn kept(&self, seq: i64, state: DeliveryState) -> KeptDelivery {
        KeptDelivery {
            seq,
            event_id: self.event_id.clone(),
            state,
            attempts: self.attempts,
            first_failed_at: self.first_failed_at,
            due_at: self.due_at,
            reason: self.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
