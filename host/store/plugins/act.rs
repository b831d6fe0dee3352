//! Acts on a plugin: activate, roll back, retire, try on some orders. Each is one transaction.

use callgate_core::canary::{Share, percent};
use callgate_core::time::Timestamp;

use super::{Activation, Canary, PluginAct, PluginActed, PluginInstruction, Rollout, rows};
use crate::audit::{self, AuditEntry};
use crate::dialect::{Dialect, Lock};
use crate::error::{Fault, StoreError};
use crate::sql::{Connection, query};

/// Holds what an act says against its bounds.
pub(super) fn check(act: &PluginAct) -> Result<(), StoreError> {
    let share = match act {
        PluginAct::StartCanary { share, budget, .. } => {
            budget.check().map_err(StoreError::invalid)?;
            share
        }
        PluginAct::ChangeCanary { share } => share,
        PluginAct::Activate { .. }
        | PluginAct::Rollback
        | PluginAct::Retire { .. }
        | PluginAct::PromoteCanary
        | PluginAct::StopCanary => return Ok(()),
    };
    share.check().map_err(StoreError::invalid)
}

/// Takes the turn to act, and tells the revision.
pub(super) async fn lock(connection: &mut Connection, dialect: Dialect) -> Result<i64, Fault> {
    let end = dialect.lock(Lock::Update);
    let sql = format!("select t.revision from plugin_revision t where t.id = 1{end}");
    let row = query(sql).fetch_one(connection).await?;
    Ok(row.try_get("revision")?)
}

/// Moves the revision on by one.
pub(super) async fn advance(connection: &mut Connection, seen: i64) -> Result<i64, Fault> {
    let next = seen.saturating_add(1);
    let sql = "update plugin_revision set revision = $1 where id = 1";
    query(sql).bind(next).execute(connection).await?;
    Ok(next)
}

/// How an act leaves a plugin.
pub(super) struct Next {
    pub(super) active: Option<Activation>,
    pub(super) canary: Option<Canary>,
    /// What the active version takes the place of, where it is a new activation.
    replaces: Option<Option<String>>,
    pub(super) told: String,
}

/// Why an act is not done.
enum No {
    NotFound,
    Refused(String),
}

pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    (instruction, entry): (&PluginInstruction, &AuditEntry),
) -> Result<PluginActed, Fault> {
    let seen = lock(connection, dialect).await?;
    let name = instruction.name.as_str();
    let now = rows::rollouts(connection, Some(name)).await?.into_iter().next();
    let revision = now.as_ref().map_or(0, |now| now.revision);
    if revision != instruction.revision {
        return Ok(PluginActed::Stale { revision });
    }
    if let PluginAct::Retire { version } = &instruction.act {
        return retire(connection, (now, version, seen), (instruction, entry)).await;
    }
    let next = match next(connection, now.as_ref(), (instruction, entry), seen).await? {
        Ok(next) => next,
        Err(No::NotFound) => return Ok(PluginActed::NotFound),
        Err(No::Refused(why)) => return Ok(PluginActed::Refused { why }),
    };
    let told = next.told.clone();
    save(connection, (name, seen), next, entry.at).await?;
    let result = told.clone();
    audit::insert(connection, &[AuditEntry { result, ..entry.clone() }]).await?;
    let rollout = rows::rollouts(connection, Some(name)).await?.into_iter().next();
    Ok(PluginActed::Done { rollout: rollout.map(Box::new), told })
}

