//! The clock of guests: it advances the engine's epoch while one of them runs, and rests else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

use crate::engine::SandboxError;

/// Advances the engine's epoch each millisecond, until it is dropped or the engine is gone.
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Thread,
}

#[derive(Default)]
struct State {
    runs: AtomicUsize,
    resting: AtomicBool,
    gone: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> Result<Self, SandboxError> {
        let state = Arc::new(State::default());
        let (seen, engine) = (Arc::clone(&state), engine.weak());
        let tick = move || {
            let mut idle = 0;
            while !seen.gone.load(Ordering::SeqCst) {
                // Woken early it ticks early, which hurries nobody.
                thread::park_timeout(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => break,
                }
                idle = if seen.runs.load(Ordering::SeqCst) == 0 {
                    u32::saturating_add(idle, 1)
                } else {
                    0
                };
                if idle >= IDLE_TICKS {
                    seen.rest();
                    idle = 0;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("callgate-tick".to_owned())
            .spawn(tick)
            .map_err(|error| SandboxError::Engine(format!("no thread for the ticker: {error}")))?
            .thread()
            .clone();
        Ok(Self { state, thread })
    }

    /// Ticks at least as long as what this gives back is kept.
    pub(crate) fn awake(&self) -> Awake<'_> {
        self.state.runs.fetch_add(1, Ordering::SeqCst);
        // Whoever goes to rest says so first and looks at the runs after, so one of the two sees
        // the other.
        if self.state.resting.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Awake(&self.state)
    }
}

impl State {
    fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
        while self.runs.load(Ordering::SeqCst) == 0 && !self.gone.load(Ordering::SeqCst) {
            thread::park();
        }
        self.resting.store(false, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.gone.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Kept while a guest runs.
pub(crate) struct Awake<'t>(&'t State);

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.0.runs.fetch_sub(1, Ordering::SeqCst);
    }
}

const TICK: Duration = Duration::from_millis(1);

/// Ticks without a run before it rests: under load it is never woken.
const IDLE_TICKS: u32 = 100;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use wasmtime::Engine;

    use super::Ticker;

    #[test]
    fn it_rests_while_nothing_runs_and_ticks_again_when_something_does() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        let resting = || ticker.state.resting.load(Ordering::SeqCst);
        while !resting() {
            std::thread::yield_now();
        }
        let awake = ticker.awake();
        while resting() {
            std::thread::yield_now();
        }
        drop(awake);
        assert_eq!(ticker.state.runs.load(Ordering::SeqCst), 0);
        let state = Arc::clone(&ticker.state);
        drop(ticker);
        while Arc::strong_count(&state) > 1 {
            std::thread::yield_now();
        }
    }
}
