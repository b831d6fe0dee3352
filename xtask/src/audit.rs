//! `cargo xtask audit`: bans, licences and sources of every dependency.

use std::process::Command;

use anyhow::Context;

use crate::workspace;

/// Installs `cargo-deny` under `target/` where it is missing, then runs it over each workspace.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = workspace::target().join("audit");
    let deny = root.join("bin/cargo-deny");
    if !deny.exists() {
        println!("== installing cargo-deny (some minutes, once)");
        let mut install = workspace::cargo();
        install.args(["install", "cargo-deny", "--locked", "--root"]).arg(&root);
        workspace::run(&mut install)?;
    }
    for folder in [".", "plugins", "tests/fuzz"] {
        println!("== audit of {folder}");
        let mut check = Command::new(&deny);
        check.current_dir(workspace::root().join(folder));
        check.arg("--config").arg(workspace::root().join(".cargo/deny.toml")).arg("check");
        check.args(["bans", "licenses", "sources"]);
        workspace::run(&mut check).context("the audit found something")?;
    }
    Ok(())
}
