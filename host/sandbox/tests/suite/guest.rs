//! Guests from text, and a house to run them in.

use std::sync::{Arc, Mutex, OnceLock};

use callgate_sandbox::engine::{Sandbox, SandboxSettings};
use callgate_sandbox::fault::{Fault, FaultKind, Phase};
use callgate_sandbox::grants::Grants;
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::{LoadError, Source};
use callgate_sandbox::outside::{
    Document, DocumentRef, LogLevel, LogLine, Outside, OutsideError, Pending,
};
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::run::{
    Commit, Draft, Event, Money, Notification, Report, RunInput, RunMode, Stop,
};

#[path = "../../../../tests/hostile/wrap.rs"]
mod wrap;

pub(crate) use wrap::{
    PHASES, attacking, component, component_of, embed, file, module, speaking, text,
};

/// One sandbox for all tests: each attack happens beside all others.
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        let settings = SandboxSettings { slots: 8, ..SandboxSettings::default() };
        Sandbox::new(settings).unwrap()
    })
}

/// Limits whose wall times a busy machine does not reach: what stops a guest is what is tested.
pub(crate) fn patient() -> Limits {
    Limits {
        start_ms: 60_000,
        describe_ms: 60_000,
        prepare_ms: 60_000,
        check_ms: 60_000,
        next_state_ms: 60_000,
        action_ms: 60_000,
        save_ms: 60_000,
        after_ms: 60_000,
        outside_ms: 60_000,
        http_ms: 60_000,
        ..Limits::default()
    }
}

pub(crate) fn grants() -> Grants {
    let set = |name: &str| [name.to_owned()].into_iter().collect();
    Grants { write: set("ledger"), topics: set("order.paid"), ..Grants::default() }
}

pub(crate) fn source(bytes: Vec<u8>) -> Source {
    let config = serde_json::json!({"limits": {"max": 5}});
    Source { bytes, limits: patient(), grants: grants(), config }
}

pub(crate) async fn load(bytes: Vec<u8>) -> Plugin {
    load_source(source(bytes)).await.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) async fn load_source(source: Source) -> Result<Plugin, LoadError> {
    sandbox().load(source).await
}

pub(crate) fn name(collection: &str, key: &str) -> DocumentRef {
    DocumentRef { collection: collection.to_owned(), key: key.to_owned() }
}

pub(crate) fn document(collection: &str, key: &str, version: u64, body: &str) -> Document {
    Document {
        name: name(collection, key),
        version,
        state: String::new(),
        body: body.to_owned(),
        updated_at: 1,
    }
}

pub(crate) fn order() -> Document {
    Document { state: "OPEN".to_owned(), ..document("orders", "o-1", 4, r#"{"amount":1}"#) }
}

pub(crate) fn input() -> RunInput {
    let money = || Some(Money { minor: 1, currency: "CNY".to_owned() });
    RunInput {
        notification: Notification {
            id: "n-1".to_owned(),
            channel: "main".to_owned(),
            business: "SHOP".to_owned(),
            scene: "APP".to_owned(),
            event_type: "payment.succeeded".to_owned(),
            delivery_key: "d-1".to_owned(),
            meaning_key: "m-1".to_owned(),
            order_no: Some("o-1".to_owned()),
            transaction_id: Some("t-1".to_owned()),
            refund_id: None,
            refund_no: None,
            payer: Some("p-1".to_owned()),
            amount: money(),
            refunded_total: None,
            order_amount: money(),
            occurred_at: Some(1_700_000_000_000),
            received_at: 1_700_000_000_500,
            body: r#"{"total":1.10}"#.to_owned(),
        },
        subject: Some(order()),
        mode: RunMode::Live,
        attempt: 1,
        now_ms: 1_700_000_001_000,
        scratch: String::new(),
    }
}

pub(crate) fn commit() -> Commit {
    Commit { state: "PAID".to_owned(), version: 5, events: 1, target: Some("PAID".to_owned()) }
}

/// What the outside was asked for and told.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) asked: Vec<Vec<DocumentRef>>,
    pub(crate) lines: Vec<(LogLevel, String, String)>,
}

/// A store of one document, `ledger/l-1`, that remembers what it was asked.
#[derive(Clone, Default)]
pub(crate) struct Ledger(pub(crate) Arc<Mutex<Seen>>);

impl Outside for Ledger {
    fn documents<'a>(
        &'a mut self,
        names: &'a [DocumentRef],
    ) -> Pending<'a, Result<Vec<Option<Document>>, OutsideError>> {
        self.0.lock().unwrap().asked.push(names.to_vec());
        let entry = document("ledger", "l-1", 7, "{}");
        let find = |asked: &DocumentRef| (*asked == entry.name).then(|| entry.clone());
        let found = names.iter().map(find).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn log(&mut self, line: &LogLine<'_>) {
        let line = (line.level, line.message.to_owned(), line.fields.to_owned());
        self.0.lock().unwrap().lines.push(line);
    }

    fn log_enabled(&self, level: LogLevel) -> bool {
        level >= LogLevel::Info
    }
}

pub(crate) async fn run(plugin: &Plugin) -> Report<Draft> {
    plugin.run(input(), Box::new(Ledger::default())).await
}

pub(crate) async fn run_after(plugin: &Plugin) -> Report<Vec<Event>> {
    plugin.run_after(input(), commit(), Box::new(Ledger::default())).await
}

/// Runs all phases and answers the fault that stopped one of them.
pub(crate) async fn fault(plugin: &Plugin) -> Fault {
    let stop = match run(plugin).await.result {
        Ok(_) => run_after(plugin).await.result.unwrap_err(),
        Err(stop) => stop,
    };
    match stop {
        Stop::Fault(fault) => fault,
        other => panic!("expected a fault, found {other:?}"),
    }
}

/// Loads and runs an attack, checks how it ends, and that the neighbour works as before.
pub(crate) async fn attack(fields: &str, kind: FaultKind, phase: Phase) -> Fault {
    attack_with(source(component(fields)), kind, phase).await
}

/// As [`attack`], with limits of its own.
pub(crate) async fn attack_with(source: Source, kind: FaultKind, phase: Phase) -> Fault {
    let plugin = load_source(source).await.unwrap_or_else(|error| panic!("{error}"));
    let fault = fault(&plugin).await;
    assert_eq!((fault.kind, fault.phase), (kind, phase), "{fault}");
    neighbour_works().await;
    fault
}

/// What a guest's `$speak` tells in a phase: "ok", or the case of the error and its text.
pub(crate) async fn said(speak: &str, phase: Phase) -> String {
    let plugin = load(component(&speaking(speak, phase))).await;
    said_by(&plugin).await
}

/// As [`said`], of a loaded plugin.
pub(crate) async fn said_by(plugin: &Plugin) -> String {
    let stop = match run(plugin).await.result {
        Ok(_) => run_after(plugin).await.result.unwrap_err(),
        Err(stop) => stop,
    };
    match stop {
        Stop::Ignore(text) => text,
        Stop::Reject { code, message } => format!("{code}: {message}"),
        other => panic!("expected a guest that speaks, found {other:?}"),
    }
}

/// Runs the honest guest.
pub(crate) async fn neighbour_works() {
    static GOOD: tokio::sync::OnceCell<Plugin> = tokio::sync::OnceCell::const_new();
    let plugin = GOOD.get_or_init(|| load(file("good.wat"))).await;
    let report = run(plugin).await;
    let draft = report.result.unwrap_or_else(|stop| panic!("the neighbour stopped: {stop:?}"));
    assert_eq!((draft.writes.len(), draft.events.len()), (3, 1));
}
