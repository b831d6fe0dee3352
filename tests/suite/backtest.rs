//! Back-tests through the real binary, beside a server that works: the same version decides alike,
//! a wrong one is found out exactly where it errs, and no row is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use callgate_core::money::{Currency, Money};
use callgate_core::order::State;
use callgate_store::{NewOrder, Settings, Store};
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::Sending;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::erp::{Erp, Field, Reply, caller_toml, databases, post};
use crate::hosts::{Addresses, Host};
use crate::house::{callgate, keys, now, plugin, plugins_toml, stage, write_configuration};

/// A host with a history.
struct Past {
    _host: Host,
    addresses: Addresses,
    url: String,
    folder: TempDir,
    store: Store,
    http: reqwest::Client,
}

impl Past {
    async fn begin(url: String, flags: &[&str]) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        write_configuration(folder.path(), &plugins_toml()?);
        let mut host = Host::new(&url, flags)?;
        let addresses = host.start();
        let settings = Settings { url: url.clone(), ..Settings::default() };
        let store = Store::open(&settings).await.expect("the same database");
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Some(Self { _host: host, addresses, url, folder, store, http })
    }

    async fn sqlite(flags: &[&str]) -> Option<Self> {
        // The host has a folder of its own; the database outlives it.
        let folder = TempDir::new().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("callgate.db").display());
        let past = Self::begin(url, flags).await?;
        // Removed with the machine's temporary files: a story ends with its process.
        let _ = folder.keep();
        Some(past)
    }

    async fn postgres(flags: &[&str]) -> Option<Self> {
        let cluster = Cluster::shared()?;
        Self::begin(cluster.database().await, flags).await
    }

    /// Orders of one shop, all of them told of; every 25th was closed, the others were paid.
    /// Answers the numbers of those that were closed.
    async fn tell(&self, orders: u32) -> BTreeSet<String> {
        let (stage, mut draw) = stage(Channel::AlipayMain);
        let seed = draw.number();
        let stories = (0..orders).map(|index| {
            let mut draw = Draw::branch(seed, index);
            let purchase = stage.purchase(&mut draw).numbered(index.into());
            let closed = index % 25 == 7;
            let notice = if closed {
                stage.payment_closed(&purchase, &mut draw).expect("it tells of closing")
            } else {
                stage.payment(&purchase, &mut draw)
            };
            let order = stage.order(&purchase);
            let number = order.order_no.clone();
            async move {
                let currency = Currency::parse("CNY").expect("a currency");
                let new = NewOrder {
                    business: "PRODUCT_ORDER".to_owned(),
                    order_no: order.order_no,
                    amount: Money { minor: order.amount.minor, currency },
                    channel: None,
                    state: State::parse(order.state).expect("a state"),
                    aliases: Vec::new(),
                    body: "{}".to_owned(),
                };
                self.store.register(new, now()).await.expect("an order");
                let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw);
                let message = message.expect("a signed message");
                let url = format!("{}{}", self.addresses.public, message.path);
                let mut request = self.http.post(url);
                for (name, value) in &message.headers {
                    request = request.header(name, value);
                }
                let answer = request.body(message.body).send().await.expect("an answer");
                assert_eq!(answer.status(), 200);
                closed.then_some(number)
            }
        });
        let closed: Vec<_> = stream::iter(stories).buffer_unordered(64).collect().await;
        loop {
            let counts = self.store.counts().await.expect("a read");
            if (counts.ready, counts.after) == (0, 0) {
                assert_eq!((counts.parked, counts.review), (0, 0));
                return closed.into_iter().flatten().collect();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Runs a back-test on this database.
    fn backtest(&self, version: &Path, more: &[&str]) -> Tested {
        backtest((self.folder.path(), &self.url), version, more)
    }

    /// Every row of every table, as text.
    async fn rows(&self) -> BTreeMap<String, Vec<String>> {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.url).await.expect("a connection");
        let sqlite = self.url.starts_with("sqlite");
        let list = if sqlite {
            "select name from sqlite_master where type = 'table'"
        } else {
            "select cast(tablename as text) as name from pg_tables where schemaname = 'public'"
        };
        let tables = sqlx::query(list).fetch_all(&mut connection).await.expect("tables");
        let mut all = BTreeMap::new();
        for table in tables {
            let table: String = table.get("name");
            // Hosts write there by themselves that they live.
            if table == "plugin_hosts" {
                continue;
            }
            let sql = if sqlite {
                let columns = format!("select name from pragma_table_info('{table}')");
                let columns = sqlx::query(AssertSqlSafe(columns)).fetch_all(&mut connection).await;
                let columns = columns.expect("columns").into_iter();
                let quoted = columns.map(|row| format!("quote({})", row.get::<String, _>("name")));
                let line = quoted.collect::<Vec<_>>().join(" || ',' || ");
                format!("select {line} as line from {table} order by 1")
            } else {
                format!("select cast(t as text) as line from {table} t order by 1")
            };
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
            let lines = rows.expect("rows").into_iter().map(|row| row.get("line")).collect();
            all.insert(table, lines);
        }
        connection.close().await.expect("it closes");
        all
    }
}

