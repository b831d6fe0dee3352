//! Shadows: versions that run beside the ones in force without an effect, and what hosts report of
//! them; and versions as a back-test finds them.

use callgate_core::time::Timestamp;

use super::{PluginDone, PluginVersion, PluginWork, Rollout, rows};
use crate::audit::{self, AuditEntry};
use crate::batch;
use crate::error::{Fault, StoreError};
use crate::operate::{Done, astray, check_words};
use crate::recorded::ReadOnly;
use crate::sql::{Connection, Pool, Row, query};
use crate::store::Store;

/// A version that is to run beside the one in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewShadow {
    /// Name of the plugin.
    pub name: String,
    /// Which version: it was pushed.
    pub version: String,
    /// What its processor reads through `config`: JSON; `None` for what the version beside it
    /// reads.
    pub config: Option<String>,
    /// Hundredths of a percent of the orders, 1 to 10,000.
    pub parts: u32,
    /// Who wants it.
    pub who: String,
    /// Why.
    pub why: String,
}

/// A version that runs, or ran, beside the one in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// Name of the plugin.
    pub name: String,
    /// Which version.
    pub version: String,
    /// What its processor reads through `config`: JSON; `None` for what the version beside it
    /// reads.
    pub config: Option<String>,
    /// Hundredths of a percent of the orders.
    pub parts: u32,
    /// Names this start: reports belong to it.
    pub run: String,
    /// Since when.
    pub since: Timestamp,
    /// Who began it.
    pub who: String,
    /// When it was stopped; `None` while it runs.
    pub stopped_at: Option<Timestamp>,
}

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowStarted {
    /// It runs; what another one of this plugin had found is gone.
    Done(Shadow),
    /// There is no such version.
    NotFound,
}

/// What one host found so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowReport {
    /// The start that it is about.
    pub run: String,
    /// The host.
    pub host: String,
    /// When it said so.
    pub at: Timestamp,
    /// JSON.
    pub report: String,
}

/// Something about shadows to be written.
#[derive(Debug)]
pub(crate) enum ShadowWork {
    Start(Box<Shadow>, AuditEntry),
    Stop(String, AuditEntry),
    Report(ShadowReport),
}

pub(super) async fn run(
    connection: &mut Connection,
    work: &ShadowWork,
) -> Result<PluginDone, Fault> {
    Ok(PluginDone::Shadowed(match work {
        ShadowWork::Start(shadow, entry) => start(connection, shadow, entry).await?,
        ShadowWork::Stop(name, entry) => stop(connection, name, entry).await?,
        ShadowWork::Report(report) => {
            note(connection, report).await?;
            None
        }
    }))
}

async fn start(
    connection: &mut Connection,
    shadow: &Shadow,
    entry: &AuditEntry,
) -> Result<Option<Shadow>, Fault> {
    if rows::version(connection, &shadow.name, &shadow.version).await?.is_none() {
        return Ok(None);
    }
    batch::count();
    query(
        "delete from plugin_shadow_reports where run in \
         (select t.run from plugin_shadows t where t.name = $1)",
    )
    .bind(shadow.name.as_str())
    .execute(&mut *connection)
    .await?;
    batch::count();
    query(
        "insert into plugin_shadows (name, version, config, parts, run, since_ms, who) \
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (name) do update set \
         version = excluded.version, config = excluded.config, parts = excluded.parts, \
         run = excluded.run, since_ms = excluded.since_ms, who = excluded.who, \
         stopped_at_ms = null",
    )
    .bind(shadow.name.as_str())
    .bind(shadow.version.as_str())
    .bind(shadow.config.as_deref())
    .bind(i64::from(shadow.parts))
    .bind(shadow.run.as_str())
    .bind(shadow.since.as_ms())
    .bind(shadow.who.as_str())
    .execute(&mut *connection)
    .await?;
    let result = format!("{} for {} of 10000 orders", shadow.version, shadow.parts);
    audit::insert(connection, &[AuditEntry { result, ..entry.clone() }]).await?;
    Ok(Some(shadow.clone()))
}

async fn stop(
    connection: &mut Connection,
    name: &str,
    entry: &AuditEntry,
) -> Result<Option<Shadow>, Fault> {
    batch::count();
    let sql = format!(
        "update plugin_shadows set stopped_at_ms = $2 where name = $1 \
         and stopped_at_ms is null returning {COLUMNS}"
    );
    let query = query(sql).bind(name).bind(entry.at.as_ms());
    let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let stopped = Shadow::read(&row)?;
    let result = format!("{} stopped", stopped.version);
    audit::insert(connection, &[AuditEntry { result, ..entry.clone() }]).await?;
    Ok(Some(stopped))
}

/// A report of a start that another one has replaced comes too late.
async fn note(connection: &mut Connection, report: &ShadowReport) -> Result<(), Fault> {
    batch::count();
    query(
        "insert into plugin_shadow_reports (run, host, at_ms, report) \
         select t.run, $2, $3, $4 from plugin_shadows t where t.run = $1 \
         on conflict (run, host) do update set at_ms = excluded.at_ms, report = excluded.report",
    )
    .bind(report.run.as_str())
    .bind(report.host.as_str())
    .bind(report.at.as_ms())
    .bind(report.report.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

impl Shadow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let parts: i64 = row.try_get("parts")?;
        Ok(Self {
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            config: row.try_get("config")?,
            parts: u32::try_from(parts)
                .map_err(|_| StoreError::corrupt(format!("parts of a shadow are {parts}")))?,
            run: row.try_get("run")?,
            since: Timestamp::from_ms(row.try_get("since_ms")?),
            who: row.try_get("who")?,
            stopped_at: row.try_get::<Option<i64>, _>("stopped_at_ms")?.map(Timestamp::from_ms),
        })
    }
}

