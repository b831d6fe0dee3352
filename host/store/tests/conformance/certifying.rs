//! Stories of certificates that gateways handed out: whose turn it is to ask, and what is kept.

use callgate_core::time::Timestamp;
use callgate_store::{AskGaps, PlatformCertificate, Store};

use crate::acts::at;
use crate::gateway::CHANNEL;
use crate::house::House;

const GAPS: AskGaps = AskGaps { answered_ms: 1000, failed_ms: 100 };

fn certificate(serial: &str, to_ms: i64) -> PlatformCertificate {
    PlatformCertificate {
        channel: CHANNEL.to_owned(),
        serial: serial.to_owned(),
        pem: format!("the certificate {serial}"),
        valid_from: Timestamp::from_ms(0),
        valid_to: at(to_ms),
    }
}

async fn takes(store: &Store, channel: &str, ms: i64) -> bool {
    store.take_certificate_ask(channel, GAPS, at(ms)).await.unwrap()
}

pub(crate) async fn of_all_hosts_one_asks_and_again_only_after_the_gap(house: &House) {
    let (one, other) = (house.open().await, house.open().await);
    assert!(takes(&one, CHANNEL, 0).await);
    assert!(!takes(&other, CHANNEL, 0).await, "somebody asks already");
    assert!(takes(&other, "another", 0).await, "each channel by itself");
    assert!(!takes(&other, CHANNEL, 99).await);
    // Nothing came of it: the short gap.
    assert!(takes(&other, CHANNEL, 100).await);
    other.keep_certificates(CHANNEL, vec![certificate("51", 1)], at(110)).await.unwrap();
    // An answer came: the long one.
    assert!(!takes(&one, CHANNEL, 1099).await);
    let asks = one.certificate_asks().await.unwrap();
    let ask = asks.iter().find(|ask| ask.channel == CHANNEL).unwrap();
    assert_eq!((ask.asked_at, ask.answered_at), (at(100), Some(at(110))));
    assert_eq!(ask.due_at(GAPS), at(1100));
    assert!(takes(&one, CHANNEL, 1100).await);
    let due = one.certificate_asks().await.unwrap();
    let due = due.iter().find(|ask| ask.channel == CHANNEL).unwrap();
    assert_eq!(due.due_at(GAPS), at(1200), "asked again, and no answer yet");
}

pub(crate) async fn many_hosts_at_one_moment_make_one_question(house: &House) {
    let mut hosts = Vec::new();
    for _ in 0..5 {
        hosts.push(house.open().await);
    }
    let asking = hosts.iter().map(|store| takes(store, CHANNEL, 0));
    let taken = futures_util::future::join_all(asking).await;
    assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1);
}

pub(crate) async fn a_clock_that_was_far_ahead_keeps_nobody_from_asking(house: &House) {
    let store = house.open().await;
    assert!(takes(&store, CHANNEL, 1_000_000).await);
    assert!(takes(&store, CHANNEL, 0).await);
    assert!(!takes(&store, CHANNEL, 50).await);
}

pub(crate) async fn a_certificate_stays_to_its_end_though_it_is_handed_out_no_more(house: &House) {
    let month = 30 * 24 * 3_600_000;
    let store = house.open().await;
    let (old, new) = (certificate("51", 1000), certificate("52", 9 * month));
    store.keep_certificates(CHANNEL, vec![old.clone()], at(0)).await.unwrap();
    store.keep_certificates(CHANNEL, vec![new.clone()], at(10)).await.unwrap();
    assert_eq!(store.platform_certificates().await.unwrap(), [old, new.clone()]);
    // The same again changes nothing; another text of the same serial takes its place.
    store.keep_certificates(CHANNEL, vec![new.clone()], at(20)).await.unwrap();
    let other = PlatformCertificate { pem: "another text".to_owned(), ..new };
    store.keep_certificates(CHANNEL, vec![other.clone()], at(30)).await.unwrap();
    assert_eq!(store.platform_certificates().await.unwrap()[1], other);
    let late = at(1001 + month);
    store.keep_certificates(CHANNEL, Vec::new(), late).await.unwrap();
    assert_eq!(store.platform_certificates().await.unwrap(), std::slice::from_ref(&other));
    store.keep_certificates("another", Vec::new(), at(99 * month)).await.unwrap();
    assert_eq!(store.platform_certificates().await.unwrap(), [other], "each channel by itself");
}
