//! The long story: callbacks are lost, doubled and out of order, the platform's key changes in the
//! middle, gateways fail for a while; in the end every order is as the gateways' books say, with
//! one effect each, and nobody was asked more than the schedule allows.

use std::collections::BTreeMap;

use callgate::inbound::asking::AskSettings;
use callgate_core::time::Timestamp;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::{Message, Notice, Sending};
use callgate_trigger::purchase::Purchase;
use callgate_trigger::wechat_v3::KeyMode;
use futures_util::StreamExt as _;
use serde_json::json;

use crate::erp::databases;
use crate::market::Market;
use crate::standin::{Asked, Manner, Paid, What};

/// Orders of the story; `CALLGATE_STORY_ORDERS` names another number.
const ORDERS: usize = 240;

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

struct Told {
    channel: Channel,
    purchase: Purchase,
    fate: Fate,
}

/// A callback on its way, and how often it is sent.
struct Sent {
    notice: Notice,
    times: usize,
}

async fn registered(market: &Market, count: usize, draw: &mut Draw) -> Vec<Told> {
    let mut orders = Vec::with_capacity(count);
    for _ in 0..count {
        let channel = match draw.below(5) {
            0 => Channel::WechatV2Hmac,
            1 => Channel::AlipayMain,
            _ => Channel::WechatV3Main,
        };
        let fate = match draw.below(20) {
            0..14 => Fate::Paid,
            14..16 => Fate::Closed,
            16..18 => Fate::Left,
            _ => Fate::Nowhere,
        };
        let purchase = market.stage(channel).purchase(draw);
        if fate != Fate::Nowhere {
            market.standin.order(&purchase);
        }
        orders.push(Told { channel, purchase, fate });
    }
    let register = |one: &Told| {
        let (purchase, more) = (one.purchase.clone(), json!({ "channel": one.channel.name() }));
        async move { market.register(&purchase, &more).await }
    };
    futures_util::stream::iter(orders.iter().map(register))
        .buffer_unordered(32)
        .collect::<Vec<()>>()
        .await;
    orders
}

/// The callbacks of payments: of each hundred twenty are lost, twenty doubled, ten late.
fn callbacks(market: &Market, orders: &[Told], draw: &mut Draw) -> Vec<Sent> {
    let (mut in_time, mut late) = (Vec::new(), Vec::new());
    for order in orders.iter().filter(|order| order.fate == Fate::Paid) {
        let notice = match market.stage(order.channel).payment(&order.purchase, draw) {
            Notice::WechatV3(notice) => Notice::WechatV3(notice.signed_by(KeyMode::Certificate)),
            other @ (Notice::WechatV2(_) | Notice::Alipay(_)) => other,
        };
        match draw.below(10) {
            0 | 1 => {}
            2 | 3 => in_time.push(Sent { notice, times: 2 }),
            4 => late.push(Sent { notice, times: 1 }),
            _ => in_time.push(Sent { notice, times: 1 }),
        }
    }
    draw.shuffle(&mut in_time);
    in_time.extend(late);
    in_time
}

/// Sends callbacks, some at once; tells how many were taken and how many refused.
async fn send(market: &Market, sent: &[Sent], draw: &mut Draw) -> BTreeMap<u16, usize> {
    let keys = market.standin.keys();
    let mut messages = Vec::new();
    for Sent { notice, times } in sent {
        for _ in 0..*times {
            let sending = Sending::genuine(market.clock.now());
            messages.push(notice.sign(&keys, sending, draw).expect("a signed message"));
        }
    }
    let post = |(turn, message): (usize, &Message)| {
        let message = message.clone();
        async move { market.post(&message, turn).await }
    };
    let answers = futures_util::stream::iter(messages.iter().enumerate().map(post));
    let mut statuses = BTreeMap::new();
    for status in answers.buffer_unordered(16).collect::<Vec<u16>>().await {
        let count: &mut usize = statuses.entry(status).or_default();
        *count = count.saturating_add(1);
    }
    statuses
}

