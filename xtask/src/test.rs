//! `cargo xtask test`: what CI runs, with the totals of all tests at the end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::{chromium, clients, nats, plugins, postgres, promtool, proxies, workspace};

/// Formats, lints, guests, tests on both databases, and a fixed number of fuzz inputs.
pub(crate) fn run() -> anyhow::Result<()> {
    let built = plugins::build()?;
    let postgres = postgres::find_or_install()?;
    let nats = nats::find_or_install()?;
    proxies::find_or_install()?;
    let browser = chromium::find_or_install()?;
    let promtool = promtool::find_or_fetch()?;
    let clients = clients::find_or_install();
    let mut totals = Totals::default();
    for folder in [".", "plugins", "tests/fuzz"] {
        step(&format!("format of {folder}"));
        workspace::run(cargo_in(folder).args(["fmt", "--all", "--check"]))?;
        step(&format!("lints of {folder}"));
        workspace::run(
            cargo_in(folder)
                .args(["clippy", "--workspace", "--all-targets", "--quiet", "--"])
                .args(["-D", "warnings"]),
        )?;
    }
    step("tests of the processors, natively");
    totals.count(cargo_in("plugins").args(["test", "--workspace"]))?;
    step("tests of the host");
    let mut host = cargo_in(".");
    host.args(["test", "--workspace"]);
    host.env("CALLGATE_TEST_PLUGINS", built.folder());
    if let Some(binaries) = postgres {
        host.env("CALLGATE_TEST_POSTGRES", binaries);
    }
    if let Some(program) = nats {
        host.env("CALLGATE_TEST_NATS", program);
    }
    if let Some(program) = promtool {
        host.env("CALLGATE_TEST_PROMTOOL", program);
    }
    if let Some(browser) = browser {
        browser.announce(&mut host);
    }
    clients.announce(&mut host);
    totals.count(&mut host)?;
    step("fuzz targets, a fixed number of inputs");
    workspace::run(cargo_in("tests/fuzz").args(["run", "--quiet", "--", "--runs", FUZZ_RUNS]))?;
    totals.print();
    if totals.failed > 0 {
        bail!("{} tests failed", totals.failed);
    }
    Ok(())
}

fn step(name: &str) {
    println!("\n== {name}");
}

/// Cargo in a workspace of ours; all share one folder of build results.
fn cargo_in(folder: &str) -> Command {
    let mut cargo = workspace::cargo();
    cargo.current_dir(workspace::root().join(folder));
    cargo.env("CARGO_TARGET_DIR", workspace::target());
    cargo
}

#[derive(Debug, Default)]
struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Totals {
    /// Runs `cargo test` to its end, shows what it prints, and adds up its closing lines.
    fn count(&mut self, command: &mut Command) -> anyhow::Result<()> {
        command.arg("--no-fail-fast").stdout(Stdio::piped());
        let shown = workspace::show(command);
        let mut child = command.spawn().with_context(|| format!("{shown} cannot be started"))?;
        let stdout = child.stdout.take().context("cargo test has no output")?;
        let failed_before = self.failed;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            self.add(&line);
            writeln!(std::io::stdout(), "{line}")?;
        }
        let status = child.wait()?;
        if !status.success() && self.failed == failed_before {
            bail!("{shown} ended with {status}");
        }
        Ok(())
    }

    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let number = |word: &str| {
            let before = result.split(&format!(" {word}")).next().unwrap_or_default();
            before.rsplit([' ', ';']).next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
        };
        self.passed = self.passed.saturating_add(number("passed"));
        self.failed = self.failed.saturating_add(number("failed"));
        self.skipped = self.skipped.saturating_add(number("ignored"));
    }

    fn print(&self) {
        let Self { passed, failed, skipped } = self;
        println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    }
}

/// Inputs per fuzz target: a few seconds in all.
const FUZZ_RUNS: &str = "2000";

#[cfg(test)]
mod tests {
    use super::Totals;

    #[test]
    fn the_closing_lines_are_added_up() {
        let mut totals = Totals::default();
        totals.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        totals.add("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured");
        totals.add("running 3 tests");
        assert_eq!((totals.passed, totals.failed, totals.skipped), (15, 2, 1));
    }
}
