//! The host in memory keeps the contract: each rule obeyed and violated.

use serde_json::{Value, json};

use crate::{
    Commit, Config, Descriptor, DocumentRef, Documents, Draft, Event, Events, Exchange, Level,
    PhaseError, PhaseResult, Preparation, Processor, Route, State, Transition,
};

use super::{House, Notification, Outcome, Run};

/// Does what the notification's body asks for.
struct Puppet;

impl Puppet {
    fn wish(exchange: &Exchange, name: &str) -> PhaseResult<Value> {
        Ok(exchange.body::<Value>()?[name].take())
    }

    /// Stages in a phase that may not, as a guest of another language could try.
    fn stage_early(exchange: &Exchange, phase: &str) -> PhaseResult {
        let draft = Draft(std::rc::Rc::clone(&exchange.0));
        if Self::wish(exchange, "write in")? == phase {
            draft.create(&DocumentRef::new("ledger", "early"), &1)?;
        }
        if Self::wish(exchange, "emit in")? == phase {
            draft.emit(&Event::new("early", "1001", &1)?)?;
        }
        Ok(())
    }
}

impl Processor for Puppet {
    fn describe(_config: &Config) -> Descriptor {
        Descriptor::new("test/puppet", "0.1.0")
            .route(Route::of("B").event("told").state(&State::named("NEW")))
            .route(Route::of("B").event("told.*").scene("S").without_subject())
            .transition(State::named("NEW"), State::named("OLD"))
            .with_after()
    }

    fn prepare(exchange: &Exchange) -> PhaseResult<Preparation> {
        Self::stage_early(exchange, "prepare")?;
        Ok(Preparation::default().preload(DocumentRef::new("ledger", "a")))
    }

