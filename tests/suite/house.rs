//! A server of one's own: the real binary, free ports, a fresh SQLite file, throw-away keys.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{LazyLock, OnceLock};

use callgate::inbound::tokens::hash_text;
use callgate_core::time::Timestamp;
use callgate_store::StoredNotification;
use callgate_trigger::cases::Stage;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::keys::Keys;
use callgate_trigger::message::Message;
use serde_json::Value;
use tempfile::TempDir;

/// The token of every house's business.
pub(crate) const TOKEN: &str = "order-token";

/// The token of every house's operator.
pub(crate) const OPERATOR: &str = "operator-token";

/// A running server.
pub(crate) struct House {
    child: Child,
    pub(crate) public: String,
    pub(crate) private: String,
    /// Where front ends ask; empty where they may not.
    pub(crate) status: String,
    folder: TempDir,
    flags: Vec<String>,
    pub(crate) http: reqwest::Client,
}

impl House {
    /// Starts a server with the processors of the mall, or says loudly why not.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// The same with more configuration.
    pub(crate) fn start_with(more: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a folder for the house");
        write_configuration(folder.path(), &format!("{}{more}", plugins_toml()?));
        Some(Self::open(folder, Vec::new()))
    }

    /// Starts a server whose processors are built but not deployed yet.
    pub(crate) fn start_without_processors(more: &str) -> Option<Self> {
        plugins_toml()?;
        let folder = TempDir::new().expect("a folder for the house");
        write_configuration(folder.path(), more);
        Some(Self::open(folder, Vec::new()))
    }

    /// Deploys the processors of the mall: they are in the configuration when the server starts
    /// again on the same files.
    pub(crate) fn deploy_processors(self, more: &str) -> Self {
        let plugins = plugins_toml().expect("built, or there were no house");
        write_configuration(self.folder.path(), &format!("{plugins}{more}"));
        self.stop_and_restart()
    }

    /// The same with flags `key=value`.
    pub(crate) fn start_set(flags: &[&str]) -> Option<Self> {
        let folder = TempDir::new().expect("a folder for the house");
        write_configuration(folder.path(), &plugins_toml()?);
        Some(Self::open(folder, flags.iter().map(|flag| (*flag).to_owned()).collect()))
    }

    /// The same with more configuration and flags.
    pub(crate) fn start_with_flags(more: &str, flags: &[&str]) -> Option<Self> {
        let folder = TempDir::new().expect("a folder for the house");
        write_configuration(folder.path(), &format!("{}{more}", plugins_toml()?));
        Some(Self::open(folder, flags.iter().map(|flag| (*flag).to_owned()).collect()))
    }

    /// Starts a server on a folder that has a configuration of its own.
    pub(crate) fn start_in(folder: TempDir) -> Self {
        Self::open(folder, Vec::new())
    }

