//! What a run comes to, in words that can be compared.

use std::fmt;

use callgate_core::order::{State, Table};
use callgate_sandbox::run::{Draft, Event, Expect, Stop, Write};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// What the host would make of a run, when and how often it tries again apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) class: Class,
    /// The reason's code; empty for an advance.
    pub(crate) code: String,
    /// The reason's text, for people. Not compared.
    pub(crate) text: String,
    /// The state that was chosen.
    pub(crate) target: Option<String>,
    pub(crate) writes: Vec<Write>,
    pub(crate) events: Vec<Event>,
    /// Fuel of all phases.
    pub(crate) fuel: u64,
    /// What it asked for that the record does not have.
    pub(crate) unrecorded: Vec<String>,
}

/// What kind of end a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Class {
    /// Its draft would be committed.
    Advance,
    /// It says that there is nothing to do.
    Ignore,
    /// It says that a person must look.
    Reject,
    /// It waits for something else.
    Retry,
    /// It failed.
    Fault,
    /// It chose a step that it did not declare.
    IllegalStep,
}

impl Class {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Advance => "advance",
            Self::Ignore => "ignore",
            Self::Reject => "reject",
            Self::Retry => "retry",
            Self::Fault => "fault",
            Self::IllegalStep => "illegal step",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class.as_str())?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

impl Decision {
    /// Judges what a run came to as the host would: by the steps that its processor declared, and
    /// the state that the order had.
    pub(crate) fn of(result: Result<Draft, Stop>, table: &Table, state: Option<&str>) -> Self {
        let stopped = |class, code: String, text| Self {
            class,
            code,
            text,
            target: None,
            writes: Vec::new(),
            events: Vec::new(),
            fuel: 0,
            unrecorded: Vec::new(),
        };
        match result {
            Ok(draft) => match legal(draft.target.as_deref(), table, state) {
                Ok(()) => Self {
                    target: draft.target,
                    writes: draft.writes,
                    events: draft.events,
                    ..stopped(Class::Advance, String::new(), String::new())
                },
                Err(text) => stopped(Class::IllegalStep, "order.illegal-step".to_owned(), text),
            },
            Err(Stop::Ignore(text)) => stopped(Class::Ignore, "plugin.ignored".to_owned(), text),
            Err(Stop::Reject { code, message }) => {
                stopped(Class::Reject, format!("plugin.{code}"), message)
            }
            Err(Stop::Retry { code, message, .. }) => {
                stopped(Class::Retry, format!("plugin.{code}"), message)
            }
            Err(Stop::Fault(fault)) => {
                let text = format!("in {}: {}", fault.phase, fault.message);
                stopped(Class::Fault, fault.kind.code().to_owned(), text)
            }
        }
    }
}

/// Whether the processor declared the step that it chose.
fn legal(target: Option<&str>, table: &Table, state: Option<&str>) -> Result<(), String> {
    let Some(target) = target else { return Ok(()) };
    let parsed = |text: &str| State::parse(text).map_err(|error| error.to_string());
    let target = parsed(target)?;
    match state {
        Some(state) => {
            table.step(&parsed(state)?, &target).map(drop).map_err(|illegal| illegal.to_string())
        }
        None => Err(format!("chose {target}, and there is no order", target = target.as_str())),
    }
}

/// A hash of everything that a run proposes, or of why it stopped. Texts of reasons do not count:
/// they may tell of times.
pub(crate) fn digest(result: &Result<Draft, Stop>) -> String {
    let mut hash = Hash(Sha256::new());
    match result {
        Ok(draft) => hash.draft(draft),
        Err(Stop::Ignore(_)) => hash.text("ignore"),
        Err(Stop::Reject { code, .. }) => hash.texts(["reject", code]),
        Err(Stop::Retry { code, after_ms, .. }) => {
            hash.texts(["retry", code]);
            hash.number(after_ms.map_or(u64::MAX, u64::from));
        }
        Err(Stop::Fault(fault)) => {
            hash.texts(["fault", fault.kind.code(), fault.phase.as_str()]);
        }
    }
    hash.hex()
}

/// Every part with its length before it, so that no two differ only in where they are cut.
struct Hash(Sha256);

