//! What an operator can set of retention.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::StoreError;

/// Settings of retention.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Whether anything is archived and removed at all.
    pub enabled: bool,
    /// The folder of the archive files; it must exist.
    pub archive_dir: PathBuf,
    /// This host in the names of archive files; empty for the machine's name.
    pub host_name: String,
    /// How many whole days after its end a notification keeps its content, 1 to 36500.
    pub age_days: u32,
    /// How many days after its arrival an archived notification's key is forgotten too, 30 to
    /// 36500; 0 for as long as the order lives.
    pub keys_days: u32,
    /// How many whole days after its commit an event that every sink is past stays, 1 to 36500; 0
    /// for ever.
    pub events_days: u32,
    /// Rows of one archive file, 1 to 10,000,000.
    pub file_rows: u32,
    /// Rows of one step, 1 to 1000.
    pub step_rows: u32,
    /// Pause between two steps, in milliseconds.
    pub pause_ms: u32,
    /// How often to look for what has become old enough, in milliseconds.
    pub look_ms: u32,
}

impl RetentionSettings {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let within = |field, value: u32, from: u32, to: u32| {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            let problem = format!("found {value}, expected {from} to {to}");
            Err(StoreError::RetentionSettings { field, problem })
        };
        within("age_days", self.age_days, 1, DAYS_MAX)?;
        if self.keys_days != 0 {
            within("keys_days", self.keys_days, KEYS_DAYS_MIN.max(self.age_days), DAYS_MAX)?;
        }
        within("events_days", self.events_days, 0, DAYS_MAX)?;
        within("file_rows", self.file_rows, 1, 10_000_000)?;
        within("step_rows", self.step_rows, 1, 1_000)?;
        within("pause_ms", self.pause_ms, 0, 60_000)?;
        within("look_ms", self.look_ms, 1_000, 86_400_000)?;
        let wrong = |field, problem: String| StoreError::RetentionSettings { field, problem };
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !(1..=128).contains(&self.host_name.len()) || !self.host_name.chars().all(named) {
            let problem = "expected 1 to 128 characters of A-Z a-z 0-9 - _ .".to_owned();
            return Err(wrong("host_name", problem));
        }
        if !self.archive_dir.is_dir() {
            let problem = format!("folder {} does not exist", self.archive_dir.display());
            return Err(wrong("archive_dir", problem));
        }
        Ok(())
    }
}

/// The name of this machine; for archive files.
#[must_use]
pub fn machine_name() -> String {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    let name: String =
        name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    if name.is_empty() { "host".to_owned() } else { name }
}

/// A hundred years.
const DAYS_MAX: u32 = 36_500;

/// Ten times the longest time that a gateway repeats a message, which is three days (Stripe;
/// WeChat Pay and Alipay give up after about one).
const KEYS_DAYS_MIN: u32 = 30;
