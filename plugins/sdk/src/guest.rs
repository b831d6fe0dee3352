//! The component's side: bindings made from the contract, and the way from there to the trait.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Once;

use crate::descriptor::{Commit, Transition};
use crate::document::{Document, DocumentRef, State};
use crate::error::{Denial, PhaseError};
use crate::event::Event;
use crate::exchange::{Config, Exchange, Level, Mode};
use crate::host::{Amount, Expect, Fact, Host, OptionalFact};
use crate::http::{Content, HttpError, Method, Request, Response};
use crate::money::Money;
use crate::processor::Processor;
use crate::staging::{Documents, Draft, Events};

use bindings::callgate::processor as imports;
use bindings::exports::callgate::processor as exports;

#[allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "processor",
        pub_export_macro: true,
        export_macro_name: "export_guest",
        default_bindings_module: "callgate_processor::guest::bindings",
    });
}

pub use bindings::export_guest;

/// The real host.
struct Imports;

/// What the host says again in every phase of a run, so that it is asked once: an instance lives
/// for one run, and in a run the subject stays as it was and the scratch is what was left last.
struct Known {
    subject: Option<Document>,
    scratch: Option<String>,
}

thread_local! {
    static KNOWN: RefCell<Known> = const { RefCell::new(Known { subject: None, scratch: None }) };
}

/// Answers from what is known, else asks and keeps the answer, where there is one.
fn known<T: Clone>(
    part: fn(&mut Known) -> &mut Option<T>,
    ask: impl FnOnce() -> Option<T>,
) -> Option<T> {
    KNOWN.with_borrow_mut(|known| {
        let part = part(known);
        if part.is_none() {
            *part = ask();
        }
        part.clone()
    })
}

impl Host for Imports {
    fn fact(&self, fact: Fact) -> String {
        match fact {
            Fact::NotificationId => imports::exchange::notification_id(),
            Fact::Channel => imports::exchange::channel(),
            Fact::EventType => imports::exchange::event_type(),
            Fact::DeliveryKey => imports::exchange::delivery_key(),
            Fact::MeaningKey => imports::exchange::meaning_key(),
            Fact::Body => imports::exchange::body(),
            Fact::Business => imports::exchange::business(),
            Fact::Scene => imports::exchange::scene(),
            Fact::Summary => imports::exchange::summary(),
            Fact::ConfigRevision => imports::config::revision(),
        }
    }

    fn optional(&self, fact: OptionalFact) -> Option<String> {
        match fact {
            OptionalFact::OrderNo => imports::exchange::order_no(),
            OptionalFact::TransactionId => imports::exchange::transaction_id(),
            OptionalFact::RefundId => imports::exchange::refund_id(),
            OptionalFact::RefundNo => imports::exchange::refund_no(),
            OptionalFact::Payer => imports::exchange::payer(),
            OptionalFact::TargetState => imports::exchange::target_state(),
        }
    }

    fn amount(&self, amount: Amount) -> Option<Money> {
        let money = match amount {
            Amount::Moved => imports::exchange::amount(),
            Amount::RefundedTotal => imports::exchange::refunded_total(),
            Amount::Order => imports::exchange::order_amount(),
        };
        money.map(|money| Money { minor: money.minor_units, currency: money.currency })
    }

    fn occurred_at_ms(&self) -> Option<u64> {
        imports::exchange::occurred_at()
    }

    fn received_at_ms(&self) -> u64 {
        imports::exchange::received_at()
    }

    fn mode(&self) -> Mode {
        match imports::exchange::mode() {
            imports::exchange::RunMode::Live => Mode::Live,
            imports::exchange::RunMode::Replay => Mode::Replay,
            imports::exchange::RunMode::DryRun => Mode::DryRun,
        }
    }

    fn attempt(&self) -> u32 {
        imports::exchange::attempt()
    }

    fn remaining_ms(&self) -> u32 {
        imports::exchange::remaining_ms()
    }

    fn subject(&self) -> Option<Document> {
        known(|known| &mut known.subject, || imports::exchange::subject().map(document))
    }

    fn scratch(&self) -> String {
        let ask = || Some(imports::exchange::scratch());
        known(|known| &mut known.scratch, ask).unwrap_or_default()
    }

    fn set_scratch(&self, value: &str) -> Result<(), String> {
        imports::exchange::set_scratch(value)?;
        KNOWN.with_borrow_mut(|known| known.scratch = Some(value.to_owned()));
        Ok(())
    }

