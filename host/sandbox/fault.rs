//! Faults: a guest that failed, sorted by what stopped it.

use std::fmt;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::limits::REASON_BYTES;
use crate::text;

/// The six phases of the contract, and the two moments before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The instance is made; start functions run.
    Start,
    /// `plugin.describe`.
    Describe,
    /// `phases.prepare`.
    Prepare,
    /// `phases.check`.
    Check,
    /// `phases.next-state`.
    NextState,
    /// `phases.action`.
    Action,
    /// `phases.save`.
    Save,
    /// `phases.after`.
    After,
}

impl Phase {
    /// The name in the contract; also part of event ids, so it never changes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Describe => "describe",
            Self::Prepare => "prepare",
            Self::Check => "check",
            Self::NextState => "next-state",
            Self::Action => "action",
            Self::Save => "save",
            Self::After => "after",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What stopped a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// It burned the fuel of the phase.
    Fuel,
    /// It asked for more memory or table elements than it may have.
    Memory,
    /// It was still running at the end of the phase's wall time.
    Deadline,
    /// It trapped by itself: `unreachable`, a panic, a stack overflow, a bad memory access.
    Trap,
    /// It broke the contract: bytes that are no text, an import called where there is no run, an
    /// answer that means nothing.
    Contract,
    /// It went on after its quota was used up, or handed over too much in one call.
    Quota,
    /// It asked an endpoint for something else than the run before it did, under the same name.
    Differs,
    /// The host failed, not the guest.
    Host,
}

impl FaultKind {
    /// The stable code, such as `sandbox.fuel`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Fuel => "sandbox.fuel",
            Self::Memory => "sandbox.memory",
            Self::Deadline => "sandbox.deadline",
            Self::Trap => "sandbox.trap",
            Self::Contract => "sandbox.contract",
            Self::Quota => "sandbox.quota",
            Self::Differs => "calls.differs",
            Self::Host => "sandbox.host",
        }
    }
}

/// A guest that failed, or, for [`FaultKind::Host`], a host that failed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} in {phase} after {fuel_used} fuel: {message}", kind.code())]
pub struct Fault {
    /// What stopped it.
    pub kind: FaultKind,
    /// Where.
    pub phase: Phase,
    /// Fuel burned in that phase. Not exact where the guest was cut off by time.
    pub fuel_used: u64,
    /// For the author: what was found. At most about 1 KiB, control characters escaped.
    pub message: String,
}

/// Why the host stops a guest from within an import or a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Halt {
    #[error("used up its {0} ms")]
    Deadline(u32),
    #[error("asked for {asked} bytes of memory, limit is {limit}")]
    Memory { asked: usize, limit: usize },
    #[error("asked for a table of {asked} elements, limit is {limit}")]
    Table { asked: usize, limit: usize },
    #[error("went on for {0} calls after its quota was used up")]
    Quota(u32),
    #[error("{0}")]
    Contract(String),
    #[error("{0}")]
    Differs(String),
    #[error("{0}")]
    Host(String),
}

impl Halt {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Deadline(_) => FaultKind::Deadline,
            Self::Memory { .. } | Self::Table { .. } => FaultKind::Memory,
            Self::Quota(_) => FaultKind::Quota,
            Self::Contract(_) => FaultKind::Contract,
            Self::Differs(_) => FaultKind::Differs,
            Self::Host(_) => FaultKind::Host,
        }
    }
}

/// Sorts what came out of the engine into kind and message. The only place that does.
pub(crate) fn sort(error: &wasmtime::Error) -> (FaultKind, String) {
    let (kind, cause) = if let Some(halt) = error.downcast_ref::<Halt>() {
        (halt.kind(), halt.to_string())
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        (trap_kind(*trap), trap.to_string())
    } else if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        (FaultKind::Host, full.to_string())
    } else {
        let cause = error.root_cause().to_string();
        (untyped_kind(&cause), cause)
    };
    let mut message = cause;
    if let Some(trace) = error.downcast_ref::<WasmBacktrace>() {
        append_frames(&mut message, trace);
    }
    (kind, text::printable(&message, REASON_BYTES))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the engine's enum is open")]
fn trap_kind(trap: Trap) -> FaultKind {
    match trap {
        Trap::OutOfFuel => FaultKind::Fuel,
        Trap::Interrupt => FaultKind::Deadline,
        Trap::StringOutOfBounds
        | Trap::ListOutOfBounds
        | Trap::InvalidDiscriminant
        | Trap::InvalidChar
        | Trap::UnalignedPointer
        | Trap::CannotEnterComponent
        | Trap::CannotLeaveComponent => FaultKind::Contract,
        _ => FaultKind::Trap,
    }
}

/// The engine has no public type for these; the texts are pinned by the tests with hostile guests.
fn untyped_kind(cause: &str) -> FaultKind {
    if cause.starts_with("too much data is being copied") || cause.contains("handle limit exceeded")
    {
        FaultKind::Quota
    } else {
        FaultKind::Contract
    }
}

/// Names the innermost functions, so that the author knows where to look.
fn append_frames(message: &mut String, trace: &WasmBacktrace) {
    let names = trace.frames().iter().filter_map(|frame| frame.func_name()).take(FRAMES_SHOWN);
    for (index, name) in names.enumerate() {
        message.push_str(if index == 0 { ", in " } else { " < " });
        message.push_str(name);
    }
}

const FRAMES_SHOWN: usize = 6;
