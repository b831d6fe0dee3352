//! Outgoing calls: phase, grant, syntax and quota, each obeyed and violated.

use std::future::pending;
use std::sync::{Arc, Mutex};

use callgate_sandbox::fault::{FaultKind, Phase};
use callgate_sandbox::grants::Grants;
use callgate_sandbox::http::{CallAnswer, CallError, CallName, CallRequest, Method};
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::Source;
use callgate_sandbox::outside::{Document, DocumentRef, Outside, OutsideError, Pending};
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::run::{RunMode, Stop};

use crate::guest::{
    Ledger, PHASES, attacking, commit, component, grants, input, load, load_source,
    neighbour_works, patient, said_by, source, speaking, text,
};

type Answering = Arc<dyn Fn(&CallRequest) -> Option<Result<CallAnswer, CallError>> + Send + Sync>;

/// Endpoints that remember what they were asked; they never answer where the closure says nothing.
#[derive(Clone)]
struct Desk {
    asked: Arc<Mutex<Vec<CallRequest>>>,
    answer: Answering,
}

impl Desk {
    fn new(
        answer: impl Fn(&CallRequest) -> Option<Result<CallAnswer, CallError>> + Send + Sync + 'static,
    ) -> Self {
        Self { asked: Arc::default(), answer: Arc::new(answer) }
    }

    fn good() -> Self {
        Self::new(|_| Some(Ok(answer("fine"))))
    }

    fn asked(&self) -> Vec<CallRequest> {
        self.asked.lock().unwrap().clone()
    }
}

impl Outside for Desk {
    fn documents<'a>(
        &'a mut self,
        names: &'a [DocumentRef],
    ) -> Pending<'a, Result<Vec<Option<Document>>, OutsideError>> {
        Box::pin(async { Ok(names.iter().map(|_| None).collect()) })
    }

    fn call<'a>(
        &'a mut self,
        request: &'a CallRequest,
    ) -> Pending<'a, Result<CallAnswer, CallError>> {
        self.asked.lock().unwrap().push(request.clone());
        match (self.answer)(request) {
            Some(answer) => Box::pin(std::future::ready(answer)),
            None => Box::pin(pending()),
        }
    }
}

fn answer(body: &str) -> CallAnswer {
    CallAnswer { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec() }
}

fn granted() -> Grants {
    Grants { endpoints: ["erp".to_owned()].into_iter().collect(), ..grants() }
}

/// A plugin that may call, with the guest's `$speak` in a phase.
async fn caller(fields: &str, phase: Phase, limits: Limits) -> Plugin {
    let source = source(component(&speaking(fields, phase)));
    load_source(Source { grants: granted(), limits, ..source }).await.unwrap()
}

/// What a guest tells of its call.
async fn told(plugin: &Plugin, desk: &Desk) -> String {
    let stop = match plugin.run(input(), Box::new(desk.clone())).await.result {
        Ok(_) => {
            let after = plugin.run_after(input(), commit(), Box::new(desk.clone())).await;
            after.result.unwrap_err()
        }
        Err(stop) => stop,
    };
    match stop {
        Stop::Ignore(text) => text,
        Stop::Reject { code, message } => format!("{code}: {message}"),
        other => panic!("expected a guest that speaks, found {other:?}"),
    }
}

async fn says(fields: &str, desk: &Desk) -> String {
    told(&caller(fields, Phase::Action, patient()).await, desk).await
}

