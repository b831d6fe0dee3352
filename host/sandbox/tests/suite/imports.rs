//! What the imports grant and refuse: phase, syntax, grant, quota.

use callgate_sandbox::fault::{FaultKind, Phase};
use callgate_sandbox::grants::Grants;
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::{LoadError, Source};
use callgate_sandbox::run::{Draft, Expect, Report, Stop};

use crate::guest::{
    Ledger, PHASES, attack, attacking, component, grants, input, load, load_source, patient, run,
    said, said_by, source, speaking, text,
};

/// Runs a guest whose `$attack` happens in a phase.
async fn ran(fields: &str, phase: Phase) -> Report<Draft> {
    run(&load(component(&attacking(fields, phase))).await).await
}

/// Turns a guest that tells into one that goes on.
fn quiet(file: &str) -> String {
    format!("{}\n(func $attack (drop (call $speak)))", text(file))
}

#[tokio::test]
async fn documents_may_be_read_from_check_on() {
    for (_, phase) in PHASES {
        let expected = match phase {
            Phase::Prepare => "denied: prepare may not read documents",
            _ => "ok",
        };
        assert_eq!(said(&text("get.wat"), phase).await, expected, "{phase}");
    }
}

#[tokio::test]
async fn documents_may_be_staged_in_action_and_save_alone() {
    for (name, phase) in PHASES {
        let expected = match phase {
            Phase::Action | Phase::Save => "ok".to_owned(),
            _ => format!("denied: {name} may not stage writes"),
        };
        assert_eq!(said(&text("put.wat"), phase).await, expected);
    }
}

#[tokio::test]
async fn events_may_be_emitted_from_action_on() {
    for (name, phase) in PHASES {
        let expected = match phase {
            Phase::Action | Phase::Save | Phase::After => "ok".to_owned(),
            _ => format!("denied: {name} may not emit events"),
        };
        assert_eq!(said(&text("emit.wat"), phase).await, expected);
    }
}

#[tokio::test]
async fn a_run_is_not_to_be_had_before_it_begins() {
    for phase in [Phase::Start, Phase::Describe] {
        let bytes = component(&attacking(&text("attempt.wat"), phase));
        match load_source(source(bytes)).await {
            Err(LoadError::Describe(fault)) => {
                assert_eq!((fault.kind, fault.phase), (FaultKind::Contract, phase));
                assert!(fault.message.contains("exchange.attempt"), "{fault}");
            }
            other => panic!("expected a refusal, found {other:?}"),
        }
    }
}

#[tokio::test]
async fn logging_is_allowed_before_a_run_begins() {
    load(component(&attacking(&text("log_lines.wat"), Phase::Describe))).await;
    let enabled = r#"(import "log" "enabled" (func $enabled (param i32) (result i32)))
        (func $attack (drop (call $enabled (i32.const 2))))"#;
    load(component(&attacking(enabled, Phase::Start))).await;
}

#[tokio::test]
async fn a_collection_that_is_not_granted_is_denied() {
    let get = text("get.wat").replace("ledger", "vaults");
    assert_eq!(
        said(&get, Phase::Check).await,
        "denied: reading collection `vaults` is not granted"
    );
    let put = text("put.wat").replace("ledger", "vaults");
    assert_eq!(said(&put, Phase::Save).await, "denied: writing collection `vaults` is not granted");
}

#[tokio::test]
async fn another_order_than_the_subject_needs_a_grant() {
    let subject = text("get.wat").replace("ledger", "orders").replace("l-1", "o-1");
    assert_eq!(said(&subject, Phase::Check).await, "ok");
    let other = subject.replace("o-1", "o-2");
    assert_eq!(
        said(&other, Phase::Check).await,
        "denied: reading collection `orders` is not granted"
    );
    let write = text("put.wat").replace("ledger", "orders").replace("l-1", "o-2");
    assert_eq!(
        said(&write, Phase::Save).await,
        "denied: writing collection `orders` is not granted"
    );
}

