//! An endpoint that the tests own, and houses whose processor calls it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use callgate_trigger::cases::Order;
use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::hosts::{Addresses, Host};
use crate::house::{OPERATOR, TOKEN, keys, now, plugin, stage};

/// One request that the endpoint heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn key(&self) -> &str {
        self.header("idempotency-key")
    }
}

/// What the endpoint answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// At once.
    Now(u16, String),
    /// After a while.
    After(Duration, u16),
    /// Nothing at all.
    Silence,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::Now(status, String::new())
    }
}

type Mood = Box<dyn FnMut(&Heard) -> Reply + Send>;

/// A server that keeps what it hears.
pub(crate) struct Erp {
    pub(crate) url: String,
    heard: Arc<watch::Sender<Vec<Heard>>>,
    mood: Arc<Mutex<Mood>>,
}

impl Erp {
    /// Takes everything.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| Reply::status(201)).await
    }

    pub(crate) async fn start_with(mood: impl FnMut(&Heard) -> Reply + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0", mood).await
    }

    pub(crate) async fn start_at(
        address: &str,
        mood: impl FnMut(&Heard) -> Reply + Send + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        Self::serve(listener, url, mood)
    }

    /// Serves whoever a listener lets in.
    pub(crate) fn serve(
        listener: impl Listener<Addr: std::fmt::Debug>,
        url: String,
        mood: impl FnMut(&Heard) -> Reply + Send + 'static,
    ) -> Self {
        let heard = Arc::new(watch::Sender::new(Vec::new()));
        let mood: Arc<Mutex<Mood>> = Arc::new(Mutex::new(Box::new(mood)));
        let (hears, minds) = (Arc::clone(&heard), Arc::clone(&mood));
        let hear = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let (method, path) = (method.to_string(), uri.to_string());
            let request = Heard { method, path, headers, body };
            let reply = (minds.lock().expect("a mood"))(&request);
            hears.send_modify(|all| all.push(request));
            answer(reply)
        };
        let router = axum::Router::new().fallback(hear);
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

    /// Waits until so many requests were heard.
    pub(crate) async fn when_heard(&self, count: usize) -> Vec<Heard> {
        let mut listening = self.heard.subscribe();
        let found = listening.wait_for(|heard| heard.len() >= count);
        let found = tokio::time::timeout(PATIENCE, found).await;
        let found = found.map(|found| found.expect("the endpoint lives").clone());
        found.unwrap_or_else(|_| panic!("heard only {:#?}", self.heard()))
    }

    /// The configuration of this endpoint, with `more` lines.
    pub(crate) fn toml(&self, more: &str) -> String {
        endpoint_toml(&self.url, more)
    }
}

async fn answer(reply: Reply) -> Response {
    let code = |status: u16| StatusCode::from_u16(status).expect("a status");
    match reply {
        Reply::Now(status, body) => (code(status), body).into_response(),
        Reply::After(wait, status) => {
            tokio::time::sleep(wait).await;
            code(status).into_response()
        }
        Reply::Silence => std::future::pending().await,
    }
}

pub(crate) fn endpoint_toml(url: &str, more: &str) -> String {
    format!(
        "[endpoints.erp]\nbase_url = {url:?}\nmethods = [\"GET\", \"POST\"]\n\
         allow_private = true\n{more}\n"
    )
}

/// The configuration of the processor that calls; `None`, said loudly, where it is not built.
pub(crate) fn caller_toml(config: &Value, limits: &str) -> Option<String> {
    let file = plugin("caller")?.display().to_string();
    let config = toml_of(config);
    Some(format!(
        "[plugins.caller]\nfile = {file:?}\nbusinesses = [\"PRODUCT_ORDER\"]\nconfig = {config}\n\
         grants = {{ endpoints = [\"erp\"], topics = [\"order.called\"] }}\n\
         limits = {{ {limits} }}\n"
    ))
}

