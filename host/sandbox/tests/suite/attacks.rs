//! Guests that attack: each is stopped, sorted by what stopped it, and hurts nobody else.

use callgate_sandbox::fault::{FaultKind, Phase};
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::{LoadError, Source};

use crate::guest::{
    PHASES, attack, attack_with, attacking, component, component_of, load, load_source,
    neighbour_works, patient, run, source, speaking, text,
};

async fn attack_in_every_phase(file: &str, kind: FaultKind) {
    for (_, phase) in PHASES {
        attack(&attacking(&text(file), phase), kind, phase).await;
    }
}

/// Before there is a run the plugin is not let in at all.
async fn refused_at_load(file: &str, phase: Phase, kind: FaultKind) {
    let bytes = component(&attacking(&text(file), phase));
    match load_source(source(bytes)).await {
        Err(LoadError::Describe(fault)) => {
            assert_eq!((fault.kind, fault.phase), (kind, phase), "{fault}");
        }
        other => panic!("expected a refusal of describe, found {other:?}"),
    }
    neighbour_works().await;
}

fn source_with(file: &str, phase: Phase, limits: Limits) -> Source {
    Source { limits, ..source(component(&attacking(&text(file), phase))) }
}

#[tokio::test]
async fn an_endless_loop_runs_out_of_fuel() {
    attack_in_every_phase("loop.wat", FaultKind::Fuel).await;
}

#[tokio::test]
async fn an_endless_loop_before_the_first_run_runs_out_of_fuel() {
    refused_at_load("loop.wat", Phase::Start, FaultKind::Fuel).await;
    refused_at_load("loop.wat", Phase::Describe, FaultKind::Fuel).await;
}

#[tokio::test]
async fn an_endless_loop_burns_the_same_fuel_every_time() {
    let fields = attacking(&text("loop.wat"), Phase::Check);
    let first = attack(&fields, FaultKind::Fuel, Phase::Check).await;
    let second = attack(&fields, FaultKind::Fuel, Phase::Check).await;
    assert_eq!((first.fuel_used, second.fuel_used), (20_000_000, 20_000_000));
}

#[tokio::test]
async fn an_endless_loop_with_fuel_for_ever_meets_its_deadline() {
    for (_, phase) in PHASES {
        let mut limits = Limits { fuel: u64::MAX, ..patient() };
        for wall in [
            &mut limits.prepare_ms,
            &mut limits.check_ms,
            &mut limits.next_state_ms,
            &mut limits.action_ms,
            &mut limits.save_ms,
            &mut limits.after_ms,
        ] {
            *wall = 100;
        }
        attack_with(source_with("loop.wat", phase, limits), FaultKind::Deadline, phase).await;
    }
}

