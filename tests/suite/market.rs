//! A market on a clock that the story moves: servers in this process on one database, and the
//! stand-in for their gateways.

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
use sqlx::{AnyPool, AssertSqlSafe, Row as _};
use tempfile::TempDir;

use crate::house::{TOKEN, keys, now, plugins_toml, write_configuration};
use crate::standin::StandIn;

/// Channels that can be asked.
pub(crate) const ASKABLE: [Channel; 3] =
    [Channel::WechatV3Main, Channel::WechatV2Hmac, Channel::AlipayMain];

/// Servers, their gateways and their time.
pub(crate) struct Market {
    pub(crate) servers: Vec<Server>,
    pub(crate) clock: Clock,
    pub(crate) standin: Arc<StandIn>,
    pub(crate) url: String,
    http: reqwest::Client,
    pool: AnyPool,
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
        (url, folder): (String, Option<TempDir>),
        hosts: usize,
        (clock, standin, more): (Clock, Arc<StandIn>, &str),
    ) -> Option<Self> {
        let plugins = plugins_toml()?;
        let toml = format!("{plugins}{more}");
        let (mut servers, mut folders) = (Vec::new(), Vec::from_iter(folder));
        for _ in 0..hosts {
            let (server, folder) = serve(&url, &toml, &clock).await;
            servers.push(server);
            folders.push(folder);
        }
        sqlx::any::install_default_drivers();
        let pool = AnyPool::connect(&url).await.expect("the database of the servers");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Some(Self { servers, clock, standin, url, http, pool, _folders: folders })
    }

    /// Ends all servers, and starts as many others with another configuration.
    pub(crate) async fn restart(&mut self, toml: &str) {
        let hosts = self.servers.len();
        for server in std::mem::take(&mut self.servers) {
            server.stop().await;
        }
        let toml = format!("{}{toml}", plugins_toml().expect("built, or there were no market"));
        for _ in 0..hosts {
            let (server, folder) = serve(&self.url, &toml, &self.clock).await;
            self.servers.push(server);
            self._folders.push(folder);
        }
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
        let server = &self.servers[turn.checked_rem(self.servers.len()).unwrap_or(0)];
        let mut request = self.http.post(format!("http://{}{}", server.public, message.path));
        for (name, value) in &message.headers {
            request = request.header(name, value);
        }
        let answer = request.body(message.body.clone()).send().await.expect("an answer");
        answer.status().as_u16()
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
        let (mut last, mut quiet) = (None, 0_u32);
        while quiet < QUIET_LOOKS {
            let seen = Some((self.due(self.clock.now()).await, self.standin.asked().len()));
            quiet = if seen == last { quiet.saturating_add(1) } else { 0 };
            last = seen;
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Questions and notifications that are due or under way.
    async fn due(&self, now: Timestamp) -> i64 {
        let now = now.as_ms();
        let sql = format!(
            "select cast((select count(*) from inquiries where due_at_ms <= {now} \
             or lease_owner is not null) + (select count(*) from inbox where due_at_ms <= {now} \
             or leased_until_ms is not null) as bigint) as due"
        );
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&self.pool).await.expect("a count");
        row.get("due")
    }

    pub(crate) async fn stop(self) {
        self.pool.close().await;
        for server in self.servers {
            server.stop().await;
        }
    }
}

async fn serve(url: &str, toml: &str, clock: &Clock) -> (Server, TempDir) {
    let folder = TempDir::new().expect("a folder");
    write_configuration(folder.path(), toml);
    let layers = Layers {
        file: Some(folder.path().join("callgate.toml")),
        flags: vec![format!("store.url={url}")],
        ..Layers::default()
    };
    let config = Config::load(&layers).expect("a configuration");
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let server = Server::start(config, clock.clone(), metrics).await.expect("it starts");
    (server, folder)
}

/// The pause between two looks at what the servers have done.
const BETWEEN_LOOKS: Duration = Duration::from_millis(4);

/// So many looks without any change, and nothing more happens before time goes on.
const QUIET_LOOKS: u32 = 40;

/// How long a story waits for what is due.
const PATIENCE: Duration = Duration::from_secs(300);