    fn get(&self, place: &DocumentRef) -> Result<Option<Document>, Denial> {
        imports::documents::get(&raw_ref(place)).map(|found| found.map(document)).map_err(store)
    }

    fn get_many(&self, places: &[DocumentRef]) -> Result<Vec<Option<Document>>, Denial> {
        let places: Vec<_> = places.iter().map(raw_ref).collect();
        imports::documents::get_many(&places)
            .map(|found| found.into_iter().map(|one| one.map(document)).collect())
            .map_err(store)
    }

    fn put(&self, place: &DocumentRef, body: &str, expect: Expect) -> Result<(), Denial> {
        imports::documents::put(&raw_ref(place), body, expectation(expect)).map_err(store)
    }

    fn merge(&self, place: &DocumentRef, patch: &str, expect: Expect) -> Result<(), Denial> {
        imports::documents::merge(&raw_ref(place), patch, expectation(expect)).map_err(store)
    }

    fn emit(&self, event: &Event) -> Result<String, Denial> {
        let event = event.clone();
        imports::events::emit(&imports::types::Event {
            topic: event.topic,
            key: event.key,
            payload: event.payload,
            headers: event.headers,
        })
        .map_err(|error| match error {
            imports::events::EventError::Denied(text) => Denial::Denied(text),
            imports::events::EventError::Quota(text) => Denial::Quota(text),
            imports::events::EventError::Invalid(text) => Denial::Invalid(text),
        })
    }

    fn send(&self, request: &Request) -> Result<Response, HttpError> {
        let request = request.clone();
        let sent = imports::http::send(&imports::http::Request {
            endpoint: request.endpoint,
            method: raw_method(request.method),
            path: request.path,
            headers: request.headers,
            body: raw_content(request.body),
            timeout_ms: request.timeout_ms,
            idempotency_key: request.idempotency_key,
        });
        let answer = sent.map_err(http_error)?;
        let (status, headers, body) = (answer.status, answer.headers, content(answer.body));
        Ok(Response { status, headers, body })
    }

    fn config(&self, path: &str) -> Option<String> {
        imports::config::get(path)
    }

    fn now_ms(&self) -> u64 {
        imports::clock::now()
    }

    fn new_id(&self) -> String {
        imports::clock::new_id()
    }

    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        imports::log::write(raw_level(level), message, &fields);
    }

    fn log_enabled(&self, level: Level) -> bool {
        imports::log::enabled(raw_level(level))
    }
}

fn raw_level(level: Level) -> imports::log::Level {
    match level {
        Level::Trace => imports::log::Level::Trace,
        Level::Debug => imports::log::Level::Debug,
        Level::Info => imports::log::Level::Info,
        Level::Warn => imports::log::Level::Warn,
        Level::Error => imports::log::Level::Error,
    }
}

fn raw_method(method: Method) -> imports::http::Method {
    match method {
        Method::Get => imports::http::Method::Get,
        Method::Post => imports::http::Method::Post,
        Method::Put => imports::http::Method::Put,
        Method::Patch => imports::http::Method::Patch,
        Method::Delete => imports::http::Method::Delete,
    }
}

fn raw_content(content: Content) -> imports::http::Content {
    match content {
        Content::Empty => imports::http::Content::Empty,
        Content::Text(text) => imports::http::Content::Text(text),
        Content::Binary(bytes) => imports::http::Content::Binary(bytes),
    }
}

fn content(raw: imports::http::Content) -> Content {
    match raw {
        imports::http::Content::Empty => Content::Empty,
        imports::http::Content::Text(text) => Content::Text(text),
        imports::http::Content::Binary(bytes) => Content::Binary(bytes),
    }
}

fn http_error(error: imports::http::HttpError) -> HttpError {
    match error {
        imports::http::HttpError::Denied(text) => HttpError::Denied(text),
        imports::http::HttpError::Quota(text) => HttpError::Quota(text),
        imports::http::HttpError::Invalid(text) => HttpError::Invalid(text),
        imports::http::HttpError::Timeout => HttpError::Timeout,
        imports::http::HttpError::Failed(text) => HttpError::Failed(text),
        imports::http::HttpError::TooLarge => HttpError::TooLarge,
    }
}

fn raw_ref(place: &DocumentRef) -> imports::types::DocumentRef {
    imports::types::DocumentRef { collection: place.collection.clone(), key: place.key.clone() }
}

