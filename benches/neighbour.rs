//! What a bad neighbour costs: the real binary under a constant load of good callbacks, beside
//! which, in turn, a plugin of another business loops for ever, eats memory, and traps, each with
//! callbacks of its own.
//!
//! `cargo bench --bench neighbour -- seconds=20 engine.guest_nice=0` sets how long each turn takes
//! and any key of the configuration.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark ends where something is wrong, and prints ratios"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use callgate_trigger::cases::Stage;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::{Message, Sending};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

#[path = "../tests/suite/guest_text.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod guest_text;
#[path = "../tests/suite/hosts.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod hosts;
#[path = "../tests/suite/house.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod house;

use guest_text::{attacking, guest};
use hosts::{Addresses, Host};
use house::{OPERATOR, TOKEN, keys, now, plugins_toml};

/// Good callbacks a second.
const GOOD_PER_S: u32 = 100;

/// Callbacks a second for the bad neighbour.
const BAD_PER_S: u32 = 50;

/// A business with a plugin that does harm: its name, its channel, its guest and what that does.
const BAD: [(&str, Channel, &str, &str); 3] = [
    ("LOOPS", Channel::AlipayMain, "test/loops", "loop.wat"),
    ("EATS", Channel::AlipayCert, "test/eater", "grow_memory.wat"),
    ("TRAPS", Channel::WechatV2Main, "test/traps", "trap.wat"),
];

/// Payments through one channel, of orders that are registered.
#[derive(Clone)]
struct Stream {
    place: Addresses,
    http: reqwest::Client,
    stage: Stage,
    business: &'static str,
    /// The state that orders begin in, where it is not the mall's.
    begins: Option<&'static str>,
}

impl Stream {
    fn new(place: &Addresses, (business, channel): (&'static str, Channel)) -> Self {
        let stage = Stage::new(&keys().0.accounts, channel, now());
        let begins = (business != "PRODUCT_ORDER").then_some("OPEN");
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Self { place: place.clone(), http, stage, business, begins }
    }

    /// Registers so many orders and signs their payments.
    async fn prepare(&self, seed: u64, count: u32) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut registering = JoinSet::new();
        for number in 0..count {
            let mut draw = Draw::branch(seed, number);
            let purchase = self.stage.purchase(&mut draw).numbered(number.into());
            let order = self.stage.order(&purchase);
            let state = self.begins.unwrap_or(order.state);
            let body =
                json!({ "amount_minor": order.amount.minor, "currency": "CNY", "state": state });
            let (place, business) = (&self.place.private, self.business);
            let url = format!("{place}/orders/{business}/{}", order.order_no);
            let request = self.http.put(url).bearer_auth(TOKEN).json(&body);
            registering.spawn(async move {
                assert!(request.send().await.expect("an answer").status().is_success());
            });
            if registering.len() >= 32 {
                registering.join_next().await;
            }
            let notice = self.stage.payment(&purchase, &mut draw);
            let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw);
            messages.push(message.expect("a signed message"));
        }
        registering.join_all().await;
        messages
    }

    /// Posts at a constant rate, whatever the answers; tells how long each answer took.
    async fn post(self, messages: Vec<Message>, per_s: u32) -> Vec<Duration> {
        let mut posting = JoinSet::new();
        let mut beat = tokio::time::interval(Duration::from_secs(1) / per_s);
        for message in messages {
            beat.tick().await;
            let mut request = self.http.post(format!("{}{}", self.place.public, message.path));
            for (name, value) in &message.headers {
                request = request.header(name, value);
            }
            let request = request.body(message.body);
            posting.spawn(async move {
                let begun = Instant::now();
                let answer = request.send().await.expect("an answer");
                assert_eq!(answer.status(), 200);
                answer.bytes().await.expect("a body");
                begun.elapsed()
            });
        }
        posting.join_all().await
    }
}