    fn check(exchange: &Exchange, documents: &Documents) -> PhaseResult {
        Self::stage_early(exchange, "check")?;
        if Self::wish(exchange, "bad code")? == true {
            return Err(PhaseError::retry("Bad Code", "a code of another form"));
        }
        if let Some(count) = Self::wish(exchange, "scratch")?.as_u64() {
            exchange.set_scratch(&"x".repeat(usize::try_from(count).unwrap_or_default()))?;
        }
        if let Some(count) = Self::wish(exchange, "read")?.as_u64() {
            let place = |number| DocumentRef::new("ledger", format!("{number}"));
            documents.get_many(&(0..count).map(place).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn next_state(exchange: &Exchange, _documents: &Documents) -> PhaseResult<Transition> {
        Self::stage_early(exchange, "next-state")?;
        let target = Self::wish(exchange, "to")?;
        Ok(target
            .as_str()
            .map_or(Transition::Stay, |target| Transition::MoveTo(State::from(target.to_owned()))))
    }

    fn action(exchange: &Exchange, documents: &Documents, draft: &Draft) -> PhaseResult {
        let place = DocumentRef::new("ledger", "a");
        if Self::wish(exchange, "count")? == true {
            let before = documents.get(&place)?;
            let count: i64 = before.map(|document| document.body()).transpose()?.unwrap_or(0);
            draft.replace(&place, &count.saturating_add(1))?;
            let staged = documents.get(&place)?.map(|document| document.text);
            exchange.log(Level::Info, "counted", &[("staged", &staged.unwrap_or_default())]);
        }
        if Self::wish(exchange, "overwrite")? == true {
            draft.overwrite(&place, &json!("blind"))?;
        }
        if let Some(bytes) = Self::wish(exchange, "key bytes")?.as_u64() {
            let key = "k".repeat(usize::try_from(bytes).unwrap_or_default());
            draft.create(&DocumentRef::new("ledger", key), &1)?;
        }
        draft.emit(&Event::new("acted", "1001", &exchange.target_state())?).map(drop)
    }

    fn after(
        exchange: &Exchange,
        _documents: &Documents,
        events: &Events,
        commit: &Commit,
    ) -> PhaseResult {
        events.emit(&Event::new("after", "1001", &commit.version)?)?;
        let scratch: Option<String> = exchange.scratch()?;
        exchange.log(Level::Info, "after", &[("scratch", &scratch.unwrap_or_default())]);
        match Self::wish(exchange, "after fails")? == true {
            true => Err(PhaseError::retry("not-now", "the other side is down")),
            false => Ok(()),
        }
    }
}

fn house() -> House {
    let mut house = House::new();
    house.order("1001", "NEW", &json!({}));
    house
}

fn told(wishes: &Value) -> Notification {
    Notification::new("n-1", "told", "B").order_no("1001").body(wishes)
}

fn run(wishes: &Value) -> Run {
    house().run::<Puppet>(&told(wishes))
}

#[test]
fn a_declared_move_is_committed_and_another_is_refused() {
    let mut house = house();
    let moved = house.run::<Puppet>(&told(&json!({ "to": "OLD" })));
    assert_eq!(moved.outcome, Outcome::Committed { moved_to: Some(State::named("OLD")) });
    assert_eq!(house.state("1001"), Some("OLD"));
    assert_eq!(moved.events[0].payload, r#""OLD""#);

    assert!(matches!(run(&json!({ "to": "ELSEWHERE" })).outcome, Outcome::Refused(_)));
}

#[test]
fn nothing_is_staged_before_action() {
    for phase in ["prepare", "check", "next-state"] {
        for wish in ["write in", "emit in"] {
            assert_eq!(
                run(&json!({ wish: phase })).code(),
                Some("import-denied"),
                "{wish} {phase}"
            );
        }
    }
    assert_eq!(run(&json!({ "write in": "action" })).topics(), ["acted", "after"]);
}

#[test]
fn a_code_of_another_form_is_refused() {
    assert!(matches!(run(&json!({ "bad code": true })).outcome, Outcome::Refused(_)));
}

#[test]
fn a_lost_race_runs_again_on_the_new_picture() {
    let mut house = house();
    let again = house.run_against::<Puppet>(&told(&json!({ "count": true })), |house| {
        house.document(DocumentRef::new("ledger", "a"), &json!(41));
    });
    assert_eq!(again.attempts, 2);
    assert_eq!(house.body("ledger", "a"), Some(json!(42)));
    assert_eq!(again.lines[0], "Info counted staged=42");
}

#[test]
fn blind_writes_need_their_grant() {
    let wish = told(&json!({ "overwrite": true }));
    assert_eq!(house().run::<Puppet>(&wish).code(), Some("import-denied"));
    let mut house = house();
    house.grant_blind_writes();
    house.run::<Puppet>(&wish);
    assert_eq!(house.body("ledger", "a"), Some(json!("blind")));
}

#[test]
fn scratch_keys_and_reads_have_limits() {
    let quotes = 2;
    let most = 64 * 1024 - quotes;
    assert_eq!(run(&json!({ "scratch": most })).code(), None);
    assert_eq!(run(&json!({ "scratch": most + 1 })).code(), Some("scratch-refused"));
    assert_eq!(run(&json!({ "key bytes": 256 })).code(), None);
    assert_eq!(run(&json!({ "key bytes": 257 })).code(), Some("import-invalid"));
    assert_eq!(run(&json!({ "read": 100 })).code(), None);
    assert_eq!(run(&json!({ "read": 101 })).code(), Some("import-quota"));
}

#[test]
fn after_sees_the_commit_and_the_scratch_and_its_failure_undoes_nothing() {
    let mut house = house();
    let good = house.run::<Puppet>(&told(&json!({ "to": "OLD", "scratch": 3 })));
    assert_eq!(good.topics(), ["acted", "after"]);
    assert_eq!(good.events[1].payload, "2");
    assert_eq!(good.lines, ["Info after scratch=xxx"]);
    assert_eq!(good.after, Some(Ok(())));

    let bad = run(&json!({ "after fails": true }));
    assert!(matches!(bad.outcome, Outcome::Committed { .. }));
    assert_eq!(bad.topics(), ["acted"]);
    assert!(matches!(bad.after, Some(Err(PhaseError::Retry { code: "not-now", .. }))));
}

#[test]
fn only_what_a_route_names_is_answered() {
    let mut empty = House::new();
    let outcome = |house: &mut House, notification: Notification| {
        house.run::<Puppet>(&notification.body(&json!({}))).outcome
    };
    let stays = Outcome::Committed { moved_to: None };
    let told = |event: &str| Notification::new("n-1", event, "B");
    assert_eq!(outcome(&mut house(), told("told").order_no("1001")), stays);
    assert_eq!(outcome(&mut house(), told("told.more").order_no("1001")), Outcome::NoRoute);
    assert_eq!(outcome(&mut house(), Notification::new("n-1", "told", "C")), Outcome::NoRoute);
    assert_eq!(outcome(&mut empty, told("told.more").scene("S")), stays);
    assert_eq!(outcome(&mut empty, told("told.more").scene("T")), Outcome::NoRoute);
    assert_eq!(outcome(&mut empty, told("tol").scene("S")), Outcome::NoRoute);
}