    /// Starts a server on a folder that has a configuration.
    pub(crate) fn open(folder: TempDir, flags: Vec<String>) -> Self {
        let log = fs::File::create(folder.path().join("log")).expect("a log file");
        let mut child = Command::new(binary())
            .args(["serve", "--config"])
            .arg(folder.path().join("callgate.toml"))
            .args(flags.iter().flat_map(|flag| ["--set", flag]))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = |name: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            found.map(|address| format!("http://{address}")).unwrap_or_else(|| {
                let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                panic!("the server did not start: {log}")
            })
        };
        let (public, private) = (address("public="), address("private="));
        let status = if line.contains("status=") { address("status=") } else { String::new() };
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Self { child, public, private, status, folder, flags, http }
    }

    /// Ends the server as a power cut would.
    pub(crate) fn kill(&self) {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-KILL", &id]).status().expect("kill runs");
        assert!(killed.success());
    }

    /// Ends the server as a power cut would, and starts it again on the same files.
    pub(crate) fn kill_and_restart(mut self) -> Self {
        // Killed already, perhaps.
        let _ = self.child.kill();
        self.child.wait().expect("the server has ended");
        let folder = std::mem::replace(&mut self.folder, TempDir::new().expect("a folder"));
        let flags = std::mem::take(&mut self.flags);
        Self::open(folder, flags)
    }

    /// Ends the server as an operator would, and starts it again on the same files.
    pub(crate) fn stop_and_restart(mut self) -> Self {
        let id = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(asked.success());
        assert!(self.child.wait().expect("the server has ended").success());
        let folder = std::mem::replace(&mut self.folder, TempDir::new().expect("a folder"));
        let flags = std::mem::take(&mut self.flags);
        Self::open(folder, flags)
    }

    /// The store behind the wall.
    pub(crate) async fn store(&self) -> callgate_store::Store {
        let url = format!("sqlite://{}", self.folder.path().join("callgate.db").display());
        let settings = callgate_store::Settings { url, ..Default::default() };
        callgate_store::Store::open(&settings).await.expect("the same database")
    }

    /// Posts a message as its gateway would; answers status and body.
    pub(crate) async fn send(&self, message: &Message) -> (u16, String) {
        self.try_send(message).await.expect("the callback is answered")
    }

    /// The same, where the server may be gone.
    pub(crate) async fn try_send(&self, message: &Message) -> reqwest::Result<(u16, String)> {
        let mut request = self.http.post(format!("{}{}", self.public, message.path));
        for (name, value) in &message.headers {
            request = request.header(name, value);
        }
        let response = request.body(message.body.clone()).send().await?;
        let status = response.status().as_u16();
        Ok((status, response.text().await?))
    }

    /// Registers an order by its JSON; answers status and JSON.
    pub(crate) async fn put_order(&self, order_no: &str, body: &Value) -> (u16, Value) {
        let request = self.http.put(self.order_url(order_no)).bearer_auth(TOKEN).json(body);
        let response = request.send().await.expect("the order call is answered");
        let status = response.status().as_u16();
        (status, response.json().await.expect("an answer in JSON"))
    }

    /// Looks at an order.
    pub(crate) async fn order(&self, order_no: &str) -> Option<Value> {
        let request = self.http.get(self.order_url(order_no)).bearer_auth(TOKEN);
        let response = request.send().await.expect("the order call is answered");
        response.status().is_success().then_some(())?;
        Some(response.json().await.expect("an order in JSON"))
    }

    /// Looks at an order until something is true of it; the work behind an answer takes a moment.
    pub(crate) async fn order_when(&self, order_no: &str, fits: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..LOOKS {
            if let Some(order) = self.order(order_no).await
                && fits(&order)
            {
                return order;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let order = self.order(order_no).await;
        panic!("order {order_no} never became as expected: {order:#?}\n{}", self.log());
    }

    pub(crate) fn order_url(&self, order_no: &str) -> String {
        format!("{}/orders/PRODUCT_ORDER/{order_no}", self.private)
    }

    /// A count of the metrics, summed over its lines; 0 where it was never counted.
    pub(crate) async fn metric(&self, line_start: &str) -> u64 {
        let request = self.http.get(format!("{}/metrics", self.private)).bearer_auth(OPERATOR);
        let text = request.send().await.expect("metrics").text().await.expect("text");
        let lines = text.lines().filter(|line| line.starts_with(line_start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// How many notifications are stored and not done.
    pub(crate) async fn rows(&self) -> u64 {
        self.metric("callgate_notifications{").await
    }

    /// What is stored about an order, registered or not: a look behind the wall.
    pub(crate) async fn heard_of(&self, order_no: &str) -> Vec<StoredNotification> {
        let store = self.store().await;
        let heard = store.notifications_of("PRODUCT_ORDER", order_no).await.expect("a read");
        store.close().await;
        heard
    }

    /// The configuration file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.path().join("callgate.toml")
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The log, once it is so: lines are written a moment after what they tell of.
    pub(crate) async fn log_when(&self, fits: impl Fn(&str) -> bool) -> String {
        log_when(|| self.log(), fits).await
    }

    /// Ends the server as an operator would; tells whether it ended well.
    pub(crate) fn stop(mut self) -> bool {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(killed.success());
        self.child.wait().expect("the server has ended").success()
    }
}

/// A log, once it is so.
pub(crate) async fn log_when(read: impl Fn() -> String, fits: impl Fn(&str) -> bool) -> String {
    for _ in 0..1500 {
        let log = read();
        if fits(&log) {
            return log;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    panic!("the log never becomes so: {}", read());
}

impl Drop for House {
    fn drop(&mut self) {
        // Ended already, most of the time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary under test: the one of this build, unless a benchmark is told another.
pub(crate) fn binary() -> &'static str {
    static TOLD: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var_os("CALLGATE_BENCH_BINARY")?.into_string().ok());
    TOLD.as_deref().unwrap_or(env!("CARGO_BIN_EXE_callgate"))
}

/// Runs the binary to its end.
pub(crate) fn callgate(args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).env("CALLGATE_TOKEN", TOKEN).output().expect("the binary runs")
}

/// Runs the binary to its end as the house's operator.
pub(crate) fn as_operator(args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).env("CALLGATE_OPERATOR_TOKEN", OPERATOR).output().expect("the binary runs")
}

/// Throw-away keys and the folder that holds them, one set for the whole run.
pub(crate) fn keys() -> (&'static Keys, &'static Path) {
    static KEYS: OnceLock<(Keys, TempDir)> = OnceLock::new();
    let (keys, folder) = KEYS.get_or_init(|| {
        let keys = Keys::generate(now()).expect("keys");
        let folder = TempDir::new().expect("a folder for keys");
        for file in keys.files().expect("key files") {
            fs::write(folder.path().join(file.name), file.content).expect("a key file");
        }
        (keys, folder)
    });
    (keys, folder.path())
}

/// The machine's time: signatures have to be fresh.
pub(crate) fn now() -> Timestamp {
    callgate::clock::Clock::system().now()
}

/// A stage on a channel, and something to draw its numbers from.
pub(crate) fn stage(channel: Channel) -> (Stage, Draw) {
    let mut seed = [0; 8];
    let id = uuid::Uuid::now_v7();
    seed.copy_from_slice(&id.as_bytes()[8..]);
    (Stage::new(&keys().0.accounts, channel, now()), Draw::seeded(u64::from_be_bytes(seed)))
}

/// The configuration of the two processors; `None`, said loudly, where they are not built.
pub(crate) fn plugins_toml() -> Option<String> {
    let mut text = String::new();
    for (name, topics) in [("order-payment", PAYMENT_TOPICS), ("order-refund", REFUND_TOPICS)] {
        let file = plugin(name)?;
        text.push_str(&format!(
            "[plugins.{name}]\nfile = {:?}\nbusinesses = [\"PRODUCT_ORDER\"]\n\
             grants = {{ write = [\"ledger\"], topics = {topics:?} }}\n",
            file.display().to_string()
        ));
    }
    Some(text)
}

/// A built processor; `None`, said loudly, where it is not built, which CI does not put up with.
pub(crate) fn plugin(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CALLGATE_TEST_PLUGINS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/plugins"),
        PathBuf::from,
    );
    let file = folder.join(format!("{name}.wasm"));
    if file.exists() {
        return Some(file);
    }
    let remedy = format!("{} is not built: run `cargo xtask plugins`", file.display());
    assert!(std::env::var_os("CI").is_none(), "{remedy}");
    eprintln!("*** SKIPPED: {remedy}");
    None
}

/// Writes `callgate.toml` with channels for the throw-away keys.
pub(crate) fn write_configuration(folder: &Path, more: &str) {
    let (keys, key_folder) = keys();
    let channels = keys.channels_toml(&key_folder.to_string_lossy());
    let text = format!(
        "[public]\nlisten = \"127.0.0.1:0\"\n[private]\nlisten = \"127.0.0.1:0\"\n\
         [operator]\ntoken_sha256 = [\"{}\"]\n\
         [businesses.PRODUCT_ORDER]\ntoken_sha256 = [\"{}\"]\nallow_unsigned = true\n\
         [businesses.OTHER]\ntoken_sha256 = [\"{}\"]\nallow_unsigned = true\n{channels}\n{more}",
        hash_text(OPERATOR),
        hash_text(TOKEN),
        hash_text("other-token"),
    );
    fs::write(folder.join("callgate.toml"), text).expect("the configuration is written");
}

/// How often an order is looked at before a story gives up.
const LOOKS: u32 = 1500;

/// The pause between two looks: polling what the server shows, as a client does.
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_millis(20);

/// What the mall's payments tell the world.
const PAYMENT_TOPICS: &[&str] =
    &["order.paid", "order.paid-after-close", "order.paid-twice", "order.closed"];

/// What the mall's refunds tell the world.
const REFUND_TOPICS: &[&str] = &[
    "order.refunded",
    "order.refunded-in-part",
    "order.extra-payment-refunded",
    "order.refund-abnormal",
    "order.refund-closed",
];
