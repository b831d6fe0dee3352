//! What a run has used of its limits.

use wasmtime::ResourceLimiter;

use crate::fault::Halt;
use crate::limits::{Limits, OVER_QUOTA_CALLS};

/// Counts what the imports of one run were asked for.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) host_calls: u32,
    pub(crate) bytes_in: usize,
    pub(crate) bytes_out: usize,
    pub(crate) log_lines: u32,
    pub(crate) log_bytes: usize,
    pub(crate) log_lines_dropped: u32,
    pub(crate) documents_read: usize,
    pub(crate) documents_read_bytes: usize,
    pub(crate) events_bytes: usize,
    pub(crate) http_requests: u32,
    over_quota: u32,
}

impl Meter {
    /// Counts one call of an import; false where the run has none left.
    pub(crate) fn call(&mut self, limits: &Limits) -> bool {
        self.host_calls = self.host_calls.saturating_add(1);
        self.host_calls <= limits.host_calls
    }

    /// Counts what a call hands to the host; false where the run may hand over no more.
    pub(crate) fn take_in(&mut self, bytes: usize, limits: &Limits) -> bool {
        self.bytes_in = self.bytes_in.saturating_add(bytes);
        self.bytes_in <= limits.bytes_in
    }

    /// Counts what a call answers with; false where the run may get no more.
    pub(crate) fn hand_out(&mut self, bytes: usize, limits: &Limits) -> bool {
        self.bytes_out = self.bytes_out.saturating_add(bytes);
        self.bytes_out <= limits.bytes_out
    }

    /// Counts one call that a quota has refused.
    ///
    /// # Errors
    /// [`Halt::Quota`] for a guest that does not take no for an answer.
    pub(crate) fn refused(&mut self) -> Result<(), Halt> {
        self.over_quota = self.over_quota.saturating_add(1);
        if self.over_quota > OVER_QUOTA_CALLS {
            return Err(Halt::Quota(OVER_QUOTA_CALLS));
        }
        Ok(())
    }
}

/// Holds one store to its memory, all linear memories together, and to its tables.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    bytes_max: usize,
    memories_max: usize,
    elements_max: usize,
    tables_max: usize,
    instances_max: usize,
    bytes: usize,
}

impl MemoryMeter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            bytes_max: limits.memory_bytes,
            memories_max: limits.memories,
            elements_max: limits.table_elements,
            tables_max: limits.tables,
            instances_max: limits.instances,
            bytes: 0,
        }
    }

    /// Bytes held. Memory never shrinks during a run, so this is also the most ever held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let asked = self.bytes.saturating_add(desired.saturating_sub(current));
        if asked > self.bytes_max {
            return Err(Halt::Memory { asked, limit: self.bytes_max }.into());
        }
        self.bytes = asked;
        Ok(true)
    }

    /// What the limit allows and the machine refuses ends the run as well: a guest that goes on
    /// with less memory would make a replay differ.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(Halt::Host(format!("memory could not grow: {error}")).into())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.elements_max {
            return Err(Halt::Table { asked: desired, limit: self.elements_max }.into());
        }
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(Halt::Host(format!("table could not grow: {error}")).into())
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        self.tables_max
    }

    fn memories(&self) -> usize {
        self.memories_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_be_refused_a_hundred_times_and_no_more() {
        let mut meter = Meter::default();
        for _ in 0..OVER_QUOTA_CALLS {
            assert_eq!(meter.refused(), Ok(()));
        }
        assert_eq!(meter.refused(), Err(Halt::Quota(OVER_QUOTA_CALLS)));
    }

    #[test]
    fn all_memories_together_stay_within_the_limit() {
        let limits = Limits { memory_bytes: 300, ..Limits::default() };
        let mut meter = MemoryMeter::new(&limits);
        assert!(meter.memory_growing(0, 100, None).unwrap());
        assert!(meter.memory_growing(0, 100, None).unwrap());
        assert!(meter.memory_growing(100, 200, None).unwrap());
        assert!(meter.memory_growing(200, 201, None).is_err());
        assert_eq!(meter.bytes(), 300);
    }
}
