//! `callgate backup` and `callgate restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use callgate_store::{Contents, Existing};
use clap::Args;

use super::{Place, print};
use crate::config::{Config, Layers};

/// Where a backup goes.
#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(flatten)]
    place: Place,
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Where a restored database comes from and goes to.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The file that `callgate backup` wrote.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The database file to make.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Replace a database that is there; it is kept as FILE.replaced.
    #[arg(long)]
    force: bool,
}

impl Backup {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&Layers::of_process(self.place.config, self.place.set))?;
        let contents = callgate_store::backup(&config.store, &self.to).await.context("backup")?;
        print(&format!("backed up and checked: {}\n", told(&contents)));
        Ok(ExitCode::SUCCESS)
    }
}

impl Restore {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let existing = if self.force { Existing::Replace } else { Existing::Refuse };
        let restored = callgate_store::restore(&self.from, &self.to, existing).await;
        let contents = restored.context("restore")?;
        print(&format!("checked and restored: {}\n", told(&contents)));
        Ok(ExitCode::SUCCESS)
    }
}

fn told(contents: &Contents) -> String {
    let Contents { bytes, migration, notifications, documents, history, events } = contents;
    format!(
        "{notifications} notifications, {documents} documents, {history} history entries, \
         {events} events, {bytes} bytes, migration {migration}"
    )
}
