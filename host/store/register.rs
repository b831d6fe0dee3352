//! Registering orders: once, and the same ever after; what was parked for an order goes on.

use std::collections::{BTreeMap, BTreeSet};

use callgate_core::money::Money;
use callgate_core::order::State;
use callgate_core::time::Timestamp;
use serde_json::{Value, json};

use crate::batch::{Cell, Statement, change, fetch};
use crate::dialect::{Dialect, Lock};
use crate::documents::{Document, DocumentKey, ORDERS, find, key_cells};
use crate::error::{Blame, Fault, StoreError};
use crate::inquiries::{FirstQuestion, InquiryKey, NewInquiry, open};
use crate::order::NAMES;
use crate::sql::Connection;

/// An order as a business registers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Who owns it.
    pub business: String,
    /// Its number, 1 to 256 characters.
    pub order_no: String,
    /// What is to be paid.
    pub amount: Money,
    /// The channel it must be paid through; any of the business where none is set.
    pub channel: Option<String>,
    /// The state that it begins in.
    pub state: State,
    /// Other names that gateways know it by, such as payment numbers; at most [`ALIASES_MAX`].
    pub aliases: Vec<String>,
    /// Its content, a JSON text.
    pub body: String,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// It is there now.
    Created(Document),
    /// It was registered like this before; the order as it stands today.
    Same(Document),
    /// It was registered differently before; nothing was changed.
    Differs {
        /// The first field that differs: `amount`, `currency`, `channel`, `state`, `aliases` or
        /// `body`.
        field: &'static str,
    },
    /// Another order has this name already; nothing was changed.
    AliasTaken {
        /// The name.
        alias: String,
    },
}

/// A registration on its way.
#[derive(Debug)]
pub(crate) struct Registration {
    order: NewOrder,
    terms: Value,
    /// What its gateways are to be asked if nothing is heard of it.
    questions: Vec<FirstQuestion>,
    now: Timestamp,
}

impl Registration {
    /// Reads the body, and brings the registration into the form that is compared.
    pub(crate) fn new(mut order: NewOrder, now: Timestamp) -> Result<Self, StoreError> {
        let body: Value = serde_json::from_str(&order.body)
            .map_err(|error| StoreError::invalid(format!("body is no JSON text: {error}")))?;
        order.aliases.sort();
        order.aliases.dedup();
        order.aliases.retain(|alias| *alias != order.order_no);
        if order.aliases.len() > ALIASES_MAX {
            let found = order.aliases.len();
            let what = format!("{found} aliases, at most {ALIASES_MAX} expected");
            return Err(StoreError::invalid(what));
        }
        let bad = |name: &str| !(1..=256).contains(&name.chars().count()) || name.contains('\0');
        if bad(&order.order_no) || order.aliases.iter().any(|alias| bad(alias)) {
            return Err(StoreError::invalid("order numbers and aliases have 1 to 256 characters"));
        }
        if order.amount.minor < 0 {
            let found = order.amount.minor;
            return Err(StoreError::invalid(format!("amount is {found}, expected 0 or more")));
        }
        let terms = json!({
            "amount": order.amount.minor,
            "currency": order.amount.currency.as_str(),
            "channel": order.channel,
            "state": order.state.as_str(),
            "aliases": order.aliases,
            "body": body,
        });
        Ok(Self { order, terms, questions: Vec::new(), now })
    }

    /// Adds what is to be asked.
    pub(crate) fn asking(self, questions: Vec<FirstQuestion>) -> Self {
        Self { questions, ..self }
    }

