//! A real browser and its driver, for the test of a page that waits for an order.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::workspace;

/// The programs `chromium` and `chromedriver`.
#[derive(Debug)]
pub(crate) struct Browser {
    chromium: PathBuf,
    chromedriver: PathBuf,
}

impl Browser {
    /// Tells the tests where they are.
    pub(crate) fn announce(&self, command: &mut Command) {
        command.env("CALLGATE_TEST_CHROMIUM", &self.chromium);
        command.env("CALLGATE_TEST_CHROMEDRIVER", &self.chromedriver);
    }
}

/// Finds them; installs them where we may.
///
/// # Errors
/// Where they are missing and cannot be installed, in CI; elsewhere `None`, said loudly.
pub(crate) fn find_or_install() -> anyhow::Result<Option<Browser>> {
    if let Some(browser) = find() {
        return Ok(Some(browser));
    }
    if workspace::is_root() && has_apt() {
        println!("== installing chromium and chromium-driver");
        let mut update = Command::new("apt-get");
        workspace::run(update.arg("update").env("DEBIAN_FRONTEND", "noninteractive"))?;
        let mut install = Command::new("apt-get");
        install.args(["install", "--yes", "--no-install-recommends"]);
        install.args(["chromium", "chromium-driver"]);
        workspace::run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
        if let Some(browser) = find() {
            return Ok(Some(browser));
        }
    }
    let remedy = "install Chromium and its driver \
                  (Debian: sudo apt-get install chromium chromium-driver)";
    if std::env::var_os("CI").is_some() {
        bail!("no chromium and chromedriver were found: {remedy}");
    }
    eprintln!("\n*** SKIPPED: a page in a browser. To test it, {remedy}.\n");
    Ok(None)
}

fn find() -> Option<Browser> {
    let find = |name: &str| {
        ["/usr/bin", "/usr/local/bin"]
            .into_iter()
            .map(|folder| PathBuf::from(folder).join(name))
            .find(|program| program.exists())
    };
    Some(Browser { chromium: find("chromium")?, chromedriver: find("chromedriver")? })
}

fn has_apt() -> bool {
    Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success())
}
