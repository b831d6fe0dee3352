//! An outside that answers from a record alone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use callgate_sandbox::outside::{
    Document, DocumentRef, LogLevel, LogLine, Outside, OutsideError, Pending,
};

use super::inputs::Inputs;

/// What was asked for and is not in the record.
pub(super) type Unrecorded = Arc<Mutex<BTreeSet<DocumentRef>>>;

/// The outside of a run that is run again: it reaches nothing.
pub(super) struct Recorded {
    inputs: Arc<Inputs>,
    unrecorded: Unrecorded,
}

impl Recorded {
    pub(super) fn new(inputs: Arc<Inputs>) -> (Self, Unrecorded) {
        let unrecorded = Unrecorded::default();
        (Self { inputs, unrecorded: Arc::clone(&unrecorded) }, unrecorded)
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
                    unrecorded.insert(name.clone());
                }
            }
        }
        if missing > 0 {
            let text = "the recorded run did not read this document".to_owned();
            return Err(OutsideError::Unavailable(text));
        }
        Ok(answers)
    }
}

impl Outside for Recorded {
    fn documents<'a>(
        &'a mut self,
        names: &'a [DocumentRef],
    ) -> Pending<'a, Result<Vec<Option<Document>>, OutsideError>> {
        Box::pin(std::future::ready(self.answer(names)))
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

    use callgate_sandbox::outside::{Outside, OutsideError};

    use super::Recorded;
    use crate::engine::backtest::inputs::tests::{inputs, name};

    #[tokio::test]
    async fn the_record_answers_and_nothing_else_does() {
        let (mut outside, unrecorded) = Recorded::new(Arc::new(inputs()));
        let found = outside.documents(&[name("absent"), name("there")]).await.unwrap();
        assert!(found[0].is_none() && found[1].is_some());
        let refused = outside.documents(&[name("there"), name("other")]).await.unwrap_err();
        assert!(matches!(refused, OutsideError::Unavailable(_)));
        let unrecorded = unrecorded.lock().unwrap();
        assert_eq!(unrecorded.iter().collect::<Vec<_>>(), [&name("other")]);
    }
}
