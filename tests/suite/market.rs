//! A market on a clock that the story moves: servers in this process on one database, and the
//! stand-in for their gateways.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callgate::clock::Clock;
use callgate::config::{Config, Layers};
use callgate::server::Server;
use callgate_core::time::Timestamp;
use callgate_trigger::cases::Stage;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::keys::Keys;
use callgate_trigger::message::{Message, Notice, Sending};
use callgate_trigger::purchase::Purchase;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Row as _};
use tempfile::TempDir;

use crate::house::{OPERATOR, TOKEN, keys, now, plugins_toml, write_configuration};
use crate::standin::{HeardBack, StandIn};

/// Channels that can be asked.
pub(crate) const ASKABLE: [Channel; 4] =
    [Channel::WechatV3Main, Channel::WechatV2Main, Channel::WechatV2Hmac, Channel::AlipayMain];

/// Servers, their gateways and their time.
pub(crate) struct Market {
    pub(crate) servers: Vec<Server>,
    pub(crate) clock: Clock,
    pub(crate) standin: Arc<StandIn>,
    pub(crate) url: String,
    http: reqwest::Client,
    pool: AnyPool,
    flags: Vec<String>,
    configurations: Vec<PathBuf>,
    _folders: Vec<TempDir>,
}

impl Market {
    /// Starts `hosts` servers on a database; `ask` are lines of each channel's `ask`. `None`, said
    /// loudly, where the processors are not built.
    pub(crate) async fn start(
        (url, folder): (String, Option<TempDir>),
        hosts: usize,
        ask: &str,
    ) -> Option<Self> {
        let clock = Clock::manual(now());
        let standin = StandIn::start(clock.clone()).await;
        let toml = standin.toml(&ASKABLE, ask);
        Self::with((url, folder), hosts, (clock, standin, &toml)).await
    }

    /// The same with other configuration beside that of every house.
    pub(crate) async fn with(
        database: (String, Option<TempDir>),
        hosts: usize,
        (clock, standin, more): (Clock, Arc<StandIn>, &str),
    ) -> Option<Self> {
        Self::with_flags(database, hosts, (clock, standin, more), &[]).await
    }

