//! How much an answer of the host takes with it into the guest.

use crate::bindings::callgate::processor::exchange::{Phase, RunMode};
use crate::bindings::callgate::processor::types::{Document, Money};

/// Bytes of texts, beside a few for everything else.
pub(super) trait Size {
    fn size(&self) -> usize;
}

impl Size for String {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Size for u32 {
    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

impl Size for u64 {
    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

impl Size for RunMode {
    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

impl Size for Phase {
    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

impl Size for Money {
    fn size(&self) -> usize {
        size_of::<i64>().saturating_add(self.currency.len())
    }
}

impl Size for Document {
    fn size(&self) -> usize {
        let name = self.ref_.collection.len().saturating_add(self.ref_.key.len());
        name.saturating_add(self.state.len()).saturating_add(self.body.len())
    }
}

impl<T: Size> Size for Option<T> {
    fn size(&self) -> usize {
        self.as_ref().map_or(1, Size::size)
    }
}

impl<T: Size> Size for Vec<T> {
    fn size(&self) -> usize {
        self.iter().fold(0, |sum, one| sum.saturating_add(one.size()))
    }
}

impl<T: Size, E> Size for Result<T, E> {
    fn size(&self) -> usize {
        self.as_ref().map_or(1, Size::size)
    }
}
