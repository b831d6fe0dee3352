//! Whether the last run of the program here came to a good end.

use callgate_core::time::Timestamp;
use sqlx::{Any, AssertSqlSafe};

use crate::error::StoreError;
use crate::retention::machine_name;
use crate::store::Store;

impl Store {
    /// Writes down that a run begins here; says whether one is under way that did not end, or
    /// another began less than `recent_ms` milliseconds ago elsewhere: where machines get a new name
    /// with every start, as containers do, that may be one that came down. Only before anything else
    /// is written.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn begin_run(&self, now: Timestamp, recent_ms: u32) -> Result<bool, StoreError> {
        let writer = &self.pools().writer;
        let begun = "insert into runs_under_way (machine, began_at_ms) values ($1, $2) \
                     on conflict (machine) do nothing";
        let begun = sqlx::query::<Any>(AssertSqlSafe(begun)).bind(self.here()).bind(now.as_ms());
        let goes_on = begun.execute(writer).await?.rows_affected() == 0;
        if goes_on {
            let again = "update runs_under_way set began_at_ms = $2 where machine = $1";
            let again = sqlx::query::<Any>(AssertSqlSafe(again));
            again.bind(self.here()).bind(now.as_ms()).execute(writer).await?;
        }
        let forgotten = "delete from runs_under_way where machine <> $1 and began_at_ms < $2";
        sqlx::query::<Any>(AssertSqlSafe(forgotten))
            .bind(self.here())
            .bind(now.plus_ms(KEPT_MS.saturating_neg()).as_ms())
            .execute(writer)
            .await?;
        let others = "select machine from runs_under_way where machine <> $1 \
                      and began_at_ms > $2 and began_at_ms <= $3";
        let others = sqlx::query::<Any>(AssertSqlSafe(others))
            .bind(self.here())
            .bind(now.plus_ms(i64::from(recent_ms).saturating_neg()).as_ms())
            .bind(now.as_ms())
            .fetch_all(writer)
            .await?;
        Ok(goes_on || !others.is_empty())
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

/// How long a run is remembered that began under a name that never came back: longer than any lasts.
const KEPT_MS: i64 = 1_000 * 86_400_000;
