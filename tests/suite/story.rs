//! The long story: callbacks are lost, doubled, out of order, refused and sent again on the
//! gateways' schedules; the platform's certificate changes in the middle; gateways answer late,
//! wrongly or not at all, and fail for a while; in the end every order is as the gateways' books
//! say, with one effect each, and nobody was asked more than the schedule allows.

use std::collections::BTreeMap;
use std::time::Duration;

use callgate::clock::Clock;
use callgate::inbound::asking::AskSettings;
use callgate_core::time::Timestamp;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::{Message, Notice};
use callgate_trigger::purchase::Purchase;
use callgate_trigger::wechat_v3::KeyMode;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::erp::databases;
use crate::house::now;
use crate::market::{ASKABLE, Market};
use crate::standin::{Asked, Callbacks, Manner, Paid, StandIn, What};

/// Orders of the story; `CALLGATE_STORY_ORDERS` names another number.
const ORDERS: usize = 240;

/// Orders of the story whose house is told of new certificates by a person.
const ORDERS_OF_A_RELOAD: usize = 60;

const SECOND: i64 = 1_000;

const MINUTE: i64 = 60_000;

/// What becomes of an order at its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Paid,
    Closed,
    /// The payer was asked to pay and never did.
    Left,
    /// The payer never came that far: the gateway knows nothing.
    Nowhere,
}

struct Order {
    channel: Channel,
    purchase: Purchase,
    fate: Fate,
}

/// How the house comes to a new certificate of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learns {
    /// It asks for it, and has none in its configuration.
    ByAsking,
    /// Somebody writes it into the configuration, beside the old one.
    ByReload,
}

/// A story under way.
struct Story {
    market: Market,
    learns: Learns,
    draw: Draw,
    orders: Vec<Order>,
    callbacks: Callbacks,
}

impl Story {
    async fn begin(
        database: (String, Option<TempDir>),
        hosts: usize,
        learns: Learns,
    ) -> Option<Self> {
        let clock = Clock::manual(now());
        let standin = StandIn::start(clock.clone()).await;
        let serial = standin.keys().accounts.wechat_certificate_serial.clone();
        let toml = standin.toml(&ASKABLE, FAST);
        let flags = match learns {
            Learns::ByAsking => &FETCHED[..],
            Learns::ByReload => &[],
        };
        let parts = (clock, standin, toml.as_str());
        let market = Market::with_flags(database, hosts, parts, flags).await?;
        market.knows(&serial).await;
        let (draw, orders) = (Draw::seeded(2026), Vec::new());
        let callbacks = Callbacks::new().unheard(4);
        Some(Self { market, learns, draw, orders, callbacks })
    }

    /// Payers come: orders are registered and paid, and their gateways have callbacks to tell. Of
    /// each hundred twenty are lost, twenty doubled, ten late.
    async fn payers(&mut self, count: usize) {
        let orders: Vec<Order> = (0..count).map(|_| self.order()).collect();
        let market = &self.market;
        let register = |one: &Order| {
            let (purchase, more) = (one.purchase.clone(), json!({ "channel": one.channel.name() }));
            async move { market.register(&purchase, &more).await }
        };
        futures_util::stream::iter(orders.iter().map(register))
            .buffer_unordered(32)
            .collect::<Vec<()>>()
            .await;
        for (number, order) in orders.iter().enumerate() {
            if order.fate == Fate::Paid {
                self.market.standin.pay(&order.purchase.order_no);
                self.callback(order, number);
            }
        }
        self.orders.extend(orders);
    }

    fn order(&mut self) -> Order {
        let draw = &mut self.draw;
        let channel = match draw.below(5) {
            0 => [Channel::WechatV2Hmac, Channel::WechatV2Main][usize::from(draw.below(2) == 0)],
            1 => Channel::AlipayMain,
            _ => Channel::WechatV3Main,
        };
        let fate = match draw.below(20) {
            0..14 => Fate::Paid,
            14..16 => Fate::Closed,
            16..18 => Fate::Left,
            _ => Fate::Nowhere,
        };
        let purchase = self.market.stage(channel).purchase(draw);
        if fate != Fate::Nowhere {
            self.market.standin.order(&purchase);
        }
        Order { channel, purchase, fate }
    }

