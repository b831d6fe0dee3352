//! Documents: stored things with a version. An order is one of the collection `orders`.

use callgate_core::money::Money;
use callgate_core::order::State;
use callgate_core::time::Timestamp;

use crate::batch::{Cell, Statement, change, fetch};
use crate::error::StoreError;
use crate::inbox::parse_currency;
use crate::sql::{Connection, Pool, Row};

/// The collection whose documents are orders.
pub const ORDERS: &str = "orders";

/// Names a document inside a business.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentRef {
    /// The collection, such as `ledger`.
    pub collection: String,
    /// The key inside the collection; for an order its number.
    pub key: String,
}

/// A document as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Who owns it.
    pub business: String,
    /// The collection.
    pub collection: String,
    /// The key inside the collection.
    pub key: String,
    /// Grows by one whenever state or body are written.
    pub version: i64,
    /// The state of an order; `None` for documents without one.
    pub state: Option<State>,
    /// The content, JSON.
    pub body: String,
    /// For an order its registered total.
    pub amount: Option<Money>,
    /// For an order the channel it must be paid through, if it is bound to one.
    pub channel: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When state or body were written last.
    pub updated_at: Timestamp,
}

impl Document {
    pub(crate) fn read(row: &Row) -> Result<Self, StoreError> {
        let state = match row.try_get::<&str, _>("state")? {
            "" => None,
            text => {
                Some(State::parse(text).map_err(|error| StoreError::corrupt(error.to_string()))?)
            }
        };
        let amount = match row.try_get::<Option<i64>, _>("amount_minor")? {
            Some(minor) => {
                Some(Money { minor, currency: parse_currency(row.try_get("currency")?)? })
            }
            None => None,
        };
        Ok(Self {
            business: row.try_get("business")?,
            collection: row.try_get("collection")?,
            key: row.try_get("key")?,
            version: row.try_get("version")?,
            state,
            body: row.try_get("body")?,
            amount,
            channel: row.try_get("channel")?,
            created_at: Timestamp::from_ms(row.try_get("created_at_ms")?),
            updated_at: Timestamp::from_ms(row.try_get("updated_at_ms")?),
        })
    }
}

/// Business, collection and key.
pub(crate) type DocumentKey = (String, String, String);

pub(crate) fn key_cells((business, collection, key): &DocumentKey) -> [Cell; 3] {
    [business.as_str().into(), collection.as_str().into(), key.as_str().into()]
}

/// The documents that exist among those named, in the order of their keys.
pub(crate) async fn find(
    connection: &mut Connection,
    lock: &'static str,
    keys: impl Iterator<Item = &DocumentKey>,
) -> Result<Vec<Document>, StoreError> {
    let rows: Vec<_> = keys.map(key_cells).collect();
    let found = fetch(connection, Statement { suffix: lock, ..FIND }, &rows).await?;
    found.iter().map(Document::read).collect()
}

/// The documents that exist among those named, each by itself: one that cannot be read spoils no
/// other.
pub(crate) async fn find_each(
    connection: &mut Connection,
    keys: impl Iterator<Item = &DocumentKey>,
) -> Result<Vec<(DocumentKey, Result<Document, StoreError>)>, sqlx::Error> {
    let rows: Vec<_> = keys.map(key_cells).collect();
    let found = fetch(connection, FIND, &rows).await?;
    let read = |row: &Row| {
        let key = (row.try_get("business")?, row.try_get("collection")?, row.try_get("key")?);
        Ok((key, Document::read(row)))
    };
    found.iter().map(read).collect()
}

/// Several documents of one business, in the order asked.
pub(crate) async fn several(
    pool: &Pool,
    business: &str,
    refs: &[DocumentRef],
) -> Result<Vec<Option<Document>>, StoreError> {
    let keys = checked(business, refs)?;
    let mut connection = pool.acquire().await?;
    let found = find(&mut connection, "", keys.iter()).await?;
    let named = |one: &DocumentRef| {
        let same =
            |document: &&Document| document.collection == one.collection && document.key == one.key;
        found.iter().find(same).cloned()
    };
    Ok(refs.iter().map(named).collect())
}

