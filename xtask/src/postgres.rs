//! PostgreSQL's server binaries, for tests that start a cluster of their own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::workspace;

/// The folder of `initdb` and `postgres`; installs them where we may.
///
/// # Errors
/// Where they are missing and cannot be installed, in CI; elsewhere `None`, said loudly.
pub(crate) fn find_or_install() -> anyhow::Result<Option<PathBuf>> {
    if let Some(folder) = find() {
        return Ok(Some(folder));
    }
    if workspace::is_root() && has_apt() {
        println!("== installing PostgreSQL's server");
        let mut update = Command::new("apt-get");
        workspace::run(update.arg("update").env("DEBIAN_FRONTEND", "noninteractive"))?;
        let mut install = Command::new("apt-get");
        install.args(["install", "--yes", "--no-install-recommends", "postgresql"]);
        workspace::run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
        if let Some(folder) = find() {
            return Ok(Some(folder));
        }
    }
    let remedy = "install PostgreSQL 15 or later (Debian: sudo apt-get install postgresql)";
    if std::env::var_os("CI").is_some() {
        bail!("no PostgreSQL server binaries were found: {remedy}");
    }
    eprintln!("\n*** SKIPPED: every test on PostgreSQL. To run them, {remedy}.\n");
    Ok(None)
}

fn find() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path().join("bin");
            folder.join("initdb").exists().then_some((version, folder))
        })
        .filter(|(version, _)| *version >= OLDEST)
        .collect();
    found.sort_unstable();
    found.pop().map(|(_, folder)| folder)
}

fn has_apt() -> bool {
    Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The oldest PostgreSQL that the store supports.
const OLDEST: u32 = 15;
