//! A stand-in for the gateways: a real HTTP server in this process that keeps books, checks who
//! asks, and answers as WeChat Pay v3 and v2 and Alipay do, with signatures; or badly, as told.
//!
//! How it is used: [`StandIn::start`] on the clock of the story; [`StandIn::toml`] is what a
//! configuration needs so that channels ask it, behind that of every house. [`StandIn::order`]
//! writes an order into the books, [`StandIn::pay`], [`StandIn::close`] and [`StandIn::refund`]
//! say what becomes of it; callbacks are signed by [`StandIn::keys`]. [`StandIn::mood`] decides
//! for each question how it is answered, [`StandIn::asked`] is every question that came.
//! [`StandIn::rotate`] makes a new platform certificate: from then on it signs callbacks and
//! answers, and `GET /v3/certificates` lists it beside the old ones. [`StandIn::hold`] keeps every
//! answer back until [`StandIn::let_go`]; [`StandIn::answered`] counts those that are out.
//! [`Callbacks`] are posted on the gateways' schedules.
//!
//! Reading order: this file, `books`, `signer`, one file for each gateway, `callbacks`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use callgate::clock::Clock;
use callgate_core::time::Timestamp;
use callgate_trigger::channel::{Channel, Gateway};
use callgate_trigger::keys::Keys;
use callgate_trigger::purchase::{Purchase, Refund};
use tokio::sync::watch;

use crate::house::keys;

use books::Books;
use signer::{Certificates, Signer};

pub(crate) mod books;

pub(crate) mod signer;

pub(crate) mod wechat_v3;

mod wechat_v2;

mod alipay;

mod callbacks;

pub(crate) use books::Paid;
pub(crate) use callbacks::{Callbacks, Heard as HeardBack};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum What {
    /// What became of a payment.
    Payment(String),
    /// What became of a refund, by its own number.
    Refund(String),
    /// The platform certificates.
    Certificates,
}

/// A question that came, rightly signed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) what: What,
    /// When, by the clock of the story.
    pub(crate) at: Timestamp,
    /// Whether the merchant signed it.
    pub(crate) genuine: bool,
}

/// How a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As the books say.
    Well,
    /// The same after a while.
    Late(Duration),
    /// Not at all.
    Never,
    /// With a status and nothing else.
    Status(u16),
    /// With a signature that does not hold.
    Forged,
    /// Rightly signed, about another order.
    Another,
    /// With bytes that are no answer.
    Garbage,
    /// With more bytes than anybody reads.
    TooLong,
}

type Mood = Box<dyn FnMut(&Asked) -> Manner + Send>;

/// The server and everything it knows.
pub(crate) struct StandIn {
    /// Where it listens.
    pub(crate) url: String,
    clock: Clock,
    books: Mutex<Books>,
    mood: Mutex<Mood>,
    asked: watch::Sender<Vec<Asked>>,
    held: watch::Sender<bool>,
    answered: watch::Sender<usize>,
    nonces: Mutex<HashSet<String>>,
    certificates: Mutex<Certificates>,
    public: Signer,
    merchant: Signer,
    alipay: Signer,
}