    /// Half of the callbacks are sent at once, and half when half a minute has passed.
    fn callback(&mut self, order: &Order, number: usize) {
        let draw = &mut self.draw;
        let notice = match self.market.stage(order.channel).payment(&order.purchase, draw) {
            Notice::WechatV3(notice) => Notice::WechatV3(notice.signed_by(KeyMode::Certificate)),
            other @ (Notice::WechatV2(_) | Notice::Alipay(_)) => other,
        };
        let half = if number.is_multiple_of(2) { 0 } else { 31 * SECOND };
        let at = self.market.clock.now().plus_ms(half);
        match draw.below(10) {
            0 | 1 => {}
            2 | 3 => {
                self.callbacks.put(notice.clone(), at);
                self.callbacks.put(notice, at);
            }
            4 => self.callbacks.put(notice, at.plus_ms(20 * SECOND)),
            _ => self.callbacks.put(notice, at),
        }
    }

    /// Lets time pass: gateways post when their time comes, and in the end all is done that can be.
    async fn live(&mut self, ms: i64) {
        let rest = self.until_near(ms).await;
        self.market.pass_badly(rest).await;
    }

    /// The same where gateways let everything be done that is due: only what is not done is waited
    /// for.
    async fn live_well(&mut self, ms: i64) {
        let rest = self.until_near(ms).await;
        self.market.clock.advance_ms(rest);
        self.market.rest().await;
    }

    /// Lets time pass until nothing more is posted before its end; tells what is left of it.
    async fn until_near(&mut self, ms: i64) -> i64 {
        let end = self.market.clock.now().plus_ms(ms);
        self.deliver().await;
        while let Some(at) = self.callbacks.next_at().filter(|at| *at < end) {
            self.market.rest().await;
            self.market.clock.advance_ms(at.ms_since(self.market.clock.now()));
            self.deliver().await;
        }
        self.market.rest().await;
        end.ms_since(self.market.clock.now())
    }

    async fn deliver(&mut self) {
        let (market, keys) = (&self.market, self.market.standin.keys());
        let moment = (&*keys, market.clock.now());
        let post = async |turn: usize, message: Message| market.try_post(&message, turn).await;
        self.callbacks.deliver(moment, &mut self.draw, post).await;
    }

    /// The platform's certificate changes, and whoever does not know the new one yet refuses what
    /// it signed.
    fn rotate(&self) {
        let (market, folder) = (&self.market, crate::house::keys().1);
        let serial = market.standin.rotate();
        if self.learns == Learns::ByReload {
            let path = folder.join(format!("{serial}.crt.pem"));
            std::fs::write(&path, market.standin.certificate()).expect("a file");
            let known = "platform_certificate_files = [";
            market.edit(|text| text.replace(known, &format!("{known}{path:?}, ")));
        }
    }

    async fn play(mut self, count: usize) {
        let first = count.saturating_mul(3) / 5;
        self.payers(first).await;
        self.market.standin.mood(fickle());
        self.live(30 * SECOND).await;
        let (early, late) = (self.callbacks.told().clone(), self.callbacks.waiting());
        self.rotate();
        for _ in 0..9 {
            self.live(2 * MINUTE).await;
        }
        let refused = self.callbacks.told().refused.get(&401).copied().unwrap_or(0);
        let again = self.callbacks.told().taken_after_refusal;
        assert!(
            early.refused.is_empty() && refused > 0 && again > 0,
            "{:?}",
            self.callbacks.told()
        );
        self.payers(count.saturating_sub(first)).await;
        // Every gateway fails, for forty minutes: some do not answer, some want to be left in peace.
        let mut turn = 0_u32;
        self.market.standin.mood(move |_| {
            turn = turn.wrapping_add(1);
            Manner::Status(if turn.is_multiple_of(2) { 503 } else { 429 })
        });
        let before = self.market.standin.asked().len();
        for _ in 0..20 {
            self.live(2 * MINUTE).await;
        }
        let in_outage = self.market.standin.asked().len().saturating_sub(before);
        for order in self.orders.iter().filter(|order| order.fate == Fate::Closed) {
            self.market.standin.close(&order.purchase.order_no);
        }
        self.market.standin.mood(fickle());
        for _ in 0..15 {
            self.live(MINUTE).await;
        }
        for _ in 0..26 {
            self.live(10 * MINUTE).await;
        }
        self.market.standin.mood(|_| Manner::Well);
        self.live(10 * MINUTE).await;
        for _ in 0..48 {
            self.live_well(30 * MINUTE).await;
        }
        self.end(&format!(
            "{late} callbacks when the key changed, {in_outage} questions in the outage"
        ))
        .await;
    }