    /// A question for each name that a gateway may know the order by.
    fn inquiries(&self) -> impl Iterator<Item = NewInquiry> + '_ {
        self.questions.iter().flat_map(move |question| {
            self.names().map(move |(business, number)| NewInquiry {
                key: InquiryKey {
                    business,
                    order_no: self.order.order_no.clone(),
                    channel: question.channel.clone(),
                    number,
                    refund_no: None,
                },
                due_at: question.due_at,
            })
        })
    }

    /// What it carries: the body twice, in the document and in the terms that are compared.
    pub(crate) fn bytes(&self) -> usize {
        self.order.body.len().saturating_mul(2)
    }

    fn key(&self) -> DocumentKey {
        (self.order.business.clone(), ORDERS.to_owned(), self.order.order_no.clone())
    }

    /// The order's names: its number and its aliases.
    fn names(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let names = std::iter::once(&self.order.order_no).chain(&self.order.aliases);
        names.map(|name| (self.order.business.clone(), name.clone()))
    }

    fn document(&self) -> Document {
        Document {
            business: self.order.business.clone(),
            collection: ORDERS.to_owned(),
            key: self.order.order_no.clone(),
            version: 1,
            state: Some(self.order.state.clone()),
            body: self.order.body.clone(),
            amount: Some(self.order.amount),
            channel: self.order.channel.clone(),
            created_at: self.now,
            updated_at: self.now,
        }
    }

    /// The first field in which the terms differ from what was registered before.
    fn difference(&self, registered: &Value) -> Option<&'static str> {
        let differs = |field: &&&str| registered.get(**field) != self.terms.get(**field);
        FIELDS.iter().find(differs).copied()
    }
}

/// Registers a group. Also says how many notifications were released by it.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    group: &[Registration],
) -> Result<(Vec<Registered>, u64), Fault> {
    if group.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let mut known = look(connection, dialect, group).await?;
    let mut new = BTreeMap::new();
    let mut answers = Vec::with_capacity(group.len());
    for registration in group {
        answers.push(known.answer(registration)?);
        if matches!(answers.last(), Some(Registered::Created(_))) {
            new.insert(registration.key(), registration);
        }
    }
    let released = write(connection, &new).await?;
    Ok((answers, released))
}

/// The orders and names of a group, as they are now.
#[derive(Default)]
struct Known {
    orders: BTreeMap<DocumentKey, (Document, Value)>,
    /// Business and name to order number.
    names: BTreeMap<(String, String), String>,
}

async fn look(
    connection: &mut Connection,
    dialect: Dialect,
    group: &[Registration],
) -> Result<Known, Fault> {
    let mut known = Known::default();
    let names: BTreeSet<_> = group.iter().flat_map(Registration::names).collect();
    let rows: Vec<[Cell; 2]> =
        names.iter().map(|(a, b)| [a.as_str().into(), b.as_str().into()]).collect();
    let lock = Statement { suffix: dialect.lock(Lock::Update), ..NAMES };
    for row in fetch(connection, lock, &rows).await? {
        if let Some(order_no) = row.try_get::<Option<String>, _>("order_no")? {
            known.names.insert((row.try_get("business")?, row.try_get("alias")?), order_no);
        }
    }
    let keys: BTreeSet<_> = group.iter().map(Registration::key).collect();
    let mut documents = BTreeMap::new();
    for document in find(connection, "", keys.iter()).await? {
        documents.insert((document.business.clone(), document.key.clone()), document);
    }
    let rows: Vec<_> = keys.iter().map(key_cells).collect();
    for row in fetch(connection, TERMS, &rows).await? {
        let registered: String = row.try_get("registered")?;
        let registered = serde_json::from_str(&registered)
            .map_err(|error| StoreError::corrupt(format!("registration of an order: {error}")))?;
        let (business, key): (String, String) = (row.try_get("business")?, row.try_get("key")?);
        if let Some(document) = documents.remove(&(business.clone(), key.clone())) {
            known.orders.insert((business, ORDERS.to_owned(), key), (document, registered));
        }
    }
    Ok(known)
}

impl Known {
    /// Answers one registration, and remembers it for the rest of the group.
    fn answer(&mut self, registration: &Registration) -> Result<Registered, StoreError> {
        if let Some((document, registered)) = self.orders.get(&registration.key()) {
            return Ok(match registration.difference(registered) {
                Some(field) => Registered::Differs { field },
                None => Registered::Same(document.clone()),
            });
        }
        for name in registration.names() {
            if self.names.contains_key(&name) {
                return Ok(Registered::AliasTaken { alias: name.1 });
            }
        }
        for name in registration.names() {
            self.names.insert(name, registration.order.order_no.clone());
        }
        let document = registration.document();
        self.orders.insert(registration.key(), (document.clone(), registration.terms.clone()));
        Ok(Registered::Created(document))
    }
}

