//! The differences between the two databases, all of them, and opening their pools.
//!
//! 1. PostgreSQL locks what it reads for a decision; SQLite has one writer anyway.
//! 2. SQLite begins writes with `begin immediate`, so that no read has to be upgraded.
//! 3. PostgreSQL gets a domain `blob` before the migrations, so that they are valid there too.
//! 4. Each has its own settings for a connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Row as _};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::checkpoint::Checkpoints;
use crate::error::StoreError;
use crate::lite::Lite;
use crate::reading::Reading;
use crate::settings::Settings;
use crate::sql::{Connection, Pool};

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A file, one writer.
    Sqlite,
    /// A server, any number of hosts.
    Postgres,
}

/// A lock on rows that a decision rests on. Each names the alias of the locked table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lock {
    /// Whoever else wants these rows waits.
    Update,
    /// As [`Lock::Update`], but readers of this kind share.
    Share,
    /// Rows that somebody else has locked are left out.
    Free,
}

impl Dialect {
    pub(crate) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "begin immediate",
            Self::Postgres => "begin isolation level read committed",
        }
    }

    /// The end of a `select` whose locked table has the alias `t`.
    pub(crate) fn lock(self, lock: Lock) -> &'static str {
        match (self, lock) {
            (Self::Sqlite, _) => "",
            (Self::Postgres, Lock::Update) => " for update of t",
            (Self::Postgres, Lock::Share) => " for share of t",
            (Self::Postgres, Lock::Free) => " for update of t skip locked",
        }
    }

    /// What a fresh connection is told besides. PostgreSQL has one cache for all.
    fn cache(self, kib: u32) -> String {
        match self {
            Self::Sqlite => format!("; pragma cache_size = -{kib}"),
            Self::Postgres => String::new(),
        }
    }

    /// What a fresh connection is told.
    fn greeting(self, wait_ms: u32) -> String {
        match self {
            Self::Sqlite => format!(
                "pragma busy_timeout = {wait_ms}; pragma journal_mode = wal; \
                 pragma synchronous = full; pragma foreign_keys = on; \
                 pragma journal_size_limit = {LOG_BYTES}"
            ),
            // Every statement reaches its rows by key. A plan that was made while a table was
            // still empty would scan it for ever after, so plans without an index are priced out.
            // So are copies of everything that is open, one for each row that a claim looks at.
            // A statement that reads a small table nevertheless looks dear by that; compiling it
            // would take a hundred times as long as running it.
            Self::Postgres => format!(
                "set lock_timeout = {wait_ms}; set enable_seqscan = off; \
                 set enable_hashjoin = off; set enable_mergejoin = off; \
                 set enable_material = off; set jit = off; \
                 set client_min_messages = warning; set synchronous_commit = on"
            ),
        }
    }
}

/// How long a connection is taken to live since it was used last.
const TRUSTED: Duration = Duration::from_secs(1);

/// What SQLite's log keeps of the disk when it begins anew, in bytes: a reader who took long made
/// it longer, and that room is for others.
const LOG_BYTES: u32 = 33_554_432;

/// Page cache of SQLite's writer: it holds the inner pages of every index of a table with tens of
/// millions of rows, and those of its leaves that are written now. With SQLite's own default of
/// 2 MiB a writer reads most pages again for each group.
const WRITER_CACHE_KIB: u32 = 65_536;

/// Page cache of each of SQLite's readers: they look at what was written a moment ago.
const READER_CACHE_KIB: u32 = 8_192;

/// The two pools of an opened database.
#[derive(Debug)]
pub(crate) struct Pools {
    /// One connection: for the schema, and on PostgreSQL the writer's.
    pub(crate) writer: AnyPool,
    /// Several, for reading.
    pub(crate) readers: Pool,
    /// Reads documents for many runs at once.
    pub(crate) reading: Reading,
    pub(crate) dialect: Dialect,
    /// The writer's connection between two groups, and since when: to hand it back to its pool and
    /// to take it again costs two round trips, as much as a small group.
    kept: Mutex<Option<(Connection, Instant)>>,
    /// SQLite's file, for the writer.
    file: Option<File>,
}

/// SQLite's file, and what a connection to it is told.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    greeting: String,
}

impl File {
    /// A connection on the thread that asks.
    pub(crate) fn open(&self) -> Result<Connection, sqlx::Error> {
        Ok(Connection::Lite(Box::new(self.open_lite()?)))
    }

    /// As [`File::open`], for who knows that it is SQLite.
    pub(crate) fn open_lite(&self) -> Result<Lite, sqlx::Error> {
        Lite::open(&self.path, &self.greeting)
    }
}

