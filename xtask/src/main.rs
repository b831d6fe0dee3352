//! `cargo xtask …`: set-up that a newcomer should not have to know.
//!
//! Each subcommand is a module with its arguments and one `run`.

#![expect(clippy::print_stdout, reason = "what a task prints is for the person who runs it")]

mod workspace;

mod toolchain;

mod plugins;

mod demo;

mod test;

mod crash;

mod bench;

mod postgres;

mod proxies;

mod promtool;

mod nats;

mod chromium;

mod clients;

mod audit;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up and daily tasks of Callgate.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// The main job: serve on SQLite and fire signed callbacks of every gateway.
    Demo(demo::Demo),
    /// What CI runs: formats, lints, guests, tests on both databases.
    Test,
    /// The kill test, with as many kills as you like and a seed that repeats the schedule.
    Crash(crash::Crash),
    /// What it costs: all benchmarks, and their tables in `benches/README.md`.
    Bench(bench::Bench),
    /// Build the processors of `plugins/` to components in `target/plugins/`.
    Plugins(plugins::Plugins),
    /// Bans, licences and sources of every dependency.
    Audit,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Demo(demo) => demo.run(),
        Task::Test => test::run(),
        Task::Crash(crash) => crash.run(),
        Task::Bench(bench) => bench.run(),
        Task::Plugins(plugins) => plugins.run(),
        Task::Audit => audit::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