impl StandIn {
    /// Starts to listen; answers well.
    pub(crate) async fn start(clock: Clock) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let accounts = &keys().0.accounts;
        let standin = Arc::new(Self {
            url,
            clock,
            books: Mutex::default(),
            mood: Mutex::new(Box::new(|_| Manner::Well)),
            asked: watch::Sender::default(),
            held: watch::Sender::default(),
            answered: watch::Sender::default(),
            nonces: Mutex::default(),
            certificates: Mutex::new(Certificates::first()),
            public: Signer::of(
                keys().0,
                "wechat-v3-public.key.pem",
                &accounts.wechat_public_key_id,
            ),
            merchant: Signer::of(keys().0, MERCHANT_KEY, MERCHANT_SERIAL),
            alipay: Signer::of(keys().0, "alipay.key.pem", ""),
        });
        let hears = Arc::clone(&standin);
        let hear = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let standin = Arc::clone(&hears);
            async move { standin.hear(&Heard { method, uri, headers, body }).await }
        };
        let router = axum::Router::new().fallback(hear);
        tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        standin
    }

    /// Configuration that lets channels ask here; `ask` are more lines of each one's
    /// `[channels.NAME.ask]`.
    pub(crate) fn toml(&self, channels: &[Channel], ask: &str) -> String {
        let key = keys().1.join(MERCHANT_KEY).display().to_string();
        let mut text = String::new();
        for channel in channels {
            let merchant = match channel.gateway() {
                Gateway::WechatV3 => format!(
                    "merchant_private_key_file = {key:?}\nmerchant_serial = \"{MERCHANT_SERIAL}\"\n"
                ),
                Gateway::WechatV2 => String::new(),
                Gateway::Alipay => format!("application_private_key_file = {key:?}\n"),
            };
            let (name, url) = (channel.name(), &self.url);
            text.push_str(&format!(
                "[channels.{name}.inquiry]\n{merchant}base_url = \"{url}\"\n\
                 [channels.{name}.ask]\nallow_private = true\n{ask}\n"
            ));
        }
        text
    }

    /// Writes an order that nobody has paid yet into the books.
    pub(crate) fn order(&self, purchase: &Purchase) {
        self.books.lock().expect("books").order(purchase);
    }

    /// The payer pays.
    pub(crate) fn pay(&self, order_no: &str) {
        self.books.lock().expect("books").set(order_no, Paid::Success);
    }

    /// Nobody can pay any more.
    pub(crate) fn close(&self, order_no: &str) {
        self.books.lock().expect("books").set(order_no, Paid::Closed);
    }

    /// The merchant asked for a refund, which is under way.
    pub(crate) fn refund(&self, order_no: &str, refund: &Refund) {
        self.books.lock().expect("books").refund(order_no, refund);
    }

    /// A refund comes to its result.
    pub(crate) fn refund_ends(&self, refund_no: &str) {
        self.books.lock().expect("books").refund_ends(refund_no);
    }

    /// What the books say of an order.
    pub(crate) fn paid(&self, order_no: &str) -> Option<Paid> {
        self.books.lock().expect("books").payment(order_no).map(|(_, paid)| paid)
    }

    /// What decides how questions are answered.
    pub(crate) fn mood(&self, mood: impl FnMut(&Asked) -> Manner + Send + 'static) {
        *self.mood.lock().expect("a mood") = Box::new(mood);
    }

    /// Every question that came, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Keeps answers back from now on.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Answers again, what was kept back too.
    pub(crate) fn let_go(&self) {
        self.held.send_replace(false);
    }

    /// How many answers are out, to the last byte, counted as they leave.
    pub(crate) fn answered(&self) -> watch::Receiver<usize> {
        self.answered.subscribe()
    }

    /// Returns when so many questions have come.
    pub(crate) async fn when_asked(&self, count: usize) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|all| all.len() >= count).await.expect("it lives as long as the stand-in");
    }

    /// The keys that sign callbacks now.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.certificates.lock().expect("certificates").keys()
    }

    /// The newest platform certificate, as PEM.
    pub(crate) fn certificate(&self) -> String {
        self.certificates.lock().expect("certificates").pem()
    }

    /// Makes a new platform certificate; tells its serial.
    pub(crate) fn rotate(&self) -> String {
        self.certificates.lock().expect("certificates").rotate(self.clock.now())
    }

    async fn hear(&self, heard: &Heard) -> Response {
        let Some((what, genuine)) = self.understand(heard) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let asked = Asked { what, at: self.clock.now(), genuine };
        let manner = (self.mood.lock().expect("a mood"))(&asked);
        self.asked.send_modify(|all| all.push(asked.clone()));
        match manner {
            Manner::Late(time) => tokio::time::sleep(time).await,
            Manner::Never => std::future::pending().await,
            Manner::Status(status) => {
                return StatusCode::from_u16(status).expect("a status").into_response();
            }
            Manner::Garbage => return "\u{0}{<xml".into_response(),
            Manner::TooLong => return Body::from(vec![b' '; 1 << 20]).into_response(),
            Manner::Well | Manner::Forged | Manner::Another => {}
        }
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.expect("it lives as long as the stand-in");
        let answer = match heard.uri.path() {
            "/gateway.do" => self.alipay_answer(&asked, manner),
            path if path.starts_with("/pay/") => self.v2_answer(&asked, heard, manner),
            _ => self.v3_answer(&asked, heard, manner),
        };
        self.counted(answer)
    }

    /// The same answer, counted when its last byte has left.
    fn counted(&self, answer: Response) -> Response {
        let (parts, mut body) = answer.into_parts();
        let (answered, mut ended) = (self.answered.clone(), false);
        let frames = futures_util::stream::poll_fn(move |context| {
            let frame = std::pin::Pin::new(&mut body).poll_frame(context);
            if matches!(frame, std::task::Poll::Ready(None)) && !ended {
                ended = true;
                answered.send_modify(|count| *count = count.saturating_add(1));
            }
            frame.map_ok(|frame| frame.into_data().unwrap_or_default())
        });
        Response::from_parts(parts, Body::from_stream(frames))
    }

    /// What is asked, and whether the merchant signed it.
    fn understand(&self, heard: &Heard) -> Option<(What, bool)> {
        match heard.uri.path() {
            "/gateway.do" => self.alipay_question(heard),
            "/pay/orderquery" | "/pay/refundquery" => self.v2_question(heard),
            _ => self.v3_question(heard),
        }
    }

    /// Whether a nonce comes for the first time.
    fn is_new(&self, nonce: &str) -> bool {
        self.nonces.lock().expect("nonces").insert(nonce.to_owned())
    }
}

/// A request.
struct Heard {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }
}

/// The merchant's key: no gateway of the house signs with it.
const MERCHANT_KEY: &str = "stranger.key.pem";

const MERCHANT_SERIAL: &str = "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C";
