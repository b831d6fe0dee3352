//! Retention: what finished notifications say is archived to files, then emptied in small steps.
//!
//! One UTC day at a time: first a file is written from reads that hold nobody up, then the rows
//! that stand in it are emptied, a few in each transaction of the writer. The file is read for
//! that, so nothing is removed that it lacks. A crash at any point is mended by beginning anew: a
//! day that has a file is emptied from it before another is written.
//!
//! Reading order: this file, `file` (archive files), `rows` (what is archived), `removal` (the statements that remove).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use callgate_core::time::Timestamp;
use metrics::{counter, histogram};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::error::StoreError;
use crate::store::Store;

pub(crate) mod file;

mod rows;

pub(crate) mod removal;

use file::{ArchiveReader, ArchivedRow, Draft};
use removal::{Removed, What};
use rows::{oldest, page};

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
    /// Rows of one step, 1 to 1000.
    pub step_rows: u32,
    /// Pause between two steps, in milliseconds.
    pub pause_ms: u32,
    /// How often to look for what has become old enough, in milliseconds.
    pub look_ms: u32,
}

impl RetentionSettings {
    fn check(&self) -> Result<(), StoreError> {
        let within = |field, value: u32, from: u32, to: u32| {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            let problem = format!("found {value}, expected {from} to {to}");
            Err(StoreError::RetentionSettings { field, problem })
        };
        within("age_days", self.age_days, 1, 36_500)?;
        if self.keys_days != 0 {
            within("keys_days", self.keys_days, KEYS_DAYS_MIN.max(self.age_days), 36_500)?;
        }
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

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing is old enough: look again later.
    Idle,
    /// Another host does it: look again later.
    Elsewhere,
    /// A day is begun.
    Began,
    /// So many rows were copied towards a file.
    Copied(u64),
    /// A file is on disk under its name; nothing of it is removed yet.
    Archived {
        /// The file.
        file: PathBuf,
        /// Its rows.
        rows: u64,
    },
    /// So many rows were emptied.
    Emptied(u64),
    /// So many keys of archived rows were forgotten.
    Forgotten(u64),
}

/// Retention under way. Dropping it at any point loses nothing.
#[derive(Debug)]
pub struct Retention {
    store: Store,
    settings: RetentionSettings,
    owner: String,
    place: Place,
    /// The day whose files have been emptied from: what is left of it stands in none of them.
    searched: Option<i64>,
}

#[derive(Debug)]
enum Place {
    Looking,
    Copying { draft: Box<Draft>, day: i64, after: (i64, String) },
    Emptying { files: VecDeque<PathBuf>, open: Option<Box<ArchiveReader>>, day: i64 },
}

impl Retention {
    /// Checks the settings. `owner` names this process among all hosts.
    ///
    /// # Errors
    /// [`StoreError::RetentionSettings`] for a wrong one.
    pub fn new(
        store: Store,
        settings: RetentionSettings,
        owner: String,
    ) -> Result<Self, StoreError> {
        settings.check()?;
        Ok(Self { store, settings, owner, place: Place::Looking, searched: None })
    }

    /// Does the next small thing.
    ///
    /// # Errors
    /// [`StoreError::Archive`] where a file cannot be written or read, else as the database
    /// fails. The next step begins anew; nothing was removed that is not archived.
    pub async fn step(&mut self, now: Timestamp) -> Result<Step, StoreError> {
        let started = Instant::now();
        let place = std::mem::replace(&mut self.place, Place::Looking);
        let step = match place {
            Place::Looking => self.look(now).await?,
            Place::Copying { draft, day, after } => self.copy(draft, day, after, now).await?,
            Place::Emptying { files, open, day } => self.empty(files, open, day, now).await?,
        };
        let (act, rows) = match &step {
            Step::Idle | Step::Elsewhere | Step::Began => return Ok(step),
            Step::Copied(rows) => ("copied", *rows),
            Step::Archived { .. } => ("archived", 0),
            Step::Emptied(rows) => ("emptied", *rows),
            Step::Forgotten(rows) => ("forgotten", *rows),
        };
        counter!("callgate_retention_rows_total", "act" => act).increment(rows);
        histogram!("callgate_retention_step_seconds", "act" => act)
            .record(started.elapsed().as_secs_f64());
        Ok(step)
    }

    /// Finds the oldest day that has something to archive.
    async fn look(&mut self, now: Timestamp) -> Result<Step, StoreError> {
        if self.remove(What::Nothing, now).await? == Removed::Elsewhere {
            return Ok(Step::Elsewhere);
        }
        let end = days_before(now, self.settings.age_days);
        let Some(day) = oldest(self.store.readers(), end).await? else {
            self.searched = None;
            return self.forget(now).await;
        };
        let (folder, name) = (self.settings.archive_dir.clone(), name_of(day));
        if self.searched != Some(day) {
            let files = blocking(move || file::of_day(&folder, &name)).await?;
            self.place = Place::Emptying { files: files.into(), open: None, day };
            return Ok(Step::Began);
        }
        let host = self.settings.host_name.clone();
        let draft = Box::new(blocking(move || Draft::create(&folder, &name, &host)).await?);
        self.place = Place::Copying { draft, day, after: (day, String::new()) };
        Ok(Step::Began)
    }

