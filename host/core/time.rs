//! Time as a value, and the date formats gateways use.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that many milliseconds after 1970.
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// The moment that many whole seconds after 1970; saturates.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// This moment and some milliseconds; saturates.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment, negative where it is later; saturates.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339 with an offset, such as `2026-11-21T10:00:05+08:00`.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|moment| Self(moment.as_millisecond()))
    }

    /// Reads `yyyyMMddHHmmss` in Beijing time, as WeChat Pay v2 writes `time_end`.
    #[must_use]
    pub fn parse_beijing_compact(text: &str) -> Option<Self> {
        if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Self::from_beijing(DateTime::strptime("%Y%m%d%H%M%S", text).ok()?)
    }

    /// Reads `yyyy-MM-dd HH:mm:ss` with an optional fraction, in Beijing time, as Alipay and the
    /// refund notices of WeChat Pay v2 write it.
    #[must_use]
    pub fn parse_beijing(text: &str) -> Option<Self> {
        if text.len() < 19 {
            return None;
        }
        Self::from_beijing(DateTime::strptime("%Y-%m-%d %H:%M:%S%.f", text).ok()?)
    }

    /// Writes `yyyy-MM-dd HH:mm:ss` in Beijing time.
    #[must_use]
    pub fn format_beijing(self) -> String {
        self.beijing("%Y-%m-%d %H:%M:%S")
    }

    /// Writes `yyyyMMddHHmmss` in Beijing time.
    #[must_use]
    pub fn format_beijing_compact(self) -> String {
        self.beijing("%Y%m%d%H%M%S")
    }

    /// Writes RFC 3339 in Beijing time with seconds, as WeChat Pay v3 does.
    #[must_use]
    pub fn format_beijing_rfc3339(self) -> String {
        self.beijing("%Y-%m-%dT%H:%M:%S+08:00")
    }

    fn beijing(self, format: &str) -> String {
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        moment.to_zoned(TimeZone::fixed(BEIJING)).strftime(format).to_string()
    }

    fn from_beijing(local: DateTime) -> Option<Self> {
        let moment = BEIJING.to_timestamp(local).ok()?;
        Some(Self(moment.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Beijing keeps one offset the whole year.
const BEIJING: Offset = Offset::constant(8);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Timestamp;

    fn check(parsed: Option<Timestamp>, expected: Option<i64>) {
        assert_eq!(parsed.map(Timestamp::as_ms), expected);
    }

    #[test]
    fn the_three_formats_name_the_same_moment() {
        let moment = Some(1_795_226_405_000);
        check(Timestamp::parse_rfc3339("2026-11-21T10:00:05+08:00"), moment);
        check(Timestamp::parse_beijing_compact("20261121100005"), moment);
        check(Timestamp::parse_beijing("2026-11-21 10:00:05"), moment);
    }

    #[test]
    fn a_fraction_of_a_second_is_kept() {
        check(Timestamp::parse_beijing("2026-11-21 10:00:05.299"), Some(1_795_226_405_299));
    }

    #[test]
    fn other_texts_are_no_time() {
        for text in ["", "20261321100005", "2026112110000x", "2026-11-21", "+20261121100005"] {
            check(Timestamp::parse_beijing_compact(text), None);
            check(Timestamp::parse_beijing(text), None);
            check(Timestamp::parse_rfc3339(text), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in 0i64..4_000_000_000) {
            let moment = Timestamp::from_seconds(seconds);
            prop_assert_eq!(Timestamp::parse_beijing(&moment.format_beijing()), Some(moment));
            prop_assert_eq!(
                Timestamp::parse_beijing_compact(&moment.format_beijing_compact()),
                Some(moment)
            );
            prop_assert_eq!(
                Timestamp::parse_rfc3339(&moment.format_beijing_rfc3339()),
                Some(moment)
            );
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,32}") {
            let _ = Timestamp::parse_beijing(&text);
            let _ = Timestamp::parse_beijing_compact(&text);
            let _ = Timestamp::parse_rfc3339(&text);
        }
    }
}
