//! Runs of canaries, added up across hosts, and the end of those that fail too often; and what
//! hosts say of themselves.

use callgate_core::canary::Runs;

use super::act::{self, Next};
use super::{CountedRuns, Crossed, HostReport, Rollout, rows};
use crate::audit::{self, AuditEntry};
use crate::dialect::Dialect;
use crate::error::{Fault, StoreError};
use crate::sql::{Connection, query};

/// Adds runs, and ends the canaries that crossed their budget by them.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    (counted, entries): (&[CountedRuns], &[AuditEntry]),
) -> Result<Vec<Crossed>, Fault> {
    // Whoever counts has the turn to act: what it rests on cannot change in between.
    let mut seen = act::lock(connection, dialect).await?;
    let mut crossed = Vec::new();
    for (one, entry) in counted.iter().zip(entries) {
        let rollouts = rows::rollouts(connection, Some(&one.name)).await?;
        let Some(now) = rollouts.into_iter().next() else { continue };
        let Some(canary) = now.canary.clone().filter(|canary| canary.round == one.round) else {
            continue;
        };
        let minute = entry.at.as_ms().div_euclid(MINUTE_MS);
        for (role, runs) in [("active", one.active), ("canary", one.canary)] {
            if runs != Runs::default() {
                add(connection, one, (role, minute), runs).await?;
            }
        }
        let Some(why) = judged(connection, (&now, one.round), minute).await? else { continue };
        let (name, version) = (now.name.clone(), canary.version);
        act::save(connection, (&name, seen), Next::without_canary(&now), entry.at).await?;
        seen = seen.saturating_add(1);
        let result = format!("canary {version} is stopped: {why}");
        audit::insert(connection, &[AuditEntry { result, ..entry.clone() }]).await?;
        crossed.push(Crossed { name, version, why });
    }
    Ok(crossed)
}

/// Holds the whole trial and its last minutes against the budget: a version that goes bad late
/// must not live on what it did well before.
async fn judged(
    connection: &mut Connection,
    (now, round): (&Rollout, i64),
    minute: i64,
) -> Result<Option<String>, Fault> {
    let Some(canary) = &now.canary else { return Ok(None) };
    for from in [i64::MIN, minute.saturating_sub(LAST_MINUTES)] {
        let (active, tried) = sum(connection, (&now.name, round), from).await?;
        if let Some(why) = canary.budget.crossed(tried, active) {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

async fn add(
    connection: &mut Connection,
    one: &CountedRuns,
    (role, minute): (&str, i64),
    runs: Runs,
) -> Result<(), Fault> {
    query(
        "insert into plugin_runs (name, round, role, minute, total, failed) \
         values ($1, $2, $3, $4, $5, $6) on conflict (name, round, role, minute) do update set \
         total = plugin_runs.total + excluded.total, \
         failed = plugin_runs.failed + excluded.failed",
    )
    .bind(one.name.as_str())
    .bind(one.round)
    .bind(role)
    .bind(minute)
    .bind(runs.total.max(0))
    .bind(runs.failed.max(0))
    .execute(connection)
    .await?;
    Ok(())
}

/// The runs of a trial from a minute on: the active version's, then the canary's.
pub(super) async fn sum(
    connection: &mut Connection,
    (name, round): (&str, i64),
    from: i64,
) -> Result<(Runs, Runs), StoreError> {
    let rows = query(
        "select role, cast(sum(total) as bigint) as total, cast(sum(failed) as bigint) as failed \
         from plugin_runs where name = $1 and round = $2 and minute >= $3 group by role",
    )
    .bind(name)
    .bind(round)
    .bind(from)
    .fetch_all(connection)
    .await?;
    let mut found = (Runs::default(), Runs::default());
    for row in rows {
        let runs = Runs { total: row.try_get("total")?, failed: row.try_get("failed")? };
        match row.try_get::<String, _>("role")?.as_str() {
            "active" => found.0 = runs,
            _ => found.1 = runs,
        }
    }
    Ok(found)
}

/// Writes down what a host has in force, and forgets hosts that said nothing for a day.
pub(crate) async fn report(connection: &mut Connection, report: &HostReport) -> Result<(), Fault> {
    query("delete from plugin_hosts where seen_at_ms < $1")
        .bind(report.seen_at.as_ms().saturating_sub(FORGOTTEN_MS))
        .execute(&mut *connection)
        .await?;
    query(
        "insert into plugin_hosts (host, machine, revision, report, seen_at_ms) \
         values ($1, $2, $3, $4, $5) on conflict (host) do update set \
         machine = excluded.machine, revision = excluded.revision, report = excluded.report, \
         seen_at_ms = excluded.seen_at_ms",
    )
    .bind(report.host.as_str())
    .bind(report.machine.as_str())
    .bind(report.revision)
    .bind(report.report.as_str())
    .bind(report.seen_at.as_ms())
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn leave(connection: &mut Connection, host: &str) -> Result<(), Fault> {
    let sql = "delete from plugin_hosts where host = $1";
    query(sql).bind(host).execute(connection).await?;
    Ok(())
}

const MINUTE_MS: i64 = 60_000;

/// So many minutes are judged by themselves.
const LAST_MINUTES: i64 = 10;

/// A day.
const FORGOTTEN_MS: i64 = 86_400_000;