/// What one turn showed of the good ones.
struct Turn {
    name: &'static str,
    answers: Vec<f64>,
    effects: Vec<f64>,
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

async fn get(place: &Addresses, path: &str) -> Value {
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let request = http.get(format!("{}/operator/{path}", place.private)).bearer_auth(OPERATOR);
    request.send().await.expect("an answer").json().await.expect("JSON")
}

/// Milliseconds from arrival to effect of every good notification since a moment.
async fn effects(place: &Addresses, since_ms: i64) -> Vec<f64> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!(
            "notifications?business=PRODUCT_ORDER&received_from_ms={since_ms}&limit=200{cursor}"
        );
        let page = get(place, &path).await;
        for one in page["notifications"].as_array().expect("a list") {
            let (Some(came), Some(done)) =
                (one["received_at_ms"].as_i64(), one["finished_at_ms"].as_i64())
            else {
                // Not done yet: look again at everything.
                tokio::time::sleep(Duration::from_millis(200)).await;
                found.clear();
                break;
            };
            assert_eq!(one["state"], "done", "{one}");
            found.push((done - came) as f64);
        }
        match page["next_cursor"].as_str() {
            _ if found.is_empty() => cursor.clear(),
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

async fn turn(
    (good, bad): (&Stream, Option<&Stream>),
    (name, number, seconds): (&'static str, u64, u32),
) -> Turn {
    let messages = good.prepare(number, GOOD_PER_S * seconds).await;
    let harm = match bad {
        Some(bad) => Some((bad.clone(), bad.prepare(number, BAD_PER_S * seconds).await)),
        None => None,
    };
    let since_ms = now().as_ms();
    let harm = harm.map(|(bad, messages)| tokio::spawn(bad.post(messages, BAD_PER_S)));
    let answers = good.clone().post(messages, GOOD_PER_S).await;
    if let Some(harm) = harm {
        harm.await.expect("the bad ones are answered too");
    }
    let answers = answers.iter().map(|took| took.as_secs_f64() * 1000.0).collect();
    let effects = effects(&good.place, since_ms).await;
    Turn { name, answers: sorted(answers), effects: sorted(effects) }
}

fn print(turns: &[Turn]) {
    println!(
        "| neighbour | callbacks | answer p50 ms | p99 ms | times | effect p50 ms | p99 ms | times |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let before = &turns[0];
    for Turn { name, answers, effects } in turns {
        let answer = (percentile(answers, 50), percentile(answers, 99));
        let effect = (percentile(effects, 50), percentile(effects, 99));
        println!(
            "| {name} | {} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} |",
            answers.len(),
            answer.0,
            answer.1,
            answer.1 / percentile(&before.answers, 99),
            effect.0,
            effect.1,
            effect.1 / percentile(&before.effects, 99).max(1.0),
        );
    }
}

async fn run(seconds: u32, flags: Vec<String>) {
    let folder = TempDir::new().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("callgate.db").display());
    let mut flags = flags;
    let mut more = plugins_toml().expect("the processors of the mall: run `cargo xtask plugins`");
    for (business, channel, name, attack) in BAD {
        let file = folder.path().join(format!("{business}.wasm"));
        let component = guest((name, business), &attacking(attack));
        std::fs::write(&file, component).expect("a component");
        let hash = callgate::inbound::tokens::hash_text(TOKEN);
        more.push_str(&format!(
            "[businesses.{business}]\ntoken_sha256 = [\"{hash}\"]\nallow_unsigned = true\n[plugins.{business}]\n\
             file = {:?}\nbusinesses = [\"{business}\"]\n",
            file.display().to_string()
        ));
        flags.push(format!("channels.{}.business={business}", channel.name()));
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut host = Host::new(&url, &flags).expect("the processors of the mall");
    host.configure(&more);
    let place = host.start();
    let good = Stream::new(&place, ("PRODUCT_ORDER", Channel::WechatV3Main));
    // Caches and connections are warm, and the first turn is no colder than the others.
    turn((&good, None), ("warm-up", 1, 2)).await;
    let mut turns = vec![turn((&good, None), ("none", 2, seconds)).await];
    for (number, (business, channel, _, attack)) in (3..).zip(BAD) {
        let bad = Stream::new(&place, (business, channel));
        let name = attack.trim_end_matches(".wat");
        turns.push(turn((&good, Some(&bad)), (name, number, seconds)).await);
    }
    turns.push(turn((&good, None), ("none again", 9, seconds)).await);
    print(&turns);
    for gate in get(&place, "bulkheads").await["bulkheads"].as_array().expect("a list") {
        println!("{} {} held {}", gate["plugin"], gate["state"], gate["held"]);
    }
}

fn main() {
    let mut seconds = 20;
    let mut flags = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("seconds", value)) => seconds = value.parse().expect("a number"),
            Some(_) => flags.push(argument),
            // What cargo adds.
            None => {}
        }
    }
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("a runtime"));
    runtime.block_on(run(seconds, flags));
}
