//! Where stories are told: a fresh database each, of SQLite or of a throw-away PostgreSQL cluster.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use callgate_store::{Settings, Store};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection, Row};

/// A database of its own.
pub(crate) struct House {
    pub(crate) settings: Settings,
    /// Removes the file with the house.
    _folder: Option<tempfile::TempDir>,
}

impl House {
    /// A file in a new folder.
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let url = format!("sqlite://{}", path.display());
        let settings = Settings { url, ..Settings::default() };
        Self { settings, _folder: Some(folder) }
    }

    /// A database of the cluster; `None` where there is no PostgreSQL on this machine.
    pub(crate) async fn postgres() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let cluster = cluster()?;
        let name = format!("story_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&cluster.url("postgres")).await.unwrap();
        let sql = format!("create database {name}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let settings = Settings { url: cluster.url(&name), ..Settings::default() };
        Some(Self { settings, _folder: None })
    }

    /// Opens the store; a second one is another host.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.settings).await.unwrap()
    }

    /// Opens the store with a change to its settings.
    pub(crate) async fn open_with(&self, change: impl FnOnce(&mut Settings)) -> Store {
        let mut settings = self.settings.clone();
        change(&mut settings);
        Store::open(&settings).await.unwrap()
    }

    /// A whole number out of the database, behind the store's back.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.settings.url).await.unwrap();
        let row = sqlx::query::<Any>(sql).fetch_one(&mut connection).await.unwrap();
        let number = row.try_get(0).unwrap();
        connection.close().await.unwrap();
        number
    }

    /// Tries statements behind the store's back; why they were refused.
    pub(crate) async fn try_execute(&self, sql: &'static str) -> Result<(), String> {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.settings.url).await.unwrap();
        let ran = sqlx::raw_sql(sql).execute(&mut connection).await;
        connection.close().await.unwrap();
        ran.map(drop).map_err(|error| error.to_string())
    }

    /// Runs statements behind the store's back.
    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.settings.url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// A running PostgreSQL cluster. It stops and removes itself when this process is gone, however
/// it went: the script that guards it reads from a pipe that ends then.
struct Cluster {
    folder: PathBuf,
    _guard: Child,
}

impl Cluster {
    fn url(&self, database: &str) -> String {
        format!("postgres://callgate@localhost/{database}?host={}", self.folder.display())
    }
}

fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| {
            let Some(binaries) = binaries() else {
                loud(
                    "SKIPPED: the PostgreSQL half of the store's conformance stories, because \
                      no initdb was found below /usr/lib/postgresql. Install postgresql-15.",
                );
                assert!(std::env::var_os("CI").is_none(), "CI skips nothing");
                return None;
            };
            Some(start(&binaries))
        })
        .as_ref()
}

/// The newest installed server's programs.
fn binaries() -> Option<PathBuf> {
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

fn start(binaries: &std::path::Path) -> Cluster {
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    // The server refuses to run as root.
    let mut command = if root {
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
        .unwrap();
    let mut line = String::new();
    BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let folder = line.trim_end();
    assert!(!folder.is_empty(), "the PostgreSQL cluster did not start");
    Cluster { folder: PathBuf::from(folder), _guard: guard }
}

/// Past the capture of the test runner.
fn loud(text: &str) {
    std::io::stderr().write_all(format!("\n*** {text} ***\n\n").as_bytes()).unwrap();
}

/// `$1` is the folder of the server's programs. Prints the folder of the socket once it serves.
const GUARD: &str = r#"
trap '' INT TERM HUP
folder=$(mktemp -d) || exit 1
"$1/initdb" -D "$folder/data" -A trust -U callgate -E UTF8 --no-sync >"$folder/log" 2>&1 &&
echo "fsync = off" >>"$folder/data/postgresql.conf" &&
"$1/pg_ctl" -D "$folder/data" -w -l "$folder/server.log" \
    -o "-k $folder -c listen_addresses= -c max_connections=300" \
    start >>"$folder/log" 2>&1 &&
echo "$folder" && cat >/dev/null
"$1/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1
rm -rf "$folder"
"#;