#[tokio::test]
async fn a_grant_to_read_is_no_grant_to_write() {
    let grants = Grants { read: grants().write, ..Grants::default() };
    let with_grants = async |fields: String| {
        let source = Source { grants: grants.clone(), ..source(component(&fields)) };
        said_by(&load_source(source).await.unwrap()).await
    };
    assert_eq!(with_grants(speaking(&text("get.wat"), Phase::Check)).await, "ok");
    assert_eq!(
        with_grants(speaking(&text("put.wat"), Phase::Save)).await,
        "denied: writing collection `ledger` is not granted"
    );
}

#[tokio::test]
async fn a_topic_that_is_not_granted_is_denied() {
    let emit = text("emit.wat").replace("order.paid", "order.lost");
    assert_eq!(said(&emit, Phase::Save).await, "denied: topic `order.lost` is not granted");
}

#[tokio::test]
async fn names_and_texts_must_be_well_formed() {
    let bad_collection = text("get.wat").replace("ledger", "../dgr");
    assert!(said(&bad_collection, Phase::Check).await.starts_with("invalid: a collection is"));
    let bad_key = text("get.wat").replace("l-1", "l\\0a1");
    assert!(said(&bad_key, Phase::Check).await.starts_with("invalid: a document key is"));
    let bad_topic = text("emit.wat").replace("order.paid", "Order Paid");
    assert!(said(&bad_topic, Phase::Save).await.starts_with("invalid: a topic is"));
    let bad_payload = text("emit.wat").replace(":1}", ":1]");
    assert!(said(&bad_payload, Phase::Save).await.starts_with("invalid: not a JSON text"));
    let bad_body = text("put.wat").replace(":1}", ":1]");
    assert!(said(&bad_body, Phase::Save).await.starts_with("invalid: not a JSON text"));
    let bad_scratch = text("scratch.wat").replace(":1}", ":1]");
    assert!(said(&bad_scratch, Phase::Check).await.starts_with("not a JSON text"));
}

#[tokio::test]
async fn a_blind_write_needs_its_grant() {
    let blind = text("put.wat").replace("$expect i32 (i32.const 1)", "$expect i32 (i32.const 2)");
    assert_eq!(
        said(&blind, Phase::Save).await,
        "denied: expectation `any` needs the grant `blind_writes`"
    );
    let fields = attacking(&format!("{blind}\n(func $attack (drop (call $speak)))"), Phase::Save);
    let grants = Grants { blind_writes: true, ..grants() };
    let plugin = load_source(Source { grants, ..source(component(&fields)) }).await.unwrap();
    let report = run(&plugin).await;
    let writes = report.result.unwrap().writes;
    assert_eq!(writes.first().map(|write| write.expect), Some(Expect::Any));
    assert_eq!(report.reads, []);
}

#[tokio::test]
async fn a_write_as_read_reads_what_the_run_has_not_read_yet() {
    let report = ran(&quiet("put.wat"), Phase::Action).await;
    let writes = report.result.unwrap().writes;
    assert_eq!(writes.first().map(|write| write.expect), Some(Expect::Version(7)));
    assert_eq!(report.reads.first().map(|read| read.version), Some(Some(7)));

    let absent = quiet("put.wat").replace("l-1", "l-9");
    let report = ran(&absent, Phase::Action).await;
    let writes = report.result.unwrap().writes;
    assert_eq!(writes.first().map(|write| write.expect), Some(Expect::Absent));
    assert_eq!(report.reads.first().map(|read| read.version), Some(None));
}

#[tokio::test]
async fn a_preload_that_is_not_granted_breaks_the_contract() {
    let fault = attack(&text("preload.wat"), FaultKind::Contract, Phase::Prepare).await;
    assert!(fault.message.contains("`vaults` is not granted"), "{fault}");
}

