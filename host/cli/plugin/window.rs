//! Words of the command line that name times and values.

use std::path::Path;

use anyhow::Context as _;
use callgate_core::time::Timestamp;
use serde_json::Value;

/// A moment: so long ago (`7d`, `12h`, `30m`, `90s`), or a time such as `2026-11-15T00:00:00Z`.
///
/// # Errors
/// Where it is neither.
pub(super) fn moment(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let ago = UNITS.into_iter().find_map(|(unit, ms)| {
        let count: i64 = text.strip_suffix(unit)?.parse().ok()?;
        (count >= 0).then(|| count.saturating_mul(ms))
    });
    match ago {
        Some(ms) => Ok(now.plus_ms(ms.saturating_neg())),
        None => Timestamp::parse_rfc3339(text).with_context(|| {
            format!("`{text}` is no time, expected 7d, 12h, 30m, 90s or 2026-11-15T00:00:00Z")
        }),
    }
}

/// A processor's configuration from a file.
///
/// # Errors
/// Where it cannot be read or is no JSON object.
pub(super) fn values(file: &Path) -> anyhow::Result<Value> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{shown}"))?;
    let values: Value = serde_json::from_str(&text).with_context(|| format!("{shown}"))?;
    anyhow::ensure!(values.is_object(), "{shown} holds no JSON object");
    Ok(values)
}

const UNITS: [(&str, i64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

#[cfg(test)]
mod tests {
    use callgate_core::time::Timestamp;

    use super::moment;

    #[test]
    fn a_moment_is_a_while_ago_or_a_time() {
        let now = Timestamp::from_ms(1_000_000_000_000);
        let ms = |text: &str| moment(text, now).unwrap().as_ms();
        assert_eq!(ms("7d"), now.as_ms() - 7 * 86_400_000);
        assert_eq!(ms("90s"), now.as_ms() - 90_000);
        assert_eq!(ms("2001-09-09T01:46:40Z"), 1_000_000_000_000);
        for text in ["", "d", "-1d", "7 d", "yesterday", "7w"] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }
}
