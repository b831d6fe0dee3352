//! Load that keeps books: posts callbacks as gateways do, again and again until each was
//! acknowledged, notes every acknowledgement, and holds the database against the notes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callgate_store::{Counts, DocumentRef, Effect, OrderView, Settings, Store};
use callgate_trigger::cases::Stage;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::{Flaw, Message, Notice, Sending};
use callgate_trigger::purchase::Purchase;
use serde_json::json;

use crate::hosts::Addresses;
use crate::house::{TOKEN, keys, now};

/// One order's story: what is told of it, and how often each notice is sent.
struct Told {
    stage: Stage,
    purchase: Purchase,
    notices: Vec<(Notice, u32)>,
}

/// What was acknowledged about one order.
#[derive(Debug, Clone, Default)]
struct Noted {
    transaction_id: String,
    /// Messages with ids of their own.
    messages: usize,
    /// How many posts were answered with the gateway's success.
    acknowledged: i64,
}

/// Posters, the hosts that they post to, and their books.
pub(crate) struct Load {
    seed: u64,
    /// One for each host; `None` while it is known to be dead.
    hosts: Mutex<Vec<Option<Addresses>>>,
    http: reqwest::Client,
    next: AtomicU32,
    stop: AtomicBool,
    acknowledged: AtomicU64,
    /// Posts that were answered, but not with success.
    declined: AtomicU64,
    /// Forgeries that were answered with success.
    believed: AtomicU64,
    books: Mutex<BTreeMap<String, Noted>>,
}

impl Load {
    pub(crate) fn new(seed: u64, hosts: usize) -> Arc<Self> {
        // A host that dies takes its connections along; what is left of them times out.
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        Arc::new(Self {
            seed,
            hosts: Mutex::new(vec![None; hosts]),
            http: http.build().expect("an HTTP client"),
            next: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            declined: AtomicU64::new(0),
            believed: AtomicU64::new(0),
            books: Mutex::new(BTreeMap::new()),
        })
    }