impl Hash {
    fn draft(&mut self, draft: &Draft) {
        self.texts(["draft", draft.target.as_deref().unwrap_or_default()]);
        self.number(count(draft.writes.len()));
        for write in &draft.writes {
            self.texts([&write.name.collection, &write.name.key, &write.body]);
            self.number(match write.expect {
                Expect::Absent => 0,
                Expect::Version(version) => version.saturating_add(1),
                Expect::Any => u64::MAX,
            });
        }
        self.number(count(draft.events.len()));
        for event in &draft.events {
            self.texts([&event.id, &event.topic, &event.key, &event.payload]);
            self.number(count(event.headers.len()));
            event.headers.iter().for_each(|(name, value)| self.texts([name, value]));
        }
    }

    fn texts<const N: usize>(&mut self, texts: [&str; N]) {
        texts.into_iter().for_each(|text| self.text(text));
    }

    fn text(&mut self, text: &str) {
        self.number(count(text.len()));
        self.0.update(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    fn hex(self) -> String {
        self.0.finalize().iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Enough that no two decisions share one by chance.
const DIGEST_BYTES: usize = 16;

#[cfg(test)]
pub(crate) mod tests {
    use callgate_core::order::{State, Table};
    use callgate_sandbox::fault::{Fault, FaultKind, Phase};
    use callgate_sandbox::outside::DocumentRef;
    use callgate_sandbox::run::{Draft, Event, Expect, Stop, Write};

    use super::{Class, Decision, digest};

    pub(crate) fn draft() -> Draft {
        Draft {
            target: Some("PAID".to_owned()),
            writes: vec![Write {
                name: DocumentRef { collection: "ledger".to_owned(), key: "t".to_owned() },
                body: r#"{"amount":1.10,"lines":[1,2],"who":"x"}"#.to_owned(),
                expect: Expect::Absent,
            }],
            events: vec![Event {
                id: "n.action.1".to_owned(),
                topic: "order.paid".to_owned(),
                key: "o".to_owned(),
                payload: r#"{"total":1}"#.to_owned(),
                headers: vec![("kind".to_owned(), "a".to_owned())],
            }],
        }
    }

    pub(crate) fn decision(result: Result<Draft, Stop>) -> Decision {
        let state = |text| State::parse(text).unwrap();
        let table = Table::new([(state("OPEN"), state("PAID")), (state("OPEN"), state("CLOSED"))]);
        Decision::of(result, &table, Some("OPEN"))
    }

    pub(crate) fn fault() -> Stop {
        let message = "all fuel consumed".to_owned();
        Stop::Fault(Fault { kind: FaultKind::Fuel, phase: Phase::Check, fuel_used: 9, message })
    }

    #[test]
    fn a_run_is_judged_as_the_host_would_judge_it() {
        assert_eq!(decision(Ok(draft())).class, Class::Advance);
        let illegal = decision(Ok(Draft { target: Some("LOST".to_owned()), ..draft() }));
        assert_eq!(
            (illegal.class, illegal.code.as_str()),
            (Class::IllegalStep, "order.illegal-step")
        );
        let failed = decision(Err(fault()));
        assert_eq!((failed.class, failed.code.as_str()), (Class::Fault, "sandbox.fuel"));
        let reject = Stop::Reject { code: "late".to_owned(), message: "m".to_owned() };
        assert_eq!(decision(Err(reject)).to_string(), "reject plugin.late: m");
    }

    #[test]
    fn a_step_without_an_order_is_illegal() {
        let alone = Decision::of(Ok(draft()), &Table::default(), None);
        assert_eq!(alone.class, Class::IllegalStep);
    }

    /// One change to a draft.
    type Change = fn(&mut Draft);

    #[test]
    fn a_digest_tells_every_part_of_a_proposal_apart() {
        let changes: [Change; 9] = [
            |_| {},
            |draft| draft.target = None,
            |draft| draft.writes[0].body.push(' '),
            |draft| draft.writes[0].expect = Expect::Version(0),
            |draft| draft.writes[0].name.key = "u".to_owned(),
            |draft| draft.events[0].topic = "order.lost".to_owned(),
            |draft| draft.events[0].payload = "{}".to_owned(),
            |draft| draft.events[0].headers.clear(),
            |draft| draft.events.clear(),
        ];
        let digests = changes.map(|change| {
            let mut draft = draft();
            change(&mut draft);
            digest(&Ok(draft))
        });
        for (place, one) in digests.iter().enumerate() {
            assert!(!digests[place + 1..].contains(one), "{place}");
        }
    }

    #[test]
    fn a_digest_does_not_hang_on_the_text_of_a_reason() {
        let ignored = |text: &str| digest(&Err(Stop::Ignore(text.to_owned())));
        assert_eq!(ignored("one"), ignored("two"));
        assert_ne!(ignored("one"), digest(&Err(fault())));
    }
}
