//! A story of chance: acts told to the store and to a small model in memory, which must agree
//! about every answer.

use std::collections::{BTreeMap, BTreeSet};

use callgate_core::outcome::{Draft, Outcome};
use callgate_store::{
    ClaimRequest, HELD_FULL, InboxState, Job, Receipt, Registered, Settings, Settled, Settlement,
    Store, SubjectSeen,
};

use crate::acts::{advance, at, event, order, reason, settlement, state};
use crate::gateway::{BUSINESS, payment};
use crate::house::House;
use crate::memory::{Dice, Order, Row, STATES, check, kind, standing, words};

const ORDER_BLOCK_MS: i64 = 120;
const LEASE_MS: i64 = 100;
const PARK_MS: i64 = 300;
/// Few, so that stories meet.
const ORDERS: usize = 2;

/// Whether the model is right; a wrong one proves that a difference is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    Right,
    /// It thinks that repeats are not counted.
    Wrong,
}

pub(crate) struct Story<'a> {
    house: &'a House,
    store: Store,
    dice: Dice,
    model: Model,
    /// Keeps the names of one story apart from those of all others.
    tag: String,
    now: i64,
    rows: Vec<Row>,
    orders: BTreeMap<String, Order>,
    used: BTreeSet<(String, String)>,
    /// Jobs in the hands of workers, some of them with a lease that ran out.
    held: Vec<Job>,
    deliveries: usize,
    /// The kinds of answers that settlements got.
    pub(crate) answers: BTreeSet<&'static str>,
    /// What was done, for people.
    pub(crate) told: Vec<String>,
}

impl<'a> Story<'a> {
    pub(crate) fn new(house: &'a House, store: Store, (tag, model): (String, Model)) -> Self {
        Self {
            store,
            house,
            dice: Dice::new(1),
            model,
            tag,
            now: 0,
            rows: Vec::new(),
            orders: BTreeMap::new(),
            used: BTreeSet::new(),
            held: Vec::new(),
            deliveries: 0,
            answers: BTreeSet::new(),
            told: Vec::new(),
        }
    }

    /// The store, for the next story.
    pub(crate) fn end(self) -> Store {
        self.store
    }

    pub(crate) async fn open(house: &House) -> Store {
        let change = |settings: &mut Settings| {
            settings.order_block_ms = ORDER_BLOCK_MS;
            settings.readers = 1;
        };
        house.open_with(change).await
    }

    fn tell(&mut self, what: String) {
        self.told.push(format!("at {} ms: {what}", self.now));
    }

    /// Does what this number says.
    pub(crate) async fn act(&mut self, number: u64) -> Result<(), String> {
        self.dice = Dice::new(number);
        match self.dice.below(60) {
            0..=13 => self.accept().await,
            14..=25 => self.claim().await,
            26..=42 => self.settle().await,
            43..=47 => self.register().await,
            48 | 49 => self.again().await,
            59 if self.dice.below(4) == 0 => {
                self.tell("the host dies and another starts".to_owned());
                self.store = Self::open(self.house).await;
                Ok(())
            }
            _ => {
                self.now += i64::try_from(self.dice.below(80)).unwrap();
                Ok(())
            }
        }
    }

    /// An operator makes a finished notification ready once more.
    async fn again(&mut self) -> Result<(), String> {
        let place = self.dice.below(self.rows.len().max(1));
        let now = self.now;
        let Some(row) = self.rows.get_mut(place).filter(|row| row.due.is_none()) else {
            return Ok(());
        };
        (row.state, row.due, row.lease) = (InboxState::Ready, Some(now), None);
        let (id, due) = (row.id.clone(), at(now).as_ms());
        self.tell(format!("{id} is made ready once more"));
        let sql = format!(
            "update inbox set state = 'ready', due_at_ms = {due}, finished_at_ms = null \
             where id = '{id}'"
        );
        self.house.execute_text(sql).await;
        Ok(())
    }

    async fn accept(&mut self) -> Result<(), String> {
        let known = self.rows.len();
        if known > 0 && self.dice.below(4) == 0 {
            let row = self.dice.below(known);
            let row = &mut self.rows[row];
            if self.model == Model::Right {
                row.seen += 1;
            }
            let delivery = row.delivery.clone();
            let callback = payment(&row.delivery, "any", "any");
            self.tell(format!("{delivery} comes again"));
            let receipt = self.store.accept(callback, at(self.now)).await.map_err(words)?;
            return check(receipt, Receipt::Seen);
        }
        let number = self.dice.below(ORDERS);
        let order = format!("{}-o{number}", self.tag);
        let name = if self.dice.below(2) == 0 { order.clone() } else { format!("alias-{order}") };
        let transaction = format!("t{}", self.dice.below(2));
        let delivery = format!("{}-d{}", self.tag, self.deliveries);
        self.deliveries += 1;
        let callback = payment(&delivery, &name, &transaction);
        let meaning = callback.verified.notifications()[0].meaning_key.clone();
        let receipt = self.store.accept(callback, at(self.now)).await.map_err(words)?;
        let Receipt::New(ids) = receipt else { return Err("seen".to_owned()) };
        let subject = if self.orders.contains_key(&order) { order } else { name };
        self.tell(format!("{delivery} ({}) tells {transaction} of {subject}", ids[0]));
        self.rows.push(Row {
            id: ids[0].clone(),
            delivery,
            subject,
            meaning,
            received: self.now,
            state: InboxState::Ready,
            due: Some(self.now),
            lease: None,
            attempt: 0,
            seen: 1,
            deferred: false,
            held: false,
            ran: false,
        });
        Ok(())
    }