async fn play(market: Market, count: usize) {
    let mut draw = Draw::seeded(2026);
    let orders = registered(&market, count, &mut draw).await;
    for order in &orders {
        match order.fate {
            Fate::Paid => market.standin.pay(&order.purchase.order_no),
            Fate::Closed | Fate::Left | Fate::Nowhere => {}
        }
    }
    let sent = callbacks(&market, &orders, &mut draw);
    let (before, after) = sent.split_at(sent.len() / 2);
    let early = send(&market, before, &mut draw).await;
    market.pass(30_000).await;
    // The key changes; whoever does not know the new one yet refuses what it signed.
    market.standin.rotate();
    let later = send(&market, after, &mut draw).await;
    // Every gateway fails, for forty minutes: some do not answer, some want to be left in peace.
    let mut turn = 0_u32;
    market.standin.mood(move |_| {
        turn = turn.wrapping_add(1);
        Manner::Status(if turn.is_multiple_of(2) { 503 } else { 429 })
    });
    for _ in 0..20 {
        market.pass_badly(2 * MINUTE).await;
    }
    let in_outage = market.standin.asked().len();
    for order in orders.iter().filter(|order| order.fate == Fate::Closed) {
        market.standin.close(&order.purchase.order_no);
    }
    market.standin.mood(|_| Manner::Well);
    for _ in 0..15 {
        market.pass_badly(MINUTE).await;
    }
    for _ in 0..26 {
        market.pass(10 * MINUTE).await;
    }
    for _ in 0..48 {
        market.pass(30 * MINUTE).await;
    }
    let asked = market.standin.asked();
    let most = check_questions(&asked);
    let checks = orders.iter().map(|order| check_order(&market, order));
    futures_util::stream::iter(checks).buffer_unordered(16).collect::<Vec<()>>().await;
    eprintln!(
        "{count} orders on {} host(s), {}: callbacks before the new key {early:?}, after it \
         {later:?}; {} questions, {in_outage} of them in the outage, at most {most} about one order",
        market.servers.len(),
        market.url.split(':').next().unwrap_or_default(),
        asked.len(),
    );
    market.stop().await;
}

/// No order was asked about more often than the schedule says, nor sooner, by whichever host.
fn check_questions(asked: &[Asked]) -> usize {
    let mut times: BTreeMap<&What, Vec<Timestamp>> = BTreeMap::new();
    for one in asked.iter().filter(|one| one.what != What::Certificates) {
        assert!(one.genuine, "{one:?}");
        times.entry(&one.what).or_default().push(one.at);
    }
    let schedule = AskSettings::default().schedule();
    let allowed = usize::try_from(schedule.questions_max()).expect("a number");
    for (what, times) in &times {
        assert!(times.len() <= allowed, "{what:?} was asked {} times", times.len());
        for pair in times.windows(2) {
            let gap = pair[1].ms_since(pair[0]);
            assert!(gap >= i64::from(schedule.first_ms), "{what:?} again after {gap} ms");
        }
    }
    times.values().map(Vec::len).max().unwrap_or(0)
}

async fn check_order(market: &Market, order: &Told) {
    let order_no = &order.purchase.order_no;
    let shown = market.look(order_no).await;
    let (state, effects) = match market.standin.paid(order_no) {
        Some(Paid::Success) => ("TO_BE_DELIVERED", 1),
        Some(Paid::Closed) => ("CLOSED", 1),
        Some(Paid::Not) | None => ("TO_BE_PAID", 0),
    };
    assert_eq!(shown["state"], state, "{:?} {shown:#}", order.fate);
    let moved = shown["history"].as_array().expect("a history").len();
    assert_eq!(moved, effects, "{:?} {shown:#}", order.fate);
    assert_eq!(shown["events"].as_array().map(Vec::len), Some(effects), "{shown:#}");
}

fn orders() -> usize {
    let named = std::env::var_os("CALLGATE_STORY_ORDERS");
    named.map_or(ORDERS, |text| text.to_string_lossy().parse().expect("a number of orders"))
}

/// As fast as the story goes: how many may be asked is another story.
const FAST: &str = "per_minute = 1000000\nburst = 10000\nplaces = 32";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_callbacks_every_order_is_as_the_books_say() {
    for (number, database) in databases().await.into_iter().enumerate() {
        // On PostgreSQL two hosts share the work.
        let hosts = number.saturating_add(1);
        let Some(market) = Market::start(database, hosts, FAST).await else { return };
        play(market, orders()).await;
    }
}
