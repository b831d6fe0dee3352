//! What a guest can reach beyond its run: the documents of its own business.

use callgate_sandbox::outside::{Document, DocumentRef, Outside, OutsideError, Pending};
use callgate_store::Store;

use super::convert;

/// A live run: reads go to the store.
pub(super) struct Live {
    store: Store,
    business: String,
}

impl Live {
    pub(super) fn new(store: Store, business: String) -> Self {
        Self { store, business }
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
}