/// Shadows.
impl Store {
    /// Has a version run beside the one in force, in place of another shadow of its plugin.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for words or a share out of bounds, else as the database fails.
    pub async fn start_shadow(
        &self,
        new: NewShadow,
        now: Timestamp,
    ) -> Result<ShadowStarted, StoreError> {
        check_words(&new.who, &new.why)?;
        if !(1..=PARTS_MAX).contains(&new.parts) {
            let what = format!("{} of 10000 orders, expected 1 to {PARTS_MAX}", new.parts);
            return Err(StoreError::invalid(what));
        }
        let entry = self.entry((&new.name, "plugins.shadow-start"), (&new.who, &new.why), now);
        let shadow = Shadow {
            name: new.name,
            version: new.version,
            config: new.config,
            parts: new.parts,
            run: self.new_id(now),
            since: now,
            who: new.who,
            stopped_at: None,
        };
        let started = self.shadow_work(ShadowWork::Start(Box::new(shadow), entry)).await?;
        Ok(started.map_or(ShadowStarted::NotFound, ShadowStarted::Done))
    }

    /// Ends a shadow; what it found stays to be looked at. `None` where none runs. `words` are who
    /// and why.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for words out of bounds, else as the database fails.
    pub async fn stop_shadow(
        &self,
        name: &str,
        (who, why): (&str, &str),
        now: Timestamp,
    ) -> Result<Option<Shadow>, StoreError> {
        check_words(who, why)?;
        let entry = self.entry((name, "plugins.shadow-stop"), (who, why), now);
        self.shadow_work(ShadowWork::Stop(name.to_owned(), entry)).await
    }

    /// Writes down what a host found so far, in the place of what it said before.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn report_shadow(&self, report: ShadowReport) -> Result<(), StoreError> {
        self.shadow_work(ShadowWork::Report(report)).await.map(drop)
    }

    /// The last shadow of each plugin, those that were stopped too.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn shadows(&self) -> Result<Vec<Shadow>, StoreError> {
        // Found by the key of the table: no name is empty.
        let sql = format!("select {COLUMNS} from plugin_shadows where name > '' order by name");
        let rows = query(sql).fetch_all(self.readers()).await?;
        rows.iter().map(Shadow::read).collect()
    }

    /// What hosts found so far.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn shadow_reports(&self, run: &str) -> Result<Vec<ShadowReport>, StoreError> {
        let rows = query(
            "select run, host, at_ms, report from plugin_shadow_reports where run = $1 \
             order by host",
        )
        .bind(run)
        .fetch_all(self.readers())
        .await?;
        let read = |row: &Row| {
            Ok(ShadowReport {
                run: row.try_get("run")?,
                host: row.try_get("host")?,
                at: Timestamp::from_ms(row.try_get("at_ms")?),
                report: row.try_get("report")?,
            })
        };
        rows.iter().map(read).collect()
    }

    async fn shadow_work(&self, work: ShadowWork) -> Result<Option<Shadow>, StoreError> {
        match self.plugin_work(PluginWork::Shadow(work)).await? {
            PluginDone::Shadowed(shadow) => Ok(shadow),
            other @ (PluginDone::Pushed(_)
            | PluginDone::Acted(_)
            | PluginDone::Counted(_)
            | PluginDone::Noted) => Err(astray(&Done::Plugin(other))),
        }
    }
}

/// Versions, for whoever only reads.
impl ReadOnly {
    /// One version; `None` where there is no such version.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn plugin_version(
        &self,
        name: &str,
        version: &str,
    ) -> Result<Option<PluginVersion>, StoreError> {
        let mut connection = self.0.acquire().await?;
        rows::version(&mut connection, name, version).await
    }

    /// A version that has a component; of several, the last that was pushed.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn version_of(&self, sha256: &str) -> Result<Option<PluginVersion>, StoreError> {
        let versions = rows::versions(&self.0).await?;
        Ok(versions.into_iter().find(|version| version.sha256 == sha256))
    }

    /// The bytes of a component; `None` where they were never pushed.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn component(&self, sha256: &str) -> Result<Option<Vec<u8>>, StoreError> {
        rows::component(&self.0, sha256).await
    }

    /// What is to be in force.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn rollouts(&self) -> Result<Vec<Rollout>, StoreError> {
        let mut connection = self.0.acquire().await?;
        rows::rollouts(&mut connection, None).await
    }

    /// The configuration that a version was activated with last; `None` where it never was.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn last_config(
        &self,
        name: &str,
        version: &str,
    ) -> Result<Option<String>, StoreError> {
        config_of(&self.0, (name, version)).await
    }
}

async fn config_of(
    pool: &Pool,
    (name, version): (&str, &str),
) -> Result<Option<String>, StoreError> {
    let row = query(
        "select config from plugin_activations where name = $1 and version = $2 \
         order by at_ms desc, id desc limit 1",
    )
    .bind(name)
    .bind(version)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| row.try_get("config")).transpose()?)
}

const COLUMNS: &str = "name, version, config, parts, run, since_ms, who, stopped_at_ms";

/// Hundredths of a percent: all orders.
const PARTS_MAX: u32 = 10_000;
