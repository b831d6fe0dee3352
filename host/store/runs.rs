//! Whether the last run of the program on this machine came to a good end.

use callgate_core::time::Timestamp;
use sqlx::{Any, AssertSqlSafe};

use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// Writes down that a run begins on this machine; says whether one is under way there that
    /// did not end. Only before anything else is written.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn begin_run(&self, machine: &str, now: Timestamp) -> Result<bool, StoreError> {
        let begun = "insert into runs_under_way (machine, began_at_ms) values ($1, $2) \
                     on conflict (machine) do nothing";
        let begun = sqlx::query::<Any>(AssertSqlSafe(begun)).bind(machine).bind(now.as_ms());
        Ok(begun.execute(&self.pools().writer).await?.rows_affected() == 0)
    }

    /// Writes down that the run on this machine ended well. Only where nothing else is written
    /// any more.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn end_run(&self, machine: &str) -> Result<(), StoreError> {
        let ended = "delete from runs_under_way where machine = $1";
        sqlx::query::<Any>(AssertSqlSafe(ended))
            .bind(machine)
            .execute(&self.pools().writer)
            .await?;
        Ok(())
    }
}
