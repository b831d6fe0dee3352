//! The house: keeps documents, runs the phases of a processor, commits or drops.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

use crate::descriptor::{Commit, Descriptor, Transition};
use crate::document::{Document, DocumentRef, State};
use crate::error::{PhaseError, PhaseResult};
use crate::event::Event;
use crate::exchange::{Config, Exchange};
use crate::host::Expect;
use crate::processor::Processor;
use crate::staging::{Documents, Draft, Events};

use super::endpoints::Desk;
use super::memory::{Fixed, Memory, Moving, Phase};
use super::notification::Notification;
use super::rules::{fits, permitted, stopped};

/// How often a run that lost its race is made again.
const ATTEMPTS_MAX: u32 = 5;

/// The collection of the subjects.
const ORDERS: &str = "orders";

/// A store of documents and the phases that run on it, under the contract's rules.
///
/// One thing is stricter than the real host: it does not stop a second notification of the same
/// meaning, so that a processor shows that it copes alone.
#[derive(Debug)]
pub struct House {
    documents: BTreeMap<DocumentRef, Document>,
    aliases: BTreeMap<String, String>,
    config: Value,
    now_ms: u64,
    blind_writes: bool,
    pub(super) desk: Desk,
}

/// What came of one notification.
#[derive(Debug)]
pub struct Run {
    /// What the host would have decided.
    pub outcome: Outcome,
    /// The events that were committed, those of `after` last.
    pub events: Vec<Event>,
    /// The log lines of the last attempt.
    pub lines: Vec<String>,
    /// How many attempts it took; more than one where a race was lost.
    pub attempts: u32,
    /// What `after` answered, where it ran.
    pub after: Option<PhaseResult>,
}

/// What the host would have decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Writes, events and state were committed.
    Committed {
        /// The state chosen; none to stay.
        moved_to: Option<State>,
    },
    /// A phase stopped the run.
    Stopped(PhaseError),
    /// No route of the descriptor fits: the processor is not called.
    NoRoute,
    /// The processor broke the contract; the text says how.
    Refused(String),
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