    async fn end(self, words: &str) {
        let Self { market, learns, orders, callbacks, .. } = self;
        let told = callbacks.told();
        assert_eq!((callbacks.waiting(), told.given_up), (0, 0), "{told:?}");
        let asked = market.standin.asked();
        let most = check_questions(&asked);
        let certificates = asked.iter().filter(|one| one.what == What::Certificates).count();
        assert_eq!(learns == Learns::ByAsking, certificates > 1, "{certificates} questions");
        let checks = orders.iter().map(|order| check_order(&market, order));
        futures_util::stream::iter(checks).buffer_unordered(16).collect::<Vec<()>>().await;
        eprintln!(
            "{} orders on {} host(s), {}, certificates {learns:?}: {words}; in all {} questions \
             ({certificates} for certificates), at most {most} about one order; {told:?}",
            orders.len(),
            market.servers.len(),
            market.url.split(':').next().unwrap_or_default(),
            asked.len(),
        );
        market.stop().await;
    }
}

/// Of twenty questions about orders five are answered late, wrongly or not at all.
fn fickle() -> impl FnMut(&Asked) -> Manner {
    let mut draw = Draw::seeded(20);
    move |asked| match draw.below(20) {
        _ if asked.what == What::Certificates => Manner::Well,
        0 => Manner::Late(Duration::from_millis(30)),
        1 => Manner::Never,
        2 => Manner::Forged,
        3 => Manner::Another,
        4 => Manner::Garbage,
        _ => Manner::Well,
    }
}

/// No order was asked about more often than the schedule says, nor sooner, by whichever host.
fn check_questions(asked: &[Asked]) -> usize {
    let mut times: BTreeMap<&What, Vec<Timestamp>> = BTreeMap::new();
    for one in asked {
        assert!(one.genuine, "{one:?}");
        times.entry(&one.what).or_default().push(one.at);
    }
    times.remove(&What::Certificates);
    let schedule = AskSettings::default().schedule();
    let allowed = usize::try_from(schedule.questions_max()).expect("a number");
    for (what, times) in &times {
        assert!(times.len() <= allowed, "{what:?} was asked {} times", times.len());
        for pair in times.windows(2) {
            let gap = pair[1].ms_since(pair[0]);
            assert!(gap >= i64::from(schedule.first_ms), "{what:?} again: {times:?}");
        }
    }
    times.values().map(Vec::len).max().unwrap_or(0)
}

async fn check_order(market: &Market, order: &Order) {
    let order_no = &order.purchase.order_no;
    let shown = market.look(order_no).await;
    agrees(&shown, market.standin.paid(order_no));
}

/// An order is as the books say, and became so once.
pub(crate) fn agrees(shown: &Value, paid: Option<Paid>) {
    let (state, effects) = match paid {
        Some(Paid::Success) => ("TO_BE_DELIVERED", 1),
        Some(Paid::Closed) => ("CLOSED", 1),
        Some(Paid::Not) | None => ("TO_BE_PAID", 0),
    };
    assert_eq!(shown["state"], state, "{paid:?} {shown:#}");
    let moved = shown["history"].as_array().expect("a history").len();
    assert_eq!(moved, effects, "{paid:?} {shown:#}");
    assert_eq!(shown["events"].as_array().map(Vec::len), Some(effects), "{shown:#}");
}

fn orders() -> usize {
    let named = std::env::var_os("CALLGATE_STORY_ORDERS");
    named.map_or(ORDERS, |text| text.to_string_lossy().parse().expect("a number of orders"))
}

/// As fast as the story goes: how many may be asked is another story.
const FAST: &str = "per_minute = 1000000\nburst = 10000\nplaces = 32\ntimeout_ms = 400";

/// WeChat's channel has no key of the platform but what it is handed.
const FETCHED: [&str; 3] = [
    "channels.wechat-v3-main.fetch_certificates=true",
    "channels.wechat-v3-main.platform_certificate_files=[]",
    "channels.wechat-v3-main.public_keys=[]",
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_callbacks_every_order_is_as_the_books_say() {
    for (number, database) in databases().await.into_iter().enumerate() {
        // On PostgreSQL two hosts share the work.
        let hosts = number.saturating_add(1);
        let Some(story) = Story::begin(database, hosts, Learns::ByAsking).await else { return };
        story.play(orders()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_comes_true_where_a_person_writes_the_new_certificate_down() {
    let database = databases().await.into_iter().next().expect("a database");
    let Some(story) = Story::begin(database, 1, Learns::ByReload).await else { return };
    story.play(ORDERS_OF_A_RELOAD).await;
}
