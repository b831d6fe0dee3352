//! Documents, as the host's store has them, and the states they are in.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::PhaseResult;
use crate::json;

/// A state of a document, such as `TO_BE_PAID`: 1 to 64 of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct State(Cow<'static, str>);

impl State {
    /// Names a state that the processor knows, usually in a constant.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The state as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for State {
    fn from(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one document of the host's store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DocumentRef {
    /// A collection that the host's configuration grants the plugin, such as `ledger`.
    pub collection: String,
    /// The key inside the collection, at most 256 bytes.
    pub key: String,
}

impl DocumentRef {
    /// Names a document.
    #[must_use]
    pub fn new(collection: impl Into<String>, key: impl Into<String>) -> Self {
        Self { collection: collection.into(), key: key.into() }
    }
}

/// A document as the run sees it: the store at the start of the run, plus its own staged writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where it is.
    pub place: DocumentRef,
    /// Grows by one with each committed write.
    pub version: u64,
    /// The state that the host keeps for it; none for a document without a state machine.
    pub state: Option<State>,
    /// The content, a JSON text.
    pub text: String,
    /// When it was last written, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

impl Document {
    /// Reads the content.
    ///
    /// # Errors
    /// Rejects with `document-unreadable` where the content has another form.
    pub fn body<T: DeserializeOwned>(&self) -> PhaseResult<T> {
        json::read("document-unreadable", &self.text)
    }
}
