//! Plugins as every host is to have them: versions that were pushed, which of them is active,
//! which one is on trial, and what each host has in force.
//!
//! Every act locks the one row of the revision first, so acts follow each other on all hosts, and
//! each says which revision of its plugin it rests on: of two operators, one is told to look again.
//!
//! Reading order: `words`, this file ([`Store`]'s methods), `push`, `act`, `count`, `shadow`, `rows`.

use callgate_core::canary::Runs;
use callgate_core::time::Timestamp;

use crate::audit::AuditEntry;
use crate::dialect::Dialect;
use crate::error::{Fault, StoreError};
use crate::group::Operation;
use crate::operate::{Done, Operating, astray, check_words};
use crate::sql::Connection;
use crate::store::Store;

mod act;

mod count;

mod push;

mod rows;

mod shadow;

mod words;

use shadow::ShadowWork;

pub use shadow::{NewShadow, Shadow, ShadowReport, ShadowStarted};

pub use words::{
    Activation, Canary, CountedRuns, Crossed, HostReport, NewVersion, PluginAct, PluginActed,
    PluginInstruction, PluginVersion, Pushed, Rollout,
};

/// Something about plugins to be written, on its way.
#[derive(Debug)]
pub(crate) enum PluginWork {
    Push(Box<NewVersion>, AuditEntry),
    Act(Box<PluginInstruction>, AuditEntry),
    Count(Vec<CountedRuns>, Vec<AuditEntry>),
    Report(HostReport),
    Leave(String),
    Shadow(ShadowWork),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum PluginDone {
    Pushed(Pushed),
    Acted(PluginActed),
    Counted(Vec<Crossed>),
    Noted,
    Shadowed(Option<Shadow>),
}

/// Does one piece of work inside the transaction that `connection` is in.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    work: &PluginWork,
) -> Result<PluginDone, Fault> {
    Ok(match work {
        PluginWork::Push(version, entry) => {
            PluginDone::Pushed(push::run(connection, dialect, (version, entry)).await?)
        }
        PluginWork::Act(instruction, entry) => {
            PluginDone::Acted(act::run(connection, dialect, (instruction, entry)).await?)
        }
        PluginWork::Count(counted, entries) => {
            PluginDone::Counted(count::run(connection, dialect, (counted, entries)).await?)
        }
        PluginWork::Report(report) => {
            count::report(connection, report).await?;
            PluginDone::Noted
        }
        PluginWork::Leave(host) => {
            count::leave(connection, host).await?;
            PluginDone::Noted
        }
        PluginWork::Shadow(work) => shadow::run(connection, work).await?,
    })
}

/// Plugins.
impl Store {
    /// Stores a version, once; its component is stored once however many versions share it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for words that are empty or too long, else as the database fails.
    pub async fn push_plugin(
        &self,
        version: NewVersion,
        now: Timestamp,
    ) -> Result<Pushed, StoreError> {
        check_words(&version.who, &version.why)?;
        let named = (version.name.as_str(), "plugins.push");
        let entry = self.entry(named, (&version.who, &version.why), now);
        match self.plugin_work(PluginWork::Push(Box::new(version), entry)).await? {
            PluginDone::Pushed(pushed) => Ok(pushed),
            other @ (PluginDone::Acted(_)
            | PluginDone::Counted(_)
            | PluginDone::Noted
            | PluginDone::Shadowed(_)) => Err(astray(&Done::Plugin(other))),
        }
    }

    /// Does an act to a plugin, all of it or nothing, and writes down who and why.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for words, a share or a budget out of bounds, else as the database
    /// fails.
    pub async fn act_on_plugin(
        &self,
        instruction: PluginInstruction,
        now: Timestamp,
    ) -> Result<PluginActed, StoreError> {
        check_words(&instruction.who, &instruction.why)?;
        act::check(&instruction.act)?;
        let named = (instruction.name.as_str(), instruction.act.as_str());
        let entry = self.entry(named, (&instruction.who, &instruction.why), now);
        match self.plugin_work(PluginWork::Act(Box::new(instruction), entry)).await? {
            PluginDone::Acted(acted) => Ok(acted),
            other @ (PluginDone::Pushed(_)
            | PluginDone::Counted(_)
            | PluginDone::Noted
            | PluginDone::Shadowed(_)) => Err(astray(&Done::Plugin(other))),
        }
    }

