//! The command line.
//!
//! Reading order: this file, then `trigger`, `operate`, `reconcile`, `plugin` and `backup`; `trust`
//! is for all that speak to a server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use callgate_sandbox::compile::Compiler;
use clap::{Args, Parser, Subcommand};

use crate::clock::Clock;
use crate::config::{Config, Layers, default_text};
use crate::files;
use crate::inbound::tokens::hash_text;
use crate::outbound::endpoints::Endpoints;
use crate::server::{self, Server};
use crate::telemetry;

mod operate;

mod reconcile;

mod plugin;

mod trigger;

mod trust;

mod backup;

/// The engine for payment callbacks.
#[derive(Debug, Parser)]
#[command(name = "callgate", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(Place),
    /// Check configuration, keys and plugins without serving; the exit status tells.
    Check(Place),
    /// Print the commented default configuration.
    Config,
    /// Make a bearer token; prints it and the hash for the configuration.
    Token,
    /// Copy the database into a file while a server works on it.
    Backup(backup::Backup),
    /// Check a backup and make it a database.
    Restore(backup::Restore),
    /// Play a gateway: make correctly signed callbacks and post them.
    Trigger(trigger::Trigger),
    /// Plugins as packages: make keys, sign, verify, look inside, bring versions live.
    Plugin(plugin::Plugin),
    /// Compile a component for a server: what it starts for itself.
    #[command(hide = true, name = COMPILE)]
    Compile,
    /// Repair: search, inspect, replay, park, release, discard, dead letters, by a server's operator
    /// calls.
    Operate(operate::Operate),
    /// Hold a gateway's bill against what is stored, by a server's operator calls.
    Reconcile(reconcile::Reconcile),
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
struct Place {
    /// The configuration file.
    #[arg(short, long, env = "CALLGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Set one key, such as store.url=sqlite://x.db; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the command of this process and tells its exit status.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            let mut stderr = std::io::stderr();
            let _ = std::io::Write::write_fmt(&mut stderr, format_args!("callgate: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(place) => runtime()?.block_on(serve(place)),
        Command::Check(place) => runtime()?.block_on(check(place)),
        Command::Config => {
            print(default_text());
            Ok(ExitCode::SUCCESS)
        }
        Command::Token => {
            let token = new_token()?;
            print(&format!("token:        {token}\ntoken_sha256: {}\n", hash_text(&token)));
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup(backup) => runtime()?.block_on(backup.run()),
        Command::Restore(restore) => runtime()?.block_on(restore.run()),
        Command::Trigger(trigger) => runtime()?.block_on(trigger.run()),
        Command::Compile => {
            callgate_sandbox::child::compile()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Operate(operate) => runtime()?.block_on(operate.run()),
        Command::Reconcile(reconcile) => Ok(runtime()?.block_on(reconcile.run())),
        Command::Plugin(plugin) => runtime()?.block_on(plugin.run()),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

async fn serve(place: Place) -> anyhow::Result<ExitCode> {
    let config = configuration(place)?;
    let _log = telemetry::start_log(&config.log)?;
    let metrics = telemetry::start_metrics()?;
    files::raise_limit(&config);
    let stop = stop_signal()?;
    let server = Server::start(config, Clock::system(), metrics).await?;
    // One line for whoever started us, so that port 0 is of use.
    let status = server.status.map(|at| format!(" status={at}")).unwrap_or_default();
    print(&format!("listening public={} private={}{status}\n", server.public, server.private));
    tracing::info!(public = %server.public, private = %server.private, "serving");
    let ended = tokio::select! {
        () = stop => ExitCode::SUCCESS,
        () = server.broken() => {
            tracing::error!("a part of the server ended by itself; stopping, so that it is started anew");
            ExitCode::FAILURE
        }
    };
    tracing::info!("stopping: finishing what was accepted");
    server.stop().await;
    tracing::info!("stopped");
    Ok(ended)
}

/// The configuration, for a process that can start itself again to compile.
fn configuration(place: Place) -> anyhow::Result<Config> {
    let mut config = Config::load(&Layers::of_process(place.config, place.set))?;
    // The very file that runs, even where another was put in its place since.
    let itself = PathBuf::from("/proc/self/exe");
    let program = if itself.exists() { itself } else { std::env::current_exe()? };
    let args = vec![COMPILE.to_owned()];
    config.compiler = Compiler::Child { program, args };
    Ok(config)
}

async fn check(place: Place) -> anyhow::Result<ExitCode> {
    let config = configuration(place)?;
    // Warnings belong to what is checked.
    let _log = telemetry::start_log(&config.log)?;
    server::plugins(&config).await?;
    server::sinks(&config).await?;
    server::certificates(&config, Clock::system().now())?;
    Endpoints::open(config.endpoints.clone()).await?;
    print(&format!(
        "good: {} businesses, {} channels, {} plugins, {} endpoints, {} sinks\n",
        config.businesses.len(),
        config.channels.len(),
        config.plugins.len(),
        config.endpoints.len(),
        config.sinks.len()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Ends with SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The hidden command.
const COMPILE: &str = "compile-component";

fn new_token() -> anyhow::Result<String> {
    use base64::Engine as _;

    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).context("no randomness")?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// Writes to the standard output; a closed pipe is nobody's fault.
pub(super) fn print(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
