//! Many rows, one statement: multi-row `values` lists that both databases take.
//!
//! Lists are padded to powers of two with rows of nulls, so that a statement cache holds every
//! size. A null joins nothing and updates nothing; inserts leave such rows out by a `where`.

use std::cell::Cell as Counter;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use crate::sql::{At, Connection, Query, Row, query};

/// One bound value. Texts, whole numbers and bytes are all that crosses the seam.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// Text or null.
    Text(Option<String>),
    /// A whole number or null.
    Int(Option<i64>),
    /// Bytes or null.
    Blob(Option<Vec<u8>>),
}

impl Cell {
    fn null_like(&self) -> Self {
        match self {
            Self::Text(_) => Self::Text(None),
            Self::Int(_) => Self::Int(None),
            Self::Blob(_) => Self::Blob(None),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<&str>> for Cell {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Cell {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<Option<String>> for Cell {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Cell {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(Some(bytes.to_vec()))
    }
}

impl From<Vec<u8>> for Cell {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(Some(bytes))
    }
}

impl From<Option<&[u8]>> for Cell {
    fn from(bytes: Option<&[u8]>) -> Self {
        Self::Blob(bytes.map(<[u8]>::to_vec))
    }
}

/// The text around a `values` list, which is called `v` in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Statement {
    /// Names of the columns of `v`, separated by commas.
    pub(crate) columns: &'static str,
    /// What follows `with v(…) as (values …)`.
    pub(crate) text: &'static str,
    /// What only this dialect wants at the end, such as a row lock.
    pub(crate) suffix: &'static str,
}

/// Runs the statement over all rows, and gives back every row that it returns.
///
/// Runs nothing where there is no row; more than [`rows_max`] rows take several statements. On
/// SQLite's writer the statement is prepared once and run for each row: there is nothing to be
/// saved on the way to it.
pub(crate) async fn fetch<const WIDTH: usize>(
    connection: &mut Connection,
    statement: Statement,
    rows: &[[Cell; WIDTH]],
) -> Result<Vec<Row>, sqlx::Error> {
    let Statement { columns, text, .. } = statement;
    let mut found = Vec::new();
    if rows.is_empty() {
        return Ok(found);
    }
    if let Connection::Lite(lite) = connection {
        count();
        lite.run_each((columns, text), rows, &mut found)?;
        return Ok(found);
    }
    for chunk in rows.chunks(rows_max(WIDTH)) {
        count();
        let asked = listed(connection, statement, chunk).fetch_all(At::Connection(connection));
        found.extend(asked.await?);
    }
    Ok(found)
}

/// Runs a statement that returns nothing over all rows; says how many rows it changed.
///
/// Where nobody asks what stands in them, SQLite need not keep what it would return in a table of
/// its own, which it makes for each row that is run.
pub(crate) async fn change<const WIDTH: usize>(
    connection: &mut Connection,
    statement: Statement,
    rows: &[[Cell; WIDTH]],
) -> Result<u64, sqlx::Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    if let Connection::Lite(lite) = connection {
        count();
        let changed = lite.change_each((statement.columns, statement.text), rows)?;
        return Ok(changed.into_iter().fold(0, u64::saturating_add));
    }
    let mut changed: u64 = 0;
    for chunk in rows.chunks(rows_max(WIDTH)) {
        count();
        let done = listed(connection, statement, chunk).execute(At::Connection(connection));
        changed = changed.saturating_add(done.await?);
    }
    Ok(changed)
}

/// A statement about a list, with its values.
fn listed<const WIDTH: usize>(
    connection: &Connection,
    statement: Statement,
    rows: &[[Cell; WIDTH]],
) -> Query {
    let size = rows.len().next_power_of_two();
    let mut query = query(written((Marks::of(connection), size, WIDTH), statement));
    let padding = rows.first().map(|row| row.each_ref().map(Cell::null_like));
    let missing = size.saturating_sub(rows.len());
    for row in rows.iter().chain(std::iter::repeat_n(&padding, missing).flatten()) {
        for cell in row {
            query = query.bind(cell.clone());
        }
    }
    query
}

/// The text of a statement about a list of so many rows and columns, written once: that of a large
/// list takes as long to write as some of its rows take to be stored.
fn written((marks, rows, width): (Marks, usize, usize), statement: Statement) -> Arc<str> {
    type Texts = HashMap<(Marks, usize, Statement), Arc<str>>;
    static TEXTS: LazyLock<RwLock<Texts>> = LazyLock::new(RwLock::default);
    let key = (marks, rows, statement);
    if let Some(text) = TEXTS.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Arc::clone(text);
    }
    let Statement { columns, text, suffix } = statement;
    let list = placeholders(marks, rows, width);
    let text: Arc<str> = format!("with v({columns}) as (values {list}) {text}{suffix}").into();
    TEXTS.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&text));
    text
}

