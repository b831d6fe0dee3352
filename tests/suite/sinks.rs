//! Sinks that the tests own: a real HTTP server that checks signatures by a computation of its
//! own, a real NATS server, and orders whose payments make events.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_trigger::cases::{Order, Stage};
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::{Message, Sending};
use callgate_trigger::purchase::Purchase;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::house::{TOKEN, keys, now, stage};

/// A secret of Standard Webhooks that stands for `letter`.
pub(crate) fn secret(letter: u8) -> String {
    format!("whsec_{}", STANDARD.encode([letter; 32]))
}

/// One request that a sink heard.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) timestamp: i64,
    pub(crate) signatures: String,
    pub(crate) body: Bytes,
    pub(crate) event: Value,
    /// What it answered; 0 for nothing.
    pub(crate) status: u16,
}

impl Heard {
    pub(crate) fn key(&self) -> String {
        self.event["key"].as_str().expect("a key").to_owned()
    }

    pub(crate) fn sequence(&self) -> i64 {
        self.event["sequence"].as_i64().expect("a sequence")
    }

    /// Whether one of the signatures is right for a secret, computed here and not by the host.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let coded = secret.strip_prefix("whsec_").expect("the prefix");
        let key = STANDARD.decode(coded).expect("Base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        mac.update(format!("{}.{}.", self.id, self.timestamp).as_bytes());
        mac.update(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.signatures.split(' ').any(|one| one == expected)
    }
}

/// What a sink answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Status(u16),
    /// With `Retry-After` in seconds.
    Later(u16, u32),
    Redirect(String),
    /// Nothing at all.
    Silence,
}

type Mood = Box<dyn FnMut(&Heard) -> Reply + Send>;

/// A server that keeps what it hears.
pub(crate) struct HttpSink {
    pub(crate) url: String,
    heard: Arc<watch::Sender<Vec<Heard>>>,
    mood: Arc<Mutex<Mood>>,
}

impl HttpSink {
    /// A sink that takes everything.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| Reply::Status(204)).await
    }

    pub(crate) async fn start_with(mood: impl FnMut(&Heard) -> Reply + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        Self::start_on(listener, url, mood)
    }

    /// A sink that is found at `url`, where `listener` listens.
    pub(crate) fn start_on<L>(
        listener: L,
        url: String,
        mood: impl FnMut(&Heard) -> Reply + Send + 'static,
    ) -> Self
    where
        L: axum::serve::Listener<Addr: std::fmt::Debug>,
    {
        let heard = Arc::new(watch::Sender::new(Vec::new()));
        let mood: Arc<Mutex<Mood>> = Arc::new(Mutex::new(Box::new(mood)));
        let (hears, minds) = (Arc::clone(&heard), Arc::clone(&mood));
        let router = axum::Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            let (heard, mood) = (Arc::clone(&hears), Arc::clone(&minds));
            async move { answer(&heard, &mood, read(&headers, body)).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, heard, mood }
    }

    pub(crate) fn set_mood(&self, mood: impl FnMut(&Heard) -> Reply + Send + 'static) {
        *self.mood.lock().expect("a mood") = Box::new(mood);
    }

    /// Everything that was heard, in order.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.borrow().clone()
    }

    /// What was answered with 2xx.
    pub(crate) fn taken(&self) -> Vec<Heard> {
        self.heard().into_iter().filter(|heard| (200..300).contains(&heard.status)).collect()
    }

    /// Waits until something is true of what was heard.
    pub(crate) async fn when(&self, fits: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let mut listening = self.heard.subscribe();
        let found = listening.wait_for(|heard| fits(heard));
        let found = tokio::time::timeout(PATIENCE, found).await;
        let found = found.map(|found| found.expect("the sink lives").clone());
        found.unwrap_or_else(|_| panic!("never heard what was expected: {:#?}", self.heard()))
    }

    /// Waits until so many different events were taken.
    pub(crate) async fn when_taken(&self, count: usize) -> Vec<Heard> {
        let taken = |heard: &[Heard]| {
            let good = heard.iter().filter(|heard| (200..300).contains(&heard.status));
            good.map(|heard| heard.id.clone()).collect::<BTreeSet<_>>().len()
        };
        self.when(|heard| taken(heard) >= count).await;
        self.taken()
    }

    /// The configuration of this sink, with `more` lines.
    pub(crate) fn toml(&self, name: &str, more: &str) -> String {
        let (url, secret) = (&self.url, secret(b'a'));
        let secret = if more.contains("secret") { "" } else { &format!("secret = {secret:?}\n") };
        format!(
            "[sinks.{name}]\nkind = \"http\"\nurl = {url:?}\nallow_private = true\n{secret}\
             topics = [\"*\"]\nfrom = \"beginning\"\n{more}\n"
        )
    }
}

fn read(headers: &HeaderMap, body: Bytes) -> Heard {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_else(|| panic!("header {name} is missing")).to_owned()
    };
    assert_eq!(header("content-type"), "application/json");
    Heard {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp").parse().expect("seconds"),
        signatures: header("webhook-signature"),
        event: serde_json::from_slice(&body).expect("JSON"),
        body,
        status: 0,
    }
}

async fn answer(heard: &watch::Sender<Vec<Heard>>, mood: &Mutex<Mood>, request: Heard) -> Response {
    let reply = (mood.lock().expect("a mood"))(&request);
    let note = |status: u16| heard.send_modify(|all| all.push(Heard { status, ..request }));
    let code = |status: u16| StatusCode::from_u16(status).expect("a status");
    match reply {
        Reply::Status(status) => {
            note(status);
            code(status).into_response()
        }
        Reply::Later(status, seconds) => {
            note(status);
            (code(status), [("retry-after", seconds.to_string())]).into_response()
        }
        Reply::Redirect(to) => {
            note(307);
            (code(307), [("location", to)]).into_response()
        }
        Reply::Silence => {
            note(0);
            std::future::pending().await
        }
    }
}