async fn write(
    connection: &mut Connection,
    new: &BTreeMap<DocumentKey, &Registration>,
) -> Result<u64, Fault> {
    let mut names = BTreeMap::new();
    for registration in new.values() {
        for name in registration.names() {
            names.insert(name, (registration.order.order_no.clone(), registration.now));
        }
    }
    let rows: Vec<[Cell; 4]> = names
        .iter()
        .map(|((business, name), (order_no, now))| {
            [
                business.as_str().into(),
                name.as_str().into(),
                order_no.as_str().into(),
                now.as_ms().into(),
            ]
        })
        .collect();
    let named = change(connection, NAME, &rows).await?;
    if u64::try_from(rows.len()).is_ok_and(|wanted| named != wanted) {
        return Err(Fault::Group(Blame::Race));
    }
    let orders: Vec<_> = new.values().map(|registration| registration.cells()).collect();
    change(connection, INSERT, &orders).await?;
    let inquiries: Vec<_> = new.values().flat_map(|one| one.inquiries()).collect();
    let now = new.values().map(|one| one.now).max().unwrap_or_default();
    open::new(connection, &inquiries, now).await?;
    Ok(change(connection, RELEASE, &rows).await?)
}

impl Registration {
    fn cells(&self) -> [Cell; 9] {
        [
            self.order.business.as_str().into(),
            self.order.order_no.as_str().into(),
            self.order.state.as_str().into(),
            self.order.body.as_str().into(),
            self.order.amount.minor.into(),
            self.order.amount.currency.as_str().into(),
            self.order.channel.as_deref().into(),
            self.terms.to_string().into(),
            self.now.as_ms().into(),
        ]
    }
}

const TERMS: Statement = Statement {
    columns: "business, collection, key",
    text: "select t.business, t.key, t.registered from v join documents t on t.business = v.business \
           and t.collection = v.collection and t.key = v.key",
    suffix: "",
};

/// A name that was heard of becomes this order's; one that has an order already is left alone,
/// and then missing from the answer.
const NAME: Statement = Statement {
    columns: "business, alias, order_no, now_ms",
    text: "insert into order_aliases (business, alias, order_no) \
           select v.business, v.alias, v.order_no from v where v.alias is not null \
           on conflict (business, alias) do update set order_no = excluded.order_no \
           where order_aliases.order_no is null",
    suffix: "",
};

const INSERT: Statement = Statement {
    columns: "business, key, state, body, amount_minor, currency, channel, registered, now_ms",
    text: "insert into documents (business, collection, key, version, state, body, amount_minor, \
           currency, channel, registered, created_at_ms, updated_at_ms) \
           select v.business, 'orders', v.key, 1, v.state, v.body, v.amount_minor, v.currency, \
           v.channel, v.registered, v.now_ms, v.now_ms from v where v.key is not null",
    suffix: "",
};

/// Whatever came under one of the names belongs to the order now, and what was parked is due.
const RELEASE: Statement = Statement {
    columns: "v_business, v_alias, v_order_no, v_now_ms",
    text: "update inbox set subject = v.v_order_no, \
           due_at_ms = case when inbox.state = 'parked' or (inbox.state = 'review' \
               and inbox.reason_code = 'order.unknown') then v.v_now_ms \
               else inbox.due_at_ms end, \
           finished_at_ms = case when inbox.state = 'review' \
               and inbox.reason_code = 'order.unknown' then null else inbox.finished_at_ms end, \
           state = case when inbox.state = 'parked' or (inbox.state = 'review' \
               and inbox.reason_code = 'order.unknown') then 'ready' else inbox.state end \
           from v where inbox.business = v.v_business and inbox.subject = v.v_alias \
           and (inbox.state = 'parked' or v.v_alias <> v.v_order_no or (inbox.state = 'review' \
               and inbox.reason_code = 'order.unknown'))",
    suffix: "",
};

/// What a second registration is compared in, in this order.
const FIELDS: [&str; 6] = ["amount", "currency", "channel", "state", "aliases", "body"];

/// Aliases of one order.
pub const ALIASES_MAX: usize = 32;
