//! Hosts die between a gateway's answer and its storing, by SIGKILL, again and again: nothing that
//! was told is lost or has its effect twice, and nobody is asked more than the schedule allows.
//!
//! The gateway keeps its answers back until the story has chosen its moment. In every other round a
//! lock on the database is in the way of storing, so that the host dies with the answer in its hand;
//! in the others it dies on hearing nothing, or so many moments after the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use callgate::clock::Clock;
use callgate_core::asking::Schedule;
use callgate_core::time::Timestamp;
use callgate_trigger::cases::Stage;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::Message;
use callgate_trigger::purchase::Purchase;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tempfile::TempDir;

use crate::erp::databases;
use crate::hosts::{Addresses, Host};
use crate::house::{TOKEN, keys, now, plugins_toml};
use crate::market::{self, ASKABLE, post};
use crate::standin::{Callbacks, StandIn, What};
use crate::story::agrees;

/// When a host dies, counted from the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before there is an answer.
    Unanswered,
    /// The answer is out, and what it tells cannot be stored yet.
    Unstored,
    /// So many milliseconds after the answer.
    AfterMs(u64),
}

/// Each time another host dies, or all of them.
const MOMENTS: [Moment; 12] = [
    Moment::Unstored,
    Moment::AfterMs(0),
    Moment::Unstored,
    Moment::Unanswered,
    Moment::Unstored,
    Moment::AfterMs(1),
    Moment::Unstored,
    Moment::AfterMs(2),
    Moment::Unstored,
    Moment::AfterMs(4),
    Moment::Unstored,
    Moment::AfterMs(8),
];

/// Orders that are registered for each round.
const ORDERS_A_ROUND: usize = 4;

/// How the gateways are asked here: soon, and then as rarely as usual.
const SCHEDULE: Schedule =
    Schedule { first_ms: 200, growth_percent: 300, max_ms: 60_000, give_up_ms: 600_000 };

struct Field {
    url: String,
    clock: Clock,
    standin: Arc<StandIn>,
    hosts: Vec<Host>,
    /// Where they listen; `None` where one is dead.
    at: Vec<Option<Addresses>>,
    http: reqwest::Client,
    callbacks: Callbacks,
    draw: Draw,
    orders: Vec<Purchase>,
    /// Those of which a callback tells, too.
    called: BTreeSet<String>,
    _folder: Option<TempDir>,
}

