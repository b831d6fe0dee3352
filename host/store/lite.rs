//! SQLite on the thread that asks: no message, no other thread, no copy but SQLite's own.
//!
//! Nothing of it waits for anything but the disk, so what is asked here may be asked only where
//! nobody else needs the thread: on the writer's own, and on those of guests.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, OpenFlags};
use sqlx::error::{DatabaseError, ErrorKind};

use crate::batch::Cell;
use crate::single::single;
use crate::sql;

/// A connection to a file.
#[derive(Debug)]
pub(crate) struct Lite {
    connection: rusqlite::Connection,
    /// The columns of each statement that returned rows, by its text.
    columns: HashMap<Box<str>, Names>,
    /// Statements about lists, written for one row.
    singles: HashMap<&'static str, String>,
}

impl Lite {
    /// Opens a file that is there.
    pub(crate) fn open(path: &Path, greeting: &str) -> Result<Self, sqlx::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(path, flags).map_err(fault)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.execute_batch(greeting).map_err(fault)?;
        // In the place of SQLite's own, which copies the log within a commit.
        connection.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(u32::try_from(pages).unwrap_or(0));
            Ok(())
        }));
        Ok(Self { connection, columns: HashMap::new(), singles: HashMap::new() })
    }

    /// Runs a statement without values.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), sqlx::Error> {
        let mut statement = self.connection.prepare_cached(text).map_err(fault)?;
        let mut rows = statement.raw_query();
        while rows.next().map_err(fault)?.is_some() {}
        Ok(())
    }

    /// Whether it is in no transaction.
    pub(crate) fn is_free(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// How many pages the log has after this thread's last commit.
    pub(crate) fn log_pages() -> u32 {
        LOG_PAGES.get()
    }

    /// Copies what stands in the log into the file, as far as no reader needs the file as it is;
    /// waits for nobody. Tells how many pages the log had.
    pub(crate) fn checkpoint(&mut self) -> Result<u32, sqlx::Error> {
        let copied = "pragma wal_checkpoint(passive)";
        let mut statement = self.connection.prepare_cached(copied).map_err(fault)?;
        let pages = statement.query_row([], |row| row.get::<_, i64>(1)).map_err(fault)?;
        // Less than none where there is no log.
        Ok(u32::try_from(pages).unwrap_or(0))
    }

    /// Runs a statement whose values are called `$1`, `$2` and so on, or follow each other as
    /// `?`; tells how many rows it changed.
    pub(crate) fn run(
        &mut self,
        text: &str,
        cells: &[Cell],
        found: &mut Vec<sql::Row>,
    ) -> Result<u64, sqlx::Error> {
        let mut statement = self.connection.prepare_cached(text).map_err(fault)?;
        let names = names(&statement, &mut self.columns, text);
        for place in 1..=statement.parameter_count() {
            let named = statement.parameter_name(place).and_then(|name| name.get(1..));
            let number = named.and_then(|name| name.parse().ok()).unwrap_or(place);
            let cell = cells.get(usize::saturating_sub(number, 1));
            let cell = cell.ok_or_else(|| sqlx::Error::Protocol(format!("no value ${number}")))?;
            statement.raw_bind_parameter(place, cell).map_err(fault)?;
        }
        collect(&mut statement, &names, found)?;
        Ok(self.connection.changes())
    }

    /// Runs a statement that returns nothing over one row of values after another; tells how many
    /// rows each time changed.
    pub(crate) fn change_each<const WIDTH: usize>(
        &mut self,
        (columns, text): (&'static str, &'static str),
        rows: &[[Cell; WIDTH]],
    ) -> Result<Vec<u64>, sqlx::Error> {
        let text = self.singles.entry(text).or_insert_with(|| single(columns, text));
        let mut statement = self.connection.prepare_cached(text).map_err(fault)?;
        let places = statement.parameter_count();
        let change = |row: &[Cell; WIDTH]| {
            for (place, cell) in (1..=places).zip(row) {
                statement.raw_bind_parameter(place, cell).map_err(fault)?;
            }
            statement.raw_execute().map_err(fault)?;
            Ok(self.connection.changes())
        };
        rows.iter().map(change).collect()
    }

    /// Runs a statement over one row of values after another: the columns of a list, and a text
    /// that is about the list.
    pub(crate) fn run_each<const WIDTH: usize>(
        &mut self,
        (columns, text): (&'static str, &'static str),
        rows: &[[Cell; WIDTH]],
        found: &mut Vec<sql::Row>,
    ) -> Result<(), sqlx::Error> {
        let text = self.singles.entry(text).or_insert_with(|| single(columns, text));
        let mut statement = self.connection.prepare_cached(text).map_err(fault)?;
        let names = names(&statement, &mut self.columns, text);
        let places = statement.parameter_count();
        for row in rows {
            for (place, cell) in (1..=places).zip(row) {
                statement.raw_bind_parameter(place, cell).map_err(fault)?;
            }
            collect(&mut statement, &names, found)?;
        }
        Ok(())
    }
}

