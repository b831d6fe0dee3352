//! What a guest can reach beyond its run: the documents of its own business, and endpoints.

use callgate_sandbox::http::{CallAnswer, CallError, CallRequest};
use callgate_sandbox::outside::{Document, DocumentRef, Outside, OutsideError, Pending};
use callgate_sandbox::plugin::Plugin;
use callgate_store::{Job, Store};

use super::calls::Calls;
use super::{Engine, convert};

/// A live run: reads go to the store, calls to their endpoints.
pub(super) struct Live {
    store: Store,
    business: String,
    /// `None` for a plugin that may call nobody, as most may: a run then carries nothing for it.
    calls: Option<Calls>,
}

impl Live {
    pub(super) fn new(engine: &Engine, job: &Job, plugin: &Plugin) -> Self {
        let calls = !plugin.grants().endpoints.is_empty();
        Self {
            store: engine.store.clone(),
            business: job.stored.business.clone(),
            calls: calls.then(|| Calls::new(engine, job, plugin.name())),
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
        Box::pin(async move {
            match &self.calls {
                Some(calls) => calls.call(request).await,
                None => {
                    let text = format!("endpoint `{}` is not granted", request.endpoint);
                    Err(CallError::Denied(text))
                }
            }
        })
    }
}
