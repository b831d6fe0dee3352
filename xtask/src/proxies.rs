//! The proxies of the documentation, for the tests that stand behind them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::workspace;

/// Installs nginx and Caddy where we may; the tests find them.
///
/// # Errors
/// Where one is missing and cannot be installed, in CI; elsewhere it is said loudly.
pub(crate) fn find_or_install() -> anyhow::Result<()> {
    for name in ["nginx", "caddy"] {
        if found(name) {
            continue;
        }
        if workspace::is_root() && has_apt() {
            println!("== installing {name}");
            let mut update = Command::new("apt-get");
            workspace::run(update.arg("update").env("DEBIAN_FRONTEND", "noninteractive"))?;
            let mut install = Command::new("apt-get");
            install.args(["install", "--yes", "--no-install-recommends", name]);
            workspace::run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
        }
        if found(name) {
            continue;
        }
        let remedy = format!("install {name} (Debian: sudo apt-get install {name})");
        if std::env::var_os("CI").is_some() {
            bail!("no {name} was found: {remedy}");
        }
        eprintln!("\n*** SKIPPED: the tests behind {name}. To run them, {remedy}.\n");
    }
    Ok(())
}

fn found(name: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .into_iter()
        .any(|folder| PathBuf::from(folder).join(name).exists())
}

fn has_apt() -> bool {
    Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success())
}