async fn next(
    connection: &mut Connection,
    now: Option<&Rollout>,
    (instruction, entry): (&PluginInstruction, &AuditEntry),
    seen: i64,
) -> Result<Result<Next, No>, Fault> {
    let (active, canary) =
        now.map_or((None, None), |now| (now.active.as_ref(), now.canary.as_ref()));
    let (version, config) = match &instruction.act {
        PluginAct::Activate { version, config }
        | PluginAct::StartCanary { version, config, .. } => (version, config),
        PluginAct::Rollback
        | PluginAct::Retire { .. }
        | PluginAct::ChangeCanary { .. }
        | PluginAct::PromoteCanary
        | PluginAct::StopCanary => return Ok(moved(now, canary, (&instruction.act, entry))),
    };
    if active.is_some_and(|one| one.version == *version && one.config == *config) {
        let why = "this version is active already, with the same configuration";
        return Ok(Err(No::Refused(why.to_owned())));
    }
    if let Some(Canary { version, .. }) = canary {
        let why = format!("{version} is on trial as a canary: promote or stop it first");
        return Ok(Err(No::Refused(why)));
    }
    if let Some(no) = unusable(connection, &instruction.name, version).await? {
        return Ok(Err(no));
    }
    let PluginAct::StartCanary { share, budget, .. } = &instruction.act else {
        return Ok(Ok(activated(active, (version, config), entry)));
    };
    let canary = Canary {
        version: version.clone(),
        config: config.clone(),
        share: share.clone(),
        budget: *budget,
        round: seen.saturating_add(1),
        at: entry.at,
        who: entry.who.clone(),
    };
    let told = format!("canary {version} gets {} beside {}", portion(share), shown(active));
    Ok(Ok(Next { active: active.cloned(), canary: Some(canary), replaces: None, told }))
}

/// Acts on what is there already.
fn moved(
    now: Option<&Rollout>,
    canary: Option<&Canary>,
    (act, entry): (&PluginAct, &AuditEntry),
) -> Result<Next, No> {
    let refused = |why: &str| Err(No::Refused(why.to_owned()));
    let active = now.and_then(|now| now.active.as_ref());
    let was = shown(active);
    match (act, canary) {
        (PluginAct::Rollback | PluginAct::StopCanary, Some(canary)) => {
            let told = format!("canary {} is stopped; {was} stays", canary.version);
            Ok(Next { active: active.cloned(), canary: None, replaces: None, told })
        }
        (PluginAct::Rollback, None) => {
            let Some(now) = now.filter(|now| now.active.is_some()) else {
                return refused("nothing was activated: there is nothing to go back from");
            };
            let told = format!("{was} -> {}", shown(now.before.as_ref()));
            Ok(Next { active: now.before.clone(), canary: None, replaces: None, told })
        }
        (PluginAct::ChangeCanary { share }, Some(canary)) => {
            let (from, to) = (portion(&canary.share), portion(share));
            let told = format!("canary {}: {from} -> {to}", canary.version);
            let canary = Canary { share: share.clone(), ..canary.clone() };
            Ok(Next { active: active.cloned(), canary: Some(canary), replaces: None, told })
        }
        (PluginAct::PromoteCanary, Some(canary)) => {
            Ok(activated(active, (&canary.version, &canary.config), entry))
        }
        (
            PluginAct::ChangeCanary { .. } | PluginAct::PromoteCanary | PluginAct::StopCanary,
            None,
        ) => refused("no canary is under way"),
        (
            PluginAct::Retire { .. } | PluginAct::Activate { .. } | PluginAct::StartCanary { .. },
            _,
        ) => refused("this act is done elsewhere"),
    }
}

fn activated(
    active: Option<&Activation>,
    (version, config): (&str, &str),
    entry: &AuditEntry,
) -> Next {
    let told = format!("{} -> {version}", shown(active));
    let activation = Activation {
        // One activation for each entry of the audit table: they share their id.
        id: entry.id.clone(),
        version: version.to_owned(),
        config: config.to_owned(),
        at: entry.at,
        who: entry.who.clone(),
    };
    let replaces = Some(active.map(|active| active.id.clone()));
    Next { active: Some(activation), canary: None, replaces, told }
}

/// Why a version cannot be put in force, if it cannot.
async fn unusable(
    connection: &mut Connection,
    name: &str,
    version: &str,
) -> Result<Option<No>, Fault> {
    Ok(match rows::version(connection, name, version).await? {
        None => Some(No::NotFound),
        Some(found) => found.retired_at.map(|at| {
            No::Refused(format!("version {version} was retired at {at}: push it under another one"))
        }),
    })
}

