//! One order and everything about it.

use crate::batch::Statement;
use crate::documents::{self, Document, DocumentRef, ORDERS};
use crate::error::StoreError;
use crate::history::{self, HistoryEntry};
use crate::inbox::{self, StoredNotification};
use crate::outbox::{self, StoredEvent};
use crate::register::ALIASES_MAX;
use crate::sql::{Pool, query};

/// An order with everything about it. Lists are cut at their named limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderView {
    /// The order.
    pub document: Document,
    /// Its other names.
    pub aliases: Vec<String>,
    /// What happened to it, oldest first.
    pub history: Vec<HistoryEntry>,
    /// What was heard of it, in order of arrival.
    pub notifications: Vec<StoredNotification>,
    /// What the world is told of it, in the order of commits.
    pub events: Vec<StoredEvent>,
}

/// The number of the order that is known by this name.
pub(crate) async fn resolve(
    pool: &Pool,
    business: &str,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let row = query("select order_no from order_aliases where business = $1 and alias = $2")
        .bind(business)
        .bind(name)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| row.try_get("order_no")).transpose()?.flatten())
}

/// The order that is known by this name, whole.
pub(crate) async fn view(
    pool: &Pool,
    business: &str,
    name: &str,
) -> Result<Option<OrderView>, StoreError> {
    let Some(order_no) = resolve(pool, business, name).await? else { return Ok(None) };
    let wanted = DocumentRef { collection: ORDERS.to_owned(), key: order_no.clone() };
    let found = documents::several(pool, business, &[wanted]).await?;
    let Some(document) = found.into_iter().flatten().next() else {
        return Err(StoreError::corrupt("a name leads to an order that does not exist"));
    };
    Ok(Some(OrderView {
        aliases: aliases(pool, business, &order_no).await?,
        history: history::of_order(pool, business, &order_no).await?,
        notifications: inbox::of_subject(pool, business, &order_no).await?,
        events: outbox::of_order(pool, business, &order_no).await?,
        document,
    }))
}

async fn aliases(pool: &Pool, business: &str, order_no: &str) -> Result<Vec<String>, StoreError> {
    let most = i64::try_from(ALIASES_MAX).unwrap_or(i64::MAX);
    let rows = query(OTHER_NAMES).bind(business).bind(order_no).bind(most).fetch_all(pool).await?;
    Ok(rows.iter().map(|row| row.try_get("alias")).collect::<Result<_, _>>()?)
}

pub(crate) const OTHER_NAMES: &str = "select alias from order_aliases where business = $1 \
    and order_no = $2 and alias <> order_no order by alias limit $3";

/// The number of the order that a name leads to, as a value. Takes the business and the name. As
/// long as PostgreSQL has not looked at its tables for the first time, it takes all orders of a
/// business for as easily read as the one that is named: it must have no way to them but from a
/// name, which it would have where the name's row was joined, or a part of the order's key written
/// out.
macro_rules! order_named {
    ($business:literal, $name:literal) => {
        concat!(
            "(select a.order_no from order_aliases a where a.business = ",
            $business,
            " and a.alias = ",
            $name,
            ")"
        )
    };
}
pub(crate) use order_named;

/// Names and the orders they lead to, in the order in which everybody locks them.
pub(crate) const NAMES: Statement = Statement {
    columns: "business, alias",
    text: "select t.business, t.alias, t.order_no from v \
           join order_aliases t on t.business = v.business and t.alias = v.alias \
           order by t.business, t.alias",
    suffix: "",
};