    /// Adds what a host has counted, and ends the canaries that crossed their budget by it. Runs of
    /// a trial that has ended count for nothing.
    ///
    /// # Errors
    /// As the database fails; nothing was added then.
    pub async fn count_plugin_runs(
        &self,
        counted: Vec<CountedRuns>,
        now: Timestamp,
    ) -> Result<Vec<Crossed>, StoreError> {
        let words = (HOST, "the error budget was crossed");
        let entry =
            |one: &CountedRuns| self.entry((&one.name, "plugins.canary-failed"), words, now);
        let entries = counted.iter().map(entry).collect();
        match self.plugin_work(PluginWork::Count(counted, entries)).await? {
            PluginDone::Counted(crossed) => Ok(crossed),
            other @ (PluginDone::Pushed(_)
            | PluginDone::Acted(_)
            | PluginDone::Noted
            | PluginDone::Shadowed(_)) => Err(astray(&Done::Plugin(other))),
        }
    }

    /// Writes down what a host has in force.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn report_plugins(&self, report: HostReport) -> Result<(), StoreError> {
        self.plugin_work(PluginWork::Report(report)).await.map(drop)
    }

    /// Takes a host that stops out of the list.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn leave_plugins(&self, host: &str) -> Result<(), StoreError> {
        self.plugin_work(PluginWork::Leave(host.to_owned())).await.map(drop)
    }

    /// Grows with every change of what is to be in force.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn plugin_revision(&self) -> Result<i64, StoreError> {
        rows::revision(self.readers()).await
    }

    /// What is to be in force, of every plugin that was ever activated.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn rollouts(&self) -> Result<Vec<Rollout>, StoreError> {
        let mut connection = self.readers().acquire().await?;
        rows::rollouts(&mut connection, None).await
    }

    /// Every version of every plugin, the last pushed first.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn plugin_versions(&self) -> Result<Vec<PluginVersion>, StoreError> {
        rows::versions(self.readers()).await
    }

    /// One version; `None` where there is no such version.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn plugin_version(
        &self,
        name: &str,
        version: &str,
    ) -> Result<Option<PluginVersion>, StoreError> {
        let mut connection = self.readers().acquire().await?;
        rows::version(&mut connection, name, version).await
    }

    /// The bytes of a component by their SHA-256; `None` where they were never pushed.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn component(&self, sha256: &str) -> Result<Option<Vec<u8>>, StoreError> {
        rows::component(self.readers(), sha256).await
    }

    /// What was counted of a trial: the active version's runs, then the canary's.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn plugin_runs(&self, name: &str, round: i64) -> Result<(Runs, Runs), StoreError> {
        let mut connection = self.readers().acquire().await?;
        count::sum(&mut connection, (name, round), i64::MIN).await
    }

    /// What hosts said of themselves last.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn plugin_hosts(&self) -> Result<Vec<HostReport>, StoreError> {
        rows::hosts(self.readers()).await
    }

    pub(in crate::plugins) async fn plugin_work(
        &self,
        work: PluginWork,
    ) -> Result<PluginDone, StoreError> {
        let operating = Operating::Plugin(work);
        let done = self.ask(|reply| Operation::Operate(Box::new(operating), reply)).await?;
        if let Done::Plugin(done) = done { Ok(done) } else { Err(astray(&done)) }
    }

    pub(in crate::plugins) fn entry(
        &self,
        (name, act): (&str, &str),
        (who, why): (&str, &str),
        at: Timestamp,
    ) -> AuditEntry {
        AuditEntry {
            id: self.new_id(at),
            at,
            who: who.to_owned(),
            act: act.to_owned(),
            target: name.to_owned(),
            why: why.to_owned(),
            result: String::new(),
        }
    }
}

/// Who acts where nobody does.
const HOST: &str = "callgate";