async fn retire(
    connection: &mut Connection,
    (now, version, seen): (Option<Rollout>, &str, i64),
    (instruction, entry): (&PluginInstruction, &AuditEntry),
) -> Result<PluginActed, Fault> {
    let name = instruction.name.as_str();
    let refused = |why: String| Ok(PluginActed::Refused { why });
    match unusable(connection, name, version).await? {
        Some(No::NotFound) => return Ok(PluginActed::NotFound),
        Some(No::Refused(_)) => return refused(format!("version {version} is retired already")),
        None => {}
    }
    let (active, canary) =
        now.as_ref().map_or((None, None), |now| (now.active.as_ref(), now.canary.as_ref()));
    if active.is_some_and(|active| active.version == version) {
        return refused(format!("version {version} is active: activate another one first"));
    }
    if canary.is_some_and(|canary| canary.version == version) {
        return refused(format!("version {version} is on trial as a canary: stop it first"));
    }
    let sql = "update plugin_versions set retired_at_ms = $3 where name = $1 and version = $2";
    let query = query(sql).bind(name).bind(version).bind(entry.at.as_ms());
    query.execute(&mut *connection).await?;
    let told = format!("{version} must not be activated any more");
    let result = told.clone();
    audit::insert(connection, &[AuditEntry { result, ..entry.clone() }]).await?;
    // A rollback may lead past it now: whoever saw what was before has to look again.
    if let Some(now) = &now {
        let (active, canary) = (now.active.clone(), now.canary.clone());
        let next = Next { active, canary, replaces: None, told: told.clone() };
        save(connection, (name, seen), next, entry.at).await?;
    }
    let rollout = rows::rollouts(connection, Some(name)).await?.into_iter().next();
    Ok(PluginActed::Done { rollout: rollout.map(Box::new), told })
}

/// Writes how a plugin stands now, and moves the revision on.
pub(super) async fn save(
    connection: &mut Connection,
    (name, seen): (&str, i64),
    next: Next,
    now: Timestamp,
) -> Result<(), Fault> {
    let revision = advance(connection, seen).await?;
    if let (Some(active), Some(before)) = (&next.active, &next.replaces) {
        query(
            "insert into plugin_activations (id, name, version, config, before_id, at_ms, who) \
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(active.id.as_str())
        .bind(name)
        .bind(active.version.as_str())
        .bind(active.config.as_str())
        .bind(before.as_deref())
        .bind(active.at.as_ms())
        .bind(active.who.as_str())
        .execute(&mut *connection)
        .await?;
    }
    let canary = next.canary.as_ref();
    let orders = canary.map(|one| serde_json::json!(one.share.orders).to_string());
    query(SAVE)
        .bind(name)
        .bind(revision)
        .bind(next.active.as_ref().map(|active| active.id.as_str()))
        .bind(canary.map(|one| one.version.as_str()))
        .bind(canary.map(|one| one.config.as_str()))
        .bind(canary.map(|one| i64::from(one.share.parts)))
        .bind(orders)
        .bind(canary.map(|one| one.round))
        .bind(canary.map(|one| one.at.as_ms()))
        .bind(canary.map(|one| one.who.as_str()))
        .bind(canary.map(|one| i64::from(one.budget.runs)))
        .bind(canary.map(|one| i64::from(one.budget.parts)))
        .bind(now.as_ms())
        .execute(connection)
        .await?;
    Ok(())
}

impl Next {
    /// A canary that is stopped; the active version stays.
    pub(super) fn without_canary(now: &Rollout) -> Self {
        Self { active: now.active.clone(), canary: None, replaces: None, told: String::new() }
    }
}

/// A version for people.
fn shown(activation: Option<&Activation>) -> &str {
    activation.map_or("the configuration's", |activation| activation.version.as_str())
}

/// A share for people.
fn portion(share: &Share) -> String {
    let orders = match share.orders.len() {
        0 => String::new(),
        count => format!(" and {count} named orders"),
    };
    format!("{} of orders{orders}", percent(i64::from(share.parts)))
}

const SAVE: &str = "insert into plugin_rollouts (name, revision, active_id, canary_version, \
     canary_config, canary_parts, canary_orders, canary_round, canary_at_ms, canary_who, \
     budget_runs, budget_parts, changed_at_ms) \
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
     on conflict (name) do update set revision = excluded.revision, \
     active_id = excluded.active_id, canary_version = excluded.canary_version, \
     canary_config = excluded.canary_config, canary_parts = excluded.canary_parts, \
     canary_orders = excluded.canary_orders, canary_round = excluded.canary_round, \
     canary_at_ms = excluded.canary_at_ms, canary_who = excluded.canary_who, \
     budget_runs = excluded.budget_runs, budget_parts = excluded.budget_parts, \
     changed_at_ms = excluded.changed_at_ms";
