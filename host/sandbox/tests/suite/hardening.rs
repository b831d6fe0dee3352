//! Ways to get more of the host than the limits say, each of which once worked.

use callgate_sandbox::fault::{FaultKind, Phase};
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::{LoadError, Source};

use crate::guest::{
    attack, attack_with, attacking, component, file, load, load_source, patient, run, said, source,
    speaking, text,
};
use crate::random::resident_kib;

fn with_limits(fields: &str, limits: Limits) -> Source {
    Source { limits, ..source(component(fields)) }
}

#[tokio::test]
async fn a_copy_of_all_memory_counts_by_the_time_it_takes() {
    let limits = Limits { fuel: u64::MAX, check_ms: 100, log_lines: 1000, ..patient() };
    let fields = attacking(&text("copy.wat"), Phase::Check);
    let plugin = load_source(with_limits(&fields, limits.clone())).await.unwrap();
    let report = run(&plugin).await;
    // A tick a copy would be a hundred copies; no machine makes one in two milliseconds.
    assert!(report.log_lines <= 50, "{} copies", report.log_lines);
    attack_with(with_limits(&fields, limits), FaultKind::Deadline, Phase::Check).await;
}

#[tokio::test]
async fn calls_that_make_the_host_work_run_out_of_bytes() {
    for file in ["flood_merge.wat", "flood_large_log.wat"] {
        let fields = attacking(&text(file), Phase::Action);
        attack(&fields, FaultKind::Quota, Phase::Action).await;
        let plugin = load(component(&fields)).await;
        let calls = run(&plugin).await.host_calls;
        assert!(calls < 200, "{file}: {calls} calls");
    }
    let limits = Limits { bytes_out: 100_000, ..patient() };
    let fields = attacking(&text("flood_summary.wat"), Phase::Prepare);
    attack_with(with_limits(&fields, limits), FaultKind::Quota, Phase::Prepare).await;
}

#[tokio::test]
async fn a_start_function_cannot_tell_a_run_from_a_description() {
    // Nobody listens to the log here, so it loops in neither or, where somebody does, in both.
    let bytes = component(&attacking(&text("start_sly.wat"), Phase::Start));
    match load_source(source(bytes)).await {
        Err(LoadError::Describe(fault)) => assert_eq!(fault.kind, FaultKind::Fuel),
        Ok(plugin) => assert!(run(&plugin).await.result.is_ok(), "it behaves otherwise in a run"),
        Err(other) => panic!("expected a refusal for fuel, found {other}"),
    }
}

#[tokio::test]
async fn nesting_within_the_limit_is_taken_and_one_bracket_more_is_not() {
    let deep = |depth: usize| {
        text("deep_scratch.wat")
            .replace("$depth i32 (i32.const 65)", &{ format!("$depth i32 (i32.const {depth})") })
    };
    assert_eq!(said(&deep(64), Phase::Check).await, "ok");
    assert_eq!(said(&deep(65), Phase::Check).await, "nested 65 deep, limit is 64");
    let limits = Limits { json_depth: 129, ..patient() };
    let error = load_source(with_limits(&speaking(&deep(1), Phase::Check), limits)).await;
    assert_eq!(error.unwrap_err().code(), "plugin.limit");
}

#[tokio::test]
async fn half_a_surrogate_pair_does_not_reach_the_outbox() {
    let emit = text("emit.wat")
        .replace(r#"(i32.const 1048) "{\22a\22:1}")"#, r#"(i32.const 1048) "\22\\ud83d\22")"#);
    let emit = emit.replace("(i32.const 1048) (i32.const 7)", "(i32.const 1048) (i32.const 8)");
    let told = said(&emit, Phase::Save).await;
    assert_eq!(told, "invalid: half of a surrogate pair is escaped at byte 1");
}

#[tokio::test]
async fn an_allocator_that_works_against_the_host_harms_the_guest_alone() {
    for (name, kind) in [
        ("realloc_calls.wat", FaultKind::Contract),
        ("realloc_lies.wat", FaultKind::Contract),
        ("realloc_loops.wat", FaultKind::Fuel),
    ] {
        attack(&attacking(&text(name), Phase::Check), kind, Phase::Check).await;
    }
}

#[tokio::test]
async fn the_time_after_an_answer_is_part_of_the_phase() {
    let speak = "(func $attack)";
    let after = |name: &str| format!("{}\n{}", text(name), attacking(speak, Phase::Save));
    attack(&after("post_calls.wat"), FaultKind::Contract, Phase::Save).await;
    attack(&after("post_loops.wat"), FaultKind::Fuel, Phase::Save).await;
}

#[tokio::test]
async fn a_loop_of_tail_calls_runs_out_of_fuel() {
    attack(&attacking(&text("tail_loop.wat"), Phase::Check), FaultKind::Fuel, Phase::Check).await;
}

#[tokio::test]
async fn memory_that_is_touched_is_given_back() {
    let fields = attacking(&text("touch_memory.wat"), Phase::Check);
    let limits = Limits { fuel: u64::MAX, ..patient() };
    attack_with(with_limits(&fields, limits.clone()), FaultKind::Memory, Phase::Check).await;
    let plugin = load_source(with_limits(&fields, limits)).await.unwrap();
    let before = resident_kib();
    for _ in 0..30 {
        assert!(run(&plugin).await.result.is_err());
    }
    // The pool keeps 4 MiB of each slot's memory; 30 runs took 64 MiB each.
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 200 << 10, "{grown} KiB more than before");
    drop(load(file("good.wat")).await);
}
