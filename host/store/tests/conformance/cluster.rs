//! Throw-away PostgreSQL clusters for tests; those of the whole server use this file too.
//!
//! A cluster stops and removes itself when this process is gone, however it went: the script that
//! guards it reads from a pipe that ends then.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

/// A running PostgreSQL cluster.
pub(crate) struct Cluster {
    folder: PathBuf,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _guard: Child,
}

impl Cluster {
    /// The cluster of this process; `None`, said loudly, where there is no PostgreSQL on this
    /// machine, which CI does not put up with.
    pub(crate) fn shared() -> Option<&'static Self> {
        static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
        CLUSTER.get_or_init(Self::own).as_ref()
    }

    /// A cluster that a story has to itself.
    pub(crate) fn own() -> Option<Self> {
        let Some(binaries) = binaries() else {
            let remedy = "every story on PostgreSQL: no initdb was found in the folder \
                that CALLGATE_TEST_POSTGRES names, nor below /usr/lib/postgresql. Install \
                PostgreSQL 15 or later";
            assert!(std::env::var_os("CI").is_none(), "CI skips nothing, but {remedy}");
            let text = format!("\n*** SKIPPED: {remedy}. ***\n\n");
            // Past the capture of the test runner.
            std::io::stderr().write_all(text.as_bytes()).expect("standard error");
            return None;
        };
        Some(start(&binaries))
    }

    /// Where a database is, for `store.url`.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://callgate@localhost/{database}?host={}", self.folder.display())
    }

    /// Makes an empty database, and tells where it is.
    pub(crate) async fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("story_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        sqlx::any::install_default_drivers();
        let mut connection =
            AnyConnection::connect(&self.url("postgres")).await.expect("a connection");
        let sql = format!("create database {name}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("a database");
        connection.close().await.expect("the connection closes");
        self.url(&name)
    }

    /// Ends the server as a power cut would: no process of it runs afterwards.
    #[allow(dead_code, reason = "one of the two test programs kills clusters")]
    pub(crate) fn kill(&self) {
        self.tell("kill");
    }

    /// Starts the server again after [`Cluster::kill`].
    #[allow(dead_code, reason = "one of the two test programs kills clusters")]
    pub(crate) fn restart(&self) {
        self.tell("start");
    }

    fn tell(&self, order: &str) {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(pipes.0, "{order}").expect("the guard listens");
        let mut line = String::new();
        pipes.1.read_line(&mut line).expect("the guard answers");
        assert_eq!(line.trim_end(), "done", "{order}: {}", self.log());
    }

    /// What the server has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }
}

/// The newest installed server's programs, unless the environment names some.
fn binaries() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("CALLGATE_TEST_POSTGRES").map(PathBuf::from) {
        return folder.join("initdb").exists().then_some(folder);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let newest = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let binaries = entry.path().join("bin");
            binaries.join("initdb").exists().then_some((version, binaries))
        })
        .max();
    newest.map(|(_, binaries)| binaries)
}

fn start(binaries: &Path) -> Cluster {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    // The server refuses to run as root.
    let mut command = if id.stdout == b"0\n" {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "sh", "-c", GUARD]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD]);
        command
    };
    let mut guard = command
        .arg("guard")
        .arg(binaries)
        .current_dir("/")
        // Signals to this process and its group must not reach the guard: it ends by the pipe.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the guard starts");
    let mut answers = BufReader::new(guard.stdout.take().expect("standard output"));
    let orders = guard.stdin.take().expect("standard input");
    let mut line = String::new();
    answers.read_line(&mut line).expect("the folder of the cluster");
    let folder = line.trim_end();
    assert!(!folder.is_empty(), "the PostgreSQL cluster did not start");
    Cluster { folder: PathBuf::from(folder), pipes: Mutex::new((orders, answers)), _guard: guard }
}

/// `$1` is the folder of the server's programs. Prints the folder of the socket once it serves.
///
/// Without `fsync` what was committed survives the death of every process, though not of the
/// machine, and no story kills that. A killed server's children notice within moments that it is
/// gone; only then can it be started again, or be called dead.
const GUARD: &str = r#"
trap '' INT TERM HUP
folder=$(mktemp -d) || exit 1
serve() {
    "$1/pg_ctl" -D "$folder/data" -w -l "$folder/server.log" \
        -o "-k $folder -c listen_addresses= -c fsync=off -c max_connections=300" \
        start >>"$folder/log" 2>&1
}
if "$1/initdb" -D "$folder/data" -A trust -U callgate -E UTF8 --no-sync >"$folder/log" 2>&1 &&
    serve "$1"
then
    echo "$folder"
    while read -r order; do
        case $order in
        kill)
            server=$(head -n 1 "$folder/data/postmaster.pid")
            children=$(ps -o pid= --ppid "$server")
            kill -KILL $server $children 2>/dev/null
            while kill -0 $server 2>/dev/null; do sleep 0.01; done
            echo done ;;
        start)
            tries=0
            until serve "$1" || [ $tries -ge 50 ]; do
                tries=$((tries + 1))
                sleep 0.1
            done
            "$1/pg_ctl" -D "$folder/data" status >/dev/null && echo done || echo failed ;;
        esac
    done
fi
"$1/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1
rm -rf "$folder"
"#;
