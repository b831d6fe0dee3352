//! Outgoing calls: a log for each notification, written before a request leaves and again before
//! the guest sees its answer.
//!
//! The log in order is what makes a run repeatable. A run again is answered from it, call by call;
//! only its last call is sent again, with the same idempotency key, and only where it did not
//! succeed. What else is asked under a name that is taken is no answer but a contradiction.

use callgate_core::time::Timestamp;

use crate::error::StoreError;
use crate::group::Operation;
use crate::lease::Lease;
use crate::sql::{Pool, Row, query};
use crate::store::Store;

pub(crate) mod log;

use log::{Called, Calling};

/// A call that a run is about to make.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// The right to work on the notification: who lost it calls nobody.
    pub lease: Lease,
    /// How it is known again in this notification, 1 to 256 characters.
    pub name: String,
    /// `action` or `after`.
    pub phase: &'static str,
    /// The endpoint.
    pub endpoint: String,
    /// The idempotency key where nothing else was asked under this name before.
    pub key: String,
    /// The idempotency key where the endpoint refused what was asked under this name before.
    pub changed_key: String,
    /// Who asks.
    pub plugin: String,
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Bytes of path, headers and body.
    pub request_bytes: i64,
    /// SHA-256 of all that is asked, in hexadecimal.
    pub digest: String,
    /// Bytes that the body of the answer may have.
    pub answer_bytes_max: i64,
    /// The lease lasts at least this long from now, in milliseconds.
    pub lease_ms: i64,
}

/// What to do about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallBegun {
    /// Send it.
    Send {
        /// The right to end it.
        tries: i64,
        /// The idempotency key.
        key: String,
    },
    /// It came to this before: nobody is called.
    Known(CallEnd),
    /// Something else was asked under this name.
    Differs {
        /// Endpoint, method and path of what was asked.
        was: String,
    },
    /// Somebody else has the notification by now.
    LostLease,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEnd {
    /// With a whole answer.
    Answered {
        /// The status.
        status: u16,
        /// Its headers.
        headers: Vec<(String, String)>,
        /// Its body.
        body: Vec<u8>,
    },
    /// With an answer that was too large to be kept.
    TooLarge {
        /// The status.
        status: u16,
    },
    /// Without an answer: a reason code of at most 64 characters.
    Failed(String),
}

/// The end of a call, on its way.
#[derive(Debug, Clone)]
pub struct EndedCall {
    /// The notification.
    pub notification_id: String,
    /// The name of the call.
    pub name: String,
    /// From [`CallBegun::Send`].
    pub tries: i64,
    /// The end.
    pub end: CallEnd,
    /// From the request to the whole answer, in microseconds.
    pub duration_us: i64,
}

/// Whether the end of a call was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKept {
    /// It stands in the log.
    Kept,
    /// The call was begun again by somebody else, whose end counts.
    Superseded,
}

/// A call as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCall {
    /// Its name.
    pub name: String,
    /// Its place in the log, from 1.
    pub seq: i64,
    /// `action` or `after`.
    pub phase: String,
    /// The endpoint.
    pub endpoint: String,
    /// What the endpoint knows a repeat by.
    pub key: String,
    /// Who asked last.
    pub plugin: String,
    /// In which attempt of the notification.
    pub attempt: i64,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Bytes of the request.
    pub request_bytes: i64,
    /// SHA-256 of the request, in hexadecimal.
    pub digest: String,
    /// How often it was begun.
    pub tries: i64,
    /// When it was begun last.
    pub begun_at: Timestamp,
    /// When it ended; `None` while it is under way, and where its host died.
    pub ended_at: Option<Timestamp>,
    /// What it took, in microseconds.
    pub duration_us: Option<i64>,
    /// How it ended.
    pub end: Option<CallEnd>,
    /// Bytes that the body of its answer was allowed to have.
    pub answer_bytes_max: i64,
}

