//! A throw-away PostgreSQL cluster, for stories that need the server's own tools.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running cluster. It stops and removes itself when this process is gone, however it went: the
/// script that guards it reads from a pipe that ends then.
pub(crate) struct Cluster {
    /// The folder of its socket; its user may write there.
    pub(crate) folder: PathBuf,
    binaries: PathBuf,
    _guard: Child,
}

impl Cluster {
    /// Starts one; `None`, said loudly, where PostgreSQL is not installed.
    pub(crate) fn start() -> Option<Self> {
        let Some(binaries) = newest() else {
            let remedy = "install PostgreSQL 15 or later (Debian: apt-get install postgresql)";
            assert!(std::env::var_os("CI").is_none(), "CI skips nothing: {remedy}");
            eprintln!("*** SKIPPED: no initdb below /usr/lib/postgresql: {remedy}");
            return None;
        };
        let mut guard = as_server()
            .args(["sh", "-c", GUARD, "guard"])
            .arg(&binaries)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let output = guard.stdout.take().expect("standard output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let folder = PathBuf::from(line.trim_end());
        assert!(folder.is_absolute(), "the cluster did not start");
        Some(Self { folder, binaries, _guard: guard })
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://callgate@localhost/{database}?host={}", self.folder.display())
    }

    /// One of the server's tools, told where the cluster is.
    pub(crate) fn command(&self, tool: &str) -> Command {
        let mut command = as_server();
        command.arg("env");
        command.arg(format!("PGHOST={}", self.folder.display())).arg("PGUSER=callgate");
        command.arg(self.binaries.join(tool)).current_dir("/");
        command
    }

    /// Runs a tool to its end, which must be good.
    pub(crate) fn run(&self, tool: &str, args: &[&str]) {
        let output = self.command(tool).args(args).output().expect("the tool runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool}: {told}");
    }
}

/// The server refuses to run as root.
fn as_server() -> Command {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout == b"0\n" {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]);
        command
    } else {
        Command::new("env")
    }
}

/// The newest installed server's programs.
fn newest() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let found = versions.filter_map(|entry| {
        let entry = entry.ok()?;
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let binaries = entry.path().join("bin");
        binaries.join("initdb").exists().then_some((version, binaries))
    });
    found.max().map(|(_, binaries)| binaries)
}

/// `$1` is the folder of the server's programs. Prints the folder of the socket once it serves.
const GUARD: &str = r#"
trap '' INT TERM HUP
folder=$(mktemp -d) || exit 1
"$1/initdb" -D "$folder/data" -A trust -U callgate -E UTF8 --no-sync >"$folder/log" 2>&1 &&
"$1/pg_ctl" -D "$folder/data" -w -l "$folder/server.log" \
    -o "-k $folder -c listen_addresses= -c fsync=off" start >>"$folder/log" 2>&1 &&
echo "$folder" && cat >/dev/null
"$1/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1
rm -rf "$folder"
"#;
