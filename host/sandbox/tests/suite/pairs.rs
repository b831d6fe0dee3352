//! Every limit of a run, exactly enough and one too little, for one guest that uses some of each.

use callgate_sandbox::fault::Phase;
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::Source;
use callgate_sandbox::run::{Draft, Report, Stop};

use crate::guest::{file, load_source, patient, run, source};

async fn with(limits: Limits) -> Report<Draft> {
    let plugin = load_source(Source { limits, ..source(file("diligent.wat")) }).await.unwrap();
    run(&plugin).await
}

/// What stopped it: the code of a fault, or what the guest was told.
fn stop(report: &Report<Draft>) -> String {
    match report.result.as_ref().unwrap_err() {
        Stop::Fault(fault) => fault.kind.code().to_owned(),
        Stop::Reject { code, .. } => code.clone(),
        Stop::Ignore(text) => text.clone(),
        Stop::Retry { code, .. } => panic!("put off: {code}"),
    }
}

/// The guest works with `most` and not with one less.
async fn pair(set: fn(&mut Limits, usize), most: usize, expected: &str) {
    let limits = |value| {
        let mut limits = patient();
        set(&mut limits, value);
        limits
    };
    let obeyed = with(limits(most)).await;
    let draft = obeyed.result.as_ref();
    let draft = draft.unwrap_or_else(|stop| panic!("{expected} at {most}: {stop:?}"));
    assert_eq!((draft.writes.len(), draft.events.len()), (2, 3));
    let violated = with(limits(most - 1)).await;
    let told = stop(&violated);
    assert!(told.starts_with(expected), "{expected} at {most} less one: {told}");
}

#[tokio::test]
async fn each_quota_of_the_imports_is_exact() {
    pair(|limits, n| limits.documents_read = n, 2, "quota").await;
    pair(|limits, n| limits.documents_written = n, 2, "quota").await;
    pair(|limits, n| limits.documents_written_bytes = n, 18, "quota").await;
    pair(|limits, n| limits.document_bytes = n, 9, "invalid").await;
    pair(|limits, n| limits.events = n, 3, "quota").await;
    // Topic, key and payload of three events.
    pair(|limits, n| limits.events_bytes = n, 3 * (10 + 2 + 9), "quota").await;
    pair(|limits, n| limits.event_payload_bytes = n, 9, "invalid").await;
    pair(|limits, n| limits.scratch_bytes = n, 9, "text has 9 bytes, limit is 8").await;
    pair(|limits, n| limits.json_depth = n, 2, "invalid").await;
    // Body, reads, writes, events, lines and scratch; the scratch is what is told last.
    let calls = |limits: &mut Limits, n| limits.host_calls = u32::try_from(n).unwrap();
    pair(calls, 1 + 2 + 2 + 3 + 2 + 1, "more than 10 calls").await;
    // Names read and written, documents, events, lines, scratch.
    let handed = 4 * 8 + 2 * 9 + 3 * 21 + 2 * 6 + 9;
    pair(|limits, n| limits.bytes_in = n, handed, "more than 133 bytes").await;
    // The body of the notification is all it gets.
    pair(|limits, n| limits.bytes_out = n, 14, "quota").await;
}

#[tokio::test]
async fn each_limit_of_the_machine_is_exact() {
    pair(|limits, n| limits.memory_bytes = n, 4 * 65536, "sandbox.memory").await;
    pair(|limits, n| limits.table_elements = n, 20, "sandbox.memory").await;
    let report = with(patient()).await;
    let action = report.costs.iter().find(|cost| cost.phase == Phase::Action).unwrap();
    let start = report.costs.iter().find(|cost| cost.phase == Phase::Start).unwrap();
    assert!(action.fuel > start.fuel, "the action is the dearest phase");
    // The engine looks at the fuel where functions and loops begin, so a little less is enough:
    // the same little every time.
    let (mut too_little, mut enough) = (action.fuel - 200, action.fuel);
    while enough - too_little > 1 {
        let fuel = too_little.midpoint(enough);
        match with(Limits { fuel, ..patient() }).await.result {
            Ok(_) => enough = fuel,
            Err(_) => too_little = fuel,
        }
    }
    let enough = usize::try_from(enough).unwrap();
    pair(|limits, n| limits.fuel = u64::try_from(n).unwrap(), enough, "sandbox.fuel").await;
}

#[tokio::test]
async fn lines_over_the_limit_are_dropped_and_counted_and_nothing_else_changes() {
    for (log_lines, dropped) in [(2, 0), (1, 1), (0, 2)] {
        let report = with(Limits { log_lines, ..patient() }).await;
        assert!(report.result.is_ok());
        assert_eq!((report.log_lines, report.log_lines_dropped), (log_lines, dropped));
    }
    for (log_bytes, dropped) in [(12, 0), (11, 1), (5, 2)] {
        let report = with(Limits { log_bytes, ..patient() }).await;
        assert_eq!(report.log_lines_dropped, dropped);
    }
}
