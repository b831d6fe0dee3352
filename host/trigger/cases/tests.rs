//! Every case of every channel, told to the engine's own gateways.

use std::collections::BTreeMap;

use callgate_core::gateway::Answer as Said;
use callgate_core::notification::EventType;

use super::{Case, Expected, Post, Stage, Step, all, case, names, told_on};
use crate::answer::{Answer, meets};
use crate::burst::Burst;
use crate::channel::{Channel, Gateway};
use crate::draw::Draw;
use crate::keys::Keys;
use crate::message::Expectation;
use crate::proof::{NOW, keys, open, verify};

fn stage(keys: &Keys, channel: Channel) -> Stage {
    Stage::new(&keys.accounts, channel, NOW.plus_ms(-2000))
}

#[test]
fn the_engine_accepts_and_refuses_exactly_what_the_cases_expect() {
    let keys = keys();
    for channel in Channel::ALL {
        let gateway = open(keys, channel);
        let mut draw = Draw::seeded(11);
        for told in all(&stage(keys, channel), &mut draw) {
            for post in posts(&told) {
                let message = post.message(keys, NOW, &mut draw).unwrap();
                let verified = verify(gateway.as_ref(), &message, NOW);
                let code = verified.as_ref().err().map(|refusal| refusal.code());
                let (expected, said) = match (message.expect, &verified) {
                    (Expectation::Refused { code }, Err(refusal)) => {
                        (Some(code), Said::Refused(refusal))
                    }
                    (Expectation::Refused { code }, Ok(_)) => (Some(code), Said::Accepted),
                    (Expectation::Accepted, _) => (None, Said::Accepted),
                };
                assert_eq!(code, expected, "{} {}", channel.name(), told.name);
                let ack = gateway.reply(said);
                let answer = Answer {
                    status: ack.status,
                    content_type: ack.content_type,
                    body: ack.body.as_bytes(),
                };
                assert_eq!(meets(message.expect, channel.gateway(), answer), Ok(()));
            }
        }
    }
}

#[test]
fn an_accepted_notice_names_orders_that_the_case_registers_with_their_amount() {
    let keys = keys();
    for channel in Channel::ALL {
        let gateway = open(keys, channel);
        let mut draw = Draw::seeded(12);
        for told in all(&stage(keys, channel), &mut draw) {
            let orders: BTreeMap<_, _> = told
                .steps
                .iter()
                .filter_map(|step| match step {
                    Step::Register(order) => Some((order.order_no.as_str(), order.amount)),
                    Step::Post(_) | Step::Burst(_) | Step::Expect(_) => None,
                })
                .collect();
            for post in posts(&told).into_iter().filter(|post| post.flaw.is_none()) {
                let message = post.message(keys, NOW, &mut draw).unwrap();
                let verified = verify(gateway.as_ref(), &message, NOW).unwrap();
                for notification in verified.notifications() {
                    let amount = orders[notification.order_no.as_deref().unwrap()];
                    let agrees = notification.order_amount == Some(amount);
                    assert_eq!(agrees, told.name != "wrong-amount", "{}", told.name);
                    let mismatch = notification.mismatch.is_some();
                    assert_eq!(mismatch, told.name == "wrong-merchant", "{}", told.name);
                }
            }
        }
    }
}

#[test]
fn every_try_of_a_notice_has_the_same_delivery_key() {
    let keys = keys();
    for channel in Channel::ALL {
        let gateway = open(keys, channel);
        let mut draw = Draw::seeded(13);
        let told = case("duplicate", &stage(keys, channel), &mut draw).unwrap();
        let tries = posts(&told).into_iter().enumerate().map(|(n, post)| {
            let at = NOW.plus_ms(i64::try_from(n).unwrap().wrapping_mul(180_000));
            let message = post.message(keys, at, &mut draw).unwrap();
            let verified = verify(gateway.as_ref(), &message, at).unwrap();
            (message.body, verified.delivery_key().to_owned())
        });
        let (bodies, mut delivery_keys): (Vec<_>, Vec<_>) = tries.unzip();
        assert_eq!(delivery_keys.len(), 3);
        assert_ne!(bodies[0], bodies[1], "each try is signed anew");
        delivery_keys.dedup();
        assert_eq!(delivery_keys.len(), 1, "{}", channel.name());
    }
}

