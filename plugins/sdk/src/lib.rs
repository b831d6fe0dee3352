//! Write Callgate processors in Rust: one trait, one macro, native tests.
//!
//! Implement [`Processor`], name it in [`export!`](crate::export), and test it natively with
//! [`testing::House`]. The phases are given only what they may use: [`Exchange`] speaks of the
//! notification in hand, [`Documents`] reads, [`Draft`] stages, [`Events`] is what `after` has.
//!
//! Reading order: `processor` is the trait, `exchange` and `staging` what its phases are given,
//! `error` how a phase stops; `descriptor`, `document`, `event`, `http` and `money` are the plain values;
//! `testing` is a host in memory; `host` and `guest` tie the two worlds together; `heap` and
//! `guest_memory` are where a guest's values live.

mod processor;

mod exchange;

mod staging;

mod error;

mod descriptor;

mod document;

mod event;

mod http;

mod money;

mod json;

mod host;

#[cfg(any(test, all(target_arch = "wasm32", feature = "memory")))]
mod heap;

#[cfg(all(target_arch = "wasm32", feature = "memory"))]
#[allow(unsafe_code, reason = "an allocator cannot be written without; its head has the proof")]
mod guest_memory;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;

#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use descriptor::{Commit, Descriptor, Preparation, Route, Transition};
pub use document::{Document, DocumentRef, State};
pub use error::{Denial, PhaseError, PhaseResult};
pub use event::Event;
pub use exchange::{Config, Exchange, Level, Mode};
pub use http::{Content, HttpError, Method, Request, Response};
pub use money::{Money, MoneyError};
pub use processor::Processor;
pub use serde;
pub use serde_json;
pub use staging::{Documents, Draft, Events};

/// Makes a [`Processor`] the processor of this plugin. Once per crate; natively it does nothing.
#[macro_export]
macro_rules! export {
    ($processor:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod callgate_guest {
            #[allow(unused_imports, reason = "the processor may be named by a path")]
            use super::*;
            type CallgateGuest = $crate::guest::Guest<$processor>;
            $crate::guest::export_guest!(CallgateGuest with_types_in $crate::guest::bindings);
        }
    };
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
