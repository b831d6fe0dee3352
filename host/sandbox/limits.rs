//! What one plugin may use: every limit has a name, a unit and a default.

use serde::{Deserialize, Serialize};

use crate::fault::Phase;

/// The limits of one plugin.
///
/// "A run" is the five phases of one notification, or the `after` phase alone. Going over a limit
/// of the machine (fuel, time, memory) stops the guest at once. Going over a quota of the imports
/// answers `quota` to the guest, and a guest that goes on in spite of that is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Runs at once; 0 for a quarter of the engine's workers. Held by the host, not by the sandbox.
    pub concurrency: u32,
    /// Fuel of each phase: about one unit per instruction. The same run burns the same fuel
    /// everywhere. A real processor burns 0.1 to 0.7 million in a whole run.
    pub fuel: u64,
    /// Fuel of `describe`, its instance included.
    pub describe_fuel: u64,
    /// Wall time for making the instance, in milliseconds. Start functions run there.
    pub start_ms: u32,
    /// Wall time of `describe`, in milliseconds.
    pub describe_ms: u32,
    /// Wall time of `prepare`, in milliseconds.
    pub prepare_ms: u32,
    /// Wall time of `check`, in milliseconds.
    pub check_ms: u32,
    /// Wall time of `next-state`, in milliseconds.
    pub next_state_ms: u32,
    /// Wall time of `action`, in milliseconds.
    pub action_ms: u32,
    /// Wall time of `save`, in milliseconds.
    pub save_ms: u32,
    /// Wall time of `after`, in milliseconds.
    pub after_ms: u32,
    /// How long a run may wait for the document store in all, in milliseconds. Waiting does not
    /// count as wall time of the phase: a slow database is not the guest's fault.
    pub outside_ms: u32,
    /// How long a run may wait for endpoints in all, in milliseconds. Waiting does not count as
    /// wall time of the phase, and the lease grows with each call.
    pub http_ms: u32,
    /// Outgoing requests of a run, those answered from the record included.
    pub http_requests: u32,
    /// Bytes of path, headers and body of one outgoing request.
    pub http_request_bytes: usize,
    /// Bytes of the body of one answer to it.
    pub http_response_bytes: usize,
    /// Memory of a run, in bytes, all linear memories of the component together.
    pub memory_bytes: usize,
    /// Linear memories of a component.
    pub memories: usize,
    /// Elements of each table.
    pub table_elements: usize,
    /// Tables of a component.
    pub tables: usize,
    /// Core instances of a component.
    pub instances: usize,
    /// Component-model handles alive at once.
    pub handles: usize,
    /// Bytes that one call may hand from the guest to the host.
    pub hostcall_bytes: usize,
    /// Bytes that all calls of a run may hand from the guest to the host. A merge counts with the
    /// document that it changes.
    pub bytes_in: usize,
    /// Bytes that all calls of a run may hand from the host to the guest.
    pub bytes_out: usize,
    /// Calls of imports in a run.
    pub host_calls: u32,
    /// Documents that a run may read from the store.
    pub documents_read: usize,
    /// Bytes of the bodies that a run may read from the store.
    pub documents_read_bytes: usize,
    /// Bytes of the bodies that one call may answer with.
    pub answer_bytes: usize,
    /// Documents that a run may stage.
    pub documents_written: usize,
    /// Bytes of the bodies that a run may stage, together.
    pub documents_written_bytes: usize,
    /// Bytes of the body of one staged document.
    pub document_bytes: usize,
    /// Events that a run may stage.
    pub events: usize,
    /// Bytes of key, payload and headers of all staged events.
    pub events_bytes: usize,
    /// Bytes of the payload of one event.
    pub event_payload_bytes: usize,
    /// Log lines of a run; further ones are dropped and counted.
    pub log_lines: u32,
    /// Bytes of all log lines of a run.
    pub log_bytes: usize,
    /// Bytes of the scratch.
    pub scratch_bytes: usize,
    /// Nesting of every JSON text that the guest hands over.
    pub json_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: 0,
            fuel: 20_000_000,
            describe_fuel: 20_000_000,
            start_ms: 50,
            describe_ms: 200,
            prepare_ms: 50,
            check_ms: 50,
            next_state_ms: 50,
            action_ms: 2000,
            save_ms: 100,
            after_ms: 2000,
            outside_ms: 2000,
            http_ms: 10_000,
            http_requests: 20,
            http_request_bytes: 256 << 10,
            http_response_bytes: 256 << 10,
            memory_bytes: 64 << 20,
            memories: 4,
            table_elements: 20_000,
            tables: 8,
            instances: 64,
            handles: 1000,
            hostcall_bytes: 1 << 20,
            bytes_in: 16 << 20,
            bytes_out: 64 << 20,
            host_calls: 10_000,
            documents_read: 200,
            documents_read_bytes: 8 << 20,
            answer_bytes: 4 << 20,
            documents_written: 100,
            documents_written_bytes: 4 << 20,
            document_bytes: 512 << 10,
            events: 100,
            events_bytes: 1 << 20,
            event_payload_bytes: 256 << 10,
            log_lines: 200,
            log_bytes: 256 << 10,
            scratch_bytes: 64 << 10,
            json_depth: 64,
        }
    }
}

impl Limits {
    /// The wall time of a phase, in milliseconds.
    #[must_use]
    pub fn wall_ms(&self, phase: Phase) -> u32 {
        match phase {
            Phase::Start => self.start_ms,
            Phase::Describe => self.describe_ms,
            Phase::Prepare => self.prepare_ms,
            Phase::Check => self.check_ms,
            Phase::NextState => self.next_state_ms,
            Phase::Action => self.action_ms,
            Phase::Save => self.save_ms,
            Phase::After => self.after_ms,
        }
    }

    /// The fuel of a phase.
    #[must_use]
    pub fn fuel_of(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Describe => self.describe_fuel,
            Phase::Start
            | Phase::Prepare
            | Phase::Check
            | Phase::NextState
            | Phase::Action
            | Phase::Save
            | Phase::After => self.fuel,
        }
    }
}

/// Documents that one call may name: `documents.get-many` and the preload of `prepare`.
pub const REFS_PER_CALL: usize = 100;

/// Calls over a quota that a guest may make before it is stopped.
pub const OVER_QUOTA_CALLS: u32 = 100;

/// Bytes of one log line; the rest is cut.
pub const LOG_LINE_BYTES: usize = 8 << 10;

/// Bytes of a text that a guest gives as its reason; the rest is cut.
pub const REASON_BYTES: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn a_limit_that_is_not_named_keeps_its_default() {
        let limits: Limits = serde_json::from_str(r#"{"fuel": 7}"#).unwrap();
        assert_eq!(limits, Limits { fuel: 7, ..Limits::default() });
    }

    #[test]
    fn a_limit_that_does_not_exist_is_refused() {
        let error = serde_json::from_str::<Limits>(r#"{"feul": 7}"#).unwrap_err();
        assert!(error.to_string().contains("feul"), "{error}");
    }
}
