//! What can go wrong in the store, and how the words of two databases become ours.

use std::sync::Arc;

/// A fault of the store. Clones share their cause: one fault can answer a whole group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another host was faster, again and again. Trying once more later is right.
    #[error("another host changed the same rows in every one of {tries} tries")]
    Conflict {
        /// How often it was tried.
        tries: u32,
    },
    /// The database cannot be reached, is full or busy. Nothing was stored, or, where
    /// the connection broke during the commit, nobody can tell; either way nobody was told so.
    #[error("database is unavailable: {source}")]
    Unavailable {
        /// The database's own words.
        source: Arc<sqlx::Error>,
    },
    /// What is stored is not what this program writes.
    #[error("stored data is damaged: {what}")]
    Corrupt {
        /// Which part.
        what: String,
        /// The database's own words, where it was the one to notice.
        source: Option<Arc<sqlx::Error>>,
    },
    /// The act itself is impossible: it breaks a rule of the schema or names what is not there.
    #[error("not storable: {what}")]
    Invalid {
        /// What was found and what was expected.
        what: String,
    },
    /// A setting is wrong.
    #[error("store.{field}: {problem}")]
    Settings {
        /// The setting.
        field: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// The database was migrated by a newer program.
    #[error("database has migration {version}, this program knows none after {known}: it is newer")]
    Newer {
        /// The migration that is unknown here.
        version: i64,
        /// The last one that is known.
        known: i64,
    },
    /// Another host migrates the database, and was not done within `store.wait_ms`.
    #[error("another host is changing the schema of this database: start again when it is done")]
    Migrating,
    /// The database does not let us in, or not do what we must.
    #[error("database denies access: {what}")]
    Denied {
        /// What was tried, and the database's own words.
        what: String,
    },
    /// A setting of retention is wrong.
    #[error("retention.{field}: {problem}")]
    RetentionSettings {
        /// The setting.
        field: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// An archive or backup file cannot be written or read, or does not hold what it should.
    #[error("file fault: {what}")]
    Archive {
        /// Which file, what was found and what was expected.
        what: String,
    },
    /// The store was closed; nothing is taken any more.
    #[error("store is closed")]
    Closed,
}

impl StoreError {
    /// The stable code for logs, metrics and alerts. Codes never change meaning.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "store.conflict",
            Self::Unavailable { .. } => "store.unavailable",
            Self::Corrupt { .. } => "store.corrupt",
            Self::Invalid { .. } => "store.invalid",
            Self::Settings { .. } | Self::RetentionSettings { .. } => "store.settings",
            Self::Archive { .. } => "store.archive",
            Self::Newer { .. } => "store.newer",
            Self::Migrating => "store.migrating",
            Self::Denied { .. } => "store.denied",
            Self::Closed => "store.closed",
        }
    }

    /// Whether somebody else holds what is wanted: SQLITE_BUSY, SQLITE_LOCKED, or PostgreSQL's
    /// `lock_not_available`.
    pub(crate) fn is_locked(error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        let Some(code) = code else { return false };
        code == "55P03" || code.parse::<u32>().is_ok_and(|code| [5, 6].contains(&(code % 256)))
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), source: None }
    }
}

/// Why a group failed, and so what to do next.
#[derive(Debug)]
pub(crate) enum Fault {
    /// One operation may be to blame, or another host was faster: run them one by one.
    Group(Blame),
    /// The database itself failed: everybody gets this.
    Everybody(StoreError),
}

/// What is known about a failed statement.
#[derive(Debug)]
pub(crate) enum Blame {
    /// A race with another host: worth another try.
    Race,
    /// The operation is wrong, alone as well as in company.
    Operation(StoreError),
}

