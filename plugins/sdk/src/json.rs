//! JSON at the border: what the host's texts become, and how a mismatch is told.
//!
//! The messages name place and line, never the content: it may be personal data.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{PhaseError, PhaseResult};

/// Reads a JSON text of the host's.
pub(crate) fn read<T: DeserializeOwned>(code: &'static str, text: &str) -> PhaseResult<T> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let kind = match error.classify() {
            serde_json::error::Category::Io => "cannot be read",
            serde_json::error::Category::Syntax => "is not a JSON text",
            serde_json::error::Category::Data => "has another form than expected",
            serde_json::error::Category::Eof => "ends early",
        };
        PhaseError::reject(code, format!("it {kind} at line {line}, column {column}"))
    })
}

/// Writes a JSON text for the host.
pub(crate) fn write<T: Serialize + ?Sized>(code: &'static str, value: &T) -> PhaseResult<String> {
    serde_json::to_string(value)
        .map_err(|_| PhaseError::reject(code, "the value has no form in JSON"))
}

/// Reads an optional text: an empty one is none.
pub(crate) fn read_optional<T: DeserializeOwned>(
    code: &'static str,
    text: &str,
) -> PhaseResult<Option<T>> {
    if text.is_empty() { Ok(None) } else { read(code, text).map(Some) }
}
