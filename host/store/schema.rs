//! The schema: embedded migrations, run when the store is opened.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, Connection as _, SqlSafeStr};

use crate::dialect::{Dialect, Pools, prepare};
use crate::error::StoreError;
use crate::sql::{Pool, query};

/// Brings the database to this program's schema.
pub(crate) async fn migrate(pools: &Pools) -> Result<(), StoreError> {
    let mut connection = pools.writer.acquire().await?;
    prepare(&mut connection, pools.dialect).await?;
    let migrator = Migrator::with_migrations(known());
    let done = match pools.dialect {
        // PostgreSQL's migrations have a lock of their own; SQLite's have none, so the writer's
        // lock keeps two programs apart that start on one file.
        Dialect::Sqlite => under_the_writers_lock(&mut connection, &migrator).await,
        Dialect::Postgres => match migrator.run_direct(None, &mut *connection, false).await {
            Ok(()) => make_room(&mut connection).await,
            Err(error) => Err(error),
        },
    };
    if done.is_err() {
        // The connection may still hold the lock of the migrations: it must not be reused.
        drop(connection.close().await);
    }
    done.map_err(explain)
}

/// Leaves room in PostgreSQL's pages for the versions of rows that follow. A version on the page of
/// the one before it needs no new entry in any index: the claim of a notification, and each write of
/// a document. Where somebody has set it otherwise, or holds the table, it stays as it is.
async fn make_room(connection: &mut AnyConnection) -> Result<(), MigrateError> {
    let text = "do $$ declare room record; begin \
        for room in select * from (values ('inbox', 75), ('documents', 75)) r (name, percent) loop \
            if not exists (select 1 from pg_class c where c.oid = cast(room.name as regclass) \
                and array_to_string(c.reloptions, ' ') like '%fillfactor=%') then \
                execute format('alter table %I set (fillfactor = %s)', room.name, room.percent); \
            end if; \
        end loop; \
        exception when lock_not_available or insufficient_privilege then null; end $$";
    sqlx::raw_sql(text).execute(connection).await?;
    Ok(())
}

async fn under_the_writers_lock(
    connection: &mut AnyConnection,
    migrator: &Migrator,
) -> Result<(), MigrateError> {
    let mut transaction = connection.begin_with(Dialect::Sqlite.begin()).await?;
    migrator.run_direct(None, &mut *transaction, false).await?;
    Ok(transaction.commit().await?)
}

/// Whether a database that is only read has this program's schema.
pub(crate) async fn check(pool: &Pool) -> Result<(), StoreError> {
    let sql = "select max(version) as version from _sqlx_migrations";
    let row = query(sql).fetch_one(pool).await?;
    let version = row.try_get::<Option<i64>, _>("version")?.unwrap_or(0);
    let known = MIGRATIONS.last().map_or(0, |(version, _, _)| *version);
    if version > known {
        return Err(StoreError::Newer { version, known });
    }
    if version < known {
        let problem = format!(
            "the database has migration {version}, expected {known}: start this program's server \
             on it once"
        );
        return Err(StoreError::Settings { field: "url", problem });
    }
    Ok(())
}

/// The migrations of this program, in their order.
pub(crate) fn known() -> Vec<Migration> {
    MIGRATIONS
        .iter()
        .map(|&(version, name, text)| {
            Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
        })
        .collect()
}

fn explain(error: MigrateError) -> StoreError {
    let known = MIGRATIONS.last().map_or(0, |(version, _, _)| *version);
    if let MigrateError::VersionMissing(version) = error
        && version > known
    {
        return StoreError::Newer { version, known };
    }
    if let MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) = error {
        if StoreError::is_locked(&error) {
            return StoreError::Migrating;
        }
        return error.into();
    }
    StoreError::corrupt(error.to_string())
}

/// Numbered, forward only, never edited once released.
pub(crate) const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "inbox", include_str!("../../migrations/0001_inbox.sql")),
    (2, "documents", include_str!("../../migrations/0002_documents.sql")),
    (3, "history", include_str!("../../migrations/0003_history.sql")),
    (4, "outbox", include_str!("../../migrations/0004_outbox.sql")),
    (5, "sinks", include_str!("../../migrations/0005_sinks.sql")),
    (6, "operators", include_str!("../../migrations/0006_operators.sql")),
    (7, "retention", include_str!("../../migrations/0007_retention.sql")),
    (8, "plugins", include_str!("../../migrations/0008_plugins.sql")),
    (9, "calls", include_str!("../../migrations/0009_calls.sql")),
    (10, "shadows", include_str!("../../migrations/0010_shadows.sql")),
    (11, "commits", include_str!("../../migrations/0011_commits.sql")),
    (12, "bulkhead", include_str!("../../migrations/0012_bulkhead.sql")),
    (13, "inquiries", include_str!("../../migrations/0013_inquiries.sql")),
    (14, "certificates", include_str!("../../migrations/0014_certificates.sql")),
    (16, "alerts", include_str!("../../migrations/0016_alerts.sql")),
    (18, "callbacks", include_str!("../../migrations/0018_callbacks.sql")),
    (19, "races", include_str!("../../migrations/0019_races.sql")),
    (20, "order_indexes", include_str!("../../migrations/0020_order_indexes.sql")),
    (21, "merchants", include_str!("../../migrations/0021_merchants.sql")),
    (25, "runs", include_str!("../../migrations/0025_runs.sql")),
];
