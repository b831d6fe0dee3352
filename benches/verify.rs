//! What proving a callback costs: each gateway's own messages, genuine, forged, and signed by a key
//! that nobody knows, beside one bare verification of a signature of the same kind.
//!
//! From the request's head and body to a verified notification, decryption and reading included;
//! no socket, no store. Prints the table of `README.md`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::float_arithmetic,
    reason = "a benchmark ends where something is wrong, and prints ratios"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use callgate_core::gateway::{Gateway, Refusal};
use callgate_core::request::Request;
use callgate_trigger::cases::Stage;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::{Flaw, Message, Sending};
use callgate_trigger::{channel, keys, message};
use criterion::Criterion;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

#[path = "../host/trigger/proof.rs"]
#[expect(dead_code, reason = "the stories use the rest")]
mod proof;

use proof::{NOW, keys as made, open};

/// A message as the listener hands it over.
struct Arrived {
    gateway: Arc<dyn Gateway>,
    message: Message,
    headers: HeaderMap,
}

impl Arrived {
    fn new(channel: Channel, flaw: Option<Flaw>) -> Option<Self> {
        let stage = Stage::new(&made().accounts, channel, NOW);
        let mut draw = Draw::seeded(1);
        let purchase = stage.purchase(&mut draw);
        let notice = stage.payment(&purchase, &mut draw);
        // Some gateways' messages cannot have some flaws.
        let message = notice.sign(made(), Sending { at: NOW, flaw }, &mut draw).ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in &message.headers {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Some(Self { gateway: open(made(), channel), message, headers })
    }

    fn verify(&self) -> Result<callgate_core::notification::Verified, Refusal> {
        let request = Request {
            method: "POST",
            path: &self.message.path,
            query: "",
            headers: &self.headers,
            body: &self.message.body,
        };
        self.gateway.verify(&request, NOW)
    }
}

/// Runs `act` under a name, and tells how many microseconds it takes.
fn time<T>(criterion: &mut Criterion, name: &str, mut act: impl FnMut() -> T) -> f64 {
    let (mut took, mut rounds) = (Duration::ZERO, 0u64);
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            let started = Instant::now();
            for _ in 0..count {
                black_box(act());
            }
            let one = started.elapsed();
            took += one;
            rounds += count;
            one
        });
    });
    took.as_secs_f64() * 1e6 / rounds as f64
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let text = vec![b'x'; 1200];
    let mut signature = vec![0; pair.public_key().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &text, &mut signature).unwrap();
    let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key()).unwrap();
    let bare = time(&mut criterion, "bare RSA-2048", || key.verify_sig(&text, &signature).is_ok());
    let mut lines = vec![format!("| one bare RSA-2048 verification | {bare:.1} | | |")];
    for channel in Channel::ALL {
        let flaws = [
            ("genuine", None),
            ("forged", Some(Flaw::FlippedBit)),
            ("unknown", Some(Flaw::UnknownSerial)),
        ];
        let cells = flaws.map(|(name, flaw)| {
            let Some(arrived) = Arrived::new(channel, flaw) else { return "-".to_owned() };
            assert_eq!(arrived.verify().is_ok(), flaw.is_none(), "{channel:?} {name}");
            let name = format!("{}/{name}", channel.name());
            format!("{:.1}", time(&mut criterion, &name, || arrived.verify()))
        });
        lines.push(format!("| {} | {} |", channel.name(), cells.join(" | ")));
    }
    println!("\n| µs | genuine | forged | unknown key |\n|---|---|---|---|");
    for line in lines {
        println!("{line}");
    }
    criterion.final_summary();
}
