//! The seam to the databases: a connection, a statement, a row, whichever of the two it is.
//!
//! PostgreSQL is asked through sqlx. So are the readers of SQLite that may take their time. What
//! is hot on SQLite, its one writer and the documents that runs read, is asked in place
//! ([`crate::lite`]): a statement is a call of a function there, not a message to another thread.

use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::pool::PoolConnection;
use sqlx::{
    Any, AnyPool, AssertSqlSafe, Column as _, Decode, Row as _, Type, TypeInfo as _, ValueRef as _,
};

use crate::batch::Cell;
use crate::lite::{self, Lite, Plain};

/// A connection to either database.
#[derive(Debug)]
pub(crate) enum Connection {
    /// SQLite's, on the thread that asks.
    Lite(Box<Lite>),
    /// PostgreSQL's, or one of SQLite's that has a thread of its own.
    Far(Far),
}

/// A connection of a pool, and whether it is in a transaction.
#[derive(Debug)]
pub(crate) struct Far {
    connection: PoolConnection<Any>,
    open: bool,
}

impl Drop for Far {
    /// A pool would hand it to the next one as it is.
    fn drop(&mut self) {
        if self.open {
            self.connection.close_on_drop();
        }
    }
}

impl Far {
    /// Which database it leads to, as sqlx calls it.
    pub(crate) fn backend_name(&self) -> &str {
        self.connection.backend_name()
    }

    async fn say(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statement).execute(&mut *self.connection).await.map(drop)
    }
}

impl From<PoolConnection<Any>> for Connection {
    fn from(connection: PoolConnection<Any>) -> Self {
        Self::Far(Far { connection, open: false })
    }
}

impl Connection {
    /// Whether it still answers.
    pub(crate) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match self {
            // A file drops no connection.
            Self::Lite(_) => Ok(()),
            Self::Far(far) => sqlx::Connection::ping(&mut *far.connection).await,
        }
    }

    /// Begins a transaction with a statement of its own.
    pub(crate) async fn begin(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Lite(lite) => lite.say(statement),
            Self::Far(far) => {
                far.open = true;
                far.say(statement).await
            }
        }
    }

    /// Makes it lasting.
    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Lite(lite) => lite.say("commit"),
            Self::Far(far) => {
                far.say("commit").await?;
                far.open = false;
                Ok(())
            }
        }
    }

    /// Makes it undone.
    pub(crate) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        match self {
            // The fault itself may have undone it.
            Self::Lite(lite) if lite.is_free() => Ok(()),
            Self::Lite(lite) => lite.say("rollback"),
            Self::Far(far) => {
                far.say("rollback").await?;
                far.open = false;
                Ok(())
            }
        }
    }

    /// Ends it, and whatever it is in the middle of.
    pub(crate) fn close(self) {
        if let Self::Far(mut far) = self {
            far.open = true;
        }
    }
}

/// Connections for reading, handed out in turn.
#[derive(Debug, Clone)]
pub(crate) struct Pool(pub(crate) AnyPool);

impl Pool {
    /// One of them; waits while all are in use.
    pub(crate) async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        self.0.acquire().await.map(Connection::from)
    }

    pub(crate) async fn close(&self) {
        self.0.close().await;
    }
}

/// Where a statement is sent.
#[derive(Debug)]
pub(crate) enum At<'c> {
    Connection(&'c mut Connection),
    Pool(&'c Pool),
}

impl<'c> From<&'c mut Connection> for At<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        Self::Connection(connection)
    }
}

impl<'c> From<&'c Pool> for At<'c> {
    fn from(pool: &'c Pool) -> Self {
        Self::Pool(pool)
    }
}

/// A statement and its values, which it calls `$1`, `$2` and so on.
#[derive(Debug)]
#[must_use]
pub(crate) struct Query {
    sql: Text,
    cells: Vec<Cell>,
}

/// The text of a statement.
#[derive(Debug)]
pub(crate) enum Text {
    Fixed(&'static str),
    Written(String),
    /// One that is used again and again.
    Kept(Arc<str>),
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Written(text) => text,
            Self::Kept(text) => text,
        }
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::Fixed(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Written(text)
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self::Kept(text)
    }
}

/// A statement of this program: nothing of it came from outside.
pub(crate) fn query(sql: impl Into<Text>) -> Query {
    Query { sql: sql.into(), cells: Vec::new() }
}