/// The keys of documents of one business, unless they are too many.
pub(crate) fn checked(
    business: &str,
    refs: &[DocumentRef],
) -> Result<Vec<DocumentKey>, StoreError> {
    if refs.len() > DOCUMENTS_MAX {
        let found = refs.len();
        let what = format!("{found} documents asked for, at most {DOCUMENTS_MAX} expected");
        return Err(StoreError::invalid(what));
    }
    let key = |one: &DocumentRef| (business.to_owned(), one.collection.clone(), one.key.clone());
    Ok(refs.iter().map(key).collect())
}

/// A document that is new.
#[derive(Debug)]
pub(crate) struct NewDocument {
    pub(crate) key: DocumentKey,
    pub(crate) body: String,
    pub(crate) now: Timestamp,
}

/// Inserts documents that are no orders. A key that is taken fails the statement: somebody was
/// faster since it was looked at.
pub(crate) async fn insert(
    connection: &mut Connection,
    documents: &mut [NewDocument],
) -> Result<(), sqlx::Error> {
    documents.sort_by(|a, b| a.key.cmp(&b.key));
    let rows: Vec<_> = documents
        .iter()
        .map(|document| {
            let [business, collection, key] = key_cells(&document.key);
            let now = document.now.as_ms();
            [business, collection, key, document.body.as_str().into(), now.into()]
        })
        .collect();
    change(connection, INSERT, &rows).await.map(drop)
}

/// A new version of a document.
#[derive(Debug)]
pub(crate) struct NewVersion {
    pub(crate) key: DocumentKey,
    /// The version that it replaces.
    pub(crate) replaces: i64,
    /// `None` keeps the state.
    pub(crate) state: Option<String>,
    /// `None` keeps the body.
    pub(crate) body: Option<String>,
    pub(crate) now: Timestamp,
}

/// Writes new versions, and says how many found the version that they replace.
pub(crate) async fn update(
    connection: &mut Connection,
    versions: &[NewVersion],
) -> Result<u64, sqlx::Error> {
    let rows: Vec<_> = versions
        .iter()
        .map(|version| {
            let [business, collection, key] = key_cells(&version.key);
            [
                business,
                collection,
                key,
                version.replaces.into(),
                version.state.as_deref().into(),
                version.body.as_deref().into(),
                version.now.as_ms().into(),
            ]
        })
        .collect();
    change(connection, UPDATE, &rows).await
}

const FIND: Statement = Statement {
    columns: "business, collection, key",
    text: "select t.business, t.collection, t.key, t.version, t.state, t.body, t.amount_minor, \
           t.currency, t.channel, t.created_at_ms, t.updated_at_ms from v \
           join documents t on t.business = v.business and t.collection = v.collection \
           and t.key = v.key order by t.business, t.collection, t.key",
    suffix: "",
};

const INSERT: Statement = Statement {
    columns: "business, collection, key, body, now_ms",
    text: "insert into documents \
           (business, collection, key, version, state, body, created_at_ms, updated_at_ms) \
           select v.business, v.collection, v.key, 1, '', v.body, v.now_ms, v.now_ms from v \
           where v.key is not null",
    suffix: "",
};

const UPDATE: Statement = Statement {
    columns: "business, collection, key, replaces, state, body, now_ms",
    text: "update documents set version = documents.version + 1, \
           state = coalesce(v.state, documents.state), body = coalesce(v.body, documents.body), \
           updated_at_ms = v.now_ms from v \
           where documents.business = v.business and documents.collection = v.collection \
           and documents.key = v.key and documents.version = v.replaces",
    suffix: "",
};

/// Documents that one look may ask for.
pub const DOCUMENTS_MAX: usize = 128;
