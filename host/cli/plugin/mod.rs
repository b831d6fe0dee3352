//! `callgate plugin`: packages before they are deployed, and on running servers.
//!
//! Reading order: this file, `files` (what is read and written), then the commands: `keygen`,
//! `sign`, `verify`, `inspect` with `outline` and `describe`; `fleet` with `table` is what is done
//! on a running server; `backtest` with
//! `cast` and `window` asks a database, `shadow` and `stats` a running server.

use std::process::ExitCode;

use clap::{Args, Subcommand};

mod files;

mod describe;

mod keygen;

mod sign;

mod verify;

mod inspect;

mod outline;

mod fleet;

mod table;

mod backtest;

mod cast;

mod window;

mod shadow;

mod stats;

/// What to do with a plugin.
#[derive(Debug, Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a key pair that signs the plugins of a business.
    Keygen(keygen::Keygen),
    /// Sign a manifest for a component, or add a signature to one that is signed.
    Sign(sign::Sign),
    /// Check signatures, hash and component, against a host's configuration or given keys.
    Verify(verify::Verify),
    /// Show what is in a component, a manifest or both, and what a host's policy says of it.
    Inspect(inspect::Inspect),
    Push(fleet::Push),
    List(fleet::List),
    Activate(Box<fleet::Activate>),
    Rollback(fleet::Rollback),
    Retire(fleet::Retire),
    Canary(fleet::Canary),
    Backtest(Box<backtest::Backtest>),
    Shadow(shadow::Shadow),
    Stats(stats::Stats),
}

impl Plugin {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.act {
            Act::Keygen(keygen) => keygen.run(),
            Act::Sign(sign) => sign.run().await,
            Act::Verify(verify) => verify.run().await,
            Act::Inspect(inspect) => inspect.run().await,
            Act::Push(push) => push.run().await,
            Act::List(list) => list.run().await,
            Act::Activate(activate) => activate.run().await,
            Act::Rollback(rollback) => rollback.run().await,
            Act::Retire(retire) => retire.run().await,
            Act::Canary(canary) => canary.run().await,
            Act::Backtest(backtest) => Ok(backtest.run().await),
            Act::Shadow(shadow) => shadow.run().await,
            Act::Stats(stats) => stats.run().await,
        }
    }
}