impl Pools {
    /// The connection for a group. One that lay idle is asked whether it still lives.
    pub(crate) async fn writing(&self) -> Result<Connection, sqlx::Error> {
        if let Some((mut connection, since)) = self.kept.lock().await.take()
            && (since.elapsed() < TRUSTED || connection.ping().await.is_ok())
        {
            return Ok(connection);
        }
        match &self.file {
            Some(file) => file.open(),
            None => Ok(self.writer.acquire().await?.into()),
        }
    }

    /// Keeps the connection of a group that ended well.
    pub(crate) async fn keep(&self, connection: Connection) {
        *self.kept.lock().await = Some((connection, Instant::now()));
    }

    /// Copies SQLite's log beside the writer.
    pub(crate) fn checkpoints(&self) -> Result<Option<Checkpoints>, StoreError> {
        self.file.as_ref().map(|file| Checkpoints::start(file.open_lite()?)).transpose()
    }

    /// Closes everything. Nobody may ask for a connection any more.
    pub(crate) async fn close(&self) {
        drop(self.kept.lock().await.take());
        self.reading.close();
        self.writer.close().await;
        self.readers.close().await;
    }
}

/// Connects, without touching the schema.
pub(crate) async fn connect(settings: &Settings) -> Result<Pools, StoreError> {
    sqlx::any::install_default_drivers();
    let (dialect, url) = target(&settings.url)?;
    let wait_ms = settings.wait_ms;
    let pool = |connections: u32, cache_kib: u32| {
        AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_millis(u64::from(wait_ms)))
            // A file drops no connection.
            .test_before_acquire(dialect == Dialect::Postgres)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    let greeting = dialect.greeting(wait_ms) + &dialect.cache(cache_kib);
                    sqlx::raw_sql(AssertSqlSafe(greeting)).execute(&mut *connection).await.map(drop)
                })
            })
    };
    // A pool tries again until its time is up, and then no longer knows why. At the start the
    // reason is what counts, so one connection is tried without a pool.
    let mut first = AnyConnection::connect(&url).await?;
    greet(&mut first, dialect, wait_ms).await?;
    first.close().await?;
    let writer = pool(1, WRITER_CACHE_KIB).connect(&url).await?;
    let readers = Pool(pool(settings.readers, READER_CACHE_KIB).connect(&url).await?);
    let path = sqlite_file(&settings.url)?;
    let file = |cache_kib: u32| {
        let greeting = dialect.greeting(wait_ms) + &dialect.cache(cache_kib);
        path.clone().map(|path| File { path, greeting })
    };
    let reading = Reading::start(&readers, file(READER_CACHE_KIB));
    let file = file(WRITER_CACHE_KIB);
    Ok(Pools { writer, readers, reading, dialect, kept: Mutex::default(), file })
}

/// Connects for reading alone: nothing that is sent over these connections can write.
pub(crate) async fn connect_to_read(settings: &Settings) -> Result<Pool, StoreError> {
    sqlx::any::install_default_drivers();
    let (dialect, url) = target(&settings.url)?;
    let (wait_ms, greeting) = (settings.wait_ms, dialect.greeting(settings.wait_ms));
    let (url, greeting) = match dialect {
        Dialect::Sqlite => {
            // The file is as it is, also when no server has it open.
            let greeting = format!("pragma busy_timeout = {wait_ms}; pragma query_only = on");
            (url.replace("?mode=rwc", "?mode=ro"), greeting)
        }
        Dialect::Postgres => (url, format!("{greeting}; set default_transaction_read_only = on")),
    };
    let pool = AnyPoolOptions::new()
        .max_connections(settings.readers)
        .acquire_timeout(Duration::from_millis(u64::from(wait_ms)))
        .after_connect(move |connection, _| {
            let greeting = AssertSqlSafe(greeting.clone());
            Box::pin(
                async move { sqlx::raw_sql(greeting).execute(&mut *connection).await.map(drop) },
            )
        });
    // As above: a pool does not know why.
    AnyConnection::connect(&url).await?.close().await?;
    Ok(Pool(pool.connect(&url).await?))
}