/// JSON as an inline value of TOML.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members =
                members.iter().map(|(name, value)| format!("{name} = {}", toml_of(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        // Basic strings of TOML and strings of JSON have the escapes in common.
        Value::String(_) | Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null => panic!("TOML has no null"),
    }
}

/// One request of the processor.
pub(crate) fn post(path: &str) -> Value {
    json!({ "endpoint": "erp", "path": path, "body": "{\"order\":\"{order}\"}" })
}

/// A host on a database, whose processor calls.
pub(crate) struct Field {
    pub(crate) host: Host,
    pub(crate) at: Addresses,
    pub(crate) url: String,
    http: reqwest::Client,
    _folder: Option<TempDir>,
}

/// The two databases, each fresh; PostgreSQL only where it is.
pub(crate) async fn databases() -> Vec<(String, Option<TempDir>)> {
    let folder = TempDir::new().expect("a folder for the database");
    let sqlite = format!("sqlite://{}", folder.path().join("callgate.db").display());
    let mut urls = vec![(sqlite, Some(folder))];
    if let Some(cluster) = Cluster::shared() {
        urls.push((cluster.database().await, None));
    }
    urls
}

impl Field {
    /// Starts a host that looks for work often and retries soon.
    pub(crate) fn start(database: (String, Option<TempDir>), toml: &str, flags: &[&str]) -> Self {
        let (url, folder) = database;
        let flags: Vec<&str> = FLAGS.iter().chain(flags).copied().collect();
        let mut host = Host::with(&url, toml, &flags);
        let at = host.start();
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Self { host, at, url, http, _folder: folder }
    }

    /// Another host on the same database.
    pub(crate) fn another(&self, toml: &str, flags: &[&str]) -> Host {
        let flags: Vec<&str> = FLAGS.iter().chain(flags).copied().collect();
        let mut host = Host::with(&self.url, toml, &flags);
        host.start();
        host
    }

    pub(crate) fn kill_and_restart(&mut self) {
        self.host.kill();
        self.at = self.host.start();
    }

    /// Registers an order with this body, and pays it.
    pub(crate) async fn pay(&self, body: &Value) -> Order {
        let (stage, mut draw) = stage(Channel::AlipayMain);
        let purchase = stage.purchase(&mut draw);
        let order = stage.order(&purchase);
        let registered = json!({ "amount_minor": order.amount.minor, "state": order.state,
            "currency": order.amount.currency, "body": body });
        let url = format!("{}/orders/PRODUCT_ORDER/{}", self.at.private, order.order_no);
        let answer = self.http.put(url).bearer_auth(TOKEN).json(&registered).send().await;
        assert_eq!(answer.expect("an answer").status().as_u16(), 201);
        let notice = stage.payment(&purchase, &mut draw);
        let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
        let mut request = self.http.post(format!("{}{}", self.at.public, message.path));
        for (name, value) in &message.headers {
            request = request.header(name, value);
        }
        let answer = request.body(message.body.clone()).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        order
    }

    async fn get(&self, path: &str, token: &str) -> Value {
        let request = self.http.get(format!("{}/{path}", self.at.private)).bearer_auth(token);
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    /// The order, once something is true of it.
    pub(crate) async fn order_when(&self, order: &Order, fits: impl Fn(&Value) -> bool) -> Value {
        let path = format!("orders/PRODUCT_ORDER/{}", order.order_no);
        self.when(&path, TOKEN, fits).await
    }

    /// The order, once it is paid: what its calls came to.
    pub(crate) async fn calls_when_paid(&self, order: &Order) -> Value {
        let paid = self.order_when(order, |order| order["state"] == "TO_BE_DELIVERED").await;
        paid["body"]["calls"].clone()
    }

    /// The only notification about an order with everything about it, once it fits.
    pub(crate) async fn about(&self, order: &Order, fits: impl Fn(&Value) -> bool) -> Value {
        let path =
            format!("operator/notifications?business=PRODUCT_ORDER&order_no={}", order.order_no);
        let found = self.when(&path, OPERATOR, |found| fits(&found["notifications"][0])).await;
        let id = found["notifications"][0]["id"].as_str().expect("an id").to_owned();
        self.get(&format!("operator/notifications/{id}?raw=true"), OPERATOR).await
    }

    async fn when(&self, path: &str, token: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let looking = async {
            loop {
                let found = self.get(path, token).await;
                if fits(&found) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(found) => found,
            Err(_) => {
                let found = self.get(path, token).await;
                panic!("{path} never became as expected: {found:#}\n{}", self.host.log())
            }
        }
    }

    /// An act of the operator on a notification.
    pub(crate) async fn operate(&self, id: &str, act: &str) -> u16 {
        let url = format!("{}/operator/notifications/{id}/{act}", self.at.private);
        let request = self.http.post(url).bearer_auth(OPERATOR).json(&json!({ "why": "a story" }));
        request.send().await.expect("an answer").status().as_u16()
    }

    /// A count of the metrics, summed over its lines.
    pub(crate) async fn metric(&self, line_start: &str) -> u64 {
        let request = self.http.get(format!("{}/metrics", self.at.private)).bearer_auth(OPERATOR);
        let text = request.send().await.expect("metrics").text().await.expect("text");
        let lines = text.lines().filter(|line| line.starts_with(line_start));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

/// Work that another host left is looked for often, and what failed is tried again soon.
const FLAGS: [&str; 4] = [
    "engine.poll_ms=50",
    "engine.lease_ms=1000",
    "engine.retry.first_ms=50",
    "engine.retry.max_ms=200",
];

/// How long a story waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
