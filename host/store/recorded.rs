//! What runs were told and what they cost, page by page: for back-tests, which open the database
//! for reading alone, and for statistics.

use std::collections::HashMap;

use callgate_core::time::Timestamp;

use crate::attempt::{self, Attempt};
use crate::batch::{Cell, Statement, fetch};
use crate::dialect::connect_to_read;
use crate::error::StoreError;
use crate::filter::Condition;
use crate::inbox::{StoredNotification, columns};
use crate::retention::removal::first_id_of;
use crate::schema;
use crate::settings::Settings;
use crate::sql::{Pool, Row};
use crate::store::Store;

/// A database that is looked at and never changed, also beside a server that works on it.
#[derive(Debug, Clone)]
pub struct ReadOnly(pub(crate) Pool);

/// The last run of one notification by a plugin.
#[derive(Debug, Clone)]
pub struct RecordedRun {
    /// The notification.
    pub stored: StoredNotification,
    /// The attempt.
    pub attempt: Attempt,
    /// What the run was told and read, JSON; `None` where it was not recorded.
    pub inputs: Option<String>,
}

/// Runs in order of arrival.
#[derive(Debug, Clone)]
pub struct RecordedPage {
    /// The runs.
    pub runs: Vec<RecordedRun>,
    /// The notification behind which the next page begins; `None` where this is the last one.
    pub next: Option<String>,
}

/// Which runs are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedQuery {
    /// The plugin's own name.
    pub plugin: String,
    /// Of notifications received at this moment or later.
    pub from: Timestamp,
    /// And before this one.
    pub to: Timestamp,
    /// Of one business; of all where none is named.
    pub business: Option<String>,
}

impl ReadOnly {
    /// Opens a database for reading; it must have this program's schema. SQLite's file is opened
    /// read-only; on PostgreSQL every transaction of these connections is.
    ///
    /// # Errors
    /// [`StoreError::Settings`] for a wrong setting or an older schema, [`StoreError::Newer`],
    /// else as the database fails.
    pub async fn open(settings: &Settings) -> Result<Self, StoreError> {
        settings.check()?;
        let pool = connect_to_read(settings).await?;
        schema::check(&pool).await?;
        Ok(Self(pool))
    }

    /// The last run of each notification by a plugin, in order of arrival, from behind a
    /// notification on; at most [`RECORDED_PAGE_MAX`].
    ///
    /// # Errors
    /// As the database fails.
    pub async fn recorded(
        &self,
        query: &RecordedQuery,
        after: Option<&str>,
        limit: i64,
    ) -> Result<RecordedPage, StoreError> {
        let mut condition = Condition::of("attempts");
        let plugin = condition.bind(query.plugin.as_str());
        let (from, to) = window(&mut condition, (query.from, query.to));
        condition.sql.push_str(&format!(
            " and t.step = 'run' and t.plugin = {plugin} and t.notification_id >= {from} \
             and t.notification_id < {to} and not exists (select 1 from attempts l \
             where l.notification_id = t.notification_id and l.step = 'run' \
             and l.plugin = t.plugin and l.attempt > t.attempt)"
        ));
        if let Some(business) = query.business.as_deref() {
            let business = condition.bind(business);
            condition.sql.push_str(&format!(
                " and exists (select 1 from inbox n where n.id = t.notification_id \
                 and n.business = {business})"
            ));
        }
        if let Some(after) = after {
            let after = condition.bind(after);
            condition.sql.push_str(&format!(" and t.notification_id > {after}"));
        }
        let columns = format!("t.notification_id, t.inputs, {}", attempt::COLUMNS);
        let limit = limit.clamp(1, RECORDED_PAGE_MAX);
        let end = format!("order by t.notification_id limit {limit}");
        let rows = condition.fetch(&self.0, (&columns, &end)).await?;
        let mut attempts = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: String = row.try_get("notification_id")?;
            attempts.push((id, Attempt::read(row)?, row.try_get("inputs")?));
        }
        let mut notifications = self.notifications(&attempts).await?;
        let full = i64::try_from(rows.len()).is_ok_and(|length| length == limit);
        let next = attempts.last().filter(|_| full).map(|(id, ..)| id.clone());
        // A row that retention forgot between the two looks is not there any more.
        let runs = attempts.into_iter().filter_map(|(id, attempt, inputs)| {
            let stored = notifications.remove(&id)?;
            Some(RecordedRun { stored, attempt, inputs })
        });
        Ok(RecordedPage { runs: runs.collect(), next })
    }

    async fn notifications(
        &self,
        attempts: &[(String, Attempt, Option<String>)],
    ) -> Result<HashMap<String, StoredNotification>, StoreError> {
        let ids: Vec<[Cell; 1]> = attempts.iter().map(|(id, ..)| [id.as_str().into()]).collect();
        let mut connection = self.0.acquire().await?;
        let rows = fetch(&mut connection, NOTIFICATIONS, &ids).await?;
        let read = |row: &Row| {
            let stored = StoredNotification::read(row)?;
            Ok((stored.id.clone(), stored))
        };
        rows.iter().map(read).collect()
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// What one attempt cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The notification: where the next page begins.
    pub notification: String,
    /// The attempt. Its inputs are not read.
    pub attempt: Attempt,
}