/// Greets the first connection. The switch of a new file to a write-ahead log does not wait for
/// another program that switches it at the same moment, so here it is tried again.
async fn greet(
    connection: &mut AnyConnection,
    dialect: Dialect,
    wait_ms: u32,
) -> Result<(), StoreError> {
    let mut left = wait_ms.div_euclid(GREETING_PAUSE_MS);
    loop {
        let greeting = AssertSqlSafe(dialect.greeting(wait_ms));
        match sqlx::raw_sql(greeting).execute(&mut *connection).await {
            Ok(_) => return Ok(()),
            Err(error) if left > 0 && StoreError::is_locked(&error) => {
                left = left.saturating_sub(1);
                tokio::time::sleep(Duration::from_millis(u64::from(GREETING_PAUSE_MS))).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Looks whether the server is new enough, and makes `blob` a name for bytes on PostgreSQL.
pub(crate) async fn prepare(
    connection: &mut AnyConnection,
    dialect: Dialect,
) -> Result<(), StoreError> {
    match dialect {
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => {
            let row = sqlx::query::<Any>(
                "select cast(current_setting('server_version_num') as bigint) as version",
            )
            .fetch_one(&mut *connection)
            .await?;
            let version: i64 = row.try_get("version")?;
            new_enough(version)?;
            // A second host that starts at the same moment gets an error in here and passes on.
            let text = "do $$ begin create domain blob as bytea; exception \
                        when duplicate_object or unique_violation then null; end $$";
            sqlx::raw_sql(text).execute(connection).await?;
            Ok(())
        }
    }
}

/// The database file of `store.url`; `None` where it is PostgreSQL's.
pub(crate) fn sqlite_file(url: &str) -> Result<Option<PathBuf>, StoreError> {
    match target(url)? {
        (Dialect::Postgres, _) => Ok(None),
        (Dialect::Sqlite, _) => Ok(url.strip_prefix("sqlite://").map(PathBuf::from)),
    }
}

/// Holds a server's `server_version_num` against the oldest that the statements are tested on.
fn new_enough(version: i64) -> Result<(), StoreError> {
    if version >= POSTGRES_MIN {
        return Ok(());
    }
    let (major, minor) = (version.div_euclid(10_000), version.rem_euclid(10_000));
    let oldest = POSTGRES_MIN.div_euclid(10_000);
    let problem = format!("server is PostgreSQL {major}.{minor}, expected {oldest} or later");
    Err(StoreError::Settings { field: "url", problem })
}

/// Reads `store.url`.
fn target(url: &str) -> Result<(Dialect, String), StoreError> {
    let wrong = |problem: String| StoreError::Settings { field: "url", problem };
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let separator = if url.contains('?') { '&' } else { '?' };
        return Ok((
            Dialect::Postgres,
            format!("{url}{separator}statement-cache-capacity={STATEMENTS_CACHED}"),
        ));
    }
    let Some(path) = url.strip_prefix("sqlite://") else {
        let scheme = url.split_once(':').map_or("none", |(scheme, _)| scheme);
        return Err(wrong(format!("scheme is `{scheme}`, expected sqlite:// or postgres://")));
    };
    if path.is_empty() || path.contains(":memory:") || path.contains('?') {
        return Err(wrong("expected sqlite:// and the path of a file, without options".to_owned()));
    }
    let path = std::path::absolute(Path::new(path))
        .map_err(|error| wrong(format!("path cannot be made absolute: {error}")))?;
    match path.parent() {
        Some(folder) if folder.is_dir() => {}
        Some(_) | None => {
            let folder = path.parent().map(PathBuf::from).unwrap_or_default();
            return Err(wrong(format!("folder {} does not exist", folder.display())));
        }
    }
    if path.is_dir() {
        return Err(wrong(format!("{} is a folder, expected a file", path.display())));
    }
    let text = path.to_str().ok_or_else(|| wrong("path is not UTF-8".to_owned()))?;
    Ok((Dialect::Sqlite, format!("sqlite://{}?mode=rwc", percent_encoded(text))))
}

/// Writes a path so that it reads back the same from a URL.
pub(crate) fn percent_encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// The oldest server that the statements are tested on, in its own notation: PostgreSQL 15.
const POSTGRES_MIN: i64 = 150_000;

/// The pause between two greetings of a file that another program holds.
const GREETING_PAUSE_MS: u32 = 20;

/// Prepared statements a PostgreSQL connection keeps: every text in eleven sizes.
const STATEMENTS_CACHED: u32 = 600;

#[cfg(test)]
mod tests {
    use super::{new_enough, target};

    fn problem(url: &str) -> String {
        target(url).map_or_else(|error| error.to_string(), |(_, url)| url)
    }

    #[test]
    fn a_url_that_is_no_store_says_what_was_expected() {
        assert!(
            problem("mysql://x/y").contains("scheme is `mysql`, expected sqlite:// or postgres")
        );
        assert!(problem("callgate.db").contains("scheme is `none`"));
        assert!(problem("sqlite://").contains("path of a file"));
        assert!(problem("sqlite://:memory:").contains("path of a file"));
        assert!(
            problem("sqlite:///no/such/folder/x.db").contains("/no/such/folder does not exist")
        );
        assert!(problem("sqlite:///usr").contains("/usr is a folder"));
    }

    #[test]
    fn a_server_that_is_too_old_is_named_with_what_was_expected() {
        assert!(new_enough(150_000).is_ok());
        let problem = new_enough(140_012).unwrap_err().to_string();
        assert_eq!(problem, "store.url: server is PostgreSQL 14.12, expected 15 or later");
    }

    #[test]
    fn a_path_with_strange_characters_survives() {
        assert_eq!(problem("sqlite:///a b%#.db"), "sqlite:///a%20b%25%23.db?mode=rwc");
    }
}
