//! Where orders stand: number, state and version, without what they are about.
//!
//! For those who wait for an order to change: one statement for many orders, whoever waits.

use std::collections::HashMap;

use callgate_core::time::Timestamp;

use crate::batch::{Cell, Statement, fetch};
use crate::documents::ORDERS;
use crate::error::StoreError;
use crate::order::order_named;
use crate::sql::{Pool, Row, query};
use crate::store::Store;

/// Where an order stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Who owns it.
    pub business: String,
    /// Its own number, whatever name it was asked by.
    pub order_no: String,
    /// Its state.
    pub state: String,
    /// Grows by one whenever state or body are written.
    pub version: i64,
    /// When that was last.
    pub updated_at: Timestamp,
}

/// An order, and the version of it that somebody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownOrder {
    /// Who owns it.
    pub business: String,
    /// Its own number.
    pub order_no: String,
    /// The version; 0 where none is known.
    pub version: i64,
}

impl Store {
    /// Where orders stand that are known by these names, each a business and a number or alias,
    /// in the order asked; at most [`STANDINGS_MAX`].
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for more, else as the database fails.
    pub async fn standings(
        &self,
        names: &[(String, String)],
    ) -> Result<Vec<Option<Standing>>, StoreError> {
        check(names.len())?;
        let rows: Vec<[Cell; 3]> = names
            .iter()
            .map(|(business, name)| [business.as_str().into(), ORDERS.into(), name.as_str().into()])
            .collect();
        let mut connection = self.readers().acquire().await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in fetch(&mut connection, BY_NAME, &rows).await? {
            let name: (String, String) = (row.try_get("business")?, row.try_get("alias")?);
            found.insert(name, Standing::read(&row)?);
        }
        Ok(names.iter().map(|name| found.get(name).cloned()).collect())
    }

    /// Those of these orders that have another version than the one that is known; at most
    /// [`STANDINGS_MAX`] may be asked for.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for more, else as the database fails.
    pub async fn changed(&self, known: &[KnownOrder]) -> Result<Vec<Standing>, StoreError> {
        check(known.len())?;
        let rows: Vec<[Cell; 4]> = known
            .iter()
            .map(|one| {
                let (business, order_no) = (one.business.as_str(), one.order_no.as_str());
                [business.into(), ORDERS.into(), order_no.into(), one.version.into()]
            })
            .collect();
        let mut connection = self.readers().acquire().await?;
        let found = fetch(&mut connection, CHANGED, &rows).await?;
        Ok(found.iter().map(Standing::read).collect::<Result<_, _>>()?)
    }

    /// Whether an order is still in the state that it was registered in; `None` where there is no
    /// such order.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn is_as_registered(
        &self,
        business: &str,
        order_no: &str,
    ) -> Result<Option<bool>, StoreError> {
        as_registered(self.readers(), business, order_no).await
    }
}

async fn as_registered(
    pool: &Pool,
    business: &str,
    order_no: &str,
) -> Result<Option<bool>, StoreError> {
    let row = query(
        "select state, registered from documents \
         where business = $1 and collection = $2 and key = $3",
    )
    .bind(business)
    .bind(ORDERS)
    .bind(order_no)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let registered: &str = row.try_get("registered")?;
    let registered: serde_json::Value = serde_json::from_str(registered)
        .map_err(|error| StoreError::corrupt(format!("registration of an order: {error}")))?;
    let began = registered.get("state").and_then(serde_json::Value::as_str);
    Ok(Some(began == Some(row.try_get("state")?)))
}

impl Standing {
    fn read(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            business: row.try_get("business")?,
            order_no: row.try_get("order_no")?,
            state: row.try_get("state")?,
            version: row.try_get("version")?,
            updated_at: Timestamp::from_ms(row.try_get("updated_at_ms")?),
        })
    }
}

fn check(asked: usize) -> Result<(), StoreError> {
    if asked <= STANDINGS_MAX {
        return Ok(());
    }
    let what = format!("{asked} orders asked for, at most {STANDINGS_MAX} expected");
    Err(StoreError::invalid(what))
}

const BY_NAME: Statement = Statement {
    columns: "business, collection, alias",
    text: concat!(
        "select t.business, v.alias as alias, t.key as order_no, t.state, t.version, \
         t.updated_at_ms from v join documents t on t.business = v.business \
         and t.collection = v.collection and t.key = ",
        order_named!("v.business", "v.alias")
    ),
    suffix: "",
};

const CHANGED: Statement = Statement {
    columns: "business, collection, key, version",
    text: "select t.business, t.key as order_no, t.state, t.version, t.updated_at_ms from v \
           join documents t on t.business = v.business and t.collection = v.collection \
           and t.key = v.key and t.version <> v.version",
    suffix: "",
};

/// Orders that one look may ask for.
pub const STANDINGS_MAX: usize = 512;