impl StoredCall {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let ended_at = row.try_get::<Option<i64>, _>("ended_at_ms")?.map(Timestamp::from_ms);
        Ok(Self {
            name: row.try_get("name")?,
            seq: row.try_get("seq")?,
            phase: row.try_get("phase")?,
            endpoint: row.try_get("endpoint")?,
            key: row.try_get("idempotency_key")?,
            plugin: row.try_get("plugin")?,
            attempt: row.try_get("attempt")?,
            method: row.try_get("method")?,
            path: row.try_get("path")?,
            request_bytes: row.try_get("request_bytes")?,
            digest: row.try_get("request_digest")?,
            tries: row.try_get("tries")?,
            begun_at: Timestamp::from_ms(row.try_get("begun_at_ms")?),
            end: ended_at.map(|_| end(row)).transpose()?,
            ended_at,
            duration_us: row.try_get("duration_us")?,
            answer_bytes_max: row.try_get("answer_bytes_max")?,
        })
    }

    /// What to do where this call is asked for again; `last` where no other was begun after it.
    fn again(self, new: &NewCall, last: bool) -> CallBegun {
        let send = |key: &str| CallBegun::Send {
            tries: self.tries.saturating_add(1),
            key: key.to_owned(),
        };
        let refused = matches!(&self.end, Some(CallEnd::Answered { status: 400..=499, .. }))
            && !matches!(&self.end, Some(CallEnd::Answered { status: 408 | 425 | 429, .. }));
        if self.digest != new.digest {
            // What was refused had no effect, and nothing was built on it: it may be mended.
            if last && refused {
                return send(&new.changed_key);
            }
            let was = format!("{} {} {}", self.endpoint, self.method, self.path);
            return CallBegun::Differs { was };
        }
        let key = self.key.clone();
        let succeeded = match &self.end {
            Some(CallEnd::Answered { status, .. }) => (200..=399).contains(status),
            // A host that takes more now asks again; it is the same call, with the same key.
            Some(CallEnd::TooLarge { status }) => {
                (200..=399).contains(status) && new.answer_bytes_max <= self.answer_bytes_max
            }
            Some(CallEnd::Failed(_)) | None => false,
        };
        match self.end {
            Some(end) if succeeded || !last => CallBegun::Known(end),
            Some(_) | None => CallBegun::Send { tries: self.tries.saturating_add(1), key },
        }
    }
}

fn end(row: &Row) -> Result<CallEnd, StoreError> {
    let status: Option<i64> = row.try_get("status")?;
    let status = status.map(u16::try_from).transpose();
    let status = status.map_err(|error| StoreError::corrupt(format!("status: {error}")))?;
    let error: Option<String> = row.try_get("error")?;
    match (status, error) {
        (Some(status), None) => {
            let headers: Option<String> = row.try_get("headers")?;
            let headers = serde_json::from_str(headers.as_deref().unwrap_or("[]"))
                .map_err(|error| StoreError::corrupt(format!("headers of a call: {error}")))?;
            let body: Option<Vec<u8>> = row.try_get("body")?;
            Ok(CallEnd::Answered { status, headers, body: body.unwrap_or_default() })
        }
        (Some(status), Some(_)) => Ok(CallEnd::TooLarge { status }),
        (None, Some(code)) => Ok(CallEnd::Failed(code)),
        (None, None) => Err(StoreError::corrupt("a call ended without an end")),
    }
}

/// Outgoing calls.
impl Store {
    /// Writes down that a call is about to be made, or tells what it came to before. A call that
    /// is to be sent lengthens the lease.
    ///
    /// # Errors
    /// As the database fails; then the call must not be made.
    pub async fn begin_call(&self, call: NewCall, now: Timestamp) -> Result<CallBegun, StoreError> {
        let calling = Calling::Begin { call: Box::new(call), now };
        match self.ask(|reply| Operation::Call(calling, reply)).await? {
            Called::Begun(begun) => Ok(begun),
            Called::Ended(_) => Err(StoreError::corrupt("the writer answered another question")),
        }
    }

    /// Writes down what a call came to. Only then may its guest see it.
    ///
    /// # Errors
    /// As the database fails; then nobody knows what the call came to.
    pub async fn end_call(&self, call: EndedCall, now: Timestamp) -> Result<CallKept, StoreError> {
        let calling = Calling::End { call: Box::new(call), now };
        match self.ask(|reply| Operation::Call(calling, reply)).await? {
            Called::Ended(kept) => Ok(kept),
            Called::Begun(_) => Err(StoreError::corrupt("the writer answered another question")),
        }
    }

    /// The calls of a notification, in the order of its log; at most [`CALLS_MAX`].
    ///
    /// # Errors
    /// As the database fails.
    pub async fn calls_of(&self, id: &str) -> Result<Vec<StoredCall>, StoreError> {
        of_notification(self.readers(), id).await
    }
}

/// The log of one notification.
pub(crate) async fn of_notification(pool: &Pool, id: &str) -> Result<Vec<StoredCall>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from calls t where t.notification_id = $1 order by t.seq, t.name limit $2"
    );
    let query = query(sql).bind(id).bind(CALLS_MAX);
    query.fetch_all(pool).await?.iter().map(StoredCall::read).collect()
}

/// Everything of a row that has the alias `t`.
macro_rules! columns {
    () => {
        "t.notification_id, t.name, t.seq, t.phase, t.endpoint, t.idempotency_key, t.plugin, \
         t.attempt, t.method, t.path, t.request_bytes, t.request_digest, t.tries, t.begun_at_ms, \
         t.ended_at_ms, t.duration_us, t.status, t.headers, t.body, t.answer_bytes_max, t.error"
    };
}
pub(crate) use columns;

const COLUMNS: &str = columns!();

/// Calls that a look at one notification shows: the first ones.
pub const CALLS_MAX: i64 = 1_000;
