//! Documents for many runs, and orders for many callbacks at once: who asks while others are being
//! answered waits for them, and then shares one statement with everybody else who waits.
//!
//! Each run asks for a document or two, each callback for an order. Alone that costs a connection, a
//! statement and two changes of thread for each; together it costs a row.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::dialect::File;
use crate::direct::{Sought, waiting};
use crate::documents::{Document, DocumentKey, DocumentRef, checked, find, several};
use crate::error::StoreError;
use crate::sql::{Connection, Pool};

/// Where to ask.
#[derive(Debug)]
pub(crate) struct Reading {
    asking: mpsc::Sender<Asked>,
    /// Of SQLite: a look at a document takes less than a change of threads, so who asks looks.
    near: Option<Near>,
}

/// Connections to a file that nobody uses at the moment.
#[derive(Debug)]
struct Near {
    file: File,
    /// `None` once it is closed.
    free: std::sync::Mutex<Option<Vec<Connection>>>,
}

impl Near {
    /// A connection; `None` where there is none.
    fn take(&self) -> Option<Connection> {
        let kept = self.free.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.pop();
        kept.or_else(|| self.file.open().ok())
    }

    /// Keeps a connection that served well.
    fn keep(&self, connection: Connection) {
        if let Some(free) = self.free.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            free.push(connection);
        }
    }

    /// The documents that there are; `None` where they cannot be read.
    async fn find(&self, keys: &[DocumentKey]) -> Option<Vec<Option<Document>>> {
        let mut connection = self.take()?;
        let found = find(&mut connection, "", keys.iter()).await.ok()?;
        self.keep(connection);
        let same = |key: &DocumentKey, one: &Document| {
            (&one.business, &one.collection, &one.key) == (&key.0, &key.1, &key.2)
        };
        let named = |key: &DocumentKey| found.iter().find(|one| same(key, one)).cloned();
        Some(keys.iter().map(named).collect())
    }
}

/// One who asks. The answer is `None` where it cannot be read.
#[derive(Debug)]
enum Asked {
    Documents(Vec<DocumentKey>, Reply<Vec<Option<Document>>>),
    Waiting(Sought, Reply<Option<Document>>),
}

type Reply<T> = oneshot::Sender<Option<T>>;

/// Several questions and where their answers go.
type Questions<Q, T> = Vec<(Q, Reply<T>)>;

impl Reading {
    /// Starts to read, on the runtime that this is called on.
    pub(crate) fn start(readers: &Pool, file: Option<File>) -> Self {
        let (asking, asked) = mpsc::channel(WAITING_MAX);
        let asked = Arc::new(Mutex::new(asked));
        for _ in 0..AT_ONCE {
            tokio::spawn(read(readers.clone(), Arc::clone(&asked)));
        }
        let free = std::sync::Mutex::new(Some(Vec::new()));
        Self { asking, near: file.map(|file| Near { file, free }) }
    }

    /// Lets go of every connection of its own.
    pub(crate) fn close(&self) {
        if let Some(near) = &self.near {
            *near.free.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// The order that waits for a callback, if there is one that can be read.
    pub(crate) async fn waiting_order(
        &self,
        sought: Sought,
    ) -> Result<Option<Document>, StoreError> {
        if let Some(near) = &self.near {
            let Some(mut connection) = near.take() else { return Ok(None) };
            let found = waiting(&mut connection, &[&sought]).await?;
            near.keep(connection);
            return Ok(found.into_iter().next().map(|(_, order)| order));
        }
        let (reply, answer) = oneshot::channel();
        drop(self.asking.send(Asked::Waiting(sought, reply)).await);
        // Where it cannot be read, storing the callback will say what is wrong.
        Ok(answer.await.ok().flatten().flatten())
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
        if let Some(near) = &self.near
            && let Some(found) = near.find(&keys).await
        {
            return Ok(found);
        }
        let (reply, answer) = oneshot::channel();
        if self.asking.send(Asked::Documents(keys, reply)).await.is_ok()
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
        let (mut documents, mut orders) = (Vec::new(), Vec::new());
        for asked in together.drain(..) {
            match asked {
                Asked::Documents(keys, reply) => documents.push((keys, reply)),
                Asked::Waiting(sought, reply) => orders.push((sought, reply)),
            }
        }
        // Runs are under way; those who ask for an order have not begun one.
        read_documents(&readers, documents).await;
        read_orders(&readers, orders).await;
    }
}

/// Answers those who ask for documents.
async fn read_documents(readers: &Pool, asked: Questions<Vec<DocumentKey>, Vec<Option<Document>>>) {
    if asked.is_empty() {
        return;
    }
    let look = async {
        let keys: BTreeSet<&DocumentKey> = asked.iter().flat_map(|(keys, _)| keys).collect();
        find(&mut readers.acquire().await?, "", keys.into_iter()).await
    };
    let found = look.await.inspect_err(tell).ok().map(|found| {
        let named =
            |one: Document| ((one.business.clone(), one.collection.clone(), one.key.clone()), one);
        found.into_iter().map(named).collect::<HashMap<_, _>>()
    });
    for (keys, reply) in asked {
        let own = |found: &HashMap<DocumentKey, Document>| {
            keys.iter().map(|key| found.get(key).cloned()).collect()
        };
        // Whoever asked may have gone.
        drop(reply.send(found.as_ref().map(own)));
    }
}

/// Answers those who ask for an order that waits.
async fn read_orders(readers: &Pool, asked: Questions<Sought, Option<Document>>) {
    if asked.is_empty() {
        return;
    }
    let look = async {
        let sought: Vec<&Sought> = asked.iter().map(|(sought, _)| sought).collect();
        waiting(&mut readers.acquire().await?, &sought).await
    };
    let found = look.await.inspect_err(tell).ok();
    let mut found: Option<HashMap<usize, Document>> =
        found.map(|found| found.into_iter().collect());
    for (place, (_, reply)) in asked.into_iter().enumerate() {
        let own = |found: &mut HashMap<usize, Document>| found.remove(&place);
        drop(reply.send(found.as_mut().map(own)));
    }
}

/// Each of those who asked goes another way.
fn tell(error: &StoreError) {
    tracing::debug!(%error, code = error.code(), "what many ask for cannot be read together");
}

/// Runs that may wait before they wait for their turn to wait.
const WAITING_MAX: usize = 1024;

/// Most who share one statement.
const TOGETHER_MAX: usize = 64;

/// Statements under way at once.
const AT_ONCE: usize = 2;
