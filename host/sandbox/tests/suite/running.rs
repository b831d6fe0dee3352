//! Runs beside each other: waiting, hanging, given up.

use std::future::pending;

use callgate_sandbox::engine::{Sandbox, SandboxSettings};
use callgate_sandbox::fault::{FaultKind, Phase};
use callgate_sandbox::limits::Limits;
use callgate_sandbox::load::Source;
use callgate_sandbox::outside::{Document, DocumentRef, LogLine, Outside, OutsideError, Pending};
use callgate_sandbox::run::Stop;
use tokio::sync::mpsc;

use crate::guest::{
    attacking, component, file, input, load, load_source, neighbour_works, patient, run, source,
    speaking, text,
};

/// How an outside behaves that is not well.
enum Ill {
    /// Never answers.
    Hangs,
    /// Says that it is down.
    Down,
    /// Says that this must not be read.
    Denies,
    /// Answers with nothing at all.
    Empty,
}

impl Outside for Ill {
    fn documents<'a>(
        &'a mut self,
        _names: &'a [DocumentRef],
    ) -> Pending<'a, Result<Vec<Option<Document>>, OutsideError>> {
        match self {
            Self::Hangs => Box::pin(pending()),
            Self::Down => {
                let down = OutsideError::Unavailable("the database is down".to_owned());
                Box::pin(async move { Err(down) })
            }
            Self::Denies => {
                let denied = OutsideError::Denied("not yours".to_owned());
                Box::pin(async move { Err(denied) })
            }
            Self::Empty => Box::pin(async { Ok(vec![]) }),
        }
    }
}

async fn told(ill: Ill) -> Stop {
    let limits = Limits { outside_ms: 20, ..patient() };
    let bytes = component(&speaking(&text("get.wat"), Phase::Check));
    let plugin = load_source(Source { limits, ..source(bytes) }).await.unwrap();
    plugin.run(input(), Box::new(ill)).await.result.unwrap_err()
}

fn rejected(stop: Stop) -> String {
    match stop {
        Stop::Reject { code, message } => format!("{code}: {message}"),
        other => panic!("expected a guest that speaks, found {other:?}"),
    }
}

#[tokio::test]
async fn a_store_that_hangs_is_told_to_the_guest_as_unavailable() {
    let told = rejected(told(Ill::Hangs).await);
    assert_eq!(told, "unavailable: the store did not answer in time");
}

#[tokio::test]
async fn what_the_outside_says_is_told_to_the_guest() {
    assert_eq!(rejected(told(Ill::Down).await), "unavailable: the database is down");
    assert_eq!(rejected(told(Ill::Denies).await), "denied: not yours");
}

#[tokio::test]
async fn an_outside_that_answers_wrongly_is_the_hosts_fault() {
    match told(Ill::Empty).await {
        Stop::Fault(fault) => assert_eq!(fault.kind, FaultKind::Host, "{fault}"),
        other => panic!("expected a fault, found {other:?}"),
    }
}

#[tokio::test]
async fn waiting_for_the_store_does_not_count_as_the_guests_time() {
    let limits = Limits { outside_ms: 1500, check_ms: 1000, ..patient() };
    let bytes = component(&speaking(&text("get.wat"), Phase::Check));
    let plugin = load_source(Source { limits, ..source(bytes) }).await.unwrap();
    let stop = plugin.run(input(), Box::new(Ill::Hangs)).await.result.unwrap_err();
    assert!(rejected(stop).starts_with("unavailable"));
}

#[tokio::test]
async fn a_preload_from_a_store_that_is_down_is_the_hosts_fault() {
    let plugin = load(file("good.wat")).await;
    match plugin.run(input(), Box::new(Ill::Down)).await.result {
        Err(Stop::Fault(fault)) => {
            assert_eq!((fault.kind, fault.phase), (FaultKind::Host, Phase::Prepare));
        }
        other => panic!("expected a fault, found {other:?}"),
    }
}

/// Tells when the guest has logged its first line.
struct Bell(mpsc::UnboundedSender<()>);

impl Outside for Bell {
    fn documents<'a>(
        &'a mut self,
        names: &'a [DocumentRef],
    ) -> Pending<'a, Result<Vec<Option<Document>>, OutsideError>> {
        Box::pin(async { Ok(names.iter().map(|_| None).collect()) })
    }

    fn log(&mut self, _line: &LogLine<'_>) {
        let _ = self.0.send(());
    }
}

/// Logs one line, then spins.
fn spinner() -> Source {
    let fields = r#"(import "log" "write" (func $log (param i32 i32 i32 i32 i32)))
        (func $attack
          (call $log (i32.const 2) (i32.const 256) (i32.const 4) (i32.const 0) (i32.const 0))
          (loop $again (br $again)))"#;
    let limits = Limits { fuel: u64::MAX, ..patient() };
    Source { limits, ..source(component(&attacking(fields, Phase::Check))) }
}

#[tokio::test]
async fn a_spinning_guest_lets_others_run_on_the_same_thread() {
    let plugin = std::sync::Arc::new(load_source(spinner()).await.unwrap());
    let (bell, mut rung) = mpsc::unbounded_channel();
    let spinning = tokio::spawn(async move { plugin.run(input(), Box::new(Bell(bell))).await });
    rung.recv().await.unwrap();
    neighbour_works().await;
    assert!(!spinning.is_finished());
    spinning.abort();
    assert!(spinning.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_run_that_is_given_up_frees_its_slot() {
    let sandbox = Sandbox::new(SandboxSettings { slots: 1, ..Default::default() }).unwrap();
    let spinner = std::sync::Arc::new(sandbox.load(spinner()).await.unwrap());
    let good = sandbox.load(source(file("good.wat"))).await.unwrap();
    for _ in 0..20 {
        let (bell, mut rung) = mpsc::unbounded_channel();
        let plugin = spinner.clone();
        let spinning = tokio::spawn(async move { plugin.run(input(), Box::new(Bell(bell))).await });
        rung.recv().await.unwrap();
        assert_eq!(sandbox.slots_free(), 0);
        spinning.abort();
        assert!(spinning.await.unwrap_err().is_cancelled());
        assert_eq!(sandbox.slots_free(), 1);
        assert!(run(&good).await.result.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_runs_than_slots_wait_their_turn() {
    let sandbox = Sandbox::new(SandboxSettings { slots: 2, ..Default::default() }).unwrap();
    let plugin = std::sync::Arc::new(sandbox.load(source(file("good.wat"))).await.unwrap());
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let plugin = plugin.clone();
        runs.spawn(async move { run(&plugin).await.result });
    }
    while let Some(result) = runs.join_next().await {
        assert!(result.unwrap().is_ok());
    }
    assert_eq!(sandbox.slots_free(), 2);
}

#[tokio::test]
async fn a_plugin_outlives_the_handle_it_was_loaded_with() {
    let sandbox = Sandbox::new(SandboxSettings { slots: 1, ..Default::default() }).unwrap();
    let plugin = sandbox.load(spinner_with_deadline()).await.unwrap();
    drop(sandbox);
    // Only a ticker that still runs can stop this guest.
    match plugin.run(input(), Box::new(Bell(mpsc::unbounded_channel().0))).await.result {
        Err(Stop::Fault(fault)) => assert_eq!(fault.kind, FaultKind::Deadline),
        other => panic!("expected a fault, found {other:?}"),
    }
}

fn spinner_with_deadline() -> Source {
    let spinner = spinner();
    let limits = Limits { check_ms: 30, ..spinner.limits };
    Source { limits, ..spinner }
}
