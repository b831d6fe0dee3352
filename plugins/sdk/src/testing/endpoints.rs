//! Endpoints of the house: closures that answer, and the record that a run again is answered from.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use crate::http::{HttpError, Request, Response};

use super::house::House;
use super::memory::{Memory, Phase};

type Answering = Box<dyn FnMut(&Request) -> Result<Response, HttpError>>;

/// What is called, and what came of it. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Desk(Rc<RefCell<Calls>>);

#[derive(Default)]
struct Calls {
    endpoints: BTreeMap<String, Answering>,
    /// By notification, in order.
    log: BTreeMap<String, Vec<Entry>>,
    sent: Vec<Request>,
}

struct Entry {
    name: String,
    request: Request,
    answer: Result<Response, HttpError>,
}

impl Entry {
    fn succeeded(&self) -> bool {
        self.answer.as_ref().is_ok_and(|answer| (200..400).contains(&answer.status))
    }

    /// Whether the endpoint said that it did nothing.
    fn refused(&self) -> bool {
        let status = self.answer.as_ref().map_or(0, |answer| answer.status);
        (400..500).contains(&status) && !matches!(status, 408 | 425 | 429)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

impl House {
    /// Grants an endpoint, and says what it answers.
    pub fn endpoint(
        &mut self,
        name: &str,
        answer: impl FnMut(&Request) -> Result<Response, HttpError> + 'static,
    ) {
        self.desk.0.borrow_mut().endpoints.insert(name.to_owned(), Box::new(answer));
    }

    /// The requests that were really sent, in order: those answered from the record are not.
    #[must_use]
    pub fn sent(&self) -> Vec<Request> {
        self.desk.0.borrow().sent.clone()
    }
}

impl Memory {
    /// Answers a call as the host does: from the record where there is one.
    pub(super) fn call(&self, request: &Request) -> Result<Response, HttpError> {
        let phase = *self.phase.borrow();
        if !matches!(phase, Phase::Action | Phase::After) {
            return Err(HttpError::Denied(format!("a call is not permitted in {}", phase.name())));
        }
        if !request.path.starts_with('/') {
            return Err(HttpError::Invalid("a path begins with `/`".to_owned()));
        }
        let name = self.call_name(phase, request);
        let mut calls = self.fixed.desk.0.borrow_mut();
        let Calls { endpoints, log, sent } = &mut *calls;
        let log = log.entry(self.fixed.notification.id.clone()).or_default();
        let place = log.iter().position(|entry| entry.name == name);
        let last = place.is_none_or(|place| place.saturating_add(1) == log.len());
        if let Some(known) = place.and_then(|place| log.get(place)) {
            if known.request != *request && !(last && known.refused()) {
                let text = format!("call {name} is another than in the run before (calls.differs)");
                self.moving.borrow_mut().broken = Some(text.clone());
                return Err(HttpError::Failed(text));
            }
            if known.request == *request && (known.succeeded() || !last) {
                return known.answer.clone();
            }
        }
        let Some(endpoint) = endpoints.get_mut(&request.endpoint) else {
            let text = format!("endpoint `{}` is not granted", request.endpoint);
            return Err(HttpError::Denied(text));
        };
        sent.push(request.clone());
        let answer = endpoint(request);
        let entry = Entry { name, request: request.clone(), answer: answer.clone() };
        match place.and_then(|place| log.get_mut(place)) {
            Some(known) => *known = entry,
            None => log.push(entry),
        }
        answer
    }

    fn call_name(&self, phase: Phase, request: &Request) -> String {
        match &request.idempotency_key {
            Some(key) => format!("{}:{key}", request.endpoint),
            None => {
                let mut moving = self.moving.borrow_mut();
                moving.calls = moving.calls.saturating_add(1);
                format!("{}.{}", phase.name(), moving.calls)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use serde_json::json;

    use super::super::house::{House, Outcome};
    use super::super::notification::Notification;
    use crate::{
        Config, Descriptor, Documents, Draft, Exchange, HttpError, PhaseResult, Processor, Request,
        Response, Route, Transition,
    };

    /// Tells the stock of a sale, with what its configuration says.
    struct Seller;

    impl Processor for Seller {
        fn describe(_config: &Config) -> Descriptor {
            Descriptor::new("shop/seller", "1.0.0").route(Route::of("SHOP").event("payment.*"))
        }

        fn check(_exchange: &Exchange, _documents: &Documents) -> PhaseResult {
            Ok(())
        }

        fn next_state(_exchange: &Exchange, _documents: &Documents) -> PhaseResult<Transition> {
            Ok(Transition::Stay)
        }

        fn action(exchange: &Exchange, _documents: &Documents, draft: &Draft) -> PhaseResult {
            let count: u32 = exchange.config().get("count")?.unwrap_or(1);
            let request = Request::post("stock", "/sales").json(&json!({ "count": count }))?;
            draft.send(&request)?.success().map(drop)
        }

        fn save(exchange: &Exchange, _documents: &Documents, draft: &Draft) -> PhaseResult {
            draft.merge(&exchange.order()?.place, &json!({ "told": true }))
        }
    }

    fn house() -> (House, Notification) {
        let mut house = House::new();
        house.order("o-1", "OPEN", &json!({}));
        (house, Notification::new("n-1", "payment.succeeded", "SHOP").order_no("o-1"))
    }

    #[test]
    fn a_run_made_again_is_answered_from_the_record() {
        let (mut house, paid) = house();
        house.endpoint("stock", |_| Ok(Response::of(201)));
        let run = house.run_against::<Seller>(&paid, |house| {
            house.order("o-1", "OPEN", &json!({ "rival": true }));
        });
        assert_eq!((run.attempts, house.sent().len()), (2, 1));
        house.run::<Seller>(&paid);
        assert_eq!(house.sent().len(), 1);
    }

    #[test]
    fn a_call_without_success_is_sent_again() {
        let (mut house, paid) = house();
        let answers = Rc::new(Cell::new(0));
        let given = Rc::clone(&answers);
        house.endpoint("stock", move |_| {
            given.set(given.get() + 1);
            match given.get() {
                1 => Err(HttpError::Timeout),
                2 => Ok(Response::of(503)),
                _ => Ok(Response::of(200)),
            }
        });
        assert_eq!(house.run::<Seller>(&paid).code(), Some("endpoint-timeout"));
        assert_eq!(house.run::<Seller>(&paid).code(), Some("endpoint-busy"));
        assert!(matches!(house.run::<Seller>(&paid).outcome, Outcome::Committed { .. }));
        assert_eq!(answers.get(), 3);
    }

    #[test]
    fn another_request_under_the_same_name_is_refused() {
        let (mut house, paid) = house();
        house.endpoint("stock", |_| Ok(Response::of(200)));
        house.run::<Seller>(&paid);
        house.config(json!({ "count": 2 }));
        let Outcome::Refused(text) = house.run::<Seller>(&paid).outcome else {
            panic!("expected a refusal");
        };
        assert!(text.contains("calls.differs"), "{text}");
    }

    #[test]
    fn what_was_refused_may_be_asked_otherwise() {
        let (mut house, paid) = house();
        house.endpoint("stock", |request| {
            let good = request.body.as_bytes() == br#"{"count":2}"#;
            Ok(Response::of(if good { 200 } else { 422 }))
        });
        assert_eq!(house.run::<Seller>(&paid).code(), Some("endpoint-refused"));
        house.config(json!({ "count": 2 }));
        assert!(matches!(house.run::<Seller>(&paid).outcome, Outcome::Committed { .. }));
    }

    #[test]
    fn an_endpoint_that_is_not_granted_is_denied() {
        let (mut house, paid) = house();
        assert_eq!(house.run::<Seller>(&paid).code(), Some("call-denied"));
    }
}