/// Runs a back-test with the configuration of a folder on a database.
fn backtest((folder, url): (&Path, &str), version: &Path, more: &[&str]) -> Tested {
    let config = folder.join("callgate.toml").display().to_string();
    let store = format!("store.url={url}");
    let version = version.display().to_string();
    let mut args = vec!["plugin", "backtest", &version, "--since", "1d", "--json"];
    args.extend(["--config", &config, "--set", &store, "--rate-per-s", "100000"]);
    args.extend(["--show", "100000"]);
    args.extend(more);
    Tested::of(&tokio::task::block_in_place(|| callgate(&args)))
}

/// What a back-test said.
struct Tested {
    status: Option<i32>,
    lines: Vec<Value>,
    summary: Value,
    errors: String,
}

impl Tested {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
        let errors = String::from_utf8(output.stderr.clone()).expect("UTF-8");
        let read = |line: &str| serde_json::from_str(line).expect("a JSON object a line");
        let mut lines: Vec<Value> = text.lines().map(read).collect();
        let summary = lines.pop().map(|mut last| last["summary"].take()).unwrap_or_default();
        Self { status: output.status.code(), lines, summary, errors }
    }

    fn orders(&self) -> BTreeSet<String> {
        let order = |line: &Value| line["order_no"].as_str().expect("an order").to_owned();
        self.lines.iter().map(order).collect()
    }
}

/// The processor of payments with a mistake: what it tells of a closed order has a topic that
/// nobody knows. Its version is another one.
fn wrong(folder: &Path) -> PathBuf {
    let good = std::fs::read(plugin("order-payment").expect("built")).expect("the component");
    let bytes = replaced(&good, b"order.closed", b"order.klosed");
    let bytes = replaced(&bytes, b"mall/order-payment0.1.0", b"mall/order-payment0.1.9");
    let file = folder.join("wrong.wasm");
    std::fs::write(&file, bytes).expect("a component");
    file
}

/// Replaces what is there exactly once by as many bytes.
pub(crate) fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let found: Vec<_> = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).collect();
    assert_eq!(found.len(), 1, "{} is there {} times", String::from_utf8_lossy(from), found.len());
    let mut bytes = bytes.to_vec();
    bytes[found[0].0..][..to.len()].copy_from_slice(to);
    bytes
}

/// A wrong version is found out exactly where it errs, the same version nowhere, and no row of the
/// database is another one afterwards.
#[expect(clippy::disallowed_methods, reason = "it is told how long it took")]
async fn finds_exactly(past: &Past, orders: u32) {
    let begun = Instant::now();
    let closed = past.tell(orders).await;
    let told = begun.elapsed();
    let before = past.rows().await;
    let begun = Instant::now();
    let same = past.backtest(&plugin("order-payment").expect("built"), &[]);
    let alike = begun.elapsed();
    assert_eq!(same.summary["different"], 0, "{:#}", same.summary);
    assert_eq!((same.status, same.summary["same"].as_u64()), (Some(0), Some(orders.into())));
    assert_eq!(same.summary["left_out"], json!({}), "{:#}", same.summary);
    assert_eq!(same.summary["other_fuel"], 0);
    let begun = Instant::now();
    let wrong = past.backtest(&wrong(past.folder.path()), &[]);
    let otherwise = begun.elapsed();
    assert_eq!(wrong.status, Some(1), "{}", wrong.errors);
    assert_eq!(wrong.orders(), closed);
    assert_eq!(wrong.summary["different"].as_u64(), u64::try_from(closed.len()).ok());
    assert_eq!(wrong.summary["notifications"].as_u64(), Some(orders.into()));
    assert!(past.rows().await == before, "a back-test changed rows");
    eprintln!(
        "{orders} notifications: told in {told:?}, back-tested in {alike:?} and {otherwise:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_version_is_found_out_exactly_where_it_errs_among_ten_thousand() {
    let Some(past) = Past::sqlite(&[]).await else { return };
    finds_exactly(&past, 10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_version_is_found_out_exactly_where_it_errs_on_postgres() {
    let Some(past) = Past::postgres(&[]).await else { return };
    finds_exactly(&past, 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_answered_from_the_record_and_nobody_is_called() {
    for database in databases().await {
        let erp = Erp::start_with(|_| Reply::Now(201, "made".to_owned())).await;
        let config = json!({ "requests": [post("/first"), post("/second")] });
        let Some(caller) = caller_toml(&config, "") else { return };
        let toml = format!("{caller}{}", erp.toml(""));
        let field = Field::start(database, &toml, &[]);
        let order = field.pay(&json!({})).await;
        assert_eq!(field.calls_when_paid(&order).await, json!(["201 made", "201 made"]));
        field.about(&order, |found| found["state"] == "done").await;
        let folder = TempDir::new().expect("a folder");
        write_configuration(folder.path(), &toml);
        let place = (folder.path(), field.url.as_str());
        let version = plugin("caller").expect("built");
        let same = backtest(place, &version, &[]);
        assert_eq!((same.status, &same.summary["same"]), (Some(0), &json!(1)), "{}", same.errors);
        // The same processor, told to send something else.
        let values = folder.path().join("values.json");
        let other = json!({ "requests": [post("/first"), post("/third")] }).to_string();
        std::fs::write(&values, other).expect("a file");
        let values = values.display().to_string();
        let other = backtest(place, &version, &["--values", &values]);
        assert_eq!(other.status, Some(1), "{}", other.errors);
        let found = other.lines[0]["what"].as_array().expect("differences");
        let asked = json!({ "kind": "read", "place": "call erp POST /third" });
        assert!(found.contains(&asked), "{found:#?}");
        assert_eq!(erp.heard().len(), 2, "a back-test called somebody");
    }
}