/// Whose costs are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredQuery {
    /// The plugin's own name.
    pub plugin: String,
    /// Of notifications received at this moment or later.
    pub from: Timestamp,
    /// And before this one.
    pub to: Timestamp,
}

/// What runs cost.
impl Store {
    /// Attempts of a plugin, the last notifications first, from before a place on; at most
    /// [`ATTEMPTS_PAGE_MAX`]. A page that is shorter than the limit is the last one. The window is
    /// a range of the primary key: no index more.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn measured(
        &self,
        query: &MeasuredQuery,
        before: Option<&Measured>,
        limit: i64,
    ) -> Result<Vec<Measured>, StoreError> {
        let mut condition = Condition::of("attempts");
        let plugin = condition.bind(query.plugin.as_str());
        let (from, to) = window(&mut condition, (query.from, query.to));
        condition.sql.push_str(&format!(
            " and t.plugin = {plugin} and t.notification_id >= {from} and t.notification_id < {to}"
        ));
        if let Some(last) = before {
            let id = condition.bind(last.notification.as_str());
            let attempt = condition.bind(last.attempt.attempt);
            let step = condition.bind(last.attempt.step.as_str());
            condition.sql.push_str(&format!(
                " and t.notification_id <= {id} \
                 and (t.notification_id, t.attempt, t.step) < ({id}, {attempt}, {step})"
            ));
        }
        let columns = format!("t.notification_id, {}", attempt::COLUMNS);
        let limit = limit.clamp(1, ATTEMPTS_PAGE_MAX);
        let end = format!(
            "order by t.notification_id desc, t.attempt desc, t.step desc \
                           limit {limit}"
        );
        let rows = condition.fetch(self.readers(), (&columns, &end)).await?;
        let read = |row: &Row| {
            let notification = row.try_get("notification_id")?;
            Ok(Measured { notification, attempt: Attempt::read(row)? })
        };
        rows.iter().map(read).collect()
    }
}

/// The ids of a time, its end excluded.
fn window(condition: &mut Condition, (from, to): (Timestamp, Timestamp)) -> (String, String) {
    (condition.bind(first_id_of(from)), condition.bind(first_id_of(to)))
}

const NOTIFICATIONS: Statement = Statement {
    columns: "row_id",
    text: concat!("select ", columns!(), " from v join inbox t on t.id = v.row_id"),
    suffix: "",
};

/// Runs of one page: each may carry its inputs.
pub const RECORDED_PAGE_MAX: i64 = 256;

/// Attempts of one page without inputs.
pub const ATTEMPTS_PAGE_MAX: i64 = 1024;
