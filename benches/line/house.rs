//! Servers to be measured: Callgate's own binary and its rivals, each a process of its own on a
//! fresh database, with the keys that all of them share.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::floor::Rival;

/// The token of the business and of the operator.
pub(crate) const TOKEN: &str = "bench-token";

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Callgate,
    Rival(Rival),
}

/// What all servers share.
pub(crate) struct Ground {
    folder: TempDir,
    pub(crate) runtime: tokio::runtime::Runtime,
}

impl Ground {
    pub(crate) fn new() -> Self {
        // On the disk of the checkout: that is the one whose fsync counts.
        let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let folder = TempDir::new_in(parent).unwrap();
        let mut keys = Command::new(binary());
        keys.args(["trigger", "keys", "--into"]).arg(folder.path().join("keys"));
        assert!(keys.output().unwrap().status.success(), "{keys:?}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { folder, runtime }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// An empty database; `None` where there is no PostgreSQL on this machine.
    pub(crate) fn database(&self, which: Database) -> Option<Place> {
        match which {
            Database::Sqlite => {
                let folder = TempDir::new_in(self.path()).unwrap();
                let url = format!("sqlite://{}", folder.path().join("bench.db").display());
                Some(Place { url, pid: None, _folder: Some(folder) })
            }
            Database::Postgres => {
                let cluster = Cluster::shared()?;
                let url = self.runtime.block_on(async {
                    durable(&cluster.url("postgres")).await;
                    cluster.database().await
                });
                let folder = url.split("?host=").nth(1).unwrap();
                let pids = fs::read_to_string(format!("{folder}/data/postmaster.pid")).unwrap();
                let pid = pids.lines().next().and_then(|line| line.parse().ok());
                Some(Place { url, pid, _folder: None })
            }
        }
    }

    /// Starts a server with flags `key=value`, which only Callgate knows.
    pub(crate) fn serve(&self, who: Who, place: &Place, flags: &[&str]) -> Served {
        let folder = TempDir::new_in(self.path()).unwrap();
        let mut command = match who {
            Who::Callgate => {
                let configuration = folder.path().join("callgate.toml");
                fs::write(&configuration, self.configuration(&place.url)).unwrap();
                let mut command = Command::new(binary());
                command.args(["serve", "--config"]).arg(configuration);
                command.args(flags.iter().flat_map(|flag| ["--set", flag]));
                command
            }
            Who::Rival(rival) => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["--serve", rival.name(), &place.url]).arg(self.keys());
                command
            }
        };
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = |name: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            found.map(|address| format!("http://{address}")).unwrap_or_else(|| {
                let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                panic!("{who:?} did not start: {log}")
            })
        };
        let (public, private) = (address("public="), address("private="));
        Served { child, public, private, folder }
    }

    fn configuration(&self, url: &str) -> String {
        let channels = fs::read_to_string(self.keys().join("channels.toml")).unwrap();
        let plugin = plugin();
        let token = sha256(TOKEN);
        format!(
            "[public]\nlisten = \"127.0.0.1:0\"\n[private]\nlisten = \"127.0.0.1:0\"\n\
             [store]\nurl = {url:?}\n[operator]\ntoken_sha256 = [\"{token}\"]\n\
             [businesses.PRODUCT_ORDER]\ntoken_sha256 = [\"{token}\"]\nallow_unsigned = true\n\
             [plugins.order-payment]\nfile = {plugin:?}\nbusinesses = [\"PRODUCT_ORDER\"]\n\
             grants = {{ write = [\"ledger\"], topics = [\"order.paid\", \
             \"order.paid-after-close\", \"order.paid-twice\", \"order.closed\"] }}\n{channels}"
        )
    }
}

/// A database, and the first process of its server.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) pid: Option<u32>,
    _folder: Option<TempDir>,
}

/// A running server; it ends with this.
pub(crate) struct Served {
    child: Child,
    pub(crate) public: String,
    pub(crate) private: String,
    folder: TempDir,
}

impl Served {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder of its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A good end: one that was killed is slower for a while, and is not what is measured. Ended
        // already, perhaps.
        let process = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// The server that is measured: the one of this build, or another to compare with.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("CALLGATE_BENCH_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_callgate")), PathBuf::from)
}

fn plugin() -> PathBuf {
    let folder = std::env::var_os("CALLGATE_TEST_PLUGINS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/plugins"),
        PathBuf::from,
    );
    let file = folder.join("order-payment.wasm");
    assert!(file.exists(), "{} is not built: run `cargo xtask plugins`", file.display());
    file
}

/// As the configuration has tokens.
fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tests live without fsync; a benchmark does not.
async fn durable(url: &str) {
    use sqlx::Connection as _;

    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    for text in ["alter system set fsync = on", "select pg_reload_conf()"] {
        sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}
