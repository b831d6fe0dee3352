//! What the writer did: groups, operations and statements, so that their ratio can be watched.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a store's writer has committed since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Transactions.
    pub groups: u64,
    /// Callbacks, registrations, settlements, claims and removals in them.
    pub operations: u64,
    /// Statements sent for them, the beginning and the commit of each transaction included.
    pub statements: u64,
}

/// The running counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    groups: AtomicU64,
    operations: AtomicU64,
    statements: AtomicU64,
}

impl Counts {
    pub(crate) fn add(&self, operations: usize, statements: u64) {
        let operations = u64::try_from(operations).unwrap_or(u64::MAX);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.operations.fetch_add(operations, Ordering::Relaxed);
        self.statements.fetch_add(statements, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Tally {
        Tally {
            groups: self.groups.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
            statements: self.statements.load(Ordering::Relaxed),
        }
    }
}