#[tokio::test]
async fn a_scratch_within_its_size_is_kept_and_a_larger_one_is_not() {
    let fields = |len: usize| {
        let quoted = format!("\"\\22{}\\22\"", "s".repeat(len - 2));
        text("scratch.wat")
            .replace("(i32.const 1024) \"{\\22a\\22:1}\"", &format!("(i32.const 8192) {quoted}"))
            .replace("(call $set_scratch (i32.const 1024)", "(call $set_scratch (i32.const 8192)")
            .replace("$len i32 (i32.const 7)", &format!("$len i32 (i32.const {len})"))
    };
    let with_limit = async |len: usize| {
        let limits = Limits { scratch_bytes: 100, ..patient() };
        let bytes = component(&speaking(&fields(len), Phase::Check));
        let plugin = load_source(Source { limits, ..source(bytes) }).await.unwrap();
        let report = run(&plugin).await;
        (said_by(&plugin).await, report.scratch.len())
    };
    assert_eq!(with_limit(100).await, ("ok".to_owned(), 100));
    assert_eq!(with_limit(101).await, ("text has 101 bytes, limit is 100".to_owned(), 0));
}

#[tokio::test]
async fn log_lines_are_escaped_counted_and_dropped_over_quota() {
    let plugin = load(component(&attacking(&text("log_lines.wat"), Phase::Check))).await;
    let outside = Ledger::default();
    let report = plugin.run(input(), Box::new(outside.clone())).await;
    assert!(report.result.is_ok());
    assert_eq!((report.log_lines, report.log_lines_dropped), (200, 100));
    let seen = outside.0.lock().unwrap();
    assert_eq!(seen.lines.len(), 200);
    let (_, message, _) = seen.lines.first().unwrap();
    assert_eq!(message, "\\u{1b}[2Jok\\nERROR forged");
}

#[tokio::test]
async fn a_state_that_is_none_breaks_the_contract() {
    attack(&text("bad_state.wat"), FaultKind::Contract, Phase::NextState).await;
}

#[tokio::test]
async fn a_run_without_a_subject_cannot_choose_a_state() {
    let plugin = load(component(
        "(func (export \"next-state\") (result i32)
        (call $move (i32.const 312) (i32.const 4)))",
    ))
    .await;
    assert_eq!(run(&plugin).await.result.unwrap().target.as_deref(), Some("PAID"));
    let mut alone = input();
    alone.subject = None;
    match plugin.run(alone, Box::new(Ledger::default())).await.result {
        Err(Stop::Fault(fault)) => {
            assert_eq!((fault.kind, fault.phase), (FaultKind::Contract, Phase::NextState));
        }
        other => panic!("expected a fault, found {other:?}"),
    }
}

#[tokio::test]
async fn a_rejection_with_a_bad_code_stays_a_rejection() {
    let said = said(&text("reject.wat"), Phase::Check).await;
    assert_eq!(said, "bad-code: code was `Not A Code`: amount\\ndiffers");
}