impl Blame {
    /// For logs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Race => "store.conflict",
            Self::Operation(error) => error.code(),
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        match kind(&error) {
            Kind::Race => Self::Group(Blame::Race),
            Kind::Invalid => Self::Group(Blame::Operation(StoreError::from(error))),
            Kind::Unavailable | Kind::Corrupt | Kind::Denied => {
                Self::Everybody(StoreError::from(error))
            }
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Group(Blame::Operation(error))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match kind(&error) {
            Kind::Race => Self::Conflict { tries: 1 },
            Kind::Invalid => Self::Invalid { what: error.to_string() },
            Kind::Unavailable => Self::Unavailable { source: Arc::new(error) },
            Kind::Denied => Self::Denied { what: error.to_string() },
            Kind::Corrupt => {
                Self::Corrupt { what: error.to_string(), source: Some(Arc::new(error)) }
            }
        }
    }
}

/// What kind of trouble a database error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Race,
    Invalid,
    Unavailable,
    Corrupt,
    Denied,
}

fn kind(error: &sqlx::Error) -> Kind {
    if let Some(code) = error.as_database_error().and_then(|error| error.code()) {
        return match code.parse::<u32>() {
            Ok(number) if code.len() < 5 => sqlite_kind(number),
            Ok(_) | Err(_) => postgres_kind(&code),
        };
    }
    let decoding = matches!(
        error,
        sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::TypeNotFound { .. }
    );
    if decoding { Kind::Corrupt } else { Kind::Unavailable }
}

/// Result codes: <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
fn sqlite_kind(code: u32) -> Kind {
    match code {
        // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_ROWID
        1555 | 2067 | 2579 => Kind::Race,
        _ => match code % 256 {
            // SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH
            18..=20 => Kind::Invalid,
            // SQLITE_ERROR (a statement that this schema does not know), SQLITE_CORRUPT,
            // SQLITE_NOTADB
            1 | 11 | 26 => Kind::Corrupt,
            // SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_AUTH
            3 | 8 | 14 | 23 => Kind::Denied,
            _ => Kind::Unavailable,
        },
    }
}

/// SQLSTATE codes: PostgreSQL 15 documentation, appendix A; the first two digits are the class.
fn postgres_kind(code: &str) -> Kind {
    match code {
        // unique violation, serialization failure, deadlock detected
        "23505" | "40001" | "40P01" => Kind::Race,
        // insufficient privilege, database does not exist
        "42501" | "3D000" => Kind::Denied,
        _ => match code.get(..2) {
            // data exception, integrity constraint violation, program limit exceeded
            Some("22" | "23" | "54") => Kind::Invalid,
            // invalid authorization
            Some("28") => Kind::Denied,
            // data or index corrupted; a statement that this schema does not know
            Some("XX" | "42") => Kind::Corrupt,
            Some(_) | None => Kind::Unavailable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, postgres_kind, sqlite_kind};

    #[test]
    fn sqlite_codes_are_sorted_by_what_to_do() {
        let expected = [
            (13, Kind::Unavailable),  // full
            (5, Kind::Unavailable),   // busy
            (8, Kind::Denied),        // read-only
            (778, Kind::Unavailable), // I/O error on write
            (14, Kind::Denied),       // cannot open
            (11, Kind::Corrupt),      // damaged
            (26, Kind::Corrupt),      // not a database
            (2067, Kind::Race),       // unique
            (1555, Kind::Race),       // primary key
            (275, Kind::Invalid),     // check
            (1299, Kind::Invalid),    // not null
        ];
        for (code, kind) in expected {
            assert_eq!(sqlite_kind(code), kind, "{code}");
        }
    }

    #[test]
    fn postgres_codes_are_sorted_by_what_to_do() {
        let expected = [
            ("53100", Kind::Unavailable), // disk full
            ("57P01", Kind::Unavailable), // admin shutdown
            ("25006", Kind::Unavailable), // read-only transaction
            ("08006", Kind::Unavailable), // connection failure
            ("42501", Kind::Denied),      // insufficient privilege
            ("28P01", Kind::Denied),      // wrong password
            ("XX001", Kind::Corrupt),     // damaged
            ("42703", Kind::Corrupt),     // undefined column
            ("23505", Kind::Race),        // unique
            ("40P01", Kind::Race),        // deadlock
            ("23514", Kind::Invalid),     // check
            ("22021", Kind::Invalid),     // character not in repertoire
        ];
        for (code, kind) in expected {
            assert_eq!(postgres_kind(code), kind, "{code}");
        }
    }
}