    /// The same with flags `key=value`, which outweigh what every house has.
    pub(crate) async fn with_flags(
        (url, folder): (String, Option<TempDir>),
        hosts: usize,
        (clock, standin, more): (Clock, Arc<StandIn>, &str),
        flags: &[&str],
    ) -> Option<Self> {
        plugins_toml()?;
        sqlx::any::install_default_drivers();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let mut flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("store.url={url}"));
        let (servers, configurations, _folders) = (Vec::new(), Vec::new(), Vec::from_iter(folder));
        // The first server makes the database.
        let pool = AnyPool::connect_lazy(&url).expect("the database of the servers");
        let mut market =
            Self { servers, clock, standin, url, http, pool, flags, configurations, _folders };
        market.serve(hosts, more).await;
        Some(market)
    }

    /// Ends all servers, and starts as many others with another configuration.
    pub(crate) async fn restart(&mut self, more: &str) {
        let hosts = self.servers.len();
        for server in std::mem::take(&mut self.servers) {
            server.stop().await;
        }
        self.configurations.clear();
        self.serve(hosts, more).await;
    }

    /// Starts servers.
    async fn serve(&mut self, hosts: usize, more: &str) {
        let toml = format!("{}{more}", plugins_toml().expect("built, or there were no market"));
        for _ in 0..hosts {
            let folder = TempDir::new().expect("a folder");
            write_configuration(folder.path(), &toml);
            let file = folder.path().join("callgate.toml");
            let flags = self.flags.clone();
            let layers = Layers { file: Some(file.clone()), flags, ..Layers::default() };
            let config = Config::load(&layers).expect("a configuration");
            let metrics = PrometheusBuilder::new().build_recorder().handle();
            let server = Server::start(config, self.clock.clone(), metrics).await;
            self.servers.push(server.expect("it starts"));
            self.configurations.push(file);
            self._folders.push(folder);
        }
    }

    /// Changes the configuration files, as a person would; the servers find that by themselves.
    pub(crate) fn edit(&self, change: impl Fn(String) -> String) {
        for file in &self.configurations {
            let text = std::fs::read_to_string(file).expect("a configuration");
            std::fs::write(file, change(text)).expect("it is written");
        }
    }

    /// Lets a little time pass until every server has a key, by the name that it goes by.
    pub(crate) async fn knows(&self, key: &str) {
        let known = async {
            for server in &self.servers {
                let url = format!("http://{}/operator/keys", server.private);
                loop {
                    let request = self.http.get(&url).bearer_auth(OPERATOR);
                    let answer = request.send().await.expect("an answer");
                    let shown: Value = answer.json().await.expect("JSON");
                    let keys = shown["keys"].as_array().expect("a list");
                    if keys.iter().any(|one| one["id"] == key) {
                        break;
                    }
                    self.clock.advance_ms(1_000);
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                }
            }
        };
        let known = tokio::time::timeout(PATIENCE, known).await;
        known.unwrap_or_else(|_| panic!("{key} is never known"));
    }

    /// The stage of a channel at this moment.
    pub(crate) fn stage(&self, channel: Channel) -> Stage {
        Stage::new(&keys().0.accounts, channel, self.clock.now())
    }

    /// Draws an order, writes it into the books and registers it.
    pub(crate) async fn order(&self, channel: Channel, draw: &mut Draw) -> Purchase {
        let purchase = self.stage(channel).purchase(draw);
        self.standin.order(&purchase);
        self.register(&purchase, &json!({ "channel": channel.name() })).await;
        purchase
    }

    /// Registers an order; `more` are fields of the registration.
    pub(crate) async fn register(&self, purchase: &Purchase, more: &Value) {
        let mut body = json!({ "amount_minor": purchase.amount.minor,
            "currency": purchase.amount.currency, "state": "TO_BE_PAID" });
        for (name, value) in more.as_object().expect("fields") {
            body[name.as_str()] = value.clone();
        }
        let request = self.http.put(self.at(&purchase.order_no)).bearer_auth(TOKEN).json(&body);
        let status = request.send().await.expect("an answer").status();
        assert_eq!(status, 201);
    }

    /// Where an order is looked at, on the first server.
    pub(crate) fn at(&self, order_no: &str) -> String {
        format!("http://{}/orders/PRODUCT_ORDER/{order_no}", self.servers[0].private)
    }

    /// Looks at an order.
    pub(crate) async fn look(&self, order_no: &str) -> Value {
        let request = self.http.get(self.at(order_no)).bearer_auth(TOKEN);
        request.send().await.expect("an answer").json().await.expect("an order")
    }

    /// The inquiries about an order.
    pub(crate) async fn inquiries(&self, order_no: &str) -> Value {
        let url = format!("{}/inquiries", self.at(order_no));
        let request = self.http.get(url).bearer_auth(TOKEN);
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        answer["inquiries"].clone()
    }

    /// Asks, or puts on the schedule; answers status and JSON.
    pub(crate) async fn ask(&self, order_no: &str, query: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/inquiries{query}", self.at(order_no));
        let request = self.http.post(url).bearer_auth(TOKEN).json(body);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Posts a notice to one of the servers, signed with some keys; answers the status.
    pub(crate) async fn tell(&self, notice: &Notice, keys: &Keys, draw: &mut Draw) -> u16 {
        let sending = Sending::genuine(self.clock.now());
        let message = notice.sign(keys, sending, draw).expect("a signed message");
        self.post(&message, usize::try_from(draw.below(97)).unwrap_or(0)).await
    }

    /// Posts a message to the server whose turn it is; answers the status.
    pub(crate) async fn post(&self, message: &Message, turn: usize) -> u16 {
        self.try_post(message, turn).await.expect("an answer").0
    }

    /// Posts a message to the server whose turn it is; answers what a gateway hears.
    pub(crate) async fn try_post(&self, message: &Message, turn: usize) -> HeardBack {
        let server = &self.servers[turn.checked_rem(self.servers.len()).unwrap_or(0)];
        post(&self.http, &format!("http://{}", server.public), message).await
    }

    /// Lets time pass, and waits until everything that became due is done.
    pub(crate) async fn pass(&self, ms: i64) {
        self.clock.advance_ms(ms);
        let done = async {
            while self.due(self.clock.now()).await > 0 {
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        };
        if tokio::time::timeout(PATIENCE, done).await.is_err() {
            panic!("something stays due; asked last: {:?}", self.standin.asked().last());
        }
    }

    /// Lets time pass while gateways do not let everything be done: waits until nothing changes.
    pub(crate) async fn pass_badly(&self, ms: i64) {
        self.clock.advance_ms(ms);
        self.quiet().await;
    }

    /// Waits until nothing more happens at this moment. If time passed before, leases would lapse
    /// under what is on its way.
    pub(crate) async fn rest(&self) {
        if self.due(self.clock.now()).await > 0 {
            self.quiet().await;
        }
    }

    /// Waits until nothing changes.
    async fn quiet(&self) {
        let (mut last, mut quiet) = (None, 0_u32);
        while quiet < QUIET_LOOKS {
            let going = self.going().await;
            let seen = Some((self.due(self.clock.now()).await, self.standin.asked().len()));
            quiet = if going == 0 && seen == last { quiet.saturating_add(1) } else { 0 };
            last = seen;
            tokio::time::sleep(BETWEEN_LOOKS).await;
            if quiet == QUIET_LOOKS {
                // What is on its way into the database, however slow that is, is seen behind this.
                let lock = lock(&self.url, "inquiries").await;
                lock.close().await.expect("the lock ends");
                quiet = if self.going().await == 0 { quiet } else { 0 };
            }
        }
    }

    /// Questions and notifications that are under way.
    async fn going(&self) -> i64 {
        self.count(
            "select cast((select count(*) from inquiries where lease_owner is not null) \
             + (select count(*) from inbox where leased_until_ms is not null) as bigint) as found"
                .to_owned(),
        )
        .await
    }

    /// Questions and notifications that are due or under way.
    async fn due(&self, now: Timestamp) -> i64 {
        let now = now.as_ms();
        let sql = format!(
            "select cast((select count(*) from inquiries where due_at_ms <= {now} \
             or lease_owner is not null) + (select count(*) from inbox where due_at_ms <= {now} \
             or leased_until_ms is not null) as bigint) as found"
        );
        self.count(sql).await
    }

    async fn count(&self, sql: String) -> i64 {
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&self.pool).await.expect("a count");
        row.get("found")
    }

    pub(crate) async fn stop(self) {
        self.pool.close().await;
        for server in self.servers {
            server.stop().await;
        }
    }
}

/// Keeps servers from writing a table for as long as it lives, and on SQLite from writing at all.
pub(crate) async fn lock(url: &str, table: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.expect("the database");
    let sql = if url.starts_with("sqlite") {
        "begin immediate".to_owned()
    } else {
        format!("begin; lock table {table} in share row exclusive mode")
    };
    let locked = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
    locked.expect("it is locked");
    connection
}

/// Posts a message to a server; answers what a gateway hears, nothing where it breaks off.
pub(crate) async fn post(http: &reqwest::Client, server: &str, message: &Message) -> HeardBack {
    let mut request = http.post(format!("{server}{}", message.path));
    for (name, value) in &message.headers {
        request = request.header(name, value);
    }
    let answer = request.body(message.body.clone()).send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.bytes().await.ok()?.to_vec()))
}

/// The pause between two looks at what the servers have done.
const BETWEEN_LOOKS: Duration = Duration::from_millis(4);

/// So many looks without any change, and nothing more happens before time goes on.
const QUIET_LOOKS: u32 = 40;

/// How long a story waits for what is due.
const PATIENCE: Duration = Duration::from_secs(300);
