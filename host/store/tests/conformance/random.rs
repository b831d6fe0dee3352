//! One story of chance: random acts told to the store and to a small model in memory, which must
//! agree about every answer.

use std::collections::{BTreeMap, BTreeSet};

use callgate_core::outcome::{Draft, Outcome};
use callgate_store::{
    ClaimRequest, InboxState, Job, Receipt, Registered, Settled, Settlement, Store, SubjectSeen,
};

use crate::acts::{advance, at, done, event, order, reason, settlement, state};
use crate::gateway::{BUSINESS, payment};
use crate::house::House;

const ORDER_BLOCK_MS: i64 = 120;
const LEASE_MS: i64 = 100;
const PARK_MS: i64 = 300;
const STATES: [&str; 3] = ["TO_BE_PAID", "TO_BE_DELIVERED", "REFUNDING"];

pub(crate) async fn a_thousand_random_acts_agree_with_a_small_model(house: &House) {
    let mut answers = BTreeSet::new();
    for seed in [1, 2, 3, 4, 5] {
        let mut story = Story::new(house, seed).await;
        for act in 0..200 {
            story.act().await.unwrap_or_else(|difference| {
                panic!("seed {seed}, act {act}: {difference}");
            });
        }
        story.compare_everything(seed).await;
        story.store.close().await;
        house.execute("delete from inbox").await;
        answers.append(&mut story.answers);
    }
    let all = ["conflict", "done", "lost-lease", "released", "repeated"];
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), all, "the acts leave something untold");
}

/// Numbers by chance, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// What the model keeps of a notification.
#[derive(Debug)]
struct Row {
    id: String,
    delivery: String,
    subject: String,
    meaning: String,
    received: i64,
    state: InboxState,
    due: Option<i64>,
    /// Owner and end.
    lease: Option<(String, i64)>,
    attempt: i64,
    seen: i64,
}

/// What the model keeps of an order.
#[derive(Debug, Clone, Default)]
struct Order {
    version: i64,
    state: usize,
    events: Vec<String>,
}

struct Story<'a> {
    house: &'a House,
    store: Store,
    dice: Dice,
    seed: u64,
    now: i64,
    rows: Vec<Row>,
    orders: BTreeMap<String, Order>,
    used: BTreeSet<(String, String)>,
    /// Jobs in the hands of workers, some of them with a lease that ran out.
    held: Vec<Job>,
    deliveries: usize,
    /// The kinds of answers that settlements got.
    answers: BTreeSet<&'static str>,
}

fn check<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found:?}, expected {expected:?}")) }
}

impl<'a> Story<'a> {
    async fn new(house: &'a House, seed: u64) -> Self {
        Self {
            store: Self::open(house).await,
            house,
            dice: Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed)),
            seed,
            now: i64::try_from(seed).unwrap() * 10_000_000,
            rows: Vec::new(),
            orders: BTreeMap::new(),
            used: BTreeSet::new(),
            held: Vec::new(),
            deliveries: 0,
            answers: BTreeSet::new(),
        }
    }

    async fn open(house: &House) -> Store {
        house.open_with(|settings| settings.order_block_ms = ORDER_BLOCK_MS).await
    }

    async fn act(&mut self) -> Result<(), String> {
        match self.dice.below(20) {
            0..=5 => self.accept().await,
            6..=9 => self.claim().await,
            10..=14 => self.settle().await,
            15 => self.register().await,
            16..=18 => {
                self.now += i64::try_from(self.dice.below(80)).unwrap();
                Ok(())
            }
            _ => {
                self.store.close().await;
                self.store = Self::open(self.house).await;
                Ok(())
            }
        }
    }

    async fn accept(&mut self) -> Result<(), String> {
        let known = self.rows.len();
        if known > 0 && self.dice.below(4) == 0 {
            let row = self.dice.below(known);
            let row = &mut self.rows[row];
            row.seen += 1;
            let callback = payment(&row.delivery, "any", "any");
            let receipt = self.store.accept(callback, at(self.now)).await.unwrap();
            return check(receipt, Receipt::Seen);
        }
        let number = self.dice.below(5);
        let order = format!("s{}-o{number}", self.seed);
        let name = if self.dice.below(2) == 0 { order.clone() } else { format!("alias-{order}") };
        let transaction = format!("t{}", self.dice.below(4));
        let delivery = format!("s{}-d{}", self.seed, self.deliveries);
        self.deliveries += 1;
        let callback = payment(&delivery, &name, &transaction);
        let meaning = callback.verified.notifications()[0].meaning_key.clone();
        let receipt = self.store.accept(callback, at(self.now)).await.unwrap();
        let Receipt::New(ids) = receipt else { return Err("seen".to_owned()) };
        let subject = if self.orders.contains_key(&order) { order } else { name };
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
        });
        Ok(())
    }

    async fn claim(&mut self) -> Result<(), String> {
        let owner = format!("w{}", self.dice.below(3));
        let limit = u32::try_from(self.dice.below(4) + 1).unwrap();
        let request = ClaimRequest { limit, owner: owner.clone(), lease_ms: LEASE_MS };
        let jobs = self.store.claim(request, at(self.now)).await.unwrap();
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
                            || (first.due.is_some()
                                && first.state != InboxState::Parked
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
            return Ok(()); // The worker died.
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
        let settled = self.store.settle(settling, at(self.now)).await.unwrap();
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
        match self.dice.below(5) {
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
            (Outcome::Retry(_), order) => ((InboxState::Ready, Some(now + 50)), standing(order, 0)),
            (Outcome::Park(_), order) => {
                ((InboxState::Parked, Some(now + PARK_MS)), standing(order, 0))
            }
            (Outcome::Advance(_), Some(_)) if self.used.contains(&meaning) => {
                ((InboxState::Done, None), Settled::Repeated)
            }
            (_, _) if !held => (again, Settled::Conflict),
            (Outcome::Defer(_), order) => ((InboxState::Ready, Some(now + 50)), standing(order, 0)),
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
        settled
    }

    async fn register(&mut self) -> Result<(), String> {
        let number = format!("s{}-o{}", self.seed, self.dice.below(5));
        let alias = format!("alias-{number}");
        let mut new = order(&number);
        new.aliases = vec![alias.clone()];
        let registered = self.store.register(new, at(self.now)).await.unwrap();
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

    async fn compare_everything(&self, seed: u64) {
        for row in &self.rows {
            let stored = self.store.notification(&row.id).await.unwrap().unwrap();
            let found = (stored.state, stored.attempts, stored.seen, stored.due_at);
            let expected = (row.state, row.attempt, row.seen, row.due.map(at));
            assert_eq!(found, expected, "seed {seed}");
            assert_eq!(stored.subject.as_deref(), Some(row.subject.as_str()), "seed {seed}");
        }
        for (number, order) in &self.orders {
            let view = self.store.order(BUSINESS, number).await.unwrap().unwrap();
            assert_eq!(view.document.version, order.version, "seed {seed}");
            assert_eq!(view.document.state, Some(state(STATES[order.state])), "seed {seed}");
            let events: Vec<_> = view.events.iter().map(|event| &event.event.id).collect();
            assert_eq!(events, order.events.iter().collect::<Vec<_>>(), "seed {seed}");
            assert_eq!(view.history.len(), order.events.len(), "seed {seed}");
        }
        assert!(!self.orders.is_empty() && self.rows.len() > 20, "seed {seed} told nothing");
    }
}

fn standing(order: Option<&mut Order>, events: usize) -> Settled {
    order.map_or_else(
        || done("", 0, events),
        |order| done(STATES[order.state], order.version, events),
    )
}
