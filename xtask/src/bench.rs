//! `cargo xtask bench`: every benchmark, and their tables in `benches/README.md`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

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

/// A benchmark.
struct Target {
    name: &'static str,
    /// What makes it short.
    quick: &'static [&'static str],
    /// Whether it is run unless it is asked for.
    always: bool,
}

impl Bench {
    /// Builds first, so that nothing compiles while something is measured.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let plugins = plugins::build()?;
        let postgres = postgres::find_or_install()?;
        let page = workspace::root().join("benches/README.md");
        let targets: Vec<_> = TARGETS.iter().filter(|target| self.wants(target)).collect();
        if targets.is_empty() {
            let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            bail!("--only: {:?} are none of {}", self.only, known.join(", "));
        }
        let built = build(&targets)?;
        let begun = now();
        for target in targets {
            println!("\n== {}", target.name);
            let started = now();
            let program = built
                .get(target.name)
                .with_context(|| format!("cargo built no benchmark `{}`", target.name))?;
            let mut bench = Command::new(program);
            // As cargo does it: without the word a benchmark believes to be tested.
            bench.arg("--bench").current_dir(workspace::root());
            bench.env("CARGO_TARGET_DIR", workspace::target());
            bench.env("CALLGATE_TEST_PLUGINS", plugins.folder());
            if let Some(postgres) = &postgres {
                bench.env("CALLGATE_TEST_POSTGRES", postgres);
            }
            if self.quick {
                bench.args(target.quick);
            }
            let tables = run(&mut bench)?;
            println!("{} took {} s", target.name, started.elapsed().as_secs());
            if !self.dry {
                write(&page, target.name, &tables)?;
            }
        }
        println!("\nall of it took {} s", begun.elapsed().as_secs());
        Ok(())
    }

    fn wants(&self, target: &Target) -> bool {
        if self.only.is_empty() {
            return target.always;
        }
        self.only.iter().any(|only| only == target.name)
    }
}

/// Builds benchmarks all at once, so that they and the server share every dependency, which is
/// built with one set of features; tells where each is.
fn build(targets: &[&Target]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut cargo = workspace::cargo();
    cargo.args(["bench", "--workspace", "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics");
    cargo.env("CARGO_TARGET_DIR", workspace::target());
    for target in targets {
        cargo.args(["--bench", target.name]);
    }
    let mut built = BTreeMap::new();
    for line in lines(&mut cargo, |_| Ok(()))? {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let text = |place: &str| message.pointer(place).and_then(Value::as_str);
        if let (Some("bench"), Some(name), Some(program)) =
            (text("/target/kind/0"), text("/target/name"), text("/executable"))
        {
            built.insert(name.to_owned(), PathBuf::from(program));
        }
    }
    Ok(built)
}

/// Runs a benchmark, shows what it prints, and keeps what belongs on the page.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let show = |line: &str| Ok(writeln!(std::io::stdout(), "{line}")?);
    Ok(tables(&lines(command, show)?))
}

/// Runs a command to its end; what it prints, each line of which is shown first.
fn lines(
    command: &mut Command,
    show: impl Fn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<String>> {
    command.stdout(Stdio::piped());
    let shown = workspace::show(command);
    let mut child = command.spawn().with_context(|| format!("{shown} cannot be started"))?;
    let stdout = child.stdout.take().with_context(|| format!("{shown} has no output"))?;
    let mut lines = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        show(&line)?;
        lines.push(line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(lines)
}

#[expect(clippy::disallowed_methods, reason = "how long a person waited is no value of the house")]
fn now() -> Instant {
    Instant::now()
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

const TARGETS: [Target; 7] = [
    Target { name: "verify", quick: &["--quick"], always: true },
    Target { name: "commit", quick: &["--quick"], always: true },
    Target { name: "call", quick: &["--quick"], always: true },
    Target { name: "neighbour", quick: &["seconds=3"], always: true },
    Target { name: "line", quick: &["--quick"], always: true },
    Target { name: "growth", quick: &["--quick"], always: true },
    // It counts instructions, which takes long and comes to the same each time.
    Target { name: "instructions", quick: &[], always: false },
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