impl Query {
    /// Its next value.
    pub(crate) fn bind(mut self, cell: impl Into<Cell>) -> Self {
        self.cells.push(cell.into());
        self
    }

    /// Every row that it returns.
    pub(crate) async fn fetch_all<'c>(
        self,
        at: impl Into<At<'c>>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let found = match at.into() {
            At::Connection(Connection::Lite(lite)) => {
                let mut rows = Vec::new();
                lite.run(self.sql.as_ref(), &self.cells, &mut rows)?;
                return Ok(rows);
            }
            At::Connection(Connection::Far(far)) => {
                self.far().fetch_all(&mut *far.connection).await?
            }
            At::Pool(pool) => self.far().fetch_all(&pool.0).await?,
        };
        Ok(found.into_iter().map(Row::Far).collect())
    }

    /// Its first row.
    pub(crate) async fn fetch_optional<'c>(
        self,
        at: impl Into<At<'c>>,
    ) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.fetch_all(at).await?.into_iter().next())
    }

    /// Its first row, where it must have one.
    pub(crate) async fn fetch_one<'c>(self, at: impl Into<At<'c>>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(at).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Runs it; tells how many rows it changed.
    pub(crate) async fn execute<'c>(self, at: impl Into<At<'c>>) -> Result<u64, sqlx::Error> {
        let done = match at.into() {
            At::Connection(Connection::Lite(lite)) => {
                return lite.run(self.sql.as_ref(), &self.cells, &mut Vec::new());
            }
            At::Connection(Connection::Far(far)) => {
                self.far().execute(&mut *far.connection).await?
            }
            At::Pool(pool) => self.far().execute(&pool.0).await?,
        };
        Ok(done.rows_affected())
    }

    fn far(self) -> sqlx::query::Query<'static, Any, sqlx::any::AnyArguments> {
        let query = match self.sql {
            Text::Fixed(sql) => sqlx::query::<Any>(sql),
            Text::Written(sql) => sqlx::query::<Any>(AssertSqlSafe(sql)),
            Text::Kept(sql) => sqlx::query::<Any>(AssertSqlSafe(sql)),
        };
        self.cells.into_iter().fold(query, |query, cell| match cell {
            Cell::Text(text) => query.bind(text),
            Cell::Int(number) => query.bind(number),
            Cell::Blob(bytes) => query.bind(bytes),
        })
    }
}

/// A row of either database.
pub(crate) enum Row {
    Lite(lite::Row),
    Far(AnyRow),
}

impl Row {
    /// The value of a column. The second parameter is how the column is named, as with sqlx.
    ///
    /// # Errors
    /// [`sqlx::Error::ColumnNotFound`] and [`sqlx::Error::ColumnDecode`].
    pub(crate) fn try_get<'r, T: Value<'r>, N: AsRef<str>>(
        &'r self,
        column: N,
    ) -> Result<T, sqlx::Error> {
        match self {
            Self::Lite(row) => row.get(column.as_ref()),
            Self::Far(row) => row.try_get(column.as_ref()),
        }
    }

    /// Every column by its name, and what stands in it.
    ///
    /// # Errors
    /// Where a value cannot be read.
    pub(crate) fn plain(&self) -> Result<Vec<(&str, Plain<'_>)>, sqlx::Error> {
        match self {
            Self::Lite(row) => row.plain(),
            Self::Far(row) => {
                row.columns().iter().map(|column| far_plain(row, column.name())).collect()
            }
        }
    }
}

fn far_plain<'r>(row: &'r AnyRow, name: &'r str) -> Result<(&'r str, Plain<'r>), sqlx::Error> {
    let raw = row.try_get_raw(name)?;
    let value = if raw.is_null() {
        Plain::Null
    } else {
        match raw.type_info().name() {
            "TEXT" => Plain::Text(row.try_get(name)?),
            "BIGINT" => Plain::Int(row.try_get(name)?),
            "DOUBLE" => Plain::Real(row.try_get(name)?),
            "BLOB" => Plain::Blob(row.try_get(name)?),
            other => {
                let source = format!("type {other} is not known here").into();
                return Err(sqlx::Error::ColumnDecode { index: name.to_owned(), source });
            }
        }
    };
    Ok((name, value))
}

/// What can be read out of a row.
pub(crate) trait Value<'r>: lite::Get<'r> + Decode<'r, Any> + Type<Any> {}

impl<'r, T: lite::Get<'r> + Decode<'r, Any> + Type<Any>> Value<'r> for T {}
