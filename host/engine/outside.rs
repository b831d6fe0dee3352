//! What a guest can reach beyond its run: the documents of its own business, and endpoints.

use callgate_sandbox::http::{CallAnswer, CallError, CallRequest};
use callgate_sandbox::outside::{Document, DocumentRef, Outside, OutsideError, Pending};
use callgate_store::{Job, Store};

use super::calls::Calls;
use super::{Engine, convert};

/// A live run: reads go to the store, calls to their endpoints.
pub(super) struct Live {
    store: Store,
    business: String,
    calls: Calls,
}

impl Live {
    pub(super) fn new(engine: &Engine, job: &Job, plugin: &str) -> Self {
        Self {
            store: engine.store.clone(),
            business: job.stored.business.clone(),
            calls: Calls::new(engine, job, plugin),
        }
    }
}

impl Outside for Live {
    fn documents<'a>(
        &'a mut self,
        names: &'a [DocumentRef],
    ) -> Pending<'a, Result<Vec<Option<Document>>, OutsideError>> {
        Box::pin(async move {
            let names: Vec<_> = names.iter().map(convert::document_ref).collect();
            match self.store.documents(&self.business, &names).await {
                Ok(found) => Ok(found
                    .into_iter()
                    .map(|one| one.map(|one| convert::document(&one)))
                    .collect()),
                Err(error) => {
                    tracing::warn!(%error, code = error.code(), "a guest's read failed");
                    Err(OutsideError::Unavailable("the store cannot answer now".to_owned()))
                }
            }
        })
    }

    fn call<'a>(
        &'a mut self,
        request: &'a CallRequest,
    ) -> Pending<'a, Result<CallAnswer, CallError>> {
        Box::pin(self.calls.call(request))
    }
}