thread_local! {
    /// A hook knows its connection no better than by its thread.
    static LOG_PAGES: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

type Names = Arc<[Box<str>]>;

/// The columns of a statement.
fn names(
    statement: &CachedStatement<'_>,
    known: &mut HashMap<Box<str>, Names>,
    text: &str,
) -> Names {
    if let Some(names) = known.get(text) {
        return Arc::clone(names);
    }
    let names: Names = statement.column_names().into_iter().map(Box::from).collect();
    known.insert(text.into(), Arc::clone(&names));
    names
}

/// Runs a statement to its end and adds its rows.
fn collect(
    statement: &mut CachedStatement<'_>,
    names: &Names,
    found: &mut Vec<sql::Row>,
) -> Result<(), sqlx::Error> {
    let width = names.len();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(fault)? {
        let mut read = Row {
            names: Arc::clone(names),
            values: Vec::with_capacity(width),
            bytes: Vec::new(),
            next: AtomicUsize::new(0),
        };
        for place in 0..width {
            read.push(row.get_ref(place).map_err(fault)?);
        }
        found.push(sql::Row::Lite(read));
    }
    Ok(())
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Int(Some(number)) => ValueRef::Integer(*number),
            Self::Blob(Some(bytes)) => ValueRef::Blob(bytes),
            Self::Text(None) | Self::Int(None) | Self::Blob(None) => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// A row: its texts and bytes stand behind each other.
#[derive(Debug)]
pub(crate) struct Row {
    names: Names,
    values: Vec<Value>,
    bytes: Vec<u8>,
    /// Where the column stands that is likely to be asked for next: they are read in their order.
    next: AtomicUsize,
}

#[derive(Debug, Clone)]
enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(Range<usize>),
    Blob(Range<usize>),
}

/// A value as it stands in a row.
#[derive(Debug)]
pub(crate) enum Plain<'r> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'r str),
    Blob(&'r [u8]),
}