/// How the values of a list are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Marks {
    /// `$1`.
    Numbered,
    /// `?`. SQLite takes numbered ones for names and looks each up from the first on, at every
    /// execution: with the thousands of values of a large group that costs more than the rows.
    Bare,
}

impl Marks {
    fn of(connection: &Connection) -> Self {
        match connection {
            Connection::Far(far) if far.backend_name() != "SQLite" => Self::Numbered,
            Connection::Far(_) | Connection::Lite(_) => Self::Bare,
        }
    }
}

/// `($1,$2),($3,$4)` for two rows of two.
fn placeholders(marks: Marks, rows: usize, width: usize) -> String {
    let mut text = String::with_capacity(rows.saturating_mul(width).saturating_mul(6));
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        for column in 0..width {
            if column > 0 {
                text.push(',');
            }
            let place = row.saturating_mul(width).saturating_add(column).saturating_add(1);
            match marks {
                Marks::Bare => text.push('?'),
                Marks::Numbered => {
                    text.push('$');
                    text.push_str(&place.to_string());
                }
            }
        }
        text.push(')');
    }
    text
}

/// Counts a statement for the group that is being run.
pub(crate) fn count() {
    // Reads outside a group are not counted.
    let _ = STATEMENTS.try_with(|count| count.set(count.get().saturating_add(1)));
}

tokio::task_local! {
    /// Statements of the group that this task runs.
    pub(crate) static STATEMENTS: Counter<u64>;
}

/// Rows of one statement: a power of two, because lists are padded to one. A full group of
/// settlements that name four documents each still takes one statement.
fn rows_max(width: usize) -> usize {
    let fitting = VALUES_MAX.checked_div(width).unwrap_or(1).max(1);
    // One more bit than the largest power of two that fits is the next one.
    let bits = usize::BITS.saturating_sub(fitting.leading_zeros()).saturating_sub(1);
    1_usize.checked_shl(bits).unwrap_or(1).min(ROWS_MAX)
}

/// SQLite takes 32,766 values in a statement, PostgreSQL 65,535.
const VALUES_MAX: usize = 32_766;

/// Rows of one statement, however narrow.
const ROWS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::{Marks, placeholders, rows_max};

    #[test]
    fn placeholders_are_numbered_through() {
        assert_eq!(placeholders(Marks::Numbered, 2, 2), "($1,$2),($3,$4)");
        assert_eq!(placeholders(Marks::Numbered, 1, 3), "($1,$2,$3)");
        assert_eq!(placeholders(Marks::Bare, 2, 2), "(?,?),(?,?)");
    }

    #[test]
    fn a_statement_never_has_more_values_than_sqlite_takes() {
        assert_eq!(rows_max(3), 1_024);
        assert_eq!(rows_max(28), 1_024);
        assert_eq!(rows_max(40), 512);
        for width in 1..200 {
            assert!(rows_max(width) * width <= 32_766, "{width}");
        }
    }
}
