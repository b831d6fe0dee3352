//! Documents for many runs at once: who asks while others are being answered waits for them, and
//! then shares one statement with everybody else who waits.
//!
//! Each run asks for a document or two. Alone that costs a connection, a statement and two changes
//! of thread for each; together it costs a row.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::documents::{Document, DocumentKey, DocumentRef, checked, find, several};
use crate::error::StoreError;
use crate::sql::Pool;

/// Where to ask.
#[derive(Debug)]
pub(crate) struct Reading(mpsc::Sender<Asked>);

/// One who asks.
#[derive(Debug)]
struct Asked {
    keys: Vec<DocumentKey>,
    reply: oneshot::Sender<Option<Vec<Option<Document>>>>,
}

impl Reading {
    /// Starts to read, on the runtime that this is called on.
    pub(crate) fn start(readers: &Pool) -> Self {
        let (asking, asked) = mpsc::channel(WAITING_MAX);
        let asked = Arc::new(Mutex::new(asked));
        for _ in 0..AT_ONCE {
            tokio::spawn(read(readers.clone(), Arc::clone(&asked)));
        }
        Self(asking)
    }

    /// Several documents of one business, in the order asked. What cannot be read together is read
    /// alone, so that one who fails spoils nothing for others.
    pub(crate) async fn documents(
        &self,
        readers: &Pool,
        business: &str,
        refs: &[DocumentRef],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        let keys = checked(business, refs)?;
        let (reply, answer) = oneshot::channel();
        if self.0.send(Asked { keys, reply }).await.is_ok()
            && let Ok(Some(found)) = answer.await
        {
            return Ok(found);
        }
        several(readers, business, refs).await
    }
}

/// Reads until nobody can ask any more.
async fn read(readers: Pool, asked: Arc<Mutex<mpsc::Receiver<Asked>>>) {
    let mut together = Vec::with_capacity(TOGETHER_MAX);
    loop {
        if asked.lock().await.recv_many(&mut together, TOGETHER_MAX).await == 0 {
            return;
        }
        let found = look(&readers, &together).await;
        for Asked { keys, reply } in together.drain(..) {
            let own = |found: &HashMap<DocumentKey, Document>| {
                keys.iter().map(|key| found.get(key).cloned()).collect()
            };
            let own = found.as_ref().map(own);
            // Whoever asked may have gone.
            drop(reply.send(own));
        }
    }
}

/// What exists of all that is asked for; `None` where it cannot be read.
async fn look(readers: &Pool, together: &[Asked]) -> Option<HashMap<DocumentKey, Document>> {
    let keys: BTreeSet<&DocumentKey> = together.iter().flat_map(|one| &one.keys).collect();
    let mut connection = readers.acquire().await.ok()?;
    let found = find(&mut connection, "", keys.into_iter()).await.ok()?;
    let named =
        |one: Document| ((one.business.clone(), one.collection.clone(), one.key.clone()), one);
    Some(found.into_iter().map(named).collect())
}

/// Runs that may wait before they wait for their turn to wait.
const WAITING_MAX: usize = 1024;

/// Most who share one statement.
const TOGETHER_MAX: usize = 64;

/// Statements under way at once.
const AT_ONCE: usize = 2;
