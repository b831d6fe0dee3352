//! What an operator can set.

use std::fmt;

use serde::Deserialize;

use crate::error::StoreError;

/// Settings of the store.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `sqlite://path/to/file` or `postgres://user@host/database`. May hold a password: never
    /// logged.
    pub url: String,
    /// How many operations at most share one commit, 1 to 1024.
    pub group_max: usize,
    /// How many bytes of operations at most share one commit, 64 KiB to 1 GiB. One that is larger
    /// by itself is committed alone.
    pub group_bytes_max: usize,
    /// How many operations may wait for the writer before callers wait too, 1 to 65536.
    pub queue_max: usize,
    /// How many bytes of operations may wait for the writer, the commit under way included, before
    /// callers wait too; `group_bytes_max` to 1 GiB.
    pub queue_bytes_max: usize,
    /// Connections for reading, 1 to 64.
    pub readers: u32,
    /// How long an unfinished notification can hold up later ones of its order while it waits
    /// for its next attempt, in milliseconds since it was received.
    pub order_block_ms: i64,
    /// How long to wait for a connection or for another writer's lock, in milliseconds. Below
    /// the five seconds after which gateways give up.
    pub wait_ms: u32,
}

impl fmt::Debug for Settings {
    /// Leaves the URL out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("group_max", &self.group_max)
            .field("group_bytes_max", &self.group_bytes_max)
            .field("queue_max", &self.queue_max)
            .field("queue_bytes_max", &self.queue_bytes_max)
            .field("readers", &self.readers)
            .field("order_block_ms", &self.order_block_ms)
            .field("wait_ms", &self.wait_ms)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "sqlite://callgate.db".to_owned(),
            group_max: 256,
            group_bytes_max: 8 * 1024 * 1024,
            queue_max: 4096,
            queue_bytes_max: 64 * 1024 * 1024,
            readers: 4,
            order_block_ms: 30_000,
            wait_ms: 3_000,
        }
    }
}

impl Settings {
    /// Holds every number against its bounds.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let within = |field, value: u64, from: u64, to: u64| {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            let problem = format!("found {value}, expected {from} to {to}");
            Err(StoreError::Settings { field, problem })
        };
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        within("group_max", wide(self.group_max), 1, 1024)?;
        within("queue_max", wide(self.queue_max), 1, 65_536)?;
        let group_bytes = wide(self.group_bytes_max);
        within("group_bytes_max", group_bytes, GROUP_BYTES_LEAST, BYTES_MOST)?;
        within("queue_bytes_max", wide(self.queue_bytes_max), group_bytes, BYTES_MOST)?;
        within("readers", u64::from(self.readers), 1, 64)?;
        let block = u64::try_from(self.order_block_ms).unwrap_or(u64::MAX);
        within("order_block_ms", block, 0, 86_400_000)?;
        within("wait_ms", u64::from(self.wait_ms), 1, 60_000)
    }
}

/// Bytes of one commit, at least: enough for any callback of the default size.
const GROUP_BYTES_LEAST: u64 = 65_536;

/// Bytes of one commit and of the line, at most.
const BYTES_MOST: u64 = 1_073_741_824;

#[cfg(test)]
mod tests {
    use super::Settings;

    fn check(change: impl FnOnce(&mut Settings), field: Option<&str>) {
        let mut settings = Settings::default();
        change(&mut settings);
        let found = settings.check().err().map(|error| error.to_string());
        match (found, field) {
            (None, None) => {}
            (Some(found), Some(field)) => assert!(found.contains(field), "{found}"),
            (found, field) => panic!("{found:?}, expected {field:?}"),
        }
    }

    #[test]
    fn numbers_outside_their_bounds_are_named() {
        check(|_| {}, None);
        check(|settings| settings.group_max = 1, None);
        check(|settings| settings.group_max = 0, Some("store.group_max"));
        check(|settings| settings.group_max = 1025, Some("store.group_max"));
        check(|settings| settings.queue_max = 0, Some("store.queue_max"));
        check(|settings| settings.group_bytes_max = 65_536, None);
        check(|settings| settings.group_bytes_max = 65_535, Some("store.group_bytes_max"));
        check(|settings| settings.queue_bytes_max = 8_388_608, None);
        check(|settings| settings.queue_bytes_max = 8_388_607, Some("store.queue_bytes_max"));
        check(|settings| settings.readers = 0, Some("store.readers"));
        check(|settings| settings.order_block_ms = 0, None);
        check(|settings| settings.order_block_ms = -1, Some("store.order_block_ms"));
        check(|settings| settings.wait_ms = 0, Some("store.wait_ms"));
    }
}