impl House {
    /// An empty house, at 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> Self {
        Self {
            documents: BTreeMap::new(),
            aliases: BTreeMap::new(),
            config: Value::Null,
            now_ms: 1_767_225_600_000,
            blind_writes: false,
            desk: Desk::default(),
        }
    }

    /// Registers an order: a subject with a state.
    pub fn order(&mut self, order_no: &str, state: &str, body: &Value) {
        let place = DocumentRef::new(ORDERS, order_no);
        let state = State::from(state.to_owned());
        self.store(place, Some(state), body);
    }

    /// Registers another number of an order, such as a payment number.
    pub fn alias(&mut self, alias: &str, order_no: &str) {
        self.aliases.insert(alias.to_owned(), order_no.to_owned());
    }

    /// Puts a document there that is not an order.
    pub fn document(&mut self, place: DocumentRef, body: &Value) {
        self.store(place, None, body);
    }

    /// Sets the plugin's configuration.
    pub fn config(&mut self, config: Value) {
        self.config = config;
    }

    /// Sets the clock, in milliseconds since 1970.
    pub fn clock(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Grants writes without a condition.
    pub fn grant_blind_writes(&mut self) {
        self.blind_writes = true;
    }

    /// The state of an order.
    #[must_use]
    pub fn state(&self, order_no: &str) -> Option<&str> {
        let place = DocumentRef::new(ORDERS, order_no);
        self.documents.get(&place)?.state.as_ref().map(State::as_str)
    }

    /// The body of a document; none where there is no document.
    #[must_use]
    pub fn body(&self, collection: &str, key: &str) -> Option<Value> {
        let document = self.documents.get(&DocumentRef::new(collection, key))?;
        serde_json::from_str(&document.text).ok()
    }

    /// The keys of a collection, in order.
    #[must_use]
    pub fn keys(&self, collection: &str) -> Vec<&str> {
        let of = |place: &&DocumentRef| place.collection == collection;
        self.documents.keys().filter(of).map(|place| place.key.as_str()).collect()
    }

    /// Runs a notification through all phases, and again where a race is lost.
    pub fn run<P: Processor>(&mut self, notification: &Notification) -> Run {
        self.run_against::<P>(notification, |_| {})
    }

    /// As [`House::run`], with a rival who changes the house once, just before the first commit.
    pub fn run_against<P: Processor>(
        &mut self,
        notification: &Notification,
        rival: impl FnOnce(&mut Self),
    ) -> Run {
        let mut rival = Some(rival);
        let mut attempt = 1;
        loop {
            let memory = self.memory(notification, attempt);
            let outcome = phases::<P>(&memory);
            if let (Outcome::Committed { .. }, Some(rival)) = (&outcome, rival.take()) {
                rival(self);
            }
            if !matches!(outcome, Outcome::Committed { .. }) {
                return Run::without_commit(outcome, &memory, attempt);
            }
            if let Some(commit) = self.commit(&memory) {
                return self.finish::<P>(outcome, &memory, commit);
            }
            if attempt == ATTEMPTS_MAX {
                let text = format!("lost the race at the commit {ATTEMPTS_MAX} times");
                return Run::without_commit(Outcome::Refused(text), &memory, attempt);
            }
            attempt = attempt.saturating_add(1);
        }
    }

    fn store(&mut self, place: DocumentRef, state: Option<State>, body: &Value) {
        let version = self.documents.get(&place).map_or(0, |before| before.version);
        let document = Document {
            place: place.clone(),
            version: version.saturating_add(1),
            state,
            text: body.to_string(),
            updated_at_ms: self.now_ms,
        };
        self.documents.insert(place, document);
    }

    fn memory(&self, notification: &Notification, attempt: u32) -> Rc<Memory> {
        let named = notification.order_no.as_ref();
        let key = named.map(|named| self.aliases.get(named).unwrap_or(named));
        let subject = key.map(|key| DocumentRef::new(ORDERS, key));
        Rc::new(Memory {
            fixed: Fixed {
                notification: notification.clone(),
                documents: self.documents.clone(),
                subject: subject.filter(|place| self.documents.contains_key(place)),
                config: self.config.clone(),
                now_ms: self.now_ms,
                attempt,
                blind_writes: self.blind_writes,
                desk: self.desk.clone(),
            },
            moving: RefCell::new(Moving::default()),
            phase: RefCell::new(Phase::Describe),
        })
    }

    /// Commits what was staged, or nothing at all where an expectation is missed.
    fn commit(&mut self, memory: &Memory) -> Option<Commit> {
        let moving = memory.moving.borrow();
        let version = |documents: &BTreeMap<DocumentRef, Document>, place: &DocumentRef| {
            documents.get(place).map(|document| document.version)
        };
        let unchanged = |place: &DocumentRef| {
            version(&self.documents, place) == version(&memory.fixed.documents, place)
        };
        let met = |(place, (_, expect)): (&DocumentRef, &(Value, Expect))| match expect {
            Expect::Absent => !self.documents.contains_key(place),
            Expect::AsRead => unchanged(place),
            Expect::Any => true,
        };
        let subject = memory.fixed.subject.as_ref();
        let as_read = moving.reads.iter().chain(subject).all(unchanged);
        if !as_read || !moving.writes.iter().all(met) {
            return None;
        }
        for (place, (body, _)) in &moving.writes {
            let state = self.documents.get(place).and_then(|document| document.state.clone());
            self.store(place.clone(), state, body);
        }
        if let (Some(place), Some(target)) = (subject, &moving.target) {
            let document = self.documents.get_mut(place)?;
            document.state = Some(target.clone());
            if !moving.writes.contains_key(place) {
                document.version = document.version.saturating_add(1);
            }
        }
        let subject = subject.and_then(|place| self.documents.get(place));
        Some(Commit {
            state: subject.and_then(|document| document.state.clone()),
            version: subject.map_or(0, |document| document.version),
            events: u32::try_from(moving.events.len()).unwrap_or(u32::MAX),
        })
    }

    /// Runs `after` on a host of its own, where the descriptor asks for it.
    fn finish<P: Processor>(&self, outcome: Outcome, before: &Rc<Memory>, commit: Commit) -> Run {
        let committed = before.moving.take();
        let mut run = Run {
            outcome,
            events: committed.events,
            lines: committed.lines,
            attempts: before.fixed.attempt,
            after: None,
        };
        if !describe::<P>(before).after {
            return run;
        }
        let memory = self.memory(&before.fixed.notification, before.fixed.attempt);
        memory.moving.borrow_mut().scratch = committed.scratch;
        memory.moving.borrow_mut().target = committed.target;
        memory.phase.replace(Phase::After);
        let exchange = Exchange(Rc::<Memory>::clone(&memory));
        let documents = Documents(Rc::<Memory>::clone(&memory));
        let answer =
            P::after(&exchange, &documents, &Events(Rc::<Memory>::clone(&memory)), &commit);
        let moving = memory.moving.take();
        if answer.is_ok() {
            run.events.extend(moving.events);
        }
        run.lines.extend(moving.lines);
        run.after = Some(answer);
        run
    }
}