/// `send.wat` with another text and its length.
fn sending(data: u32, global: &str, value: &str) -> String {
    let escaped: String = value.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let mut lines: Vec<String> = Vec::new();
    for line in text("send.wat").lines() {
        if line.starts_with(&format!("(data (i32.const {data})")) {
            lines.push(format!("(data (i32.const {data}) \"{escaped}\")"));
        } else if line.starts_with(&format!("(global ${global} ")) {
            lines.push(format!("(global ${global} i32 (i32.const {}))", value.len()));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

fn to_path(path: &str) -> String {
    sending(4096, "path_len", path)
}

fn with_global(fields: &str, global: &str, value: u32) -> String {
    let lines = fields.lines().map(|line| {
        if line.starts_with(&format!("(global ${global} ")) {
            format!("(global ${global} i32 (i32.const {value}))")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `send.wat`, sending twice.
fn twice() -> String {
    text("send.wat").replace("$speak", "$told").replace("$twice", "$speak")
}

#[tokio::test]
async fn endpoints_may_be_called_in_action_and_after_alone() {
    for (name, phase) in PHASES {
        let desk = Desk::good();
        let plugin = caller(&text("send.wat"), phase, patient()).await;
        let (expected, asked) = match phase {
            Phase::Action | Phase::After => ("fine".to_owned(), 1),
            _ => (format!("denied: {name} may not call endpoints"), 0),
        };
        assert_eq!((told(&plugin, &desk).await, desk.asked().len()), (expected, asked), "{phase}");
    }
}

#[tokio::test]
async fn a_request_arrives_as_the_guest_made_it() {
    let desk = Desk::good();
    assert_eq!(says(&text("send.wat"), &desk).await, "fine");
    let asked = desk.asked();
    let [request] = asked.as_slice() else { panic!("expected one, found {asked:?}") };
    let expected = CallRequest {
        endpoint: "erp".to_owned(),
        method: Method::Post,
        path: "/orders".to_owned(),
        headers: vec![("accept".to_owned(), "text".to_owned())],
        body: b"{}".to_vec(),
        name: CallName::Made { phase: Phase::Action, ordinal: 1 },
        phase: Phase::Action,
        mode: RunMode::Live,
        timeout_ms: 60_000,
        answer_bytes_max: 262_144,
    };
    assert_eq!(*request, expected);
}

#[tokio::test]
async fn calls_are_known_by_their_place_or_by_a_key_of_their_own() {
    let made = |ordinal| CallName::Made { phase: Phase::Action, ordinal };
    let twice = twice();
    let desk = Desk::good();
    assert_eq!(says(&twice, &desk).await, "fine");
    let names: Vec<_> = desk.asked().into_iter().map(|request| request.name).collect();
    assert_eq!(names, [made(1), made(2)]);

    let desk = Desk::good();
    assert_eq!(says(&with_global(&twice, "with_key", 1), &desk).await, "fine");
    let names: Vec<_> = desk.asked().into_iter().map(|request| request.name).collect();
    assert_eq!(names, [CallName::Own("key-1".to_owned()), CallName::Own("key-1".to_owned())]);
}

#[tokio::test]
async fn a_key_that_injects_is_invalid() {
    for key in ["a b", "a\r\nhost: b", "", "订单"] {
        let desk = Desk::good();
        let fields = with_global(&sending(1280, "key_len", key), "with_key", 1);
        assert!(says(&fields, &desk).await.starts_with("invalid: an idempotency key"), "{key:?}");
        assert!(desk.asked().is_empty());
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_granted_is_denied() {
    let desk = Desk::good();
    let fields = text("send.wat").replace("\"erp\"", "\"crm\"");
    assert_eq!(says(&fields, &desk).await, "denied: endpoint `crm` is not granted");
    let fields = text("send.wat").replace("\"erp\"", "\"../\"");
    assert!(says(&fields, &desk).await.starts_with("invalid: an endpoint is"));
    assert!(desk.asked().is_empty());
}

#[tokio::test]
async fn a_run_whose_outside_calls_nobody_is_denied() {
    let plugin = caller(&text("send.wat"), Phase::Action, patient()).await;
    let stop = plugin.run(input(), Box::new(Ledger::default())).await.result.unwrap_err();
    let Stop::Reject { code, message } = stop else { panic!("found {stop:?}") };
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("denied", "endpoint `erp` is not called in this run")
    );
    // Without any grant it does not even get there.
    let plugin = load(component(&speaking(&text("send.wat"), Phase::Action))).await;
    assert_eq!(said_by(&plugin).await, "denied: endpoint `erp` is not granted");
}

#[tokio::test]
async fn a_path_is_normalised_and_tricks_are_invalid() {
    let desk = Desk::good();
    assert_eq!(says(&to_path("/%6frders/%e8%ae%a2?a=b"), &desk).await, "fine");
    assert_eq!(desk.asked()[0].path, "/orders/%E8%AE%A2?a=b");
    for path in [
        "orders",
        "http://evil.example/",
        "//evil.example/",
        "/../admin",
        "/%2e%2e/admin",
        "/a/..;/admin",
        "/a%2f..%2fadmin",
        "/%252e%252e/admin",
        "/a\r\nhost: evil",
        "/a%0d%0ahost:%20evil",
        "/a\0b",
        "/a#b",
        "/\\evil.example/",
    ] {
        let desk = Desk::good();
        assert!(says(&to_path(path), &desk).await.starts_with("invalid: "), "{path:?}");
        assert!(desk.asked().is_empty(), "{path:?}");
    }
}

#[tokio::test]
async fn headers_that_inject_are_invalid_and_those_of_the_host_are_denied() {
    for value in ["a\r\nhost: b", "a\nb", "a\0b"] {
        let desk = Desk::good();
        assert!(says(&sending(1152, "value_len", value), &desk).await.starts_with("invalid: "));
        assert!(desk.asked().is_empty(), "{value:?}");
    }
    for name in ["a: b\r\nx", "a b", ""] {
        let desk = Desk::good();
        assert!(says(&sending(1088, "name_len", name), &desk).await.starts_with("invalid: "));
        assert!(desk.asked().is_empty(), "{name:?}");
    }
    for name in ["Host", "AUTHORIZATION", "Content-Length", "idempotency-key", "Cookie", "TE"] {
        let desk = Desk::good();
        let said = says(&sending(1088, "name_len", name), &desk).await;
        assert!(said.starts_with("denied: header `"), "{name}: {said}");
        assert!(desk.asked().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_run_may_send_so_many_requests_and_no_more() {
    let twice = twice();
    let with_limit = async |http_requests| {
        let desk = Desk::good();
        let limits = Limits { http_requests, ..patient() };
        let said = told(&caller(&twice, Phase::Action, limits).await, &desk).await;
        (said, desk.asked().len())
    };
    assert_eq!(with_limit(2).await, ("fine".to_owned(), 2));
    assert_eq!(with_limit(1).await, ("quota: more than 1 requests in this run".to_owned(), 1));
}

#[tokio::test]
async fn a_guest_that_sends_for_ever_is_stopped() {
    let flood = format!("{}\n{}", text("send.wat"), text("flood_requests.wat"));
    let desk = Desk::good();
    let source = source(component(&attacking(&flood, Phase::Action)));
    let plugin = load_source(Source { grants: granted(), ..source }).await.unwrap();
    match plugin.run(input(), Box::new(desk.clone())).await.result {
        Err(Stop::Fault(fault)) => {
            assert_eq!((fault.kind, fault.phase), (FaultKind::Quota, Phase::Action), "{fault}");
        }
        other => panic!("expected a fault, found {other:?}"),
    }
    assert_eq!(desk.asked().len(), 20);
    neighbour_works().await;
}

#[tokio::test]
async fn a_request_has_at_most_so_many_bytes() {
    // "/orders", "accept", "text" and "{}" are 19.
    let with_limit = async |http_request_bytes| {
        let limits = Limits { http_request_bytes, ..patient() };
        let desk = Desk::good();
        told(&caller(&text("send.wat"), Phase::Action, limits).await, &desk).await
    };
    assert_eq!(with_limit(19).await, "fine");
    assert_eq!(with_limit(18).await, "quota: request has 19 bytes, limit is 18");
}

#[tokio::test]
async fn what_the_endpoint_came_to_is_told_to_the_guest() {
    let failed = |text: &str| CallError::Failed(text.to_owned());
    for (error, expected) in [
        (CallError::Timeout, "timeout".to_owned()),
        (failed("refused"), "failed: refused".to_owned()),
        (CallError::TooLarge, "too-large".to_owned()),
        (CallError::Denied("not so".to_owned()), "denied: not so".to_owned()),
        (CallError::Quota("too long".to_owned()), "quota: too long".to_owned()),
    ] {
        let desk = Desk::new(move |_| Some(Err(error.clone())));
        assert_eq!(says(&text("send.wat"), &desk).await, expected);
    }
}

#[tokio::test]
async fn a_call_that_differs_stops_the_guest_with_a_code_of_its_own() {
    for (error, kind, code) in [
        (CallError::Differs("was A".to_owned()), FaultKind::Differs, "calls.differs"),
        (CallError::Host("lost".to_owned()), FaultKind::Host, "sandbox.host"),
    ] {
        let desk = Desk::new(move |_| Some(Err(error.clone())));
        let plugin = caller(&text("send.wat"), Phase::Action, patient()).await;
        match plugin.run(input(), Box::new(desk)).await.result {
            Err(Stop::Fault(fault)) => {
                assert_eq!((fault.kind, fault.kind.code()), (kind, code), "{fault}");
            }
            other => panic!("expected a fault, found {other:?}"),
        }
    }
}

#[tokio::test]
async fn waiting_for_an_endpoint_counts_against_its_own_allowance() {
    // The wait is longer than the phase may take, and ends when both allowances do.
    let limits = Limits { action_ms: 50, http_ms: 100, outside_ms: 100, ..patient() };
    let desk = Desk::new(|_| None);
    let plugin = caller(&text("send.wat"), Phase::Action, limits).await;
    assert_eq!(told(&plugin, &desk).await, "failed: the call was not recorded in time");
    let asked: Vec<_> = desk.asked().iter().map(|request| request.timeout_ms).collect();
    assert_eq!(asked, [100]);
}

#[tokio::test]
async fn a_wish_for_less_time_is_heard() {
    let desk = Desk::good();
    assert_eq!(says(&with_global(&text("send.wat"), "with_timeout", 1), &desk).await, "fine");
    assert_eq!(desk.asked()[0].timeout_ms, 40);
}

#[tokio::test]
async fn an_allowance_that_is_used_up_calls_nobody() {
    let twice = twice();
    let limits = Limits { http_ms: 30, outside_ms: 30, ..patient() };
    let desk = Desk::new(|_| None);
    let plugin = caller(&twice, Phase::Action, limits).await;
    let said = told(&plugin, &desk).await;
    assert_eq!(said, "quota: more than 30 ms of waiting for endpoints in this run");
    assert_eq!(desk.asked().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_text_is_handed_over_as_bytes() {
    // The case of the body stands at 2064: 0 for none, 1 for a text, 2 for bytes.
    let fields = format!(
        "{}\n(data (i32.const 1440) \"012\")",
        text("send.wat").replace(
            "(return (call $ignore (i32.load (i32.const 2068)) (i32.load (i32.const 2072))))",
            "(return (call $ignore (i32.add (i32.const 1440) (i32.load8_u (i32.const 2064))) \
             (i32.const 1)))"
        )
    );
    for (body, case) in [(vec![], "0"), (b"text".to_vec(), "1"), (vec![0xff, 0xfe], "2")] {
        let desk = Desk::new(move |_| Some(Ok(CallAnswer { body: body.clone(), ..answer("") })));
        assert_eq!(says(&fields, &desk).await, case);
    }
}
