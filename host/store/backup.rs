//! Backup and restore of a SQLite file: consistent while a server works on it, checked before
//! anything is replaced. PostgreSQL brings its own tools.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection as _, Row as _};

use crate::dialect::sqlite_file;
use crate::error::StoreError;
use crate::retention::file::{fault, rename};
use crate::schema::known;
use crate::settings::Settings;

/// What a checked file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Its size.
    pub bytes: u64,
    /// Its last migration.
    pub migration: i64,
    /// Notifications, whatever became of them.
    pub notifications: i64,
    /// Orders and other documents.
    pub documents: i64,
    /// Committed runs.
    pub history: i64,
    /// Events.
    pub events: i64,
}

/// What is done where a restore finds a database in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is refused.
    Refuse,
    /// It is kept beside as `FILE.replaced`, unless somebody has it open: that is refused.
    Replace,
}

/// Copies the database of a store into a new file, whole and as of one moment. A server may work
/// on it: it is not held up, for SQLite's readers and its writer do not wait for each other.
///
/// # Errors
/// [`StoreError::Settings`] where the store is PostgreSQL; [`StoreError::Archive`] where the file
/// is there already or cannot be written; else as the database fails or the copy is found damaged.
pub async fn backup(settings: &Settings, to: &Path) -> Result<Contents, StoreError> {
    let Some(from) = sqlite_file(&settings.url)? else {
        return Err(StoreError::Settings { field: "url", problem: POSTGRES.to_owned() });
    };
    if to.exists() {
        let what = format!("{} is there already, expected a new file", to.display());
        return Err(StoreError::Archive { what });
    }
    if !from.is_file() {
        let what = format!("{} does not exist, expected a database", from.display());
        return Err(StoreError::Archive { what });
    }
    let part = beside(to, ".part");
    drop(private(&part)?);
    let copied = copy(&from, &part).await;
    let checked = match copied {
        Ok(()) => check(&part).await,
        Err(error) => Err(error),
    };
    if checked.is_err() {
        // The next one would overwrite it; until then it only takes room.
        drop(std::fs::remove_file(&part));
    }
    let contents = checked?;
    rename(&part, to)?;
    Ok(contents)
}

async fn copy(from: &Path, part: &Path) -> Result<(), StoreError> {
    let target = part
        .to_str()
        .ok_or_else(|| StoreError::Archive { what: format!("{} is not UTF-8", part.display()) })?;
    let mut connection = open(from, "rw").await?;
    sqlx::query::<Any>("vacuum into $1").bind(target).execute(&mut connection).await?;
    connection.close().await?;
    File::open(part).and_then(|file| file.sync_all()).map_err(|error| fault(part, &error))
}

/// Puts a backup in the place of a database, once it is checked.
///
/// # Errors
/// [`StoreError::Archive`] where the backup is no file of its own, where its place is taken, in
/// use or cannot be written; [`StoreError::Newer`] where a newer program wrote it;
/// [`StoreError::Corrupt`] where it is damaged or no database of this program. In every case what
/// was in its place is there unchanged.
pub async fn restore(from: &Path, to: &Path, existing: Existing) -> Result<Contents, StoreError> {
    let refused = |what: String| Err(StoreError::Archive { what });
    if !from.is_file() {
        return refused(format!("{} does not exist, expected a backup", from.display()));
    }
    if std::fs::metadata(beside(from, "-wal")).is_ok_and(|log| log.len() > 0) {
        return refused(format!(
            "{} has a write-ahead log beside it: it is a database that is or was in use, \
             expected a file that `callgate backup` wrote",
            from.display()
        ));
    }
    let taken = to.exists();
    if taken && existing == Existing::Refuse {
        return refused(format!("{} is there already; --force replaces it", to.display()));
    }
    let part = beside(to, ".part");
    let mut target = private(&part)?;
    let copied = File::open(from)
        .and_then(|mut source| std::io::copy(&mut source, &mut target))
        .and_then(|_| target.sync_all());
    copied.map_err(|error| fault(&part, &error))?;
    let checked = check(&part).await;
    let ready = match (&checked, taken) {
        (Ok(_), true) => make_room(to).await,
        (Ok(_), false) | (Err(_), _) => Ok(()),
    };
    if checked.is_err() || ready.is_err() {
        drop(std::fs::remove_file(&part));
    }
    let contents = checked?;
    ready?;
    rename(&part, to)?;
    Ok(contents)
}

