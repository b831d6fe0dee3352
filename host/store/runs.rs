//! Whether the last run of the program here came to a good end.

use callgate_core::time::Timestamp;
use sqlx::{Any, AssertSqlSafe};

use crate::error::StoreError;
use crate::retention::machine_name;
use crate::store::Store;

impl Store {
    /// Writes down that a run begins here; says whether one is under way that did not end. Only
    /// before anything else is written.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn begin_run(&self, now: Timestamp) -> Result<bool, StoreError> {
        let begun = "insert into runs_under_way (machine, began_at_ms) values ($1, $2) \
                     on conflict (machine) do nothing";
        let begun = sqlx::query::<Any>(AssertSqlSafe(begun)).bind(self.here()).bind(now.as_ms());
        Ok(begun.execute(&self.pools().writer).await?.rows_affected() == 0)
    }

    /// Writes down that the run here ended well. Only where nothing else is written any more.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn end_run(&self) -> Result<(), StoreError> {
        let ended = "delete from runs_under_way where machine = $1";
        sqlx::query::<Any>(AssertSqlSafe(ended))
            .bind(self.here())
            .execute(&self.pools().writer)
            .await?;
        Ok(())
    }

    /// Whose runs follow each other: those on one file, whatever the machine is called this time,
    /// as containers are; else those of one machine.
    fn here(&self) -> String {
        if self.is_near() { "file".to_owned() } else { machine_name() }
    }
}