fn expectation(expect: Expect) -> imports::documents::Expectation {
    match expect {
        Expect::Absent => imports::documents::Expectation::Absent,
        Expect::AsRead => imports::documents::Expectation::AsRead,
        Expect::Any => imports::documents::Expectation::Any,
    }
}

fn store(error: imports::documents::StoreError) -> Denial {
    match error {
        imports::documents::StoreError::Denied(text) => Denial::Denied(text),
        imports::documents::StoreError::Quota(text) => Denial::Quota(text),
        imports::documents::StoreError::Invalid(text) => Denial::Invalid(text),
        imports::documents::StoreError::Unavailable(text) => Denial::Unavailable(text),
    }
}

fn document(raw: imports::types::Document) -> Document {
    Document {
        place: DocumentRef { collection: raw.ref_.collection, key: raw.ref_.key },
        version: raw.version,
        state: state(raw.state),
        text: raw.body,
        updated_at_ms: raw.updated_at,
    }
}

fn state(name: String) -> Option<State> {
    (!name.is_empty()).then(|| State::from(name))
}

fn raw_error(error: PhaseError) -> imports::types::PhaseError {
    match error {
        PhaseError::Ignore(message) => imports::types::PhaseError::Ignore(message),
        PhaseError::Reject { code, message } => {
            let code = code.to_owned();
            imports::types::PhaseError::Reject(imports::types::Rejection { code, message })
        }
        PhaseError::Retry { code, message, after_ms } => {
            let code = code.to_owned();
            imports::types::PhaseError::Retry(imports::types::RetryHint { code, message, after_ms })
        }
    }
}

/// Names the place of a panic in the log, before it ends the instance. The message stays out: it
/// may quote what was being read.
fn watch_panics() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            Imports.log(Level::Error, "the processor panicked", &[("place", &place)]);
        }));
    });
}

/// A processor as the component exports it.
pub struct Guest<P>(PhantomData<P>);

impl<P: Processor> exports::plugin::Guest for Guest<P> {
    fn describe() -> exports::plugin::Descriptor {
        watch_panics();
        let descriptor = P::describe(&Config(Rc::new(Imports)));
        exports::plugin::Descriptor {
            name: descriptor.name,
            version: descriptor.version,
            routes: descriptor
                .routes
                .into_iter()
                .map(|route| exports::plugin::Route {
                    business: route.business,
                    scene: route.scene,
                    event_type: route.event_type,
                    state: route.state,
                })
                .collect(),
            transitions: descriptor
                .transitions
                .iter()
                .map(|(from, to)| exports::plugin::Edge {
                    from: from.as_str().to_owned(),
                    to: to.as_str().to_owned(),
                })
                .collect(),
            after: descriptor.after,
        }
    }
}

impl<P: Processor> exports::phases::Guest for Guest<P> {
    fn prepare() -> Result<exports::phases::Preparation, imports::types::PhaseError> {
        watch_panics();
        let found = P::prepare(&exchange()).map_err(raw_error)?;
        Ok(exports::phases::Preparation { preload: found.preload.iter().map(raw_ref).collect() })
    }

    fn check() -> Result<(), imports::types::PhaseError> {
        watch_panics();
        P::check(&exchange(), &documents()).map_err(raw_error)
    }

    fn next_state() -> Result<exports::phases::Transition, imports::types::PhaseError> {
        watch_panics();
        match P::next_state(&exchange(), &documents()).map_err(raw_error)? {
            Transition::MoveTo(state) => {
                Ok(exports::phases::Transition::MoveTo(state.as_str().to_owned()))
            }
            Transition::Stay => Ok(exports::phases::Transition::Stay),
        }
    }

    fn action() -> Result<(), imports::types::PhaseError> {
        watch_panics();
        P::action(&exchange(), &documents(), &Draft(Rc::new(Imports))).map_err(raw_error)
    }

    fn save() -> Result<(), imports::types::PhaseError> {
        watch_panics();
        P::save(&exchange(), &documents(), &Draft(Rc::new(Imports))).map_err(raw_error)
    }

    fn after(commit: exports::phases::CommitInfo) -> Result<(), imports::types::PhaseError> {
        watch_panics();
        let commit =
            Commit { state: state(commit.state), version: commit.version, events: commit.events };
        let events = Events(Rc::new(Imports));
        P::after(&exchange(), &documents(), &events, &commit).map_err(raw_error)
    }
}

fn exchange() -> Exchange {
    Exchange(Rc::new(Imports))
}

fn documents() -> Documents {
    Documents(Rc::new(Imports))
}
