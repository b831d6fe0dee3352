//! Reading for those who wait: one reader and one follower on each host, however many wait.
//!
//! The reader gathers first looks of clients that come at the same time into one statement. The
//! follower learns of changes: at once of those that this host commits, and of those of other
//! hosts by looking at the orders that somebody waits for, and at no others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use callgate_store::{KnownOrder, STANDINGS_MAX, Standing, Store, StoreError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::refusal::Refusal;
use super::told_to_stop;
use super::waiting::{Name, Waiting};
use crate::clock::{Clock, Stopwatch};
use crate::inbound::Finished;

/// Asks where an order stands. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Reader(mpsc::Sender<Asked>);

#[derive(Debug)]
struct Asked {
    name: Name,
    reply: oneshot::Sender<Result<Option<Standing>, ()>>,
}

impl Reader {
    /// Starts to read, on the runtime that this is called on; ends with its last clone.
    pub(super) fn start(store: Store) -> Self {
        let (asking, asked) = mpsc::channel(STANDINGS_MAX);
        tokio::spawn(read(store, asked));
        Self(asking)
    }

    /// Where an order stands that is known by this name; `None` where there is none.
    pub(super) async fn standing(&self, name: &Name) -> Result<Option<Standing>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            self.0.send(Asked { name: name.clone(), reply }).await.ok()?;
            answer.await.ok()?.ok()
        };
        // A database that hangs must not hold who asks for ever.
        let found = tokio::time::timeout(PATIENCE, asking).await;
        found.ok().flatten().ok_or(Refusal::Unavailable)
    }
}

async fn read(store: Store, mut asked: mpsc::Receiver<Asked>) {
    let mut trouble = Trouble::default();
    let mut together = Vec::with_capacity(TOGETHER_MAX);
    while asked.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        let names: Vec<Name> = together.iter().map(|one| one.name.clone()).collect();
        let found = trouble.note(store.standings(&names).await);
        let mut found = found.map(Vec::into_iter);
        for Asked { reply, .. } in together.drain(..) {
            let answer = found.as_mut().map(|found| found.next().flatten()).ok_or(());
            // Whoever asked may have gone.
            drop(reply.send(answer));
        }
    }
}

/// What the follower works with.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) waiting: Waiting,
    pub(super) store: Store,
    pub(super) clock: Clock,
    /// How often to look for what other hosts committed, in milliseconds.
    pub(super) poll_ms: u32,
}

/// Tells those who wait what changed, until `stopped` says so.
pub(super) async fn follow(
    following: Following,
    mut finished: broadcast::Receiver<Finished>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut trouble = Trouble::default();
    let clock = &following.clock;
    let poll_ms = i64::from(following.poll_ms);
    let mut next_look = clock.now().plus_ms(poll_ms);
    while !*stopped.borrow() {
        // Looked at before waiting: however much this host decides, the others are heard.
        if clock.now() >= next_look {
            following.look_at_all(&mut trouble).await;
            next_look = clock.now().plus_ms(poll_ms);
        }
        tokio::select! {
            heard = finished.recv() => {
                let Some(news) = following.announced(heard, &mut finished) else { return };
                if !news.is_empty() {
                    following.look(news, &mut trouble).await;
                }
            }
            () = clock.wait_until(next_look) => {}
            () = told_to_stop(&mut stopped) => return,
        }
    }
}

impl Following {
    /// The orders that were announced and somebody waits for; all of them where some were missed,
    /// `None` where nothing will be announced any more.
    fn announced(
        &self,
        first: Result<Finished, broadcast::error::RecvError>,
        finished: &mut broadcast::Receiver<Finished>,
    ) -> Option<Vec<KnownOrder>> {
        let first = match first {
            Ok(first) => first,
            Err(broadcast::error::RecvError::Lagged(_)) => return Some(self.waiting.all_known()),
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        let rest = std::iter::from_fn(|| finished.try_recv().ok()).take(STANDINGS_MAX - 1);
        let names: BTreeSet<Arc<Name>> =
            std::iter::once(first).chain(rest).filter_map(|one| one.order).collect();
        Some(names.iter().filter_map(|name| self.waiting.known(name)).collect())
    }

    /// Looks at every order that somebody waits for.
    async fn look_at_all(&self, trouble: &mut Trouble) {
        let watch = Stopwatch::start();
        let all = self.waiting.all_known();
        if !all.is_empty() {
            self.look(all, trouble).await;
            metrics::histogram!("callgate_status_look_seconds")
                .record(watch.elapsed().as_secs_f64());
        }
    }

    /// Looks at these orders and tells what changed.
    async fn look(&self, known: Vec<KnownOrder>, trouble: &mut Trouble) {
        for some in known.chunks(STANDINGS_MAX) {
            metrics::counter!("callgate_status_looks_total").increment(1);
            // What cannot be read now is read at the next look: nobody is told less by it.
            let Some(changed) = trouble.note(self.store.changed(some).await) else { return };
            for standing in changed {
                self.waiting.tell(standing);
            }
        }
    }
}

/// Says once that the store fails, and once that it does no more.
#[derive(Debug, Default)]
struct Trouble {
    said: bool,
}

impl Trouble {
    fn note<T>(&mut self, found: Result<T, StoreError>) -> Option<T> {
        match found {
            Ok(found) => {
                if std::mem::take(&mut self.said) {
                    tracing::info!("orders can be read again for those who wait for them");
                }
                Some(found)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.said, true) {
                    tracing::warn!(%error, code = error.code(),
                        "orders cannot be read for those who wait for them");
                }
                None
            }
        }
    }
}

/// How long a first look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// First looks that share a statement.
const TOGETHER_MAX: usize = 256;
