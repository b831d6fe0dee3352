//! Where an order stands, as front ends are told: made once for everybody who waits.

use axum::response::{IntoResponse, Response};
use callgate_store::Standing;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Bytes;
use serde_json::json;

/// One version of an order, in the words for front ends.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) standing: Standing,
    json: Bytes,
    /// The same as an event of a stream.
    pub(super) event: Bytes,
}

impl Told {
    pub(super) fn of(standing: Standing) -> Self {
        let json = json!({
            "order_no": standing.order_no,
            "state": standing.state,
            "version": standing.version,
            "updated_at_ms": standing.updated_at.as_ms(),
        })
        .to_string();
        // JSON of this kind has no line break, so it is one line of the event.
        let event = format!("id: {}\nevent: status\ndata: {json}\n\n", standing.version);
        Self { standing, json: json.into(), event: event.into() }
    }

    pub(super) fn version(&self) -> i64 {
        self.standing.version
    }

    /// The whole answer, or that nothing changed, where the client says that it has this version
    /// by its tag.
    pub(super) fn answer(&self, known: &Known) -> Response {
        let mut response = if known.has_tag(self.version()) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let json = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, json)], self.json.clone()).into_response()
        };
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", self.version())) {
            headers.insert(header::ETAG, tag);
        }
        guard(headers);
        response
    }
}

/// What every answer says of itself: nobody keeps it, nobody guesses its kind.
pub(super) fn guard(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// The versions that a client says it has.
#[derive(Debug, Default)]
pub(super) struct Known {
    version: Option<i64>,
    tags: Vec<i64>,
    any: bool,
}

impl Known {
    /// From the parameter `version`, and from `If-None-Match`.
    pub(super) fn new(version: Option<i64>, headers: &HeaderMap) -> Self {
        let mut known = Self { version, ..Self::default() };
        for value in headers.get_all(header::IF_NONE_MATCH) {
            for tag in value.to_str().unwrap_or_default().split(',').take(TAGS_MAX) {
                let tag = tag.trim();
                known.any |= tag == "*";
                let quoted = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"');
                let number = quoted.and_then(|tag| tag.strip_suffix('"')?.parse::<i64>().ok());
                known.tags.extend(number);
            }
        }
        known
    }

    fn has_tag(&self, version: i64) -> bool {
        self.any || self.tags.contains(&version)
    }

    /// Whether this version would be no news.
    pub(super) fn has(&self, version: i64) -> bool {
        self.version == Some(version) || self.has_tag(version)
    }
}

/// Tags of one header that are looked at.
const TAGS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;
    use callgate_store::Standing;
    use http::{HeaderMap, StatusCode};

    use super::{Known, Told};

    fn known(version: Option<i64>, tags: &'static str) -> Known {
        let mut headers = HeaderMap::new();
        headers.insert("if-none-match", tags.parse().expect("a value"));
        Known::new(version, &headers)
    }

    fn told() -> Told {
        Told::of(Standing {
            business: "SHOP".to_owned(),
            order_no: "N\n1".to_owned(),
            state: "PAID".to_owned(),
            version: 7,
            updated_at: Timestamp::from_ms(5),
        })
    }

    #[test]
    fn a_tag_that_fits_is_answered_with_304_and_a_number_with_the_whole() {
        for (known, status) in [
            (known(None, "\"7\""), StatusCode::NOT_MODIFIED),
            (known(None, "\"3\", W/\"7\""), StatusCode::NOT_MODIFIED),
            (known(None, "*"), StatusCode::NOT_MODIFIED),
            (known(Some(7), "\"6\""), StatusCode::OK),
            (known(None, "7, \"\", \"x\", W/"), StatusCode::OK),
        ] {
            let answer = told().answer(&known);
            assert_eq!(answer.status(), status, "{known:?}");
            assert_eq!(answer.headers()["etag"], "\"7\"");
        }
        assert!(known(Some(7), "").has(7) && !known(Some(7), "").has(8));
    }

    #[test]
    fn an_event_is_three_lines_whatever_the_order_is_called() {
        let event = String::from_utf8(told().event.to_vec()).expect("UTF-8");
        let lines: Vec<&str> = event.lines().collect();
        assert_eq!((lines[0], lines[1], lines.len()), ("id: 7", "event: status", 4));
        assert!(lines[2].starts_with("data: {") && lines[3].is_empty(), "{event}");
    }
}
