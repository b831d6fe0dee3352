//! Who takes a verified callback in.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use callgate_core::time::Timestamp;
use callgate_store::{Callback, Receipt, Store, StoreError};

/// A callback on its way to the disk.
pub type Taken<'a> = Pin<Box<dyn Future<Output = Result<Receipt, StoreError>> + Send + 'a>>;

/// Takes verified callbacks in.
pub trait Taking: Debug + Send + Sync {
    /// Stores a callback. Whoever has the receipt may tell the gateway: it is on disk. An error
    /// says that nothing was stored, and that the gateway must send it again.
    fn take(&self, callback: Callback, now: Timestamp) -> Taken<'_>;
}

/// As it comes, to be worked on by whoever claims it.
impl Taking for Store {
    fn take(&self, callback: Callback, now: Timestamp) -> Taken<'_> {
        Box::pin(self.accept(callback, now))
    }
}
