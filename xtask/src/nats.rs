//! A real NATS server, for tests that deliver to its streams.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::workspace;

/// The program `nats-server`; installs it where we may.
///
/// # Errors
/// Where it is missing and cannot be installed, in CI; elsewhere `None`, said loudly.
pub(crate) fn find_or_install() -> anyhow::Result<Option<PathBuf>> {
    if let Some(program) = find() {
        return Ok(Some(program));
    }
    if workspace::is_root() && has_apt() {
        println!("== installing nats-server");
        let mut update = Command::new("apt-get");
        workspace::run(update.arg("update").env("DEBIAN_FRONTEND", "noninteractive"))?;
        let mut install = Command::new("apt-get");
        install.args(["install", "--yes", "--no-install-recommends", "nats-server"]);
        workspace::run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
        if let Some(program) = find() {
            return Ok(Some(program));
        }
    }
    let remedy = "install nats-server (Debian: sudo apt-get install nats-server)";
    if std::env::var_os("CI").is_some() {
        bail!("no nats-server was found: {remedy}");
    }
    eprintln!("\n*** SKIPPED: delivery to NATS. To test it, {remedy}.\n");
    Ok(None)
}

fn find() -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
        .into_iter()
        .map(|folder| PathBuf::from(folder).join("nats-server"))
        .find(|program| program.exists())
}

fn has_apt() -> bool {
    Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success())
}
