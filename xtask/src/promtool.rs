//! Prometheus's own judge of rules, for the tests of those that are shipped.
//!
//! Debian has it in the package of the server. It is taken out of the package and nothing is
//! installed: a server that nobody asked for would start.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::workspace;

/// The program `promtool`; fetches it where it is not.
///
/// # Errors
/// Where it is missing and cannot be fetched, in CI; elsewhere `None`, said loudly.
pub(crate) fn find_or_fetch() -> anyhow::Result<Option<PathBuf>> {
    if let Some(program) = find() {
        return Ok(Some(program));
    }
    if has_apt() {
        println!("== fetching promtool");
        if let Err(error) = fetch() {
            eprintln!("{error:#}");
        }
        if let Some(program) = find() {
            return Ok(Some(program));
        }
    }
    let remedy = "install promtool (Debian: sudo apt-get install prometheus)";
    if std::env::var_os("CI").is_some() {
        bail!("no promtool was found: {remedy}");
    }
    eprintln!(
        "\n*** SKIPPED: the alert rules before Prometheus's own judge. To run it, {remedy}.\n"
    );
    Ok(None)
}

fn find() -> Option<PathBuf> {
    ["/usr/bin", "/usr/local/bin"]
        .into_iter()
        .map(PathBuf::from)
        .chain([folder().join("usr/bin")])
        .map(|folder| folder.join("promtool"))
        .find(|program| program.exists())
}

/// Takes the one program out of the package.
fn fetch() -> anyhow::Result<()> {
    let folder = folder();
    // What an earlier try left may be half a package.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).context("a folder for promtool")?;
    if workspace::is_root() {
        let mut update = Command::new("apt-get");
        workspace::run(update.arg("update").env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    let mut download = Command::new("apt-get");
    workspace::run(download.args(["download", "prometheus"]).current_dir(&folder))?;
    let mut packages = std::fs::read_dir(&folder)?.filter_map(Result::ok).map(|one| one.path());
    let package = packages.find(|path| path.extension().is_some_and(|end| end == "deb"));
    let package = package.context("apt-get brought no package")?;
    let mut opening = Command::new("dpkg-deb");
    opening.arg("--fsys-tarfile").arg(&package).stdout(Stdio::piped());
    let mut opened = opening.spawn().context("dpkg-deb cannot be started")?;
    let content = opened.stdout.take().context("dpkg-deb has no output")?;
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "./usr/bin/promtool"]).current_dir(&folder).stdin(content);
    let unpacked = workspace::run(&mut unpack);
    opened.wait()?;
    std::fs::remove_file(&package)?;
    unpacked
}

fn folder() -> PathBuf {
    workspace::target().join("promtool")
}

fn has_apt() -> bool {
    Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success())
}
