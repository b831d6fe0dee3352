//! `cargo xtask crash`: the kill test for as long as one likes.

use anyhow::bail;
use clap::Args;

use crate::{plugins, postgres, workspace};

/// Hosts and database server killed at random moments, on SQLite and PostgreSQL.
#[derive(Debug, Args)]
pub(crate) struct Crash {
    /// How many kills, shared out between the stories of the kill test.
    #[arg(long, default_value_t = 2000)]
    rounds: u32,
    /// Repeats the schedule of a run that printed this seed.
    #[arg(long)]
    seed: Option<u64>,
}

impl Crash {
    /// Builds the processors and runs the kill test of `tests/suite`, one story at a time.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.rounds == 0 {
            bail!("--rounds is 0, expected at least 1");
        }
        let built = plugins::build()?;
        let mut test = workspace::cargo();
        test.current_dir(workspace::root())
            .args(["test", "--package", "callgate", "--test", "suite", "kill::"])
            .args(["--", "--nocapture", "--test-threads", "1"])
            .env("CARGO_TARGET_DIR", workspace::target())
            .env("CALLGATE_TEST_PLUGINS", built.folder())
            .env("CALLGATE_TEST_CRASH_ROUNDS", self.rounds.to_string());
        if let Some(binaries) = postgres::find_or_install()? {
            test.env("CALLGATE_TEST_POSTGRES", binaries);
        }
        if let Some(seed) = self.seed {
            test.env("CALLGATE_TEST_CRASH_SEED", seed.to_string());
        }
        workspace::run(&mut test)
    }
}
