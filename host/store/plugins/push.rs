//! A push: a version is stored once, and never changes.

use callgate_core::time::Timestamp;

use super::{NewVersion, PluginVersion, Pushed, act, rows};
use crate::audit::{self, AuditEntry};
use crate::dialect::Dialect;
use crate::error::Fault;
use crate::sql::{Connection, query};

pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    (new, entry): (&NewVersion, &AuditEntry),
) -> Result<Pushed, Fault> {
    let revision = act::lock(connection, dialect).await?;
    let Some(known) = rows::version(connection, &new.name, &new.version).await? else {
        let stored = insert(connection, new, entry.at).await?;
        tell(connection, entry, format!("{} is new: {}", new.version, new.sha256)).await?;
        return Ok(Pushed::New(stored));
    };
    if known.sha256 != new.sha256 || known.manifest_sha256 != new.manifest_sha256 {
        return Ok(Pushed::Differs(known));
    }
    if known.manifest == new.manifest {
        return Ok(Pushed::Known(known));
    }
    query(
        "update plugin_versions set manifest = $3, signed_by = $4 where name = $1 and version = $2",
    )
    .bind(new.name.as_str())
    .bind(new.version.as_str())
    .bind(new.manifest.as_str())
    .bind(new.signed_by.as_str())
    .execute(&mut *connection)
    .await?;
    // A host that refuses its signatures so far has to look again.
    act::advance(connection, revision).await?;
    tell(connection, entry, format!("{} has other signatures now", new.version)).await?;
    let (manifest, signed_by) = (new.manifest.clone(), new.signed_by.clone());
    Ok(Pushed::Known(PluginVersion { manifest, signed_by, ..known }))
}

async fn insert(
    connection: &mut Connection,
    new: &NewVersion,
    now: Timestamp,
) -> Result<PluginVersion, Fault> {
    query(
        "insert into components (sha256, bytes, added_at_ms) values ($1, $2, $3) \
         on conflict (sha256) do nothing",
    )
    .bind(new.sha256.as_str())
    .bind(new.component.as_slice())
    .bind(now.as_ms())
    .execute(&mut *connection)
    .await?;
    let stored = PluginVersion {
        name: new.name.clone(),
        version: new.version.clone(),
        sha256: new.sha256.clone(),
        size: i64::try_from(new.component.len()).unwrap_or(i64::MAX),
        manifest: new.manifest.clone(),
        manifest_sha256: new.manifest_sha256.clone(),
        signed_by: new.signed_by.clone(),
        pushed_at: now,
        pushed_by: new.who.clone(),
        retired_at: None,
    };
    query(
        "insert into plugin_versions (name, version, sha256, size, manifest, manifest_sha256, \
         signed_by, pushed_at_ms, pushed_by) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(stored.name.as_str())
    .bind(stored.version.as_str())
    .bind(stored.sha256.as_str())
    .bind(stored.size)
    .bind(stored.manifest.as_str())
    .bind(stored.manifest_sha256.as_str())
    .bind(stored.signed_by.as_str())
    .bind(now.as_ms())
    .bind(stored.pushed_by.as_str())
    .execute(connection)
    .await?;
    Ok(stored)
}

async fn tell(
    connection: &mut Connection,
    entry: &AuditEntry,
    result: String,
) -> Result<(), Fault> {
    audit::insert(connection, &[AuditEntry { result, ..entry.clone() }]).await?;
    Ok(())
}
