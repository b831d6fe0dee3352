//! Counts the instructions of a program of this file's own binary, with callgrind.

use std::path::Path;
use std::process::Command;

/// What is told apart: a name, and a function whose own work and that of what it calls is meant.
pub(crate) const PARTS: [(&str, &str); 2] =
    [("RSA", "EVP_PKEY_verify"), ("SQLite", "sqlite3_step")];

/// Instructions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) all: u64,
    pub(crate) parts: [u64; PARTS.len()],
}

impl Count {
    /// What came on top of an earlier count.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut parts = self.parts;
        for (part, before) in parts.iter_mut().zip(before.parts) {
            *part = part.saturating_sub(before);
        }
        Self { all: self.all.saturating_sub(before.all), parts }
    }
}

/// Runs this program with these arguments, and the folder as the last one.
pub(crate) fn count(arguments: &[&str], folder: &Path) -> Count {
    let file = folder.join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", file.display()));
    valgrind.arg(std::env::current_exe().unwrap()).args(arguments).arg(folder);
    let output = valgrind.output().unwrap_or_else(|error| {
        panic!("valgrind cannot be started ({error}): install the package valgrind")
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let counted = std::fs::read_to_string(&file).unwrap();
    let all = counted.lines().find_map(|line| line.strip_prefix("summary: "));
    let mut annotate = Command::new("callgrind_annotate");
    annotate.args(["--inclusive=yes", "--threshold=100"]).arg(&file);
    let output = annotate.output().unwrap();
    let functions = String::from_utf8_lossy(&output.stdout);
    let part = |(_, name): (&str, &str)| {
        functions.lines().filter_map(|line| cost_of(line, name)).sum::<u64>()
    };
    Count { all: all.unwrap().trim().parse().unwrap(), parts: PARTS.map(part) }
}

/// The cost in a line such as `1,234 (5.6%)  file.c:function [program]`, if it is of this function.
fn cost_of(line: &str, name: &str) -> Option<u64> {
    let (cost, rest) = line.trim_start().split_once(" (")?;
    let function = rest.split_once(')')?.1.trim_start();
    let function = function.split(" [").next()?.rsplit(':').next()?;
    if !function.trim_end_matches("'2").ends_with(name) {
        return None;
    }
    cost.replace(',', "").parse().ok()
}
