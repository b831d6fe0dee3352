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
mod size;

use size::Size;

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
    fn fact<T: Size>(
        &mut self,
        import: &'static str,
        read: impl FnOnce(&mut Run) -> T,
    ) -> wasmtime::Result<T> {
        let run = self.run(import)?;
        let fact = read(run);
        self.note(0, fact.size())?;
        Ok(fact)
    }

    /// Counts the call of an import that cannot refuse, with what it was given and what it answers.
    fn note(&mut self, bytes_in: usize, bytes_out: usize) -> Result<(), Halt> {
        let limits = &self.terms.limits;
        let called = self.meter.call(limits);
        let taken = self.meter.take_in(bytes_in, limits);
        let handed = self.meter.hand_out(bytes_out, limits);
        if called && taken && handed { Ok(()) } else { self.meter.refused() }
    }

    /// Counts the call of an import that can refuse, with what it was given.
    fn admit(&mut self, bytes_in: usize) -> Result<(), Refusal> {
        if !self.meter.call(&self.terms.limits) {
            let limit = self.terms.limits.host_calls;
            return Err(Refusal::Quota(format!("more than {limit} calls in this run")));
        }
        self.take_in(bytes_in)
    }

    fn take_in(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limits = &self.terms.limits;
        if self.meter.take_in(bytes, limits) {
            return Ok(());
        }
        let limit = limits.bytes_in;
        Err(Refusal::Quota(format!("more than {limit} bytes handed over in this run")))
    }

    fn hand_out(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limits = &self.terms.limits;
        if self.meter.hand_out(bytes, limits) {
            return Ok(());
        }
        let limit = limits.bytes_out;
        Err(Refusal::Quota(format!("more than {limit} bytes answered in this run")))
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