impl Run {
    fn without_commit(outcome: Outcome, memory: &Memory, attempts: u32) -> Self {
        let lines = memory.moving.take().lines;
        Self { outcome, events: Vec::new(), lines, attempts, after: None }
    }

    /// The topics of the events, in order.
    #[must_use]
    pub fn topics(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.topic.as_str()).collect()
    }

    /// The code of a rejection or a retry; none for any other outcome.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match &self.outcome {
            Outcome::Stopped(PhaseError::Reject { code, .. } | PhaseError::Retry { code, .. }) => {
                Some(*code)
            }
            Outcome::Stopped(PhaseError::Ignore(_))
            | Outcome::Committed { .. }
            | Outcome::NoRoute
            | Outcome::Refused(_) => None,
        }
    }
}

fn describe<P: Processor>(memory: &Rc<Memory>) -> Descriptor {
    P::describe(&Config(Rc::<Memory>::clone(memory)))
}

/// Runs the five phases before the commit.
fn phases<P: Processor>(memory: &Rc<Memory>) -> Outcome {
    let descriptor = describe::<P>(memory);
    let exchange = Exchange(Rc::<Memory>::clone(memory));
    if !descriptor.routes.iter().any(|route| fits(route, &exchange)) {
        return Outcome::NoRoute;
    }
    let moved_to = match decide::<P>(memory, &exchange) {
        Ok(moved_to) => moved_to,
        Err(error) => return stopped(error),
    };
    if let Err(text) = permitted(&descriptor, &exchange, moved_to.as_ref()) {
        return Outcome::Refused(text);
    }
    memory.moving.borrow_mut().target.clone_from(&moved_to);
    let staged = stage::<P>(memory, &exchange);
    if let Some(text) = memory.moving.borrow_mut().broken.take() {
        return Outcome::Refused(text);
    }
    match staged {
        Ok(()) => Outcome::Committed { moved_to },
        Err(error) => stopped(error),
    }
}

fn decide<P: Processor>(memory: &Rc<Memory>, exchange: &Exchange) -> PhaseResult<Option<State>> {
    let documents = Documents(Rc::<Memory>::clone(memory));
    memory.phase.replace(Phase::Prepare);
    P::prepare(exchange)?;
    memory.phase.replace(Phase::Check);
    P::check(exchange, &documents)?;
    memory.phase.replace(Phase::NextState);
    Ok(match P::next_state(exchange, &documents)? {
        Transition::MoveTo(state) => Some(state),
        Transition::Stay => None,
    })
}

fn stage<P: Processor>(memory: &Rc<Memory>, exchange: &Exchange) -> PhaseResult {
    let documents = Documents(Rc::<Memory>::clone(memory));
    let draft = Draft(Rc::<Memory>::clone(memory));
    memory.phase.replace(Phase::Action);
    P::action(exchange, &documents, &draft)?;
    memory.phase.replace(Phase::Save);
    P::save(exchange, &documents, &draft)
}