/// Moves a database aside that nobody has open.
async fn make_room(to: &Path) -> Result<(), StoreError> {
    match alone(to).await {
        // A damaged file is what restores are for; its log goes with it.
        Ok(()) | Err(StoreError::Corrupt { .. }) => {}
        Err(error) => {
            let what = format!("{} is in use, stop the server first ({error})", to.display());
            return Err(StoreError::Archive { what });
        }
    }
    // A log that stays behind would be taken for the new file's.
    for ending in ["-wal", "-shm", ""] {
        let old = beside(to, ending);
        if old.exists() {
            rename(&old, &beside(to, &format!(".replaced{ending}")))?;
        }
    }
    Ok(())
}

/// Leaving the write-ahead log takes a lock that nobody else may share, not even a reader.
async fn alone(path: &Path) -> Result<(), StoreError> {
    let mut connection = open(path, "rw").await?;
    sqlx::raw_sql("pragma busy_timeout = 0").execute(&mut connection).await?;
    let row = sqlx::query::<Any>("pragma journal_mode = delete").fetch_one(&mut connection).await?;
    let mode: String = row.try_get(0)?;
    if mode != "delete" {
        return Err(StoreError::invalid(format!("journal mode stays {mode}")));
    }
    sqlx::raw_sql("begin exclusive; rollback").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Looks through a database file that nobody works on: every page and index, every reference,
/// the schema, and how much there is.
async fn check(path: &Path) -> Result<Contents, StoreError> {
    let mut connection = open(path, "ro").await?;
    let row = sqlx::query::<Any>("pragma integrity_check(1)").fetch_one(&mut connection).await?;
    let found: String = row.try_get(0)?;
    if found != "ok" {
        return Err(StoreError::corrupt(format!("{}: {found}", path.display())));
    }
    let loose = sqlx::query::<Any>("pragma foreign_key_check").fetch_all(&mut connection).await?;
    if !loose.is_empty() {
        let count = loose.len();
        let what = format!("{}: {count} rows refer to rows that are missing", path.display());
        return Err(StoreError::corrupt(what));
    }
    let migration = migration(&mut connection).await?;
    let contents = Contents {
        bytes: std::fs::metadata(path).map_err(|error| fault(path, &error))?.len(),
        migration,
        notifications: count(&mut connection, "inbox").await?,
        documents: count(&mut connection, "documents").await?,
        history: count(&mut connection, "history").await?,
        events: count(&mut connection, "outbox").await?,
    };
    connection.close().await?;
    Ok(contents)
}

/// The last migration of the file; each must be one of this program's, to the byte.
async fn migration(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    let rows = sqlx::query::<Any>(
        "select version, checksum, cast(success as bigint) as success from _sqlx_migrations \
         order by version",
    )
    .fetch_all(connection)
    .await?;
    let list = known();
    let last = list.last().map_or(0, |migration| migration.version);
    let mut found = 0;
    for row in rows {
        let version: i64 = row.try_get("version")?;
        let checksum: Vec<u8> = row.try_get("checksum")?;
        if version > last {
            return Err(StoreError::Newer { version, known: last });
        }
        let same = list
            .iter()
            .any(|one| one.version == version && one.checksum.as_ref() == checksum.as_slice());
        if !same || row.try_get::<i64, _>("success")? != 1 {
            let what = format!("migration {version} is not the one that this program knows");
            return Err(StoreError::corrupt(what));
        }
        found = version;
    }
    if found == 0 {
        return Err(StoreError::corrupt("no migration was run in it"));
    }
    Ok(found)
}

async fn count(connection: &mut AnyConnection, table: &'static str) -> Result<i64, StoreError> {
    let sql = format!("select cast(count(*) as bigint) as rows_found from {table}");
    let row = sqlx::query::<Any>(AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok(row.try_get("rows_found")?)
}

async fn open(path: &Path, mode: &str) -> Result<AnyConnection, StoreError> {
    sqlx::any::install_default_drivers();
    let absolute = std::path::absolute(path).map_err(|error| fault(path, &error))?;
    let text = absolute
        .to_str()
        .ok_or_else(|| StoreError::Archive { what: format!("{} is not UTF-8", path.display()) })?;
    let url = format!("sqlite://{}?mode={mode}", crate::dialect::percent_encoded(text));
    Ok(AnyConnection::connect(&url).await?)
}

/// An empty file that nobody else may read: callbacks name people.
fn private(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| fault(path, &error))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

const POSTGRES: &str = "found PostgreSQL, which brings its own tools: \
    `pg_dump --format=custom --file=FILE \"$CALLGATE_STORE__URL\"` for one database, \
    `pg_basebackup --pgdata=FOLDER --wal-method=stream` for a whole server; docs/backup.md has \
    the drill";
