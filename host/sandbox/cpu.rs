//! How long a guest had a processor: its wall time is counted while it runs, not while it waits.
//!
//! Ticks alone would not do: one call of the host or one copy of all its memory can last longer
//! than many ticks, and a guest that does nothing else would get many times what it may have.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cpu_time::ThreadTime;

/// The processor time that the thread of a run had used when it was last looked at.
///
/// A run moves from thread to thread at its yields; [`watched`] sets the mark anew each time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mark(Arc<AtomicU64>);

impl Mark {
    /// Processor time since the mark, which is set anew.
    pub(crate) fn lap(&self) -> Duration {
        let now = used();
        Duration::from_nanos(now.saturating_sub(self.0.swap(now, Ordering::Relaxed)))
    }

    fn set(&self) {
        self.0.store(used(), Ordering::Relaxed);
    }
}

/// Runs a future, and sets a mark whenever it is given a thread.
pub(crate) async fn watched<T>(mark: Mark, run: impl Future<Output = T>) -> T {
    let mut run = pin!(run);
    poll_fn(|context| {
        mark.set();
        run.as_mut().poll(context)
    })
    .await
}

fn used() -> u64 {
    let used = ThreadTime::now().as_duration();
    u64::try_from(used.as_nanos()).unwrap_or(u64::MAX)
}