    /// Says where a host listens now, or that it is dead.
    pub(crate) fn place(&self, host: usize, addresses: Option<Addresses>) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        *hosts.get_mut(host).expect("a host of this load") = addresses;
    }

    /// How many posts were answered with success so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How many posts were answered with the gateway's failure so far.
    pub(crate) fn declined(&self) -> u64 {
        self.declined.load(Ordering::Relaxed)
    }

    /// Starts posters; each tells one order after the other.
    pub(crate) fn start(self: &Arc<Self>, posters: usize) -> tokio::task::JoinSet<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..posters {
            let load = Arc::clone(self);
            tasks.spawn(async move {
                while !load.stop.load(Ordering::Relaxed) {
                    let index = load.next.fetch_add(1, Ordering::Relaxed);
                    // Every fifth order is registered only after its payment.
                    load.tell(index, index.is_multiple_of(5)).await;
                }
            });
        }
        tasks
    }

    /// One poster more, of one order that is registered only after its payment: its callbacks come
    /// whatever the others wait for.
    pub(crate) fn post_at_once(self: &Arc<Self>, posters: &mut tokio::task::JoinSet<()>) {
        let load = Arc::clone(self);
        let index = load.next.fetch_add(1, Ordering::Relaxed);
        posters.spawn(async move { load.tell(index, true).await });
    }

    /// Takes no new orders, and tells those that were begun to their end.
    pub(crate) async fn finish(&self, tasks: tokio::task::JoinSet<()>) {
        self.stop.store(true, Ordering::Relaxed);
        tasks.join_all().await;
    }

    fn story(&self, index: u32) -> (Told, Draw) {
        let mut draw = Draw::branch(self.seed, index);
        let channel =
            if index.is_multiple_of(2) { Channel::AlipayMain } else { Channel::WechatV3Main };
        let stage = Stage::new(&keys().0.accounts, channel, now());
        let purchase = stage.purchase(&mut draw).numbered(index.into());
        // Most messages are acknowledged once and never sent again: one that is lost stays lost.
        let first = stage.payment(&purchase, &mut draw);
        let notices = match draw.below(4) {
            0 => vec![(first, 1), (stage.payment(&purchase, &mut draw), 1)],
            1 => vec![(first, 2)],
            _ => vec![(first, 1)],
        };
        (Told { stage, purchase, notices }, draw)
    }

    /// Registers an order and tells of its payment, as often as it takes; the payment first where the
    /// order is late.
    async fn tell(&self, index: u32, late: bool) {
        let (told, mut draw) = self.story(index);
        let order_no = told.purchase.order_no.clone();
        let noted = Noted {
            transaction_id: told.purchase.transaction_id.clone(),
            messages: told.notices.len(),
            acknowledged: 0,
        };
        self.books.lock().unwrap_or_else(PoisonError::into_inner).insert(order_no.clone(), noted);
        if !late {
            self.register(&told, &mut draw).await;
        }
        if index.is_multiple_of(7) {
            self.forge(&told, &mut draw).await;
        }
        for (notice, times) in &told.notices {
            for _ in 0..*times {
                self.post_until_acknowledged((notice, &order_no), &mut draw).await;
            }
        }
        if late {
            self.register(&told, &mut draw).await;
        }
    }

    /// Tells of a payment under a key that nobody knows. A host that is dead believes nothing.
    async fn forge(&self, told: &Told, draw: &mut Draw) {
        let Some(host) = self.any_host(draw) else { return };
        let notice = told.stage.payment(&told.purchase, draw);
        let forged = notice.sign(keys().0, Sending::flawed(now(), Flaw::WrongKey), draw);
        if self.send(&host, &forged.expect("a message")).await == Some(true) {
            self.believed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the books hold: orders, messages with ids of their own, posts answered with success.
    pub(crate) fn books(&self) -> (i64, i64, i64) {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |(orders, messages, posts): (i64, i64, i64), noted: &Noted| {
            let more = i64::try_from(noted.messages).unwrap_or(i64::MAX);
            let posts = posts.saturating_add(noted.acknowledged);
            (orders.saturating_add(1), messages.saturating_add(more), posts)
        };
        books.values().fold((0, 0, 0), sum)
    }

    /// Forgeries that were answered with success.
    pub(crate) fn believed(&self) -> u64 {
        self.believed.load(Ordering::Relaxed)
    }

    async fn register(&self, told: &Told, draw: &mut Draw) {
        let order = told.stage.order(&told.purchase);
        let body = json!({ "amount_minor": order.amount.minor, "currency": "CNY",
            "state": order.state });
        loop {
            if let Some(host) = self.any_host(draw) {
                let url = format!("{}/orders/PRODUCT_ORDER/{}", host.private, order.order_no);
                let sent = self.http.put(url).bearer_auth(TOKEN).json(&body).send().await;
                if sent.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    async fn post_until_acknowledged(&self, (notice, order_no): (&Notice, &str), draw: &mut Draw) {
        loop {
            if let Some(host) = self.any_host(draw) {
                let message = notice.sign(keys().0, Sending::genuine(now()), draw);
                let message = message.expect("a signed message");
                if self.post(&host, &message).await {
                    let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
                    let noted = books.get_mut(order_no).expect("it is in the books");
                    noted.acknowledged = noted.acknowledged.saturating_add(1);
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Posts once; whether the answer is the gateway's success. What is not is counted.
    pub(crate) async fn post(&self, host: &Addresses, message: &Message) -> bool {
        let Some(success) = self.send(host, message).await else { return false };
        if !success {
            self.declined.fetch_add(1, Ordering::Relaxed);
        }
        success
    }

    /// Posts once; whether the answer is the gateway's success, where there is one.
    async fn send(&self, host: &Addresses, message: &Message) -> Option<bool> {
        let mut request = self.http.post(format!("{}{}", host.public, message.path));
        for (name, value) in &message.headers {
            request = request.header(name, value);
        }
        let response = request.body(message.body.clone()).send().await.ok()?;
        let status = response.status().as_u16();
        let body = response.text().await.ok()?;
        Some(status == 200 && (body.is_empty() || body == "success"))
    }

    fn any_host(&self, draw: &mut Draw) -> Option<Addresses> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let live: Vec<_> = hosts.iter().flatten().collect();
        let place = draw.below(u64::try_from(live.len().max(1)).unwrap_or(1));
        live.get(usize::try_from(place).unwrap_or(0)).map(|host| (*host).clone())
    }

    /// Waits until everything is worked on, and holds the database against the books; tells how
    /// many orders that were.
    ///
    /// Whatever differs is a promise broken, so the story ends there.
    pub(crate) async fn hold_against(&self, url: &str) -> usize {
        let settings = Settings { url: url.to_owned(), ..Settings::default() };
        let store = Store::open(&settings).await.expect("the same database");
        let mut counts = Counts::default();
        for _ in 0..LOOKS {
            counts = store.counts().await.expect("a read");
            if counts == Counts::default() {
                break;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        assert_eq!(counts, Counts::default(), "seed {}: this is left undone", self.seed);
        assert_eq!(self.believed(), 0, "seed {}: forgeries were believed", self.seed);
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (order_no, noted) in &books {
            let seed = self.seed;
            let view = store.order("PRODUCT_ORDER", order_no).await.expect("a read");
            let view = view.unwrap_or_else(|| panic!("seed {seed}: order {order_no} is gone"));
            let ledger =
                DocumentRef { collection: "ledger".to_owned(), key: noted.transaction_id.clone() };
            let entries = store.documents("PRODUCT_ORDER", &[ledger]).await.expect("a read");
            let entry = entries.into_iter().flatten().next().map(|entry| entry.version);
            let problem = difference(&view, noted, entry);
            assert_eq!(problem, None, "seed {seed}, order {order_no}: {noted:?}\n{view:#?}");
        }
        store.close().await;
        books.len()
    }
}

/// What is not as it must be about an order, if anything.
fn difference(view: &OrderView, noted: &Noted, ledger: Option<i64>) -> Option<&'static str> {
    let effects = view.history.iter().filter(|entry| entry.effect != Effect::None).count();
    let state = view.document.state.as_ref().map_or("", |state| state.as_str());
    let seen: i64 = view.notifications.iter().map(|stored| stored.seen).sum();
    [
        (state == "TO_BE_DELIVERED", "it is not paid"),
        (view.document.version == 2, "it was not written once"),
        (effects == 1, "its history has not one transition"),
        (view.events.len() == 1, "it has not one event"),
        (ledger == Some(1), "its ledger entry was not written once"),
        (view.notifications.len() == noted.messages, "its messages are not stored once each"),
        (seen >= noted.acknowledged, "an acknowledged message is missing"),
    ]
    .into_iter()
    .find_map(|(holds, problem)| (!holds).then_some(problem))
}

/// A gateway's patience.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause before a message is sent again.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// How often the rest of the work is looked at: two minutes.
const LOOKS: u32 = 6000;
