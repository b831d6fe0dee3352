//! Rows as they are, every column by its name: for archives, and for notifications that this
//! program cannot read, because they are damaged or a newer host wrote a word of its own.

use base64::Engine as _;
use callgate_core::time::Timestamp;
use metrics::counter;
use serde_json::{Map, Value};

use crate::error::StoreError;
use crate::inbox::StoredNotification;
use crate::lite::Plain;
use crate::sql::Row;

/// A row: every column by its name. Bytes are Base64.
pub type PlainRow = Map<String, Value>;

/// Reads a row whatever stands in it.
pub(crate) fn plain(row: &Row) -> Result<PlainRow, StoreError> {
    let mut line = PlainRow::new();
    for (name, value) in row.plain()? {
        let value = match value {
            Plain::Null => Value::Null,
            Plain::Text(text) => Value::from(text),
            Plain::Int(number) => Value::from(number),
            Plain::Real(number) => Value::from(number),
            Plain::Blob(bytes) => {
                Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
        };
        line.insert(name.to_owned(), value);
    }
    Ok(line)
}

/// A stored notification, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It can be read.
    Read(Box<StoredNotification>),
    /// It cannot.
    Unreadable(Box<Unreadable>),
}

/// A stored notification that this program cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its id.
    pub id: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// What cannot be read.
    pub problem: String,
    /// Every column but the raw callback. Some are personal.
    pub row: PlainRow,
}

impl Found {
    pub(crate) fn of(row: &Row) -> Result<Self, StoreError> {
        let problem = match StoredNotification::read(row) {
            Ok(stored) => return Ok(Self::Read(Box::new(stored))),
            Err(error) => error.to_string(),
        };
        let received_at = Timestamp::from_ms(row.try_get("received_at_ms")?);
        let (id, row) = (row.try_get("id")?, plain(row)?);
        Ok(Self::Unreadable(Box::new(Unreadable { id, received_at, problem, row })))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Read(stored) => &stored.id,
            Self::Unreadable(found) => &found.id,
        }
    }

    /// When it was received.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        match self {
            Self::Read(stored) => stored.received_at,
            Self::Unreadable(found) => found.received_at,
        }
    }

    /// The notification, where it can be read.
    #[must_use]
    pub fn read(&self) -> Option<&StoredNotification> {
        match self {
            Self::Read(stored) => Some(stored),
            Self::Unreadable(_) => None,
        }
    }
}

/// A notification that was set aside because it, or its order, cannot be read.
#[derive(Debug)]
pub(crate) struct SetAside {
    pub(crate) id: String,
    pub(crate) attempt: i64,
    pub(crate) problem: String,
}

impl SetAside {
    /// Counts and logs it; only after the commit, for a group may be run again.
    pub(crate) fn report(&self) {
        let Self { id, attempt, problem } = self;
        counter!("callgate_store_unreadable_total").increment(1);
        tracing::error!(
            notification.id = id,
            attempt,
            problem,
            code = UNREADABLE,
            "a notification cannot be read and needs a person; everything else goes on"
        );
    }
}

/// The reason code of a notification that cannot be read.
pub(crate) const UNREADABLE: &str = "store.corrupt";
