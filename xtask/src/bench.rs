//! `cargo xtask bench`: every benchmark, and their tables in `benches/README.md`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;

use crate::{plugins, postgres, workspace};

/// Runs all benchmarks and rewrites the tables of `benches/README.md`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Fewer and shorter rounds: under three minutes once everything is built.
    #[arg(long)]
    quick: bool,
    /// One benchmark only, such as `line`; as often as you like.
    #[arg(long)]
    only: Vec<String>,
    /// Show the tables and leave the page as it is.
    #[arg(long)]
    dry: bool,
}

/// A benchmark and the crate that declares it.
struct Target {
    name: &'static str,
    package: &'static str,
    /// What makes it short.
    quick: &'static [&'static str],
}

impl Bench {
    /// Builds first, so that nothing compiles while something is measured.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let built = plugins::build()?;
        let binaries = postgres::find_or_install()?;
        let page = workspace::root().join("benches/README.md");
        let targets: Vec<_> = TARGETS.iter().filter(|target| self.wants(target.name)).collect();
        if targets.is_empty() {
            let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            bail!("--only: {:?} are none of {}", self.only, known.join(", "));
        }
        for target in &targets {
            workspace::run(cargo(target).arg("--no-run"))?;
        }
        for target in targets {
            println!("\n== {}", target.name);
            let mut bench = cargo(target);
            bench.env("CALLGATE_TEST_PLUGINS", built.folder());
            if let Some(binaries) = &binaries {
                bench.env("CALLGATE_TEST_POSTGRES", binaries);
            }
            bench.arg("--");
            if self.quick {
                bench.args(target.quick);
            }
            let tables = run(&mut bench)?;
            if !self.dry {
                write(&page, target.name, &tables)?;
            }
        }
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn cargo(target: &Target) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["bench", "--package", target.package, "--bench", target.name]);
    cargo.env("CARGO_TARGET_DIR", workspace::target());
    cargo
}

/// Runs a benchmark, shows what it prints, and keeps what belongs on the page.
fn run(command: &mut Command) -> anyhow::Result<String> {
    command.stdout(Stdio::piped());
    let shown = workspace::show(command);
    let mut child = command.spawn().with_context(|| format!("{shown} cannot be started"))?;
    let stdout = child.stdout.take().context("cargo bench has no output")?;
    let mut lines = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        writeln!(std::io::stdout(), "{line}")?;
        lines.push(line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(tables(&lines))
}

/// The rows and headings among the lines, and the sentences between them that end in a full stop.
/// Rows that are interrupted by other output are put together again.
fn tables(lines: &[String]) -> String {
    let mut kept = String::new();
    for line in lines {
        if line.starts_with("### ") {
            kept.push_str(&format!("\n{line}\n\n"));
        } else if line.starts_with('|') {
            kept.push_str(&format!("{line}\n"));
        } else if line.starts_with("> ") {
            kept.push_str(&format!("{}\n\n", line.trim_start_matches("> ")));
        }
    }
    kept.trim_matches('\n').to_owned()
}

/// Puts the tables between the marks of the benchmark.
fn write(page: &PathBuf, name: &str, tables: &str) -> anyhow::Result<()> {
    let shown = page.display();
    let text = fs::read_to_string(page).with_context(|| format!("{shown} cannot be read"))?;
    let text = between(&text, name, tables)
        .with_context(|| format!("{shown} has no marks for `{name}`"))?;
    fs::write(page, text).with_context(|| format!("{shown} cannot be written"))
}

fn between(text: &str, name: &str, tables: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} begins -->"), format!("<!-- {name} ends -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{tables}\n{end}{after}"))
}

const TARGETS: [Target; 5] = [
    Target { name: "verify", package: "callgate-trigger", quick: &["--quick"] },
    Target { name: "commit", package: "callgate-store", quick: &["--quick"] },
    Target { name: "call", package: "callgate-sandbox", quick: &["--quick"] },
    Target { name: "neighbour", package: "callgate", quick: &["seconds=5"] },
    Target { name: "line", package: "callgate", quick: &["--quick"] },
];

#[cfg(test)]
mod tests {
    use super::{TARGETS, between, tables};
    use crate::workspace;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let text = "a\n<!-- x begins -->\nold\n<!-- x ends -->\nb\n";
        let new = between(text, "x", "| new |").unwrap();
        assert_eq!(new, "a\n<!-- x begins -->\n| new |\n<!-- x ends -->\nb\n");
        assert_eq!(between(text, "y", ""), None);
    }

    #[test]
    fn rows_headings_and_remarks_are_kept() {
        let lines = ["warming up", "### one", "| a |", "noise", "| b |", "> Said.", ""];
        let kept = tables(&lines.map(str::to_owned));
        assert_eq!(kept, "### one\n\n| a |\n| b |\nSaid.");
    }

    #[test]
    fn the_page_has_marks_for_every_benchmark() {
        let page = std::fs::read_to_string(workspace::root().join("benches/README.md")).unwrap();
        for target in TARGETS {
            assert!(between(&page, target.name, "").is_some(), "{}", target.name);
        }
    }
}
