//! The rows that are to be archived: reads beside the writer.

use base64::Engine as _;
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Column as _, Row as _, TypeInfo as _, ValueRef as _};

use super::file::ArchivedRow;
use super::{DAY_MS, day_of};
use crate::error::StoreError;

/// The first millisecond of the day of the oldest row to archive, where one is that ended before.
pub(super) async fn oldest(pool: &AnyPool, end: i64) -> Result<Option<i64>, StoreError> {
    let row = sqlx::query::<Any>(
        "select finished_at_ms from inbox where state = 'done' and archived_at_ms is null \
         and finished_at_ms < $1 order by finished_at_ms limit 1",
    )
    .bind(end)
    .fetch_optional(pool)
    .await?;
    let finished: Option<i64> = row.map(|row| row.try_get("finished_at_ms")).transpose()?;
    Ok(finished.map(day_of))
}

/// Whole rows of one day, from behind a row on. Every column there is: an archive must not forget
/// one that a later migration adds.
pub(super) async fn page(
    pool: &AnyPool,
    (finished, id): &(i64, String),
    day: i64,
    limit: u32,
) -> Result<Vec<ArchivedRow>, StoreError> {
    let rows = sqlx::query::<Any>(
        "select * from inbox where state = 'done' and archived_at_ms is null \
         and (finished_at_ms, id) > ($1, $2) and finished_at_ms < $3 \
         order by finished_at_ms, id limit $4",
    )
    .bind(*finished)
    .bind(id.as_str())
    .bind(day.saturating_add(DAY_MS))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(whole).collect()
}

fn whole(row: &AnyRow) -> Result<ArchivedRow, StoreError> {
    let mut line = ArchivedRow::new();
    for column in row.columns() {
        let name = column.name();
        let raw = row.try_get_raw(name)?;
        let value = if raw.is_null() {
            Value::Null
        } else {
            match raw.type_info().name() {
                "TEXT" => Value::from(row.try_get::<String, _>(name)?),
                "BIGINT" => Value::from(row.try_get::<i64, _>(name)?),
                "BLOB" => {
                    let bytes: Vec<u8> = row.try_get(name)?;
                    Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
                }
                other => return Err(StoreError::corrupt(format!("column {name} is {other}"))),
            }
        };
        line.insert(name.to_owned(), value);
    }
    Ok(line)
}
