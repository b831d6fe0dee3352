//! Whether a callback could be stored: asked of the writer, and not more often than needed.

use std::time::Duration;

use callgate_store::Store;
use tokio::sync::Mutex;

use crate::clock::{Clock, Stopwatch};

/// Knows whether a callback could be stored.
#[derive(Debug)]
pub struct Ready {
    store: Store,
    clock: Clock,
    /// The last look. Who asks meanwhile waits for it instead of looking too.
    last: Mutex<Option<(Readiness, Stopwatch)>>,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// A row was committed a moment ago.
    Ready,
    /// None could be: the database is gone, full, or behind by more than an answer may take.
    NotReady,
}

impl Ready {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, last: Mutex::new(None) }
    }

    /// Commits a row, at most once in [`GOOD_FOR`], whoever asks and however often.
    pub async fn look(&self) -> Readiness {
        let mut last = self.last.lock().await;
        if let Some((found, since)) = *last
            && since.elapsed() < GOOD_FOR
        {
            return found;
        }
        let probing = self.store.probe(self.clock.now());
        let found = match tokio::time::timeout(WITHIN, probing).await {
            Ok(Ok(())) => Readiness::Ready,
            Ok(Err(error)) => {
                tracing::warn!(%error, code = error.code(), "not ready: nothing can be stored");
                Readiness::NotReady
            }
            Err(_) => {
                let ms = WITHIN.as_millis();
                tracing::warn!(within_ms = ms, "not ready: the store does not commit in time");
                Readiness::NotReady
            }
        };
        *last = Some((found, Stopwatch::start()));
        found
    }
}

/// How long a look is good for.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long a commit may take: a callback that waited longer would soon be too late.
const WITHIN: Duration = Duration::from_secs(2);
