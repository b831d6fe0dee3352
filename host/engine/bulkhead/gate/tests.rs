//! Stories of one gate.

use callgate_core::time::Timestamp;

use super::{Answer, Gate, Why};
use crate::engine::bulkhead::breaker::{BreakerSettings, Ended, State};

const SETTINGS: BreakerSettings = BreakerSettings {
    window: 10,
    runs_min: 4,
    restrict_percent: 25,
    open_percent: 50,
    open_ms: 100,
    open_max_ms: 400,
    probes: 1,
};

const PATIENCE_US: u64 = 10_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn gate(concurrency: usize) -> Gate<u32> {
    let mut gate = Gate::new(SETTINGS);
    gate.know((&"v".into(), &"1.0.0"), concurrency, at(0));
    gate
}

fn ask(gate: &mut Gate<u32>, now: i64) -> Answer {
    gate.ask("v", PATIENCE_US, at(now)).0
}

fn end(gate: &mut Gate<u32>, (id, ended): (u64, Ended), took_us: u64) -> Option<State> {
    let begun = gate.state();
    gate.end("v", (id, ended, begun), (took_us, at(0))).map(|change| change.state)
}

#[test]
fn quick_runs_are_waited_for_and_slow_ones_are_not() {
    let mut gate = gate(2);
    assert_eq!(ask(&mut gate, 0), Answer::Go(State::Closed));
    assert_eq!(ask(&mut gate, 0), Answer::Go(State::Closed));
    for waiter in 0..20 {
        assert_eq!(ask(&mut gate, 0), Answer::Wait);
        gate.wait(("v".into(), 0), waiter);
    }
    assert_eq!(ask(&mut gate, 0), Answer::No(Why::Full), "that would take too long");
    assert_eq!(gate.next(at(0)), None, "both places are taken");
    end(&mut gate, (1, Ended::Good), 1_000_000);
    let (_, first, answer) = gate.next(at(0)).unwrap();
    assert_eq!((first, answer), (0, Answer::Go(State::Closed)));
    assert_eq!((gate.running(), gate.waiting()), (2, 19));
    assert_eq!(ask(&mut gate, 0), Answer::No(Why::Full), "runs take long, as was seen");
}

#[test]
fn who_waits_when_it_opens_hears_so_at_once() {
    let mut gate = gate(1);
    for id in 0..4 {
        assert!(matches!(ask(&mut gate, 0), Answer::Go(_)));
        end(&mut gate, (id, Ended::Fault), 1);
    }
    for id in 10..13 {
        assert_eq!(ask(&mut gate, 0), Answer::Go(State::Restricted));
        end(&mut gate, (id, Ended::Fault), 1);
    }
    assert_eq!(ask(&mut gate, 0), Answer::Go(State::Restricted));
    assert_eq!(ask(&mut gate, 0), Answer::Wait);
    gate.wait(("v".into(), 0), 7);
    assert_eq!(end(&mut gate, (13, Ended::Fault), 1), Some(State::Open));
    let (_, waiter, answer) = gate.next(at(0)).unwrap();
    assert!(matches!((waiter, answer), (7, Answer::No(Why::Open(Some(_))))));
    assert!(matches!(ask(&mut gate, 0), Answer::No(Why::Open(Some(_)))));
    gate.counted(1000);
    assert_eq!(gate.room(PATIENCE_US, at(0)), 0);
    assert_eq!(gate.room(PATIENCE_US, at(500)), 1, "one trial");
    gate.called(1);
    assert_eq!(gate.room(PATIENCE_US, at(500)), 0, "and not two");
    assert_eq!(ask(&mut gate, 500), Answer::Go(State::HalfOpen));
    assert_eq!(ask(&mut gate, 500), Answer::No(Why::Open(None)));
    assert_eq!(end(&mut gate, (20, Ended::Good), 1_000), Some(State::Closed));
    assert!(gate.room(PATIENCE_US, at(500)) > 1);
}

#[test]
fn another_version_begins_with_a_clean_record() {
    let mut gate = gate(1);
    for id in 0..8 {
        ask(&mut gate, 0);
        end(&mut gate, (id, Ended::Fault), 1);
    }
    assert_eq!(gate.state(), State::Open);
    gate.know((&"w".into(), &"1.0.1"), 1, at(0));
    gate.counted(5);
    assert!(gate.room(PATIENCE_US, at(0)) > 0, "what is held goes to the new version");
    gate.forget_all_but(&["w".into()]);
    assert_eq!(gate.state(), State::Closed);
    assert_eq!(ask(&mut gate, 0), Answer::No(Why::Full), "the old one is not in force");
    assert_eq!(gate.ask("w", PATIENCE_US, at(0)).0, Answer::Go(State::Closed));
}

#[test]
fn there_is_room_for_as_many_as_run_soon() {
    let mut gate = gate(4);
    assert_eq!(gate.room(PATIENCE_US, at(0)), 0, "nothing is held");
    gate.counted(1000);
    // Four at once, a millisecond each, ten milliseconds: forty, beside the four.
    assert_eq!(gate.room(PATIENCE_US, at(0)), 44);
    gate.called(40);
    assert_eq!(gate.room(PATIENCE_US, at(0)), 4);
    assert_eq!(gate.held(), 960);
    for _ in 0..100 {
        ask(&mut gate, 0);
        end(&mut gate, (1, Ended::Good), 2_000_000);
    }
    assert_eq!(gate.room(PATIENCE_US, at(0)), 4, "slow runs: no more than run at once");
}