impl Field {
    async fn start((url, _folder): (String, Option<TempDir>), count: usize) -> Option<Self> {
        let clock = Clock::system();
        let standin = StandIn::start(clock.clone()).await;
        let Schedule { first_ms, growth_percent, max_ms, give_up_ms } = SCHEDULE;
        let ask = format!(
            "first_ms = {first_ms}\ngrowth_percent = {growth_percent}\nmax_ms = {max_ms}\n\
             give_up_ms = {give_up_ms}\ntimeout_ms = 5000\nplaces = 16"
        );
        let toml = format!("{}{}", plugins_toml()?, standin.toml(&ASKABLE, &ask));
        let (mut hosts, mut at) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let mut host = Host::with(&url, &toml, &["engine.poll_ms=50", "engine.lease_ms=2000"]);
            at.push(Some(host.start()));
            hosts.push(host);
        }
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        Some(Self {
            url,
            clock,
            standin,
            hosts,
            at,
            http: http.build().expect("a client"),
            // A day of repeats in a minute and a half.
            callbacks: Callbacks::new().faster(NonZeroU32::new(1_000).expect("a number")),
            draw: Draw::seeded(99),
            orders: Vec::new(),
            called: BTreeSet::new(),
            _folder,
        })
    }

    /// Orders that are paid. Callbacks tell of half of them, but of none where an answer is to be
    /// lost: it alone tells of its order.
    async fn payers(&mut self, moment: Moment) {
        for number in 0..ORDERS_A_ROUND {
            let place = usize::try_from(self.draw.below(4)).expect("a channel");
            let channel = ASKABLE[place];
            let stage = Stage::new(&keys().0.accounts, channel, now());
            let purchase = stage.purchase(&mut self.draw);
            self.standin.order(&purchase);
            self.register(channel, &purchase).await;
            self.standin.pay(&purchase.order_no);
            if number.is_multiple_of(2) && moment != Moment::Unstored {
                self.called.insert(purchase.order_no.clone());
                let notice = stage.payment(&purchase, &mut self.draw);
                self.callbacks.put(notice, self.clock.now().plus_ms(FIRST_POST_MS));
            }
            self.orders.push(purchase);
        }
    }

    async fn register(&self, channel: Channel, purchase: &Purchase) {
        let body = json!({ "amount_minor": purchase.amount.minor, "state": "TO_BE_PAID",
            "currency": purchase.amount.currency, "channel": channel.name() });
        let url = self.order_url(&purchase.order_no);
        let answer = self.http.put(url).bearer_auth(TOKEN).json(&body).send().await;
        assert_eq!(answer.expect("an answer").status(), 201);
    }

    fn order_url(&self, order_no: &str) -> String {
        let at = self.at.iter().flatten().next().expect("a host lives");
        format!("{}/orders/PRODUCT_ORDER/{order_no}", at.private)
    }

    /// Posts the callbacks that are due; a host that is dead answers nothing.
    async fn deliver(&mut self) {
        let (keys, at, http) = (self.standin.keys(), &self.at, &self.http);
        let place = |turn: usize| at[turn.checked_rem(at.len()).unwrap_or(0)].as_ref();
        let send =
            async |turn: usize, message: Message| post(http, &place(turn)?.public, &message).await;
        self.callbacks.deliver((&keys, self.clock.now()), &mut self.draw, send).await;
    }

    /// One round; tells which orders were told of to a host that died of it.
    async fn round(&mut self, number: usize, moment: Moment) -> BTreeSet<String> {
        self.standin.hold();
        let before = self.standin.asked().len();
        self.payers(moment).await;
        let asked = self.standin.when_asked(before.saturating_add(1));
        tokio::time::timeout(PATIENCE, asked).await.expect("somebody is asked");
        let victims = self.victims(number);
        let heard = self.standin.asked()[before..].to_vec();
        let (mut lock, mut is_out) = (None, false);
        if moment == Moment::Unstored {
            lock = Some(market::lock(&self.url, "inbox").await);
        }
        if moment != Moment::Unanswered {
            let mut answered = self.standin.answered();
            let wanted = answered.borrow_and_update().saturating_add(heard.len());
            self.standin.let_go();
            let out = answered.wait_for(|count| *count >= wanted);
            // One that was kept waiting for too long is not there any more.
            is_out = tokio::time::timeout(Duration::from_secs(5), out).await.is_ok();
        }
        match moment {
            Moment::AfterMs(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            // Long enough for the answer to be read and believed; it cannot be stored.
            Moment::Unstored => tokio::time::sleep(Duration::from_millis(40)).await,
            Moment::Unanswered => {}
        }
        for victim in &victims {
            self.hosts[*victim].kill();
            self.at[*victim] = None;
        }
        if let Some(lock) = lock {
            lock.close().await.expect("the lock ends");
        }
        self.deliver().await;
        self.standin.let_go();
        for victim in &victims {
            self.at[*victim] = Some(self.hosts[*victim].start());
        }
        self.deliver().await;
        let lost = is_out && moment == Moment::Unstored && victims.len() == self.hosts.len();
        let about = heard.into_iter().filter_map(|one| match one.what {
            What::Payment(order_no) if lost => Some(order_no),
            What::Payment(_) | What::Refund(_) | What::Certificates => None,
        });
        about.collect()
    }

    /// All hosts, or one of them by turns.
    fn victims(&self, number: usize) -> Vec<usize> {
        let all = self.hosts.len();
        match (number / 4).checked_rem(all) {
            Some(turn) if !(number / 2).is_multiple_of(2) => vec![turn],
            Some(_) | None => (0..all).collect(),
        }
    }

    /// Waits until every order is as the books say and every callback was taken.
    async fn settle(&mut self) {
        let end = self.clock.now().plus_ms(i64::try_from(PATIENCE.as_millis()).expect("minutes"));
        let mut open: Vec<String> = self.orders.iter().map(|one| one.order_no.clone()).collect();
        while !open.is_empty() || self.callbacks.waiting() > 0 {
            assert!(self.clock.now() < end, "open: {open:?}, {:?}", self.callbacks.told());
            self.deliver().await;
            let mut still = Vec::new();
            for order_no in open {
                if self.look(&order_no).await["state"] != "TO_BE_DELIVERED" {
                    still.push(order_no);
                }
            }
            open = still;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn look(&self, order_no: &str) -> Value {
        let request = self.http.get(self.order_url(order_no)).bearer_auth(TOKEN);
        request.send().await.expect("an answer").json().await.expect("an order")
    }

    async fn play(mut self) {
        let mut lost = BTreeSet::new();
        for (number, moment) in MOMENTS.into_iter().enumerate() {
            lost.extend(self.round(number, moment).await);
        }
        self.settle().await;
        for order in &self.orders {
            agrees(&self.look(&order.order_no).await, self.standin.paid(&order.order_no));
        }
        let times = self.times();
        let most = times.values().map(Vec::len).max().unwrap_or(0);
        let again: Vec<&String> = lost.difference(&self.called).collect();
        assert!(!again.is_empty(), "no host died with an answer in its hand: {lost:?}");
        for order_no in &again {
            let asked = times[*order_no].len();
            assert!(asked > 1, "{order_no} was told and lost, and not asked about again");
        }
        let again = again.len();
        eprintln!(
            "{} rounds on {} host(s), {}: {} orders, {} questions, at most {most} about one; {again} \
             answers were lost with their host and asked for again; {:?}",
            MOMENTS.len(),
            self.hosts.len(),
            self.url.split(':').next().unwrap_or_default(),
            self.orders.len(),
            self.standin.asked().len(),
            self.callbacks.told(),
        );
        assert_eq!(self.callbacks.told().given_up, 0);
        for host in &mut self.hosts {
            assert!(host.stop());
        }
    }

    /// When each order was asked about, held against the schedule.
    fn times(&self) -> BTreeMap<String, Vec<Timestamp>> {
        let mut times: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        for one in self.standin.asked() {
            assert!(one.genuine, "{one:?}");
            if let What::Payment(order_no) = one.what {
                times.entry(order_no).or_default().push(one.at);
            }
        }
        let allowed = usize::try_from(SCHEDULE.questions_max()).expect("a number");
        for (order_no, times) in &times {
            assert!(times.len() <= allowed, "{order_no} was asked {} times", times.len());
            for pair in times.windows(2) {
                let gap = pair[1].ms_since(pair[0]);
                assert!(gap >= i64::from(SCHEDULE.first_ms), "{order_no} again after {gap} ms");
            }
        }
        times
    }
}

/// How long a story waits for what must come: leases of questions take 20 s to lapse.
const PATIENCE: Duration = Duration::from_secs(180);

/// From a registration to its callback: questions come first.
const FIRST_POST_MS: i64 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_told_a_host_that_died_is_asked_for_again_and_has_its_effect_once() {
    for (number, database) in databases().await.into_iter().enumerate() {
        let hosts = number.saturating_add(1);
        let Some(field) = Field::start(database, hosts).await else { return };
        field.play().await;
    }
}
