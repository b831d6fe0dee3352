//! The imports of the contract: phase, syntax, grant and quota are checked here, in this order,
//! before anything is staged or asked of the outside.
//!
//! An import that can refuse answers an error that the guest can act on; one that cannot refuse
//! (a plain reader of the notification) answers in spite of a used-up quota and is stopped later.

mod config;
mod documents;
mod events;
mod exchange;
mod http;
mod log;

use crate::bindings::callgate::processor::{clock, types};
use crate::fault::Halt;
use crate::state::{Run, RunState};

/// Why an import refuses.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Denied(String),
    Quota(String),
    Invalid(String),
    Unavailable(String),
    /// Not told to the guest: it is stopped.
    Halt(Halt),
}

impl From<Halt> for Refusal {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<crate::json::BadJson> for Refusal {
    fn from(bad: crate::json::BadJson) -> Self {
        Self::Invalid(bad.to_string())
    }
}

impl RunState {
    /// Answers a plain reader.
    fn fact<T>(
        &mut self,
        import: &'static str,
        read: impl FnOnce(&mut Run) -> T,
    ) -> wasmtime::Result<T> {
        let run = self.run(import)?;
        let fact = read(run);
        if !self.meter.call(&self.terms.limits) {
            self.meter.refused()?;
        }
        Ok(fact)
    }

    /// Counts the call of an import that can refuse.
    fn admit(&mut self) -> Result<(), Refusal> {
        if self.meter.call(&self.terms.limits) {
            return Ok(());
        }
        let limit = self.terms.limits.host_calls;
        Err(Refusal::Quota(format!("more than {limit} calls in this run")))
    }

    /// Tells the guest, or stops it where it was told too often.
    fn answer<T, E: From<Refusal>>(
        &mut self,
        outcome: Result<T, Refusal>,
    ) -> wasmtime::Result<Result<T, E>> {
        match outcome {
            Ok(value) => Ok(Ok(value)),
            Err(Refusal::Halt(halt)) => Err(halt.into()),
            Err(refusal) => {
                if matches!(refusal, Refusal::Quota(_)) {
                    self.meter.refused()?;
                }
                Ok(Err(refusal.into()))
            }
        }
    }
}

impl types::Host for RunState {}

impl clock::Host for RunState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.fact("clock.now", |run| run.now_ms())
    }

    fn new_id(&mut self) -> wasmtime::Result<String> {
        let phase = self.phase;
        self.fact("clock.new-id", |run| run.next_id(phase))
    }
}
