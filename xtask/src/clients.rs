//! Clients that are not ours, for the test that they and the server understand each other.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::workspace;

/// What could be had of the foreign clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    node: Option<PathBuf>,
    python: Option<PathBuf>,
}

impl Clients {
    /// Tells the tests where the clients are.
    pub(crate) fn announce(&self, command: &mut Command) {
        if let Some(folder) = &self.node {
            command.env("CALLGATE_TEST_NODE_CLIENT", folder);
        }
        if let Some(folder) = &self.python {
            command.env("CALLGATE_TEST_PYTHON_CLIENT", folder);
        }
    }
}

/// Installs the clients under `target/clients`. They are optional: what cannot be had is said
/// loudly, and its test says so again.
pub(crate) fn find_or_install() -> Clients {
    Clients {
        node: had(node(), "wechatpay-axios-plugin (needs node and npm)"),
        python: had(python(), "python-alipay-sdk (needs python3 with pip)"),
    }
}

fn had(result: anyhow::Result<PathBuf>, what: &str) -> Option<PathBuf> {
    match result {
        Ok(folder) => Some(folder),
        Err(error) => {
            eprintln!("\n*** SKIPPED: tests with {what}: {error:#}\n");
            None
        }
    }
}

fn node() -> anyhow::Result<PathBuf> {
    let folder = workspace::target().join("clients/node");
    let installed = folder.join("node_modules/wechatpay-axios-plugin");
    if !installed.exists() {
        fs::create_dir_all(&folder)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(workspace::root().join("tests/clients").join(file), folder.join(file))?;
        }
        let mut install = Command::new("npm");
        install.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        workspace::run(&mut install)?;
    }
    Ok(folder)
}

fn python() -> anyhow::Result<PathBuf> {
    let folder = workspace::target().join("clients/python");
    let requirements = workspace::root().join("tests/clients/requirements.txt");
    if !folder.join("alipay").exists() {
        fs::create_dir_all(&folder)?;
        let mut install = Command::new("python3");
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        install.arg("--target").arg(&folder).arg("-r").arg(requirements);
        workspace::run(&mut install)?;
    }
    Ok(folder)
}
