//! An outside that answers from a record alone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use callgate_sandbox::http::{CallAnswer, CallError, CallRequest};
use callgate_sandbox::outside::{
    Document, DocumentRef, LogLevel, LogLine, Outside, OutsideError, Pending,
};

use super::inputs::Inputs;

/// What was asked for and is not in the record.
pub(super) type Unrecorded = Arc<Mutex<BTreeSet<String>>>;

/// The outside of a run that is run again: it reaches nothing.
pub(super) struct Recorded {
    inputs: Arc<Inputs>,
    unrecorded: Unrecorded,
    /// Calls that were answered, by their place: the next one is answered by the next of its kind.
    answered: BTreeSet<usize>,
}

impl Recorded {
    pub(super) fn new(inputs: Arc<Inputs>) -> (Self, Unrecorded) {
        let unrecorded = Unrecorded::default();
        let answered = BTreeSet::new();
        (Self { inputs, unrecorded: Arc::clone(&unrecorded), answered }, unrecorded)
    }

    fn answer(&self, names: &[DocumentRef]) -> Result<Vec<Option<Document>>, OutsideError> {
        let mut unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answers = Vec::with_capacity(names.len());
        let mut missing = 0usize;
        for name in names {
            match self.inputs.answer(name) {
                Some(answer) => answers.push(answer),
                None => {
                    missing = missing.saturating_add(1);
                    unrecorded.insert(name.to_string());
                }
            }
        }
        if missing > 0 {
            let text = "the recorded run did not read this document".to_owned();
            return Err(OutsideError::Unavailable(text));
        }
        Ok(answers)
    }

    fn told(&mut self, request: &CallRequest) -> Result<CallAnswer, CallError> {
        let calls = self.inputs.calls().iter().enumerate();
        let mut fitting = calls.filter(|(_, call)| call.fits(request)).peekable();
        let first = fitting.peek().copied();
        let fresh = fitting.find(|(place, _)| !self.answered.contains(place));
        if let Some((place, call)) = fresh.or(first) {
            self.answered.insert(place);
            return call.answer();
        }
        let CallRequest { endpoint, method, path, .. } = request;
        let mut unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        unrecorded.insert(format!("call {endpoint} {method} {path}"));
        Err(CallError::Failed("the recorded run did not make this call".to_owned()))
    }
}

impl Outside for Recorded {
    fn documents<'a>(
        &'a mut self,
        names: &'a [DocumentRef],
    ) -> Pending<'a, Result<Vec<Option<Document>>, OutsideError>> {
        Box::pin(std::future::ready(self.answer(names)))
    }

    fn call<'a>(
        &'a mut self,
        request: &'a CallRequest,
    ) -> Pending<'a, Result<CallAnswer, CallError>> {
        Box::pin(std::future::ready(self.told(request)))
    }

    /// Lines of a run that never counts are not written.
    fn log(&mut self, _line: &LogLine<'_>) {}

    fn log_enabled(&self, level: LogLevel) -> bool {
        self.inputs.logged(level)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use callgate_sandbox::http::{CallAnswer, CallError};
    use callgate_sandbox::outside::{Outside, OutsideError};

    use super::Recorded;
    use crate::engine::backtest::calls::tests::{kept, request};
    use crate::engine::backtest::inputs::tests::{inputs, name, with_calls};

    #[tokio::test]
    async fn the_record_answers_and_nothing_else_does() {
        let (mut outside, unrecorded) = Recorded::new(Arc::new(inputs()));
        let found = outside.documents(&[name("absent"), name("there")]).await.unwrap();
        assert!(found[0].is_none() && found[1].is_some());
        let refused = outside.documents(&[name("there"), name("other")]).await.unwrap_err();
        assert!(matches!(refused, OutsideError::Unavailable(_)));
        let unrecorded = unrecorded.lock().unwrap();
        assert_eq!(unrecorded.iter().collect::<Vec<_>>(), ["ledger/other"]);
    }

    #[tokio::test]
    async fn a_call_is_answered_as_it_was_and_a_new_one_is_not_made() {
        let answer = |status| Ok(CallAnswer { status, headers: Vec::new(), body: Vec::new() });
        let calls = vec![kept("/a", Err(CallError::Timeout)), kept("/a", answer(200))];
        let (mut outside, unrecorded) = Recorded::new(Arc::new(with_calls(calls)));
        assert_eq!(outside.call(&request("/a")).await, Err(CallError::Timeout));
        assert_eq!(outside.call(&request("/a")).await, answer(200));
        assert!(matches!(outside.call(&request("/b")).await, Err(CallError::Failed(_))));
        let unrecorded = unrecorded.lock().unwrap();
        assert_eq!(unrecorded.iter().collect::<Vec<_>>(), ["call erp POST /b"]);
    }
}
