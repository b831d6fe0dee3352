//! `callgate plugin`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

mod backtest;

mod cast;

mod window;

/// What processors do and cost.
#[derive(Debug, Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    Backtest(Box<backtest::Backtest>),
}

impl Plugin {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        Ok(match self.word {
            Word::Backtest(backtest) => backtest.run().await,
        })
    }
}
