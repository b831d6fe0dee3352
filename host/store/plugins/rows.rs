//! Plugins as they lie in their tables.

use std::collections::HashMap;

use callgate_core::canary::{Budget, Share};
use callgate_core::time::Timestamp;

use super::{Activation, Canary, HostReport, PluginVersion, Rollout};
use crate::batch::{Cell, Statement, fetch};
use crate::error::StoreError;
use crate::sql::{Connection, Pool, Row, query};

pub(super) async fn revision(pool: &Pool) -> Result<i64, StoreError> {
    let sql = "select revision from plugin_revision where id = 1";
    Ok(query(sql).fetch_one(pool).await?.try_get("revision")?)
}

/// All rollouts, or that of one plugin.
pub(super) async fn rollouts(
    connection: &mut Connection,
    name: Option<&str>,
) -> Result<Vec<Rollout>, StoreError> {
    // Both find their rows by the key of the table; no name is empty.
    let only = if name.is_some() { "t.name = $1" } else { "t.name > $1" };
    let sql = format!("select {ROLLOUT} from plugin_rollouts t where {only} order by t.name");
    let query = query(sql).bind(name.unwrap_or_default());
    let rows = query.fetch_all(&mut *connection).await?;
    let ids = rows.iter().map(|row| row.try_get("active_id")).collect::<Result<Vec<_>, _>>()?;
    let active = activations(connection, &ids).await?;
    let mut ids = active.iter().map(Stored::before).collect::<Vec<_>>();
    let mut before = activations(connection, &ids).await?;
    // A rollback leads past what was retired in the meantime.
    while before.iter().flatten().any(|one| one.retired) {
        for (id, one) in ids.iter_mut().zip(&before) {
            if let Some(retired) = one.as_ref().filter(|one| one.retired) {
                *id = retired.before_id.clone();
            }
        }
        before = activations(connection, &ids).await?;
    }
    let ends = active.into_iter().zip(before);
    let read = |(row, (active, before)): (&Row, (Option<Stored>, Option<Stored>))| {
        Ok(Rollout {
            name: row.try_get("name")?,
            revision: row.try_get("revision")?,
            active: active.map(|one| one.activation),
            before: before.map(|one| one.activation),
            canary: canary(row)?,
            changed_at: Timestamp::from_ms(row.try_get("changed_at_ms")?),
        })
    };
    rows.iter().zip(ends).map(read).collect()
}

/// An activation, what was in force before it, and whether its version was retired.
#[derive(Debug, Clone)]
struct Stored {
    activation: Activation,
    before_id: Option<String>,
    retired: bool,
}

impl Stored {
    fn before(found: &Option<Self>) -> Option<String> {
        found.as_ref().and_then(|one| one.before_id.clone())
    }
}

/// Activations by their ids, each in its place.
async fn activations(
    connection: &mut Connection,
    ids: &[Option<String>],
) -> Result<Vec<Option<Stored>>, StoreError> {
    let wanted: Vec<[Cell; 1]> = ids.iter().flatten().map(|id| [id.as_str().into()]).collect();
    let mut found = HashMap::new();
    for row in fetch(connection, ACTIVATIONS, &wanted).await? {
        let activation = Activation {
            id: row.try_get("id")?,
            version: row.try_get("version")?,
            config: row.try_get("config")?,
            at: Timestamp::from_ms(row.try_get("at_ms")?),
            who: row.try_get("who")?,
        };
        let retired = row.try_get::<Option<i64>, _>("retired_at_ms")?.is_some();
        let id = activation.id.clone();
        let before_id = row.try_get("before_id")?;
        found.insert(id, Stored { activation, before_id, retired });
    }
    Ok(ids.iter().map(|id| found.get(id.as_deref()?).cloned()).collect())
}

