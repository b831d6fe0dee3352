//! The rivals of the whole path, each a server of its own that the same load tool posts to.
//!
//! `floor` is the least honest program for the same work: the same HTTP library, one RSA
//! verification with a parsed key, decryption in place, and one durable transaction for all that
//! waits, which inserts the callbacks and updates their orders. It knows one gateway, one key, one
//! kind of notification and one step of an order. No sandbox, no history, no event, no lease.
//!
//! `team` is the same door with a store as teams write it: one durable transaction for each
//! callback. `bare` reads the request and answers, no more.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub(crate) mod door;
mod postgres;
mod sqlite;
mod team;

use door::{Door, Paid};

/// Which rival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rival {
    Floor,
    Team,
    Bare,
}

impl Rival {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Team => "team",
            Self::Bare => "bare",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Floor, Self::Team, Self::Bare].into_iter().find(|rival| rival.name() == name)
    }
}

/// An order as it is registered.
#[derive(Debug)]
pub(crate) struct Order {
    order_no: String,
    amount_minor: i64,
}

/// What a grouping store is asked for.
enum Act {
    Register(Order),
    Accept(Paid),
}

/// An act, and who waits until it is on disk.
type Asked = (Act, oneshot::Sender<()>);

/// Where things are kept.
enum Keep {
    /// A writer of its own takes all that waits.
    Grouped(Box<dyn Fn(Asked) + Send + Sync>),
    Team(team::Team),
    Nothing,
}

struct Server {
    door: Door,
    keep: Keep,
    effects: AtomicU64,
}

/// The floor's store on SQLite by itself, for who asks it without a socket.
#[allow(dead_code, reason = "as below")]
pub(crate) struct Floor {
    ask: Box<dyn Fn(Asked) + Send + Sync>,
}

#[allow(dead_code, reason = "one of the programs that have this file counts its instructions")]
impl Floor {
    pub(crate) fn open(url: &str) -> Self {
        Self { ask: sqlite::start(url) }
    }

    /// Registers orders, each a number and an amount, all at once.
    pub(crate) async fn register(&self, orders: Vec<(String, i64)>) {
        let order = |(order_no, amount_minor)| Act::Register(Order { order_no, amount_minor });
        self.all(orders.into_iter().map(order).collect()).await;
    }

    /// Stores payments, all at once.
    pub(crate) async fn accept(&self, paid: Vec<Paid>) {
        self.all(paid.into_iter().map(Act::Accept).collect()).await;
    }

    async fn all(&self, acts: Vec<Act>) {
        let waiting: Vec<_> =
            acts.into_iter().map(|act| wait(|reply| (self.ask)((act, reply)))).collect();
        for done in waiting {
            done.await;
        }
    }
}

/// Serves until the process is killed.
pub(crate) fn serve(rival: Rival, url: &str, keys: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let keep = match rival {
            Rival::Bare => Keep::Nothing,
            Rival::Team => Keep::Team(team::Team::open(url).await),
            Rival::Floor if url.starts_with("sqlite") => Keep::Grouped(sqlite::start(url)),
            Rival::Floor => Keep::Grouped(postgres::start(url).await),
        };
        let (door, effects) = (Door::open(keys), AtomicU64::new(0));
        let server = Arc::new(Server { door, keep, effects });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut stdout = std::io::stdout();
        writeln!(stdout, "listening public={address} private={address}").unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&server), request));
                let serving = hyper::server::conn::http1::Builder::new();
                // The load tool closes connections as it likes.
                let _ = serving.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

type Answered = Result<Response<Full<Bytes>>, Infallible>;

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Answered {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path == "/metrics" {
        let effects = server.effects.load(Ordering::Relaxed);
        return Ok(text(200, format!("callgate_effect_seconds_count {effects}\n")));
    }
    let Ok(body) = body.collect().await else { return Ok(refused()) };
    let body = body.to_bytes();
    if head.method == hyper::Method::PUT {
        let order_no = path.rsplit('/').next().unwrap_or_default().to_owned();
        let sent: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let order = Order { order_no, amount_minor: sent["amount_minor"].as_i64().unwrap() };
        server.register(order).await;
        return Ok(text(201, String::new()));
    }
    if matches!(server.keep, Keep::Nothing) {
        return Ok(refused());
    }
    let Some(paid) = server.door.verify(&head.headers, body, now_s()) else {
        return Ok(refused());
    };
    server.accept(paid).await;
    server.effects.fetch_add(1, Ordering::Relaxed);
    Ok(text(200, String::new()))
}

impl Server {
    async fn register(&self, order: Order) {
        match &self.keep {
            Keep::Grouped(ask) => wait(|reply| ask((Act::Register(order), reply))).await,
            Keep::Team(team) => team.register(order).await,
            Keep::Nothing => {}
        }
    }

    async fn accept(&self, paid: Paid) {
        match &self.keep {
            Keep::Grouped(ask) => wait(|reply| ask((Act::Accept(paid), reply))).await,
            Keep::Team(team) => team.accept(paid).await,
            Keep::Nothing => {}
        }
    }
}

fn wait(ask: impl FnOnce(oneshot::Sender<()>)) -> impl Future<Output = ()> {
    let (reply, done) = oneshot::channel();
    ask(reply);
    async { done.await.unwrap() }
}

#[expect(clippy::disallowed_methods, reason = "a rival has no clock of the house")]
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn refused() -> Response<Full<Bytes>> {
    let mut answer = text(401, r#"{"code":"FAIL","message":"gateway.signature"}"#.to_owned());
    let json = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
    answer
}

fn text(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
    answer
}

/// What both databases start from.
const SCHEMA: [&str; 2] = [
    "create table orders (order_no text primary key, state text not null, \
     amount_minor bigint not null)",
    "create table callbacks (delivery_key text primary key, order_no text not null, \
     transaction_id text not null, amount_minor bigint not null, raw BYTES not null)",
];

/// Most callbacks of one transaction: as Callgate's `store.group_max`.
const GROUP_MAX: usize = 256;