#[tokio::test]
async fn a_start_function_meets_its_deadline_too() {
    let limits = Limits { fuel: u64::MAX, start_ms: 5, ..patient() };
    match load_source(source_with("loop.wat", Phase::Start, limits)).await {
        Err(LoadError::Describe(fault)) => {
            assert_eq!((fault.kind, fault.phase), (FaultKind::Deadline, Phase::Start));
        }
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[tokio::test]
async fn a_trap_is_a_fault_of_the_phase_it_happens_in() {
    attack_in_every_phase("trap.wat", FaultKind::Trap).await;
    refused_at_load("trap.wat", Phase::Start, FaultKind::Trap).await;
    refused_at_load("trap.wat", Phase::Describe, FaultKind::Trap).await;
}

#[tokio::test]
async fn a_fault_names_the_function_it_happened_in() {
    let fields = attacking(&text("trap.wat"), Phase::Save);
    let fault = attack(&fields, FaultKind::Trap, Phase::Save).await;
    assert!(fault.message.contains("unreachable"), "{fault}");
    assert!(fault.message.contains("in attack"), "{fault}");
}

#[tokio::test]
async fn recursion_without_end_is_a_trap() {
    let fields = attacking(&text("recurse.wat"), Phase::Action);
    let fault = attack(&fields, FaultKind::Trap, Phase::Action).await;
    assert!(fault.message.contains("call stack exhausted"), "{fault}");
}

#[tokio::test]
async fn memory_without_end_is_refused() {
    let fields = attacking(&text("grow_memory.wat"), Phase::Check);
    let fault = attack(&fields, FaultKind::Memory, Phase::Check).await;
    assert!(fault.message.contains("limit is 67108864"), "{fault}");
}

#[tokio::test]
async fn memory_within_the_limit_is_granted_and_one_page_more_is_not() {
    let grow = |pages: usize| format!("(func $attack (drop (memory.grow (i32.const {pages}))))");
    let limits = Limits { memory_bytes: 10 * 65536, ..patient() };
    let within = component(&attacking(&grow(8), Phase::Check));
    let plugin = load_source(Source { limits: limits.clone(), ..source(within) }).await.unwrap();
    let report = run(&plugin).await;
    assert!(report.result.is_ok(), "{:?}", report.result);
    assert_eq!(report.memory_bytes, 10 * 65536);

    let beyond = component(&attacking(&grow(9), Phase::Check));
    let beyond = Source { limits, ..source(beyond) };
    attack_with(beyond, FaultKind::Memory, Phase::Check).await;
}

#[tokio::test]
async fn tables_without_end_are_refused() {
    let fields = attacking(&text("grow_table.wat"), Phase::Check);
    let fault = attack(&fields, FaultKind::Memory, Phase::Check).await;
    assert!(fault.message.contains("limit is 20000"), "{fault}");
}

#[tokio::test]
async fn texts_that_are_none_break_the_contract() {
    for file in ["bad_utf8.wat", "out_of_bounds.wat", "long_list.wat", "bad_level.wat"] {
        attack(&attacking(&text(file), Phase::Check), FaultKind::Contract, Phase::Check).await;
    }
}

#[tokio::test]
async fn answers_that_are_none_break_the_contract() {
    for file in ["bad_answer.wat", "bad_pointer.wat"] {
        attack(&speaking(&text(file), Phase::Check), FaultKind::Contract, Phase::Check).await;
    }
}

#[tokio::test]
async fn more_bytes_than_one_call_may_hand_over_are_refused() {
    for file in ["huge_text.wat", "huge_list.wat"] {
        attack(&attacking(&text(file), Phase::Check), FaultKind::Quota, Phase::Check).await;
    }
    attack(&speaking(&text("huge_answer.wat"), Phase::Save), FaultKind::Quota, Phase::Save).await;
}

#[tokio::test]
async fn a_flood_that_goes_on_over_its_quota_is_stopped() {
    for file in ["flood_calls.wat", "flood_log.wat", "flood_events.wat", "flood_writes.wat"] {
        let phase = Phase::Action;
        attack(&attacking(&text(file), phase), FaultKind::Quota, phase).await;
    }
    let fields = attacking(&text("flood_documents.wat"), Phase::Check);
    attack(&fields, FaultKind::Quota, Phase::Check).await;
}

#[tokio::test]
async fn a_flood_of_calls_is_stopped_a_hundred_calls_over_the_quota() {
    let limits = Limits { host_calls: 50, ..patient() };
    let plugin = load_source(source_with("flood_calls.wat", Phase::Check, limits)).await.unwrap();
    assert_eq!(run(&plugin).await.host_calls, 50 + 101);
}

#[tokio::test]
async fn a_run_has_as_many_events_as_its_quota() {
    let limits = Limits { events: 7, ..patient() };
    let plugin = load_source(source_with("many_events.wat", Phase::Save, limits)).await.unwrap();
    let draft = run(&plugin).await.result.unwrap();
    let ids: Vec<_> = draft.events.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=7).map(|n| format!("n-1.save.{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_failing_phase_leaves_nothing_staged() {
    let emit = attacking(&text("many_events.wat"), Phase::Action);
    let fields = format!("{emit}\n(func (export \"save\") (result i32) unreachable)");
    attack(&fields, FaultKind::Trap, Phase::Save).await;
}

#[tokio::test]
async fn handles_without_end_are_refused() {
    let world =
        "package test:guest; world guest { @X export stock: interface { resource thing; } }";
    let fields = attacking(&text("flood_handles.wat"), Phase::Check);
    let source = source(component_of(world, &fields));
    attack_with(source, FaultKind::Quota, Phase::Check).await;
}

#[tokio::test]
async fn a_thousand_traps_leave_every_slot_free() {
    let plugin = load(component(&attacking(&text("trap.wat"), Phase::Check))).await;
    for _ in 0..1000 {
        assert!(run(&plugin).await.result.is_err());
    }
    neighbour_works().await;
}