fn canary(row: &Row) -> Result<Option<Canary>, StoreError> {
    let Some(version) = row.try_get::<Option<String>, _>("canary_version")? else {
        return Ok(None);
    };
    let orders: String = row.try_get("canary_orders")?;
    let orders = serde_json::from_str(&orders)
        .map_err(|error| StoreError::corrupt(format!("orders of a canary: {error}")))?;
    let small = |column: &str| -> Result<u32, StoreError> {
        let number: i64 = row.try_get(column)?;
        u32::try_from(number).map_err(|_| StoreError::corrupt(format!("{column} is {number}")))
    };
    Ok(Some(Canary {
        version,
        config: row.try_get("canary_config")?,
        share: Share { parts: small("canary_parts")?, orders },
        budget: Budget { runs: small("budget_runs")?, parts: small("budget_parts")? },
        round: row.try_get("canary_round")?,
        at: Timestamp::from_ms(row.try_get("canary_at_ms")?),
        who: row.try_get("canary_who")?,
    }))
}

pub(super) async fn versions(pool: &Pool) -> Result<Vec<PluginVersion>, StoreError> {
    let sql = format!(
        "select {VERSION} from plugin_versions t where t.name > '' order by t.name, t.pushed_at_ms desc, t.version \
         limit {VERSIONS_MAX}"
    );
    let rows = query(sql).fetch_all(pool).await?;
    rows.iter().map(read_version).collect()
}

pub(super) async fn version(
    connection: &mut Connection,
    name: &str,
    version: &str,
) -> Result<Option<PluginVersion>, StoreError> {
    let sql =
        format!("select {VERSION} from plugin_versions t where t.name = $1 and t.version = $2");
    let query = query(sql).bind(name).bind(version);
    query.fetch_optional(connection).await?.as_ref().map(read_version).transpose()
}

fn read_version(row: &Row) -> Result<PluginVersion, StoreError> {
    let retired_at: Option<i64> = row.try_get("retired_at_ms")?;
    Ok(PluginVersion {
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        sha256: row.try_get("sha256")?,
        size: row.try_get("size")?,
        manifest: row.try_get("manifest")?,
        manifest_sha256: row.try_get("manifest_sha256")?,
        signed_by: row.try_get("signed_by")?,
        pushed_at: Timestamp::from_ms(row.try_get("pushed_at_ms")?),
        pushed_by: row.try_get("pushed_by")?,
        retired_at: retired_at.map(Timestamp::from_ms),
    })
}

pub(super) async fn component(pool: &Pool, sha256: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "select bytes from components where sha256 = $1";
    let row = query(sql).bind(sha256).fetch_optional(pool).await?;
    Ok(row.map(|row| row.try_get("bytes")).transpose()?)
}

pub(super) async fn hosts(pool: &Pool) -> Result<Vec<HostReport>, StoreError> {
    let sql = "select host, machine, revision, report, seen_at_ms from plugin_hosts \
               where host > '' order by host";
    let read = |row: &Row| {
        Ok(HostReport {
            host: row.try_get("host")?,
            machine: row.try_get("machine")?,
            revision: row.try_get("revision")?,
            report: row.try_get("report")?,
            seen_at: Timestamp::from_ms(row.try_get("seen_at_ms")?),
        })
    };
    query(sql).fetch_all(pool).await?.iter().map(read).collect()
}

const ROLLOUT: &str = "t.name, t.revision, t.active_id, t.canary_version, t.canary_config, \
    t.canary_parts, t.canary_orders, t.canary_round, t.canary_at_ms, t.canary_who, \
    t.budget_runs, t.budget_parts, t.changed_at_ms";

const ACTIVATIONS: Statement = Statement {
    columns: "id",
    text: "select a.id, a.version, a.config, a.before_id, a.at_ms, a.who, w.retired_at_ms \
           from v join plugin_activations a on a.id = v.id \
           join plugin_versions w on w.name = a.name and w.version = a.version",
    suffix: "",
};

const VERSION: &str = "t.name, t.version, t.sha256, t.size, t.manifest, t.manifest_sha256, \
    t.signed_by, t.pushed_at_ms, t.pushed_by, t.retired_at_ms";

/// Versions that a look at all of them shows.
const VERSIONS_MAX: i64 = 1_000;
