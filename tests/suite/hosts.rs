//! Hosts that die: the real binary on a database that outlives it, started, killed and started
//! again, alone or several on one database.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use tempfile::TempDir;

use crate::house::{binary, log_when, plugins_toml, write_configuration};

/// Where a host listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) public: String,
    pub(crate) private: String,
}

/// A host, running or not.
pub(crate) struct Host {
    folder: TempDir,
    flags: Vec<String>,
    /// Put before the binary: a shell that sets limits, or nothing.
    shell: Option<String>,
    /// What it said when it began to listen.
    said: Mutex<String>,
    child: Option<Child>,
}

impl Host {
    /// A host that does not run yet, on the database at `url`; `None`, said loudly, where the
    /// processors are not built.
    pub(crate) fn new(url: &str, flags: &[&str]) -> Option<Self> {
        Some(Self::with(url, &plugins_toml()?, flags))
    }

    /// The same with other processors, or whatever else the configuration is to say.
    pub(crate) fn with(url: &str, toml: &str, flags: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder for the host");
        write_configuration(folder.path(), toml);
        let mut flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("store.url={url}"));
        flags.push(format!("sandbox.cache_dir={}", cache().join("code").display()));
        Self { folder, flags, shell: None, said: Mutex::default(), child: None }
    }

    /// Gives the host another configuration, from its next start on: what stands behind that of
    /// every host instead of the processors of the mall.
    pub(crate) fn configure(&self, more: &str) {
        write_configuration(self.folder.path(), more);
    }

    /// The same host behind a shell line that ends with `exec "$@"`.
    pub(crate) fn behind(mut self, shell: &str) -> Self {
        self.shell = Some(shell.to_owned());
        self
    }

    /// Starts the process and does not wait for it to listen.
    pub(crate) fn spawn(&mut self) -> BufReader<std::process::ChildStdout> {
        assert!(self.child.is_none(), "it runs already");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("a log file");
        let mut command = match &self.shell {
            None => Command::new(binary()),
            Some(line) => {
                let mut command = Command::new("sh");
                command.args(["-c", line, "host", binary()]);
                command
            }
        };
        // What is meant for the tests is no configuration.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CALLGATE_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["serve", "--config"])
            .arg(self.folder.path().join("callgate.toml"))
            .args(self.flags.iter().flat_map(|flag| ["--set", flag]))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("standard output");
        self.child = Some(child);
        BufReader::new(stdout)
    }

    /// Starts the process and waits until it listens.
    pub(crate) fn start(&mut self) -> Addresses {
        let stdout = self.spawn();
        self.listens(stdout)
    }

    /// Waits until a process that was started listens.
    pub(crate) fn listens(&self, mut stdout: BufReader<std::process::ChildStdout>) -> Addresses {
        let mut line = String::new();
        tokio::task::block_in_place(|| stdout.read_line(&mut line)).expect("a line");
        let address = |name: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            found.map(|address| format!("http://{address}")).unwrap_or_else(|| {
                panic!("the host did not start: {}", self.log());
            })
        };
        let addresses = Addresses { public: address("public="), private: address("private=") };
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = line;
        addresses
    }

    /// Where front ends ask a host that listens for them.
    pub(crate) fn status(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let found = said.split_whitespace().find_map(|word| word.strip_prefix("status="));
        format!("http://{}", found.expect("it listens for front ends"))
    }

    /// SIGKILL; afterwards no process of it runs.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a process of ours can be killed");
            child.wait().expect("it has ended");
        }
    }

    /// SIGTERM; waits for its end, and tells whether it ended well.
    pub(crate) fn stop(&mut self) -> bool {
        let mut child = self.child.take().expect("it runs");
        let id = child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(asked.success());
        tokio::task::block_in_place(|| child.wait()).expect("it has ended").success()
    }

    /// Whether the process that was started still runs.
    pub(crate) fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The log, once it is so: lines are written a moment after what they tell of.
    pub(crate) async fn log_when(&self, fits: impl Fn(&str) -> bool) -> String {
        log_when(|| self.log(), fits).await
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Compiled processors, shared by all hosts of this run: a restart is a matter of moments. The
/// first host makes a private folder in it.
fn cache() -> &'static Path {
    static CACHE: OnceLock<TempDir> = OnceLock::new();
    CACHE.get_or_init(|| TempDir::new().expect("a folder for compiled processors")).path()
}
