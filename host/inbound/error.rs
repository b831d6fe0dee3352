//! The one place where an error becomes a status code.

use axum::Json;
use axum::response::{IntoResponse, Response};
use callgate_store::StoreError;
use http::StatusCode;
use serde_json::json;

/// What a caller of the private listener hears when a call does not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// No token, or one that does not open this door.
    Unauthorized,
    /// No such thing, or not for this token.
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// A field breaks a rule.
    Field {
        /// The field, with dots.
        field: String,
        /// The rule, and what was found.
        rule: String,
    },
    /// Something else stands there already.
    Conflict {
        /// The field that differs.
        field: String,
        /// What is stored, and what was sent.
        rule: String,
    },
    /// A field of an operator's call breaks a rule.
    Asked {
        /// The field, with dots.
        field: String,
        /// The rule, and what was found.
        rule: String,
    },
    /// An operator's act makes no sense where things stand.
    State {
        /// How they stand, and what the act wants.
        rule: String,
    },
    /// A plugin is not let in.
    Refused {
        /// The stable code.
        code: &'static str,
        /// For its author.
        text: String,
    },
    /// The business has no key that signs tokens of front ends.
    NoStatusKey,
    /// The body is longer than the listener takes.
    TooLarge,
    /// The body did not come whole and in time.
    Incomplete,
    /// The store cannot answer now.
    Unavailable,
}

impl Problem {
    /// Makes a broken rule of a field.
    pub(super) fn field(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Field { field: field.into(), rule: rule.into() }
    }

    /// Makes a broken rule of a field of an operator's call.
    pub(super) fn asked(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Asked { field: field.into(), rule: rule.into() }
    }

    fn parts(&self) -> (StatusCode, &'static str, Option<&str>, String) {
        match self {
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "private.unauthorized",
                None,
                "expected `Authorization: Bearer` with a token of this business or an operator"
                    .to_owned(),
            ),
            Self::NotFound { what } => {
                (StatusCode::NOT_FOUND, "private.not-found", None, format!("no such {what}"))
            }
            Self::Field { field, rule } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "order.field",
                Some(field),
                format!("{field}: {rule}"),
            ),
            Self::Conflict { field, rule } => {
                (StatusCode::CONFLICT, "order.conflict", Some(field), format!("{field}: {rule}"))
            }
            Self::Asked { field, rule } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "operator.field",
                Some(field),
                format!("{field}: {rule}"),
            ),
            Self::State { rule } => (StatusCode::CONFLICT, "operator.state", None, rule.clone()),
            Self::Refused { code, text } => {
                (StatusCode::UNPROCESSABLE_ENTITY, code, None, text.clone())
            }
            Self::NoStatusKey => (
                StatusCode::CONFLICT,
                "status.no-key",
                None,
                "this business has no key for tokens: configure [[businesses.NAME.status.keys]]"
                    .to_owned(),
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "private.too-large",
                None,
                "the body is longer than private.body_bytes_max, or a component than \
                 sandbox.component_bytes_max"
                    .to_owned(),
            ),
            Self::Incomplete => (
                StatusCode::REQUEST_TIMEOUT,
                "private.incomplete",
                None,
                "the body did not come whole and in time".to_owned(),
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "store.unavailable",
                None,
                "the store cannot answer now; nothing was changed, try again".to_owned(),
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, field, message) = self.parts();
        let mut error = json!({ "code": code, "message": message });
        if let (Some(field), Some(object)) = (field, error.as_object_mut()) {
            object.insert("field".to_owned(), field.into());
        }
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, code = error.code(), "the store failed a call");
        Self::Unavailable
    }
}