#[test]
fn a_combined_order_is_as_many_notifications_as_it_has_parts() {
    let keys = keys();
    let channel = Channel::WechatV3Main;
    let told = case("combined", &stage(keys, channel), &mut Draw::seeded(1)).unwrap();
    let message = posts(&told)[0].message(keys, NOW, &mut Draw::seeded(2)).unwrap();
    let verified = verify(open(keys, channel).as_ref(), &message, NOW).unwrap();
    assert_eq!(verified.notifications().len(), 3);
}

#[test]
fn a_refund_tells_its_part_or_the_sum_as_the_gateway_does() {
    let keys = keys();
    for channel in Channel::ALL {
        let gateway = open(keys, channel);
        let mut draw = Draw::seeded(14);
        let told = case("refund", &stage(keys, channel), &mut draw).unwrap();
        let mut refunded = Vec::new();
        let mut total = 0;
        for post in posts(&told) {
            let message = post.message(keys, NOW, &mut draw).unwrap();
            let verified = verify(gateway.as_ref(), &message, NOW).unwrap();
            let notification = &verified.notifications()[0];
            total = notification.order_amount.unwrap().minor;
            if notification.event_type == EventType::REFUND_SUCCEEDED {
                refunded.push((notification.amount, notification.refunded_total));
            }
        }
        let [first, second] = refunded.try_into().unwrap();
        let minor = |money: Option<callgate_core::money::Money>| money.unwrap().minor;
        if channel.gateway() == Gateway::Alipay {
            assert_eq!((minor(first.1), minor(second.1)), (total / 2, total));
        } else {
            assert_eq!(minor(first.0).checked_add(minor(second.0)), Some(total));
        }
    }
}

#[test]
fn every_message_of_a_burst_is_accepted() {
    let keys = keys();
    for channel in Channel::ALL {
        let gateway = open(keys, channel);
        let stage = stage(keys, channel);
        let burst = Burst { stage, seed: 99, orders: 8, deliveries: 2 };
        let mut seen = BTreeMap::new();
        for delivery in burst.deliveries() {
            let message = burst.message(keys, delivery, NOW).unwrap();
            let verified = verify(gateway.as_ref(), &message, NOW).unwrap();
            let order_no = verified.notifications()[0].order_no.clone();
            assert_eq!(order_no, Some(burst.order(delivery.order).order_no));
            *seen.entry(verified.delivery_key().to_owned()).or_insert(0_u32) += 1;
        }
        assert_eq!(seen.into_values().collect::<Vec<_>>(), [2; 8], "{}", channel.name());
    }
}

#[test]
fn every_case_ends_with_something_to_check() {
    let keys = keys();
    for channel in Channel::ALL {
        for told in all(&stage(keys, channel), &mut Draw::seeded(15)) {
            let last = told.steps.last().unwrap();
            assert!(matches!(last, Step::Expect(_) | Step::Burst(_)), "{}", told.name);
        }
    }
}

#[test]
fn a_case_is_about_orders_of_its_own() {
    let keys = keys();
    let mut draw = Draw::seeded(16);
    let stage = stage(keys, Channel::AlipayMain);
    let one = case("payment", &stage, &mut draw).unwrap();
    let two = case("payment", &stage, &mut draw).unwrap();
    let order_no = |case: &Case| match &case.steps[2] {
        Step::Expect(Expected { order_no, .. }) => order_no.clone(),
        other @ (Step::Register(_) | Step::Post(_) | Step::Burst(_)) => panic!("{other:?}"),
    };
    assert_ne!(order_no(&one), order_no(&two));
}

#[test]
fn an_unknown_case_is_told_with_the_known_ones() {
    let keys = keys();
    let stage = stage(keys, Channel::WechatV2Main);
    let told = case("probe", &stage, &mut Draw::seeded(1)).unwrap_err().to_string();
    assert!(told.starts_with("wechat-v2-main has no case `probe`, expected one of payment, "));
    assert!(names(Gateway::WechatV3).contains(&"probe"));
    assert!(!names(Gateway::Alipay).contains(&"unknown-serial"), "it names no certificate");
    assert!(told_on(Channel::AlipayCert).any(|(name, _)| name == "unknown-serial"));
}

fn posts(told: &Case) -> Vec<&Post> {
    let found = told.steps.iter().filter_map(|step| match step {
        Step::Post(post) => Some(post),
        Step::Register(_) | Step::Burst(_) | Step::Expect(_) => None,
    });
    found.collect()
}
