//! Retention: what finished notifications say, and events that every sink is past, are archived to
//! files and then removed in small steps.
//!
//! One UTC day at a time: first a file is written from reads that hold nobody up, then the rows
//! that stand in it are emptied, or removed, a few in each transaction of the writer. The file is
//! read for that, so nothing is removed that it lacks. A crash at any point is mended by beginning
//! anew: a day that has a file is emptied from it before another is written.
//!
//! Reading order: this file, `settings`, `file` (archive files), `rows` (what is archived),
//! `removal` (the statements that remove).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callgate_core::time::Timestamp;
use metrics::{counter, histogram};
use serde_json::Value;
use tokio::time::Instant;

use crate::error::StoreError;
use crate::store::Store;

pub(crate) mod file;

pub(crate) mod removal;

mod rows;

mod settings;

use file::{ArchiveReader, Draft};
use removal::{Removed, What};
use rows::{Old, oldest, page};
pub use settings::{RetentionSettings, machine_name};

use crate::plain::PlainRow;

/// What is archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Notifications: their content goes, their keys stay.
    Inbox,
    /// Events: they go.
    Outbox,
}

impl Table {
    pub(crate) const ALL: [Self; 2] = [Self::Inbox, Self::Outbox];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Outbox => "outbox",
        }
    }
}

/// A UTC day of a table, by its first millisecond.
type Day = (Table, i64);

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
    /// So many notifications were emptied.
    Emptied(u64),
    /// So many events were removed.
    Removed(u64),
    /// So many keys of archived rows were forgotten.
    Forgotten(u64),
}

/// Retention under way. Dropping it at any point loses nothing.
#[derive(Debug)]
pub struct Retention {
    store: Store,
    settings: RetentionSettings,
    owner: String,
    /// The sinks that are configured, in the order of their names.
    sinks: Arc<[String]>,
    place: Place,
    /// The day whose files have been emptied from: what is left of it stands in none of them.
    searched: Option<Day>,
    /// Whether what crashes left of files has been swept away.
    swept: Swept,
}

/// Whether the folder was swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swept {
    Yes,
    No,
}

#[derive(Debug)]
enum Place {
    Looking,
    Copying { draft: Box<Draft>, day: Day, after: (i64, String) },
    Emptying { files: VecDeque<PathBuf>, open: Option<Box<ArchiveReader>>, day: Day },
}

