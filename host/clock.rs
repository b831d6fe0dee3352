//! The one place that reads the time, and waits for it.
//!
//! Everybody else is given a [`Clock`]; a test holds one that it moves by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use callgate_core::time::Timestamp;
use tokio::sync::watch;

/// Tells the time and waits for it. Clones share one time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    now_ms: AtomicI64,
    moved: watch::Sender<()>,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance_ms`] moves it.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        let moved = watch::Sender::new(());
        Self(Source::Manual(Arc::new(Manual { now_ms: AtomicI64::new(now.as_ms()), moved })))
    }

    /// The time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Source::Manual(manual) => Timestamp::from_ms(manual.now_ms.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock forward and wakes who waits for it; a system clock stays as it is.
    pub fn advance_ms(&self, ms: i64) {
        if let Source::Manual(manual) = &self.0 {
            manual.now_ms.fetch_add(ms, Ordering::SeqCst);
            manual.moved.send_replace(());
        }
    }

    /// Returns when the clock reads `moment` or later.
    pub async fn wait_until(&self, moment: Timestamp) {
        match &self.0 {
            Source::System => {
                let ms = u64::try_from(moment.ms_since(self.now())).unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            Source::Manual(manual) => {
                let mut moved = manual.moved.subscribe();
                while self.now() < moment {
                    if moved.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Measures how long something took; for logs and metrics, never for a decision.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The same in microseconds, as logs have it.
    #[must_use]
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;

    use super::Clock;

    #[tokio::test]
    async fn a_manual_clock_wakes_who_waits_when_it_is_moved() {
        let clock = Clock::manual(Timestamp::from_ms(1000));
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.wait_until(Timestamp::from_ms(3000)).await }
        });
        clock.advance_ms(1500);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.advance_ms(500);
        waiting.await.expect("the waiting task ends");
        assert_eq!(clock.now(), Timestamp::from_ms(3000));
    }
}