    /// Copies the next rows of a day, or ends its file.
    async fn copy(
        &mut self,
        mut draft: Box<Draft>,
        day: i64,
        after: (i64, String),
        now: Timestamp,
    ) -> Result<Step, StoreError> {
        if self.remove(What::Nothing, now).await? == Removed::Elsewhere {
            draft.discard();
            return Ok(Step::Elsewhere);
        }
        let rows = page(self.store.readers(), &after, day, self.settings.step_rows).await?;
        let Some(last) = rows.last() else {
            let rows = draft.rows();
            if rows == 0 {
                draft.discard();
                self.searched = None;
                return Ok(Step::Copied(0));
            }
            let file = blocking(move || draft.finish()).await?;
            let files = VecDeque::from([file.clone()]);
            self.place = Place::Emptying { files, open: None, day };
            return Ok(Step::Archived { file, rows });
        };
        let (id, finished) = key(last)?;
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let draft = blocking(move || draft.add(&rows).map(|()| draft)).await?;
        self.place = Place::Copying { draft, day, after: (finished, id) };
        Ok(Step::Copied(count))
    }

    /// Empties the next rows that stand in a day's files.
    async fn empty(
        &mut self,
        mut files: VecDeque<PathBuf>,
        open: Option<Box<ArchiveReader>>,
        day: i64,
        now: Timestamp,
    ) -> Result<Step, StoreError> {
        let reader = match (open, files.pop_front()) {
            (Some(reader), next) => {
                if let Some(next) = next {
                    files.push_front(next);
                }
                reader
            }
            (None, Some(path)) => Box::new(blocking(move || ArchiveReader::open(&path)).await?),
            (None, None) => {
                self.searched = Some(day);
                return Ok(Step::Began);
            }
        };
        let limit = usize::try_from(self.settings.step_rows).unwrap_or(usize::MAX);
        let (reader, rows) = blocking(move || take(reader, limit)).await?;
        let open = (!rows.is_empty()).then_some(reader);
        let removed = match rows.is_empty() {
            true => Removed::Rows(0),
            false => self.remove(What::Content(rows), now).await?,
        };
        match removed {
            Removed::Elsewhere => Ok(Step::Elsewhere),
            Removed::Rows(rows) => {
                self.place = Place::Emptying { files, open, day };
                Ok(Step::Emptied(rows))
            }
        }
    }

    /// Forgets keys that are past their time, where there is one.
    async fn forget(&mut self, now: Timestamp) -> Result<Step, StoreError> {
        if self.settings.keys_days == 0 {
            return Ok(Step::Idle);
        }
        let before = Timestamp::from_ms(days_before(now, self.settings.keys_days));
        let limit = i64::from(self.settings.step_rows);
        match self.remove(What::Keys { before, limit }, now).await? {
            Removed::Elsewhere => Ok(Step::Elsewhere),
            Removed::Rows(0) => Ok(Step::Idle),
            Removed::Rows(rows) => Ok(Step::Forgotten(rows)),
        }
    }

    async fn remove(&self, what: What, now: Timestamp) -> Result<Removed, StoreError> {
        let wait = i64::from(self.settings.pause_ms).saturating_add(LEASE_MS);
        let (owner, until) = (self.owner.clone(), now.plus_ms(wait));
        self.store.remove(removal::Removal { owner, until, now, what }).await
    }
}

/// A row by its id, and when it ended.
type Finished = (String, i64);

/// The next rows of a file, by id and the time they were finished.
fn take(
    mut reader: Box<ArchiveReader>,
    limit: usize,
) -> Result<(Box<ArchiveReader>, Vec<Finished>), StoreError> {
    let mut rows = Vec::with_capacity(limit);
    for row in reader.by_ref().take(limit) {
        rows.push(key(&row?)?);
    }
    Ok((reader, rows))
}

fn key(row: &ArchivedRow) -> Result<Finished, StoreError> {
    let id = row.get("id").and_then(Value::as_str);
    let finished = row.get("finished_at_ms").and_then(Value::as_i64);
    match (id, finished) {
        (Some(id), Some(finished)) => Ok((id.to_owned(), finished)),
        (None, _) | (_, None) => {
            let what = "an archived row has no id or no finished_at_ms".to_owned();
            Err(StoreError::Archive { what })
        }
    }
}

/// Work on files, away from the threads that answer gateways.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Closed))
}

/// The beginning of the UTC day that is so many whole days before this moment.
fn days_before(now: Timestamp, days: u32) -> i64 {
    day_of(now.as_ms()).saturating_sub(DAY_MS.saturating_mul(i64::from(days)))
}

fn day_of(ms: i64) -> i64 {
    ms.div_euclid(DAY_MS).saturating_mul(DAY_MS)
}

/// `2026-11-21`.
fn name_of(day: i64) -> String {
    Timestamp::from_ms(day).to_string().chars().take(10).collect()
}

/// The name of this machine; for archive files.
#[must_use]
pub fn machine_name() -> String {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    let name: String =
        name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    if name.is_empty() { "host".to_owned() } else { name }
}

const DAY_MS: i64 = 86_400_000;

/// Ten times the longest time that a gateway repeats a message, which is three days (Stripe;
/// WeChat Pay and Alipay give up after about one).
const KEYS_DAYS_MIN: u32 = 30;

/// How long a host that stopped in the middle holds retention up.
const LEASE_MS: i64 = 60_000;
