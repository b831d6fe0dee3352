//! Where two decisions differ. Pure.

use callgate_sandbox::run::{Event, Expect, Write};
use serde::{Deserialize, Serialize};

use super::decision::{Class, Decision};
use super::paths;

/// One place in which B decides otherwise than A.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// Where: a document and a path in it, an event, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) place: String,
    /// What A has there; `None` for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) a: Option<String>,
    /// What B has there; `None` for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) b: Option<String>,
}

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// B has no route for the notification.
    Route,
    /// The class of the outcome, such as advance or reject.
    Outcome,
    /// The code of the reason.
    Reason,
    /// The state that the order is moved to.
    State,
    /// A document.
    Write,
    /// An event.
    Event,
    /// B reads or calls what the recorded run did not.
    Read,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Outcome => "outcome",
            Self::Reason => "reason",
            Self::State => "state",
            Self::Write => "write",
            Self::Event => "event",
            Self::Read => "read",
        }
    }

    /// In words for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Route => "no route for",
            Self::Outcome => "outcome",
            Self::Reason => "reason",
            Self::State => "state",
            Self::Write => "writes",
            Self::Event => "emits",
            Self::Read => "asks what the recorded run did not ask:",
        }
    }
}

impl Difference {
    pub(crate) fn new(kind: Kind, place: impl Into<String>) -> Self {
        Self { kind, place: place.into(), a: None, b: None }
    }

    pub(crate) fn with(self, a: Option<String>, b: Option<String>) -> Self {
        Self { a, b, ..self }
    }
}

/// Everything in which B decides otherwise than A; the first [`DIFFERENCES_MAX`].
pub(crate) fn compare(a: &Decision, b: &Decision) -> Vec<Difference> {
    let mut found = Vec::new();
    if a.class != b.class {
        let words = |decision: &Decision| Some(paths::cut(&decision.to_string()));
        found.push(Difference::new(Kind::Outcome, "").with(words(a), words(b)));
    } else if a.code != b.code {
        let code = |decision: &Decision| Some(decision.code.clone());
        found.push(Difference::new(Kind::Reason, "").with(code(a), code(b)));
    }
    if a.target != b.target {
        found.push(Difference::new(Kind::State, "").with(a.target.clone(), b.target.clone()));
    }
    if a.class == Class::Advance && b.class == Class::Advance {
        writes(&a.writes, &b.writes, &mut found);
        events(&a.events, &b.events, &mut found);
    } else {
        drafted(a, |difference, a| difference.with(a, None), &mut found);
        drafted(b, |difference, b| difference.with(None, b), &mut found);
    }
    // What the recorded run could not read either is no difference.
    for name in b.unrecorded.iter().filter(|name| !a.unrecorded.contains(name)) {
        found.push(Difference::new(Kind::Read, name.as_str()));
    }
    found.truncate(DIFFERENCES_MAX);
    found
}

/// What falls away with a draft that only one side has: names alone, since all of it goes.
fn drafted(decision: &Decision, turn: Turn, found: &mut Vec<Difference>) {
    for write in &decision.writes {
        let written = Some("written".to_owned());
        found.push(turn(Difference::new(Kind::Write, write.name.to_string()), written));
    }
    for (event, place) in decision.events.iter().zip(1..) {
        let topic = Some(event.topic.clone());
        found.push(turn(Difference::new(Kind::Event, format!("event {place}")), topic));
    }
}

/// Puts a value on one of the two sides.
type Turn = fn(Difference, Option<String>) -> Difference;

fn writes(a: &[Write], b: &[Write], found: &mut Vec<Difference>) {
    for one in a {
        let place = one.name.to_string();
        match b.iter().find(|two| two.name == one.name) {
            Some(two) => {
                bodies(Kind::Write, &place, (&one.body, &two.body), found);
                if one.expect != two.expect {
                    let place = format!("{place} expectation");
                    let (a, b) = (Some(expectation(one.expect)), Some(expectation(two.expect)));
                    found.push(Difference::new(Kind::Write, place).with(a, b));
                }
            }
            None => {
                let body = Some(paths::cut(&one.body));
                found.push(Difference::new(Kind::Write, place).with(body, None));
            }
        }
    }
    for two in b.iter().filter(|two| a.iter().all(|one| one.name != two.name)) {
        let body = Some(paths::cut(&two.body));
        found.push(Difference::new(Kind::Write, two.name.to_string()).with(None, body));
    }
}

fn expectation(expect: Expect) -> String {
    match expect {
        Expect::Absent => "absent".to_owned(),
        Expect::Version(version) => format!("version {version}"),
        Expect::Any => "any".to_owned(),
    }
}

fn events(a: &[Event], b: &[Event], found: &mut Vec<Difference>) {
    let both = a.len().max(b.len());
    for (place, number) in (0..both).zip(1..) {
        let name = format!("event {number}");
        let (one, two) = match (a.get(place), b.get(place)) {
            (Some(one), Some(two)) if one.topic == two.topic => (one, two),
            (one, two) => {
                let topic = |event: Option<&Event>| event.map(|event| event.topic.clone());
                found.push(Difference::new(Kind::Event, name).with(topic(one), topic(two)));
                continue;
            }
        };
        let name = format!("{name} {}", one.topic);
        if one.key != two.key {
            let key = |event: &Event| Some(paths::cut(&event.key));
            let place = format!("{name} key");
            found.push(Difference::new(Kind::Event, place).with(key(one), key(two)));
        }
        bodies(Kind::Event, &name, (&one.payload, &two.payload), found);
        if one.headers != two.headers {
            let place = format!("{name} headers");
            let headers = |event: &Event| Some(paths::cut(&format!("{:?}", event.headers)));
            found.push(Difference::new(Kind::Event, place).with(headers(one), headers(two)));
        }
        if one.id != two.id {
            let place = format!("{name} id");
            let id = |event: &Event| Some(event.id.clone());
            found.push(Difference::new(Kind::Event, place).with(id(one), id(two)));
        }
    }
}

