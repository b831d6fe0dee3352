//! Settings of `[reload]`.

use serde::Deserialize;

/// When the configuration is read again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How often the files of the configuration are looked at, in milliseconds; 0: never.
    pub watch_ms: u64,
}

impl Settings {
    /// Holds every number against its bounds; else the field and what was expected.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        match self.watch_ms {
            0 | 100..=3_600_000 => Ok(()),
            found => Err(("watch_ms", format!("found {found}, expected 0 or 100 to 3600000"))),
        }
    }
}