#[tokio::test]
async fn the_summary_holds_the_notification_and_the_run_as_json() {
    let said = said(&text("summary.wat"), Phase::Action).await;
    // The reason is cut at 1 KiB, so a short input is used and everything must be there.
    let summary: serde_json::Value = serde_json::from_str(&said).unwrap();
    for (pointer, expected) in [
        ("/notification-id", "\"n-1\""),
        ("/event-type", "\"payment.succeeded\""),
        ("/amount/minor-units", "1"),
        ("/refunded-total", "null"),
        ("/subject/ref/key", "\"o-1\""),
        ("/subject/version", "4"),
        ("/subject/body/amount", "1"),
        ("/current-phase", "\"action\""),
        ("/mode", "\"live\""),
        ("/attempt", "1"),
        ("/scratch", "null"),
    ] {
        let found = summary.pointer(pointer).map(ToString::to_string);
        assert_eq!(found.as_deref(), Some(expected), "{pointer}");
    }
    assert!(said.contains(r#""body":{"total":1.10}"#), "{said}");
}

#[tokio::test]
async fn configuration_is_served_by_its_dotted_path() {
    let get = r#"(import "config" "get" (func $get (param i32 i32 i32)))
        (data (i32.const 1024) "limits.max")
        (func $speak (result i32)
          (call $get (i32.const 1024) (i32.const 10) (i32.const 2048))
          (if (result i32) (i32.load8_u (i32.const 2048))
            (then (call $ignore (i32.load (i32.const 2052)) (i32.load (i32.const 2056))))
            (else (call $ignore (i32.const 0) (i32.const 0)))))"#;
    assert_eq!(said(get, Phase::Prepare).await, "5");
    assert_eq!(said(&get.replace("limits.max", "limits.min"), Phase::Prepare).await, "");
}

#[tokio::test]
async fn the_state_chosen_is_told_to_the_later_phases() {
    let target = r#"(import "exchange" "target-state" (func $target (param i32)))
        (func $speak (result i32)
          (call $target (i32.const 2048))
          (call $ignore (i32.load (i32.const 2052)) (i32.load (i32.const 2056))))"#;
    let moving = format!(
        "{target} (func (export \"next-state\") (result i32)
          (call $move (i32.const 312) (i32.const 4)))"
    );
    assert_eq!(said(&moving, Phase::Check).await, "");
    assert_eq!(said(&moving, Phase::Action).await, "PAID");
    assert_eq!(said(&moving, Phase::After).await, "PAID");
    assert_eq!(said(target, Phase::Action).await, "");
}

#[tokio::test]
async fn the_clock_stands_still_and_never_reads_before_the_receipt() {
    let clock = |expected: u64| {
        let now = r#"(import "clock" "now" (func $now (result i64)))"#;
        let check = format!(
            "{now} (func $attack
               (if (i64.ne (call $now) (i64.const {expected})) (then unreachable)))"
        );
        component(&attacking(&check, Phase::Check))
    };
    let plugin = load(clock(1_700_000_001_000)).await;
    assert!(run(&plugin).await.result.is_ok());
    let mut early = input();
    early.now_ms = 5;
    let plugin = load(clock(1_700_000_000_500)).await;
    assert!(plugin.run(early, Box::new(Ledger::default())).await.result.is_ok());
}

#[tokio::test]
async fn what_the_run_staged_is_what_it_reads_afterwards() {
    let fields = r#"(import "documents" "get" (func $get (param i32 i32 i32 i32 i32)))
        (import "documents" "merge" (func $merge (param i32 i32 i32 i32 i32 i32 i32 i32)))
        (data (i32.const 1024) "ledger")
        (data (i32.const 1032) "l-9")
        (data (i32.const 1040) "{\"a\":1}")
        (data (i32.const 1048) "{\"b\":2}")
        (func $patch (param $text i32)
          (call $merge (i32.const 1024) (i32.const 6) (i32.const 1032) (i32.const 3)
                       (local.get $text) (i32.const 7) (i32.const 1) (i32.const 2048))
          (if (i32.load8_u (i32.const 2048)) (then unreachable)))
        (func $speak (result i32)
          (call $patch (i32.const 1040))
          (call $patch (i32.const 1048))
          (call $get (i32.const 1024) (i32.const 6) (i32.const 1032) (i32.const 3)
                     (i32.const 2048))
          ;; the body of the document
          (call $ignore (i32.load (i32.const 2096)) (i32.load (i32.const 2100))))"#;
    assert_eq!(said(fields, Phase::Action).await, r#"{"a":1,"b":2}"#);
    let quiet = format!("{fields} (func $attack (drop (call $speak)))");
    let writes = ran(&quiet, Phase::Action).await.result.unwrap().writes;
    let [write] = writes.as_slice() else { panic!("expected one write, found {writes:?}") };
    assert_eq!((write.body.as_str(), write.expect), (r#"{"a":1,"b":2}"#, Expect::Absent));
}
