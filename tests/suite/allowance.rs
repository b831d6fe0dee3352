//! How much a merchant may ask: gateways count by merchant, so all its channels and all hosts take
//! from one bucket, and the least that one of its channels says holds for all.

use std::sync::Arc;

use callgate::clock::Clock;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;

use crate::erp::databases;
use crate::house::now;
use crate::market::Market;
use crate::standin::{StandIn, What};

/// Orders on each channel.
const ORDERS: usize = 12;

/// The two channels of one merchant, and one of another.
const CHANNELS: [Channel; 3] = [Channel::WechatV2Main, Channel::WechatV3Main, Channel::AlipayMain];

/// Questions about some orders.
fn questions(standin: &StandIn, orders: &[String]) -> usize {
    let about = |what: &What| orders.iter().any(|one| *what == What::Payment(one.clone()));
    standin.asked().iter().filter(|one| about(&one.what)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_of_one_merchant_and_all_hosts_ask_no_more_than_the_merchant_may() {
    for (number, database) in databases().await.into_iter().enumerate() {
        let clock = Clock::manual(now());
        let standin = StandIn::start(clock.clone()).await;
        let [old, new, alipay] = CHANNELS;
        let toml = [
            standin.toml(&[old], "per_minute = 60\nburst = 40"),
            standin.toml(&[new], "per_minute = 6000\nburst = 5"),
            standin.toml(&[alipay], "per_minute = 120\nburst = 3"),
        ]
        .concat();
        let hosts = number.saturating_add(1);
        let started = Market::with(database, hosts, (clock, Arc::clone(&standin), &toml)).await;
        let Some(market) = started else { return };
        let mut draw = Draw::seeded(41);
        let mut orders: [Vec<String>; 3] = Default::default();
        for (list, channel) in orders.iter_mut().zip(CHANNELS) {
            for _ in 0..ORDERS {
                let purchase = market.order(channel, &mut draw).await;
                standin.pay(&purchase.order_no);
                list.push(purchase.order_no);
            }
        }
        let [old, new, alipay] = &orders;
        let asked =
            || [questions(&standin, old) + questions(&standin, new), questions(&standin, alipay)];
        // All are due by now, and what may be asked at once is asked.
        market.pass_badly(90_000).await;
        assert_eq!(asked(), [5, 3]);
        // From then on one a second for the one merchant, two for the other, whoever asks.
        for second in 1..=6_usize {
            let before = asked();
            market.pass_badly(1_000).await;
            let now = asked();
            let most = [5_usize.saturating_add(second), 3_usize.saturating_add(second * 2)];
            assert!(now[0] <= most[0] && now[1] <= most[1], "{now:?} after {second} s");
            assert!(now[0] >= before[0] && now[1] >= before[1]);
        }
        for _ in 0..40 {
            market.pass_badly(1_000).await;
        }
        // Everybody's turn comes, and every order is asked about once.
        assert_eq!([questions(&standin, old), questions(&standin, new)], [ORDERS, ORDERS]);
        assert_eq!(asked(), [ORDERS * 2, ORDERS]);
        market.stop().await;
    }
}