impl Retention {
    /// Checks the settings. `owner` names this process among all hosts; `sinks` are those that are
    /// configured.
    ///
    /// # Errors
    /// [`StoreError::RetentionSettings`] for a wrong one.
    pub fn new(
        store: Store,
        settings: RetentionSettings,
        owner: String,
        mut sinks: Vec<String>,
    ) -> Result<Self, StoreError> {
        settings.check()?;
        sinks.sort_unstable();
        let (place, searched, swept) = (Place::Looking, None, Swept::No);
        Ok(Self { store, settings, owner, sinks: sinks.into(), place, searched, swept })
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
            Step::Removed(rows) => ("removed", *rows),
            Step::Forgotten(rows) => ("forgotten", *rows),
        };
        counter!("callgate_retention_rows_total", "act" => act).increment(rows);
        histogram!("callgate_retention_step_seconds", "act" => act)
            .record(started.elapsed().as_secs_f64());
        Ok(step)
    }

    /// Finds the oldest day that has something to archive.
    async fn look(&mut self, now: Timestamp) -> Result<Step, StoreError> {
        if self.remove(self.nothing(), now).await? == Removed::Elsewhere {
            return Ok(Step::Elsewhere);
        }
        let folder = self.settings.archive_dir.clone();
        if self.swept == Swept::No {
            let folder = folder.clone();
            blocking(move || file::sweep(&folder)).await?;
            self.swept = Swept::Yes;
        }
        let Some((table, day)) = self.oldest(now).await? else {
            self.searched = None;
            return self.forget(now).await;
        };
        if self.searched != Some((table, day)) {
            let files = blocking(move || of_days(&folder, table, day)).await?;
            self.place = Place::Emptying { files: files.into(), open: None, day: (table, day) };
            return Ok(Step::Began);
        }
        // Where hosts are called alike, the end of the owner's id tells them apart.
        let tail = self.owner.rsplit('-').next().unwrap_or_default();
        let writer = format!("{}-{tail}", self.settings.host_name);
        let place = file::Place { folder, table, day: name_of(day), writer };
        let draft = Box::new(blocking(move || Draft::create(&place)).await?);
        let after = match table {
            Table::Inbox => (day, String::new()),
            Table::Outbox => (0, String::new()),
        };
        self.place = Place::Copying { draft, day: (table, day), after };
        Ok(Step::Began)
    }

    async fn oldest(&self, now: Timestamp) -> Result<Option<Day>, StoreError> {
        for table in Table::ALL {
            if let Some(old) = self.old(table, now)
                && let Some(day) = oldest(self.store.readers(), table, old).await?
            {
                return Ok(Some((table, day)));
            }
        }
        Ok(None)
    }

    /// What of a table is old enough; `None` where it stays for ever.
    fn old(&self, table: Table, now: Timestamp) -> Option<Old> {
        let days = match table {
            Table::Inbox => self.settings.age_days,
            Table::Outbox => self.settings.events_days,
        };
        (days > 0).then(|| Old { end: days_before(now, days), gone: gone(now) })
    }

    /// Copies the next rows of a day, or ends its file.
    async fn copy(
        &mut self,
        mut draft: Box<Draft>,
        day: Day,
        after: (i64, String),
        now: Timestamp,
    ) -> Result<Step, StoreError> {
        if self.remove(self.nothing(), now).await? == Removed::Elsewhere {
            draft.discard();
            return Ok(Step::Elsewhere);
        }
        let (table, from) = day;
        let room = u64::from(self.settings.file_rows).saturating_sub(draft.rows());
        let limit = u32::try_from(room).unwrap_or(u32::MAX).min(self.settings.step_rows);
        let page = match self.old(table, now) {
            Some(old) if limit > 0 => {
                page(self.store.readers(), (table, from, old), &after, limit).await?
            }
            // The file is full; what is left of the day gets another one.
            Some(_) | None => rows::Page { rows: Vec::new(), next: None },
        };
        let (count, next) = (page.rows.len(), page.next);
        draft = blocking(move || draft.add(&page.rows).map(|()| draft)).await?;
        if let Some(after) = next {
            self.place = Place::Copying { draft, day, after };
            return Ok(Step::Copied(u64::try_from(count).unwrap_or(u64::MAX)));
        }
        let rows = draft.rows();
        if rows == 0 {
            draft.discard();
            self.searched = None;
            return Ok(Step::Copied(0));
        }
        let file = blocking(move || draft.finish()).await?;
        self.place = Place::Emptying { files: VecDeque::from([file.clone()]), open: None, day };
        Ok(Step::Archived { file, rows })
    }

    /// Empties, or removes, the next rows that stand in a day's files.
    async fn empty(
        &mut self,
        mut files: VecDeque<PathBuf>,
        open: Option<Box<ArchiveReader>>,
        day: Day,
        now: Timestamp,
    ) -> Result<Step, StoreError> {
        let reader = match open {
            Some(reader) => reader,
            None => match files.pop_front() {
                Some(path) => Box::new(blocking(move || ArchiveReader::open(&path)).await?),
                None => {
                    self.searched = Some(day);
                    return Ok(Step::Began);
                }
            },
        };
        let limit = usize::try_from(self.settings.step_rows).unwrap_or(usize::MAX);
        let (table, _) = day;
        let (reader, rows) = blocking(move || take(reader, table, limit)).await?;
        let open = (!rows.is_empty()).then_some(reader);
        let what = match table {
            Table::Inbox => What::Content(rows),
            Table::Outbox => What::Events { rows, gone: gone(now) },
        };
        let removed = match open {
            None => Removed::Rows(0),
            Some(_) => self.remove(what, now).await?,
        };
        match removed {
            Removed::Elsewhere => Ok(Step::Elsewhere),
            Removed::Rows(rows) => {
                self.place = Place::Emptying { files, open, day };
                Ok(match table {
                    Table::Inbox => Step::Emptied(rows),
                    Table::Outbox => Step::Removed(rows),
                })
            }
        }
    }

    /// The lease alone, and a sign that the sinks are somebody's.
    fn nothing(&self) -> What {
        What::Nothing { sinks: Arc::clone(&self.sinks) }
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

/// A row by its id, and when it ended; for events their place.
type Finished = (String, i64);

/// The next rows of a file, by id and by what else names them.
fn take(
    mut reader: Box<ArchiveReader>,
    table: Table,
    limit: usize,
) -> Result<(Box<ArchiveReader>, Vec<Finished>), StoreError> {
    let mut rows = Vec::with_capacity(limit);
    for row in reader.by_ref().take(limit) {
        rows.push(key(&row?, table)?);
    }
    Ok((reader, rows))
}

fn key(row: &PlainRow, table: Table) -> Result<Finished, StoreError> {
    let column = match table {
        Table::Inbox => "finished_at_ms",
        Table::Outbox => "seq",
    };
    let id = row.get("id").and_then(Value::as_str);
    let number = row.get(column).and_then(Value::as_i64);
    match (id, number) {
        (Some(id), Some(number)) => Ok((id.to_owned(), number)),
        (None, _) | (_, None) => {
            let what = format!("an archived row has no id or no {column}");
            Err(StoreError::Archive { what })
        }
    }
}

/// The files in which rows of a day may stand. An event that was committed just before midnight,
/// by a host whose clock was behind, stands in the file of the next day.
fn of_days(folder: &Path, table: Table, day: i64) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = file::of_day(folder, table, &name_of(day))?;
    if table == Table::Outbox {
        files.extend(file::of_day(folder, table, &name_of(day.saturating_add(DAY_MS)))?);
    }
    Ok(files)
}

/// A sink that no host has had since then counts no more.
fn gone(now: Timestamp) -> Timestamp {
    now.plus_ms(SINK_GONE_MS.saturating_neg())
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

const DAY_MS: i64 = 86_400_000;

/// How long a sink counts that no host has: thirty days.
const SINK_GONE_MS: i64 = 30 * DAY_MS;

/// How long a host that stopped in the middle holds retention up.
const LEASE_MS: i64 = 60_000;