fn bodies(kind: Kind, place: &str, (a, b): (&str, &str), found: &mut Vec<Difference>) {
    for step in paths::differences(a, b) {
        let place = format!("{place} {}", step.path);
        found.push(Difference::new(kind, place).with(step.a, step.b));
    }
}

/// Differences that are told of one notification; further ones are left out.
pub(crate) const DIFFERENCES_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use callgate_sandbox::run::{Draft, Expect, Stop};

    use super::super::decision::tests::{decision, draft, fault};
    use super::super::inputs::tests::name;
    use super::{Difference, Kind, compare};

    fn told(kind: Kind, place: &str, a: Option<&str>, b: Option<&str>) -> Difference {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Difference::new(kind, place).with(owned(a), owned(b))
    }

    fn changed(change: impl FnOnce(&mut Draft)) -> Vec<Difference> {
        let mut other = draft();
        change(&mut other);
        compare(&decision(Ok(draft())), &decision(Ok(other)))
    }

    #[test]
    fn the_same_decision_has_no_difference() {
        assert_eq!(changed(|_| {}), []);
        assert_eq!(compare(&decision(Err(fault())), &decision(Err(fault()))), []);
    }

    #[test]
    fn a_written_document_differs_by_path() {
        let body = r#"{"amount":1.1,"lines":[1,3],"who":"x","more":true}"#;
        let found = changed(|draft| draft.writes[0].body = body.to_owned());
        assert_eq!(
            found,
            [
                told(Kind::Write, "ledger/t /amount", Some("1.10"), Some("1.1")),
                told(Kind::Write, "ledger/t /lines/1", Some("2"), Some("3")),
                told(Kind::Write, "ledger/t /more", None, Some("true")),
            ]
        );
    }

    #[test]
    fn another_order_of_members_and_other_blanks_are_no_difference() {
        let body = r#"{ "who": "\u0078", "lines": [1, 2], "amount": 1.10 }"#;
        assert_eq!(changed(|draft| draft.writes[0].body = body.to_owned()), []);
    }

    #[test]
    fn expectations_states_events_and_headers_are_compared() {
        let found = changed(|draft| {
            draft.target = Some("CLOSED".to_owned());
            draft.writes[0].expect = Expect::Any;
            draft.events[0].payload = r#"{"total":2}"#.to_owned();
            draft.events[0].key = "p".to_owned();
            draft.events[0].headers.clear();
        });
        let headers = Some(r#"[("kind", "a")]"#);
        assert_eq!(
            found,
            [
                told(Kind::State, "", Some("PAID"), Some("CLOSED")),
                told(Kind::Write, "ledger/t expectation", Some("absent"), Some("any")),
                told(Kind::Event, "event 1 order.paid key", Some("o"), Some("p")),
                told(Kind::Event, "event 1 order.paid /total", Some("1"), Some("2")),
                told(Kind::Event, "event 1 order.paid headers", headers, Some("[]")),
            ]
        );
    }

    #[test]
    fn a_write_or_an_event_of_one_side_alone_is_told() {
        let found = changed(|draft| {
            draft.writes[0].name.key = "u".to_owned();
            draft.events.clear();
        });
        let body = Some(r#"{"amount":1.10,"lines":[1,2],"who":"x"}"#);
        assert_eq!(
            found,
            [
                told(Kind::Write, "ledger/t", body, None),
                told(Kind::Write, "ledger/u", None, body),
                told(Kind::Event, "event 1", Some("order.paid"), None),
            ]
        );
    }

    #[test]
    fn an_advance_that_becomes_a_rejection_tells_what_falls_away() {
        let reject = Stop::Reject { code: "late".to_owned(), message: "too late".to_owned() };
        let found = compare(&decision(Ok(draft())), &decision(Err(reject)));
        assert_eq!(
            found,
            [
                told(Kind::Outcome, "", Some("advance"), Some("reject plugin.late: too late")),
                told(Kind::State, "", Some("PAID"), None),
                told(Kind::Write, "ledger/t", Some("written"), None),
                told(Kind::Event, "event 1", Some("order.paid"), None),
            ]
        );
    }

    #[test]
    fn another_code_of_the_same_class_is_a_difference_and_another_text_is_none() {
        let reject = |code: &str, message: &str| {
            let (code, message) = (code.to_owned(), message.to_owned());
            decision(Err(Stop::Reject { code, message }))
        };
        let found = compare(&reject("a", "m"), &reject("b", "m"));
        assert_eq!(found, [told(Kind::Reason, "", Some("plugin.a"), Some("plugin.b"))]);
        assert_eq!(compare(&reject("a", "m"), &reject("a", "n")), []);
    }

    #[test]
    fn what_only_b_reads_is_a_difference() {
        let (a, mut b) = (decision(Ok(draft())), decision(Ok(draft())));
        b.unrecorded = vec![name("new").to_string()];
        assert_eq!(compare(&a, &b), [told(Kind::Read, "ledger/new", None, None)]);
        assert_eq!(compare(&b, &b), []);
    }
}