/// Where orders and payments go, and what they are drawn from.
pub(crate) struct Shop {
    pub(crate) public: String,
    pub(crate) private: String,
    http: reqwest::Client,
    stage: Stage,
    draw: Draw,
}

impl Shop {
    pub(crate) fn new(public: &str, private: &str) -> Self {
        let (stage, draw) = stage(Channel::AlipayMain);
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Self { public: public.to_owned(), private: private.to_owned(), http, stage, draw }
    }

    /// Registers an order and pays it so many times: each payment is one event of its key.
    pub(crate) async fn pay(&mut self, times: usize) -> String {
        let purchase = self.stage.purchase(&mut self.draw);
        self.register(&self.stage.order(&purchase)).await;
        for _ in 0..times {
            let transaction_id = self.draw.digits(28);
            let again = Purchase { transaction_id, ..purchase.clone() };
            let notice = self.stage.payment(&again, &mut self.draw);
            let sending = Sending { at: now(), flaw: None };
            let message = notice.sign(keys().0, sending, &mut self.draw).expect("a message");
            self.send(&message).await;
        }
        purchase.order_no
    }

    /// Pays many orders.
    pub(crate) async fn pay_orders(&mut self, orders: usize, times: usize) -> Vec<String> {
        let mut numbers = Vec::new();
        for _ in 0..orders {
            numbers.push(self.pay(times).await);
        }
        numbers
    }

    async fn register(&self, order: &Order) {
        let url = format!("{}/orders/PRODUCT_ORDER/{}", self.private, order.order_no);
        let body = json!({ "amount_minor": order.amount.minor,
            "currency": order.amount.currency, "state": order.state });
        let answer = self.http.put(url).bearer_auth(TOKEN).json(&body).send().await;
        assert_eq!(answer.expect("an answer").status().as_u16(), 201);
    }

    async fn send(&self, message: &Message) {
        let mut request = self.http.post(format!("{}{}", self.public, message.path));
        for (name, value) in &message.headers {
            request = request.header(name, value);
        }
        let answer = request.body(message.body.clone()).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
    }
}

/// Panics unless every event came exactly once, those of each key in the order of commits.
pub(crate) fn each_once_in_order(taken: &[Heard], orders: &[String], times: usize) {
    let mut by_key: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for heard in taken {
        assert!(ids.insert(heard.id.clone()), "{} came twice", heard.id);
        by_key.entry(heard.key()).or_default().push(heard.sequence());
    }
    for order in orders {
        let found = by_key.remove(order).unwrap_or_default();
        assert_eq!(found.len(), times, "{order}: {found:?}");
        assert!(found.is_sorted(), "{order}: {found:?}");
    }
    assert!(by_key.is_empty(), "nobody ordered {by_key:?}");
}

/// A real `nats-server` with JetStream.
pub(crate) struct Nats {
    child: Child,
    pub(crate) url: String,
    _folder: TempDir,
}

impl Nats {
    /// The program; `None`, said loudly, where there is none, which CI does not put up with.
    pub(crate) fn program() -> Option<PathBuf> {
        let given = std::env::var_os("CALLGATE_TEST_NATS").map(PathBuf::from);
        let usual = ["/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"];
        let found = given.into_iter().chain(usual.map(PathBuf::from)).find(|path| path.exists());
        if found.is_none() {
            let remedy = "no nats-server was found: run `cargo xtask test`, or install the \
                          Debian package nats-server";
            assert!(std::env::var_os("CI").is_none(), "{remedy}");
            eprintln!("*** SKIPPED: {remedy}");
        }
        found
    }

    /// An address where nobody listens yet.
    pub(crate) fn free_url() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("nats://{}", listener.local_addr().expect("an address"))
    }

    /// Starts a server there, with a stream that takes what the host sends.
    pub(crate) async fn start(program: &PathBuf, url: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let (_, port) = url.rsplit_once(':').expect("a port");
        let child = Command::new(program)
            .args(["--addr", "127.0.0.1", "--port", port, "--jetstream", "--store_dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts");
        let nats = Self { child, url: url.to_owned(), _folder: folder };
        let config = async_nats::jetstream::stream::Config {
            name: "callgate".to_owned(),
            subjects: vec!["callgate.>".to_owned()],
            ..Default::default()
        };
        nats.context().await.create_stream(config).await.expect("a stream");
        nats
    }

    /// A connection, as soon as the server takes it.
    pub(crate) async fn context(&self) -> async_nats::jetstream::Context {
        let connecting = async {
            loop {
                if let Ok(client) = async_nats::connect(&self.url).await {
                    return async_nats::jetstream::new(client);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, connecting).await.expect("nats-server serves")
    }

    /// Subjects, ids and bodies in the stream, once there are so many.
    pub(crate) async fn messages(&self, count: u64) -> Vec<(String, String, Value)> {
        let context = self.context().await;
        let mut stream = context.get_stream("callgate").await.expect("the stream");
        let filling = async {
            while stream.info().await.expect("its state").state.messages < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            stream.info().await.expect("its state").state.last_sequence
        };
        let last = tokio::time::timeout(PATIENCE, filling).await.expect("the stream fills");
        let mut found = Vec::new();
        for sequence in 1..=last {
            let message = stream.get_raw_message(sequence).await.expect("a message");
            let id = message.headers.get("Nats-Msg-Id").expect("an id").to_string();
            let body = serde_json::from_slice(&message.payload).expect("JSON");
            found.push((message.subject.to_string(), id, body));
        }
        found
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Ended already, perhaps.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a story waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
