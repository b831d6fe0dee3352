//! The schema: embedded migrations, run when the store is opened.

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::dialect::{Pools, prepare};
use crate::error::StoreError;

/// Brings the database to this program's schema.
pub(crate) async fn migrate(pools: &Pools) -> Result<(), StoreError> {
    let mut connection = pools.writer.acquire().await?;
    prepare(&mut connection, pools.dialect).await?;
    let migrator = Migrator::with_migrations(known());
    match migrator.run_direct(None, &mut *connection, false).await {
        Ok(()) => Ok(()),
        Err(error) => {
            // The connection may still hold the lock of the migrations: it must not be reused.
            drop(connection.close().await);
            Err(explain(error))
        }
    }
}

/// The migrations of this program, in their order.
pub(crate) fn known() -> Vec<Migration> {
    MIGRATIONS
        .map(|(version, name, text)| {
            Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
        })
        .into()
}

fn explain(error: MigrateError) -> StoreError {
    let known = MIGRATIONS.last().map_or(0, |(version, _, _)| *version);
    if let MigrateError::VersionMissing(version) = error
        && version > known
    {
        return StoreError::Newer { version, known };
    }
    if let MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) = error {
        return error.into();
    }
    StoreError::corrupt(error.to_string())
}

/// Numbered, forward only, never edited once released.
const MIGRATIONS: [(i64, &str, &str); 7] = [
    (1, "inbox", include_str!("../../migrations/0001_inbox.sql")),
    (2, "documents", include_str!("../../migrations/0002_documents.sql")),
    (3, "history", include_str!("../../migrations/0003_history.sql")),
    (4, "outbox", include_str!("../../migrations/0004_outbox.sql")),
    (5, "sinks", include_str!("../../migrations/0005_sinks.sql")),
    (6, "operators", include_str!("../../migrations/0006_operators.sql")),
    (7, "retention", include_str!("../../migrations/0007_retention.sql")),
];