    async fn claim(&mut self) -> Result<(), String> {
        let owner = format!("w{}", self.dice.below(3));
        let limit = u32::try_from(self.dice.below(4) + 1).unwrap();
        let request = ClaimRequest { limit, owner: owner.clone(), lease_ms: LEASE_MS };
        let jobs = self.store.claim(request, at(self.now)).await.map_err(words)?;
        let ids: Vec<_> = jobs.iter().map(|job| job.lease.id().to_owned()).collect();
        let now = self.now;
        let leased = |row: &Row| row.lease.as_ref().is_some_and(|(_, until)| *until > now);
        let due = |row: &Row| row.due.is_some_and(|due| due <= now);
        let comes_first = |first: &Row, row: &Row| {
            first.id != row.id
                && first.subject == row.subject
                && (leased(first)
                    || ((first.received, &first.id) < (row.received, &row.id)
                        && (due(first)
                            || (first.held && row.ran)
                            || (first.due.is_some()
                                && first.state != InboxState::Parked
                                && !first.deferred
                                && first.received > now - ORDER_BLOCK_MS))))
        };
        let mut expected: Vec<_> = self
            .rows
            .iter()
            .filter(|row| due(row) && !leased(row))
            .filter(|row| !self.rows.iter().any(|first| comes_first(first, row)))
            .map(|row| (row.due, row.received, row.id.clone()))
            .collect();
        expected.sort();
        expected.truncate(usize::try_from(limit).unwrap());
        self.tell(format!("{owner} claims {limit} and gets {ids:?}"));
        check(ids, expected.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>())?;
        for job in jobs {
            let row = self.rows.iter_mut().find(|row| row.id == job.lease.id()).unwrap();
            row.attempt += 1;
            row.lease = Some((owner.clone(), now + LEASE_MS));
            let order = self.orders.get(&row.subject);
            check(job.lease.attempt(), row.attempt)?;
            let version = job.subject.as_ref().map(|subject| subject.version);
            check(version, order.map(|order| order.version))?;
            self.held.push(job);
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), String> {
        if self.held.is_empty() {
            return Ok(());
        }
        let place = self.dice.below(self.held.len());
        let job = self.held.swap_remove(place);
        if self.dice.below(8) == 0 {
            self.tell(format!("the worker of {} dies", job.lease.id()));
            return Ok(());
        }
        let outcome = self.decide(&job);
        let mut settling = settlement(&job, outcome);
        if let (SubjectSeen::At(version), 0) = (settling.subject, self.dice.below(10)) {
            // It read the order before another run changed it.
            settling.subject = SubjectSeen::At(version - 1);
        }
        let parked = matches!(settling.outcome, Outcome::Park(_));
        settling.due_at = at(self.now + if parked { PARK_MS } else { 50 });
        let expected = self.expect(&job, &settling);
        let kind = kind(&settling.outcome);
        self.tell(format!("{} attempt {} ends: {kind}", job.lease.id(), job.lease.attempt()));
        let settled = self.store.settle(settling, at(self.now)).await.map_err(words)?;
        self.answers.insert(match &settled {
            Settled::Done { .. } => "done",
            Settled::Conflict => "conflict",
            Settled::Repeated => "repeated",
            Settled::LostLease => "lost-lease",
            Settled::Released => "released",
        });
        check(settled, expected)
    }

    /// What a worker might decide about a job.
    fn decide(&mut self, job: &Job) -> Outcome {
        let Some(subject) = &job.subject else {
            return match self.dice.below(3) {
                0 => Outcome::Review(reason("given-up")),
                _ => Outcome::Park(reason("order.unknown")),
            };
        };
        match self.dice.below(7) {
            6 => {
                Outcome::Hold { reason: reason(HELD_FULL), plugin: "shop/order-payment".to_owned() }
            }
            5 => Outcome::Defer(reason("later")),
            0 => Outcome::Keep(reason("kept")),
            1 => Outcome::Retry(reason("busy")),
            _ => {
                let seen = subject.state.as_ref().unwrap().as_str();
                let place = STATES.iter().position(|state| *state == seen).unwrap();
                let id = format!("{}/save/0", job.lease.id());
                advance(Draft {
                    target: STATES.get(place + 1).map(|next| state(next)),
                    writes: Vec::new(),
                    events: vec![event(&id, "order.told", &subject.key)],
                })
            }
        }
    }

    /// What the model makes of it.
    fn expect(&mut self, job: &Job, settling: &Settlement) -> Settled {
        let now = self.now;
        let Some(row) = self.rows.iter_mut().find(|row| {
            row.id == job.lease.id()
                && row.attempt == job.lease.attempt()
                && row.lease.is_some()
                && matches!(row.state, InboxState::Ready | InboxState::Parked)
        }) else {
            return Settled::LostLease;
        };
        row.lease = None;
        let again = (InboxState::Ready, Some(now));
        let order = self.orders.get_mut(&row.subject);
        let current = order.as_ref().map(|order| order.version);
        let held = match settling.subject {
            SubjectSeen::At(version) => current == Some(version),
            SubjectSeen::Absent | SubjectSeen::Unread => true,
        };
        let meaning = (row.subject.clone(), row.meaning.clone());
        let (change, settled) = match (&settling.outcome, order) {
            (_, Some(_)) if settling.subject == SubjectSeen::Absent => (again, Settled::Released),
            (Outcome::Retry(_) | Outcome::Defer(_) | Outcome::Hold { .. }, order) => {
                ((InboxState::Ready, Some(now + 50)), standing(order, 0))
            }
            (Outcome::Park(_), order) => {
                ((InboxState::Parked, Some(now + PARK_MS)), standing(order, 0))
            }
            (Outcome::Advance(_), Some(_)) if self.used.contains(&meaning) => {
                ((InboxState::Done, None), Settled::Repeated)
            }
            (_, _) if !held => ((InboxState::Ready, Some(now + 50)), Settled::Conflict),
            (Outcome::Keep(_), order) => ((InboxState::Done, None), standing(order, 0)),
            (Outcome::Review(_), order) => ((InboxState::Review, None), standing(order, 0)),
            (Outcome::Advance(step), order) => {
                let order = order.unwrap();
                if step.transition().is_some() {
                    order.version += 1;
                    order.state += 1;
                }
                order.events.push(step.events()[0].id.clone());
                self.used.insert(meaning);
                ((InboxState::Done, None), standing(Some(order), 1))
            }
        };
        (row.state, row.due) = change;
        row.ran = true;
        row.held =
            matches!((&settling.outcome, &settled), (Outcome::Hold { .. }, Settled::Done { .. }));
        if !matches!(settled, Settled::Conflict | Settled::Released) {
            row.deferred = matches!(settling.outcome, Outcome::Defer(_));
        }
        let subject = row.subject.clone();
        if let (Outcome::Advance(_), Settled::Done { .. }) = (&settling.outcome, &settled) {
            self.wake(&subject);
        }
        settled
    }

    /// What was put off of an order may go when the order moves.
    fn wake(&mut self, subject: &str) {
        for row in &mut self.rows {
            let waits = row.state == InboxState::Ready && row.deferred && row.lease.is_none();
            if row.subject == subject && waits {
                row.due = row.due.map(|due| due.min(self.now));
            }
        }
    }

    async fn register(&mut self) -> Result<(), String> {
        let number = format!("{}-o{}", self.tag, self.dice.below(ORDERS));
        let alias = format!("alias-{number}");
        let mut new = order(&number);
        new.aliases = vec![alias.clone()];
        self.tell(format!("{number} is registered, also as {alias}"));
        let registered = self.store.register(new, at(self.now)).await.map_err(words)?;
        let created = matches!(registered, Registered::Created(_));
        check(created, !self.orders.contains_key(&number))?;
        if !created {
            return check(matches!(registered, Registered::Same(_)), true);
        }
        self.orders.insert(number.clone(), Order { version: 1, ..Order::default() });
        for row in &mut self.rows {
            if row.subject == number || row.subject == alias {
                row.subject.clone_from(&number);
                if row.state == InboxState::Parked {
                    (row.state, row.due) = (InboxState::Ready, Some(self.now));
                }
            }
        }
        Ok(())
    }

    /// Holds everything that is stored against the model.
    pub(crate) async fn compare(&self) -> Result<(), String> {
        for row in &self.rows {
            let stored = self.store.notification(&row.id).await.map_err(words)?.unwrap();
            let found = (stored.state, stored.attempts, stored.seen, stored.due_at);
            check(found, (row.state, row.attempt, row.seen, row.due.map(at)))?;
            check(stored.subject.as_deref(), Some(row.subject.as_str()))?;
        }
        for (number, order) in &self.orders {
            let view = self.store.order(BUSINESS, number).await.map_err(words)?.unwrap();
            check(view.document.version, order.version)?;
            check(view.document.state, Some(state(STATES[order.state])))?;
            let events: Vec<_> = view.events.iter().map(|event| &event.event.id).collect();
            check(events, order.events.iter().collect())?;
            check(view.history.len(), order.events.len())?;
        }
        Ok(())
    }
}