impl Row {
    fn push(&mut self, value: ValueRef<'_>) {
        let mut keep = |bytes: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            start..self.bytes.len()
        };
        let value = match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Int(number),
            ValueRef::Real(number) => Value::Real(number),
            ValueRef::Text(bytes) => Value::Text(keep(bytes)),
            ValueRef::Blob(bytes) => Value::Blob(keep(bytes)),
        };
        self.values.push(value);
    }

    /// The value of a column.
    pub(crate) fn get<'r, T: Get<'r>>(&'r self, column: &str) -> Result<T, sqlx::Error> {
        let value = self.place(column).and_then(|place| self.values.get(place));
        let value = value.ok_or_else(|| sqlx::Error::ColumnNotFound(column.to_owned()))?;
        let wrong = |source: Wrong| sqlx::Error::ColumnDecode {
            index: format!("{column:?}"),
            source: source.0.into(),
        };
        T::get(self.read(value).map_err(wrong)?).map_err(wrong)
    }

    fn place(&self, column: &str) -> Option<usize> {
        let is = |place: &usize| self.names.get(*place).is_some_and(|name| **name == *column);
        let likely = self.next.load(Ordering::Relaxed);
        let place = Some(likely).filter(is).or_else(|| (0..self.names.len()).find(is))?;
        self.next.store(place.saturating_add(1), Ordering::Relaxed);
        Some(place)
    }

    fn read(&self, value: &Value) -> Result<Plain<'_>, Wrong> {
        let bytes = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        Ok(match value {
            Value::Null => Plain::Null,
            Value::Int(number) => Plain::Int(*number),
            Value::Real(number) => Plain::Real(*number),
            Value::Text(range) => Plain::Text(
                std::str::from_utf8(bytes(range)).map_err(|error| Wrong(error.to_string()))?,
            ),
            Value::Blob(range) => Plain::Blob(bytes(range)),
        })
    }

    /// Every column by its name.
    pub(crate) fn plain(&self) -> Result<Vec<(&str, Plain<'_>)>, sqlx::Error> {
        let named = self.names.iter().zip(&self.values);
        named
            .map(|(name, value)| {
                let value = self.read(value).map_err(|wrong| sqlx::Error::ColumnDecode {
                    index: name.to_string(),
                    source: wrong.0.into(),
                })?;
                Ok((&**name, value))
            })
            .collect()
    }
}

/// What a value is not.
#[derive(Debug)]
pub(crate) struct Wrong(String);

/// What can be read out of a row of SQLite's. What stands in it is not turned into another type.
pub(crate) trait Get<'r>: Sized {
    /// Reads a value.
    fn get(value: Plain<'r>) -> Result<Self, Wrong>;
}

impl Plain<'_> {
    fn is_no<T>(&self, expected: &str) -> Result<T, Wrong> {
        let found = match self {
            Self::Null => "nothing",
            Self::Int(_) => "a whole number",
            Self::Real(_) => "a number",
            Self::Text(_) => "a text",
            Self::Blob(_) => "bytes",
        };
        Err(Wrong(format!("found {found}, expected {expected}")))
    }
}

impl Get<'_> for i64 {
    fn get(value: Plain<'_>) -> Result<Self, Wrong> {
        if let Plain::Int(number) = value { Ok(number) } else { value.is_no("a whole number") }
    }
}

impl<'r> Get<'r> for &'r str {
    fn get(value: Plain<'r>) -> Result<Self, Wrong> {
        if let Plain::Text(text) = value { Ok(text) } else { value.is_no("a text") }
    }
}

impl Get<'_> for String {
    fn get(value: Plain<'_>) -> Result<Self, Wrong> {
        <&str>::get(value).map(str::to_owned)
    }
}

impl Get<'_> for Vec<u8> {
    fn get(value: Plain<'_>) -> Result<Self, Wrong> {
        if let Plain::Blob(bytes) = value { Ok(bytes.to_vec()) } else { value.is_no("bytes") }
    }
}

impl<'r, T: Get<'r>> Get<'r> for Option<T> {
    fn get(value: Plain<'r>) -> Result<Self, Wrong> {
        if let Plain::Null = value { Ok(None) } else { T::get(value).map(Some) }
    }
}

/// What SQLite says went wrong, in the words in which sqlx says it.
#[derive(Debug)]
struct Failed {
    code: String,
    words: String,
}

fn fault(error: rusqlite::Error) -> sqlx::Error {
    let rusqlite::Error::SqliteFailure(failure, words) = error else {
        return sqlx::Error::Protocol(error.to_string());
    };
    let words = words.unwrap_or_else(|| failure.to_string());
    let code = failure.extended_code.to_string();
    sqlx::Error::Database(Box::new(Failed { code, words }))
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "(code: {}) {}", self.code, self.words)
    }
}

impl StdError for Failed {}

impl DatabaseError for Failed {
    fn message(&self) -> &str {
        &self.words
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.code))
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// Prepared statements that a connection keeps: all that the writer knows.
const STATEMENTS: usize = 256;
