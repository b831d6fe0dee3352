//! What a front end hears when it does not hear where its order stands.
//!
//! Who has no valid token for an order learns nothing about it, nor whether it exists.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// Why a front end is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Neither header nor parameter carries a token.
    TokenMissing,
    /// What is there is not of a token's form, or there are two.
    TokenMalformed,
    /// No key of the business has signed it.
    TokenSignature,
    /// Its time is over.
    TokenExpired,
    /// It lives longer than tokens may.
    TokenLifetime,
    /// It is for another order.
    TokenOrder,
    /// The token is good, and there is no such order.
    UnknownOrder,
    /// A parameter of the request is not of its form.
    Query,
    /// Too many wait already: in all, for the order, or with the token.
    Busy,
    /// Nothing is answered at this address.
    NoSuchPlace,
    /// The store cannot answer now.
    Unavailable,
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.parts().1
    }

    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::TokenMissing => (
                StatusCode::UNAUTHORIZED,
                "status.token-missing",
                "expected a token of this order: `Authorization: Bearer` or the parameter `token`",
            ),
            Self::TokenMalformed => (
                StatusCode::UNAUTHORIZED,
                "status.token-malformed",
                "expected one token of the form cgs1.KEY.PAYLOAD.SIGNATURE",
            ),
            Self::TokenSignature => (
                StatusCode::UNAUTHORIZED,
                "status.token-signature",
                "the token is not signed with a key of this business",
            ),
            Self::TokenExpired => {
                (StatusCode::UNAUTHORIZED, "status.token-expired", "the token has expired")
            }
            Self::TokenLifetime => (
                StatusCode::UNAUTHORIZED,
                "status.token-lifetime",
                "the token expires later than status.token_max_s allows",
            ),
            Self::TokenOrder => {
                (StatusCode::FORBIDDEN, "status.token-order", "the token is for another order")
            }
            Self::UnknownOrder => {
                (StatusCode::NOT_FOUND, "status.unknown-order", "no such order is registered")
            }
            Self::Query => (
                StatusCode::BAD_REQUEST,
                "status.query",
                "expected wait such as 20s, version as a number, each at most once",
            ),
            Self::Busy => (
                StatusCode::TOO_MANY_REQUESTS,
                "status.busy",
                "too many wait already; ask without waiting, or later",
            ),
            Self::NoSuchPlace => {
                (StatusCode::NOT_FOUND, "status.no-such-place", "nothing is answered here")
            }
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "store.unavailable",
                "the store cannot answer now; try again",
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = self.parts();
        let body = Json(json!({ "error": { "code": code, "message": message } }));
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self, Self::Busy | Self::Unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
