//! Filters: which notifications an operator means, for searching and for replaying many.

use callgate_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::batch::Cell;
use crate::error::StoreError;
use crate::inbox::{InboxState, shown};
use crate::plain::Found;
use crate::sql::{At, Pool, Query, Row, query};

/// Which notifications are meant. What is not given is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<InboxState>,
    /// The channel they came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Who owns the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub business: Option<String>,
    /// What happened, such as `payment.succeeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Why they are where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    /// The order, by its number or by a name it is known by; wants a business beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_no: Option<String>,
    /// Received at this moment or later, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_from_ms: Option<i64>,
    /// Received before this moment, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_to_ms: Option<i64>,
}

/// Where one look ends and the next one begins: arrival and id of a notification.
pub type Cursor = (Timestamp, String);

/// A condition on the rows of a table, and the values bound in it.
pub(crate) struct Condition {
    table: &'static str,
    pub(crate) sql: String,
    cells: Vec<Cell>,
}

impl Condition {
    /// Everything in a table, which is called `t`.
    pub(crate) fn of(table: &'static str) -> Self {
        Self { table, sql: "true".to_owned(), cells: Vec::new() }
    }

    /// Binds a value, and gives its place.
    pub(crate) fn bind(&mut self, cell: impl Into<Cell>) -> String {
        self.cells.push(cell.into());
        format!("${}", self.cells.len())
    }

    /// Wants a column to have this value, if one is given.
    pub(crate) fn equal(&mut self, column: &str, value: Option<&str>) {
        if let Some(value) = value {
            let place = self.bind(value);
            self.sql.push_str(&format!(" and t.{column} = {place}"));
        }
    }

    /// Runs `select … from … t where <condition> <end>`.
    pub(crate) async fn fetch<'c>(
        &self,
        at: impl Into<At<'c>>,
        (columns, end): (&str, &str),
    ) -> Result<Vec<Row>, sqlx::Error> {
        let sql = format!("select {columns} from {} t where {} {end}", self.table, self.sql);
        let query = self.cells.iter().cloned().fold(query(sql), Query::bind);
        query.fetch_all(at).await
    }
}

impl Filter {
    /// The condition. A state is written out, so that the index that holds it alone is found.
    pub(crate) fn condition(&self) -> Result<Condition, StoreError> {
        let mut condition = Condition::of("inbox");
        if let Some(state) = self.state {
            condition.sql.push_str(&format!(" and t.state = '{}'", state.as_str()));
        }
        condition.equal("channel", self.channel.as_deref());
        condition.equal("business", self.business.as_deref());
        condition.equal("event_type", self.event_type.as_deref());
        condition.equal("reason_code", self.reason_code.as_deref());
        if let Some(order_no) = &self.order_no {
            let Some(business) = self.business.as_deref() else {
                return Err(StoreError::invalid("an order number without its business"));
            };
            let (business, name) = (condition.bind(business), condition.bind(order_no.as_str()));
            condition.sql.push_str(&format!(
                " and t.subject in ({name}, (select a.order_no from order_aliases a \
                 where a.business = {business} and a.alias = {name}))"
            ));
        }
        if let Some(from) = self.received_from_ms {
            let place = condition.bind(from);
            condition.sql.push_str(&format!(" and t.received_at_ms >= {place}"));
        }
        if let Some(to) = self.received_to_ms {
            let place = condition.bind(to);
            condition.sql.push_str(&format!(" and t.received_at_ms < {place}"));
        }
        Ok(condition)
    }

    /// Whether the texts can be asked for at all.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a NUL, which PostgreSQL does not take.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let texts =
            [&self.channel, &self.business, &self.event_type, &self.reason_code, &self.order_no];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(StoreError::invalid("a text of the filter has a NUL character"));
        }
        Ok(())
    }
}

/// What fits, newest first.
pub(crate) async fn search(
    pool: &Pool,
    filter: &Filter,
    before: Option<&Cursor>,
    limit: i64,
) -> Result<Vec<Found>, StoreError> {
    filter.check()?;
    let mut condition = filter.condition()?;
    if let Some((at, id)) = before {
        let (at, id) = (condition.bind(at.as_ms()), condition.bind(id.as_str()));
        condition.sql.push_str(&format!(" and (t.received_at_ms, t.id) < ({at}, {id})"));
    }
    let limit = limit.clamp(1, SEARCH_MAX);
    let end = format!("order by t.received_at_ms desc, t.id desc limit {limit}");
    let rows = condition.fetch(pool, (shown!(), &end)).await?;
    rows.iter().map(Found::of).collect()
}

/// The first ones that fit, in the order in which a replay would take them.
pub(crate) async fn sample(pool: &Pool, filter: &Filter) -> Result<Vec<Found>, StoreError> {
    filter.check()?;
    let end = format!("order by t.received_at_ms, t.id limit {SAMPLE_MAX}");
    let rows = filter.condition()?.fetch(pool, (shown!(), &end)).await?;
    rows.iter().map(Found::of).collect()
}

/// How many fit; counting stops at [`COUNT_MAX`].
pub(crate) async fn count<'c>(at: impl Into<At<'c>>, filter: &Filter) -> Result<i64, StoreError> {
    filter.check()?;
    let inner = filter.condition()?;
    let counted = Condition {
        table: inner.table,
        sql: format!("t.id in (select t.id from inbox t where {} limit {COUNT_MAX})", inner.sql),
        cells: inner.cells,
    };
    let rows = counted.fetch(at, ("cast(count(*) as bigint) as found", "")).await?;
    Ok(rows.first().map(|row| row.try_get("found")).transpose()?.unwrap_or(0))
}

/// Notifications that one search shows.
pub const SEARCH_MAX: i64 = 200;

/// Notifications that a dry run shows.
pub const SAMPLE_MAX: i64 = 10;

/// Where counting ends.
pub const COUNT_MAX: i64 = 1_000_000;
