//! Many callbacks at once, each reproducible from the seed and its place.

use callgate_core::time::Timestamp;

use crate::cases::{Order, Stage};
use crate::draw::Draw;
use crate::keys::Keys;
use crate::message::{CannotSign, Message, Notice, Sending};
use crate::purchase::Purchase;

/// Payments of many orders, each told several times, in a shuffled order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Burst {
    /// Who is paid, through which channel.
    pub stage: Stage,
    /// What everything is drawn from.
    pub seed: u64,
    /// How many orders are paid.
    pub orders: u32,
    /// How often each payment is told; 1 for no repeats.
    pub deliveries: u32,
}

/// One try of telling one payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    /// Which order, from 0.
    pub order: u32,
    /// Which try, from 0.
    pub delivery: u32,
}

impl Burst {
    /// The order with an index, as it has to be registered.
    #[must_use]
    pub fn order(&self, index: u32) -> Order {
        self.stage.order(&self.told(index).0)
    }

    /// The notice of an order's payment; the same whenever it is asked for.
    #[must_use]
    pub fn notice(&self, index: u32) -> Notice {
        self.told(index).1
    }

    /// Signs one try.
    ///
    /// # Errors
    /// [`CannotSign::Cryptography`].
    pub fn message(
        &self,
        keys: &Keys,
        delivery: Delivery,
        at: Timestamp,
    ) -> Result<Message, CannotSign> {
        let mut draw = Draw::branch(self.seed ^ SIGNING, delivery.order);
        let mut draw = Draw::branch(draw.number(), delivery.delivery);
        self.notice(delivery.order).sign(keys, Sending::genuine(at), &mut draw)
    }

    /// All tries, shuffled by the seed.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        let tries = |order| (0..self.deliveries).map(move |delivery| Delivery { order, delivery });
        let mut all: Vec<Delivery> = (0..self.orders).flat_map(tries).collect();
        Draw::seeded(self.seed).shuffle(&mut all);
        all
    }

    fn told(&self, index: u32) -> (Purchase, Notice) {
        let mut draw = Draw::branch(self.seed, index);
        // Others who begin somewhere else make no doubles of these in the same database.
        let first = Draw::seeded(self.seed ^ NUMBERING).below(1 << 62);
        let number = first.saturating_add(index.into());
        let purchase = self.stage.purchase(&mut draw).numbered(number);
        let notice = self.stage.payment(&purchase, &mut draw);
        (purchase, notice)
    }
}

/// Keeps what a try draws apart from what the purchase drew.
const SIGNING: u64 = 0x5349_474e;

/// Keeps where numbers begin apart from what tries and purchases draw.
const NUMBERING: u64 = 0x4e55_4d42;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Burst, Delivery};
    use crate::cases::Stage;
    use crate::channel::Channel;
    use crate::keys::Keys;
    use crate::proof::{NOW, keys};

    fn burst(keys: &Keys, channel: Channel) -> Burst {
        let stage = Stage::new(&keys.accounts, channel, NOW);
        Burst { stage, seed: 42, orders: 100, deliveries: 10 }
    }

    #[test]
    fn every_try_comes_once_and_not_in_order() {
        let keys = keys();
        let deliveries = burst(keys, Channel::AlipayMain).deliveries();
        assert_eq!(deliveries.len(), 1000);
        assert!(!deliveries.is_sorted());
        assert_eq!(deliveries.iter().collect::<BTreeSet<_>>().len(), 1000);
    }

    #[test]
    fn a_seed_makes_the_same_messages_again() {
        let keys = keys();
        for channel in Channel::ALL {
            let (one, two) = (burst(keys, channel), burst(keys, channel));
            let delivery = Delivery { order: 17, delivery: 3 };
            assert_eq!(one.message(keys, delivery, NOW), two.message(keys, delivery, NOW));
            let again = Delivery { order: 17, delivery: 4 };
            if channel.gateway() != crate::channel::Gateway::Alipay {
                assert_ne!(one.message(keys, delivery, NOW), one.message(keys, again, NOW));
            }
        }
    }

    #[test]
    fn bursts_of_two_seeds_share_no_number() {
        let keys = keys();
        let one = burst(keys, Channel::WechatV3Main);
        let two = Burst { seed: 43, ..one.clone() };
        let lasts = [one, two].map(|burst| -> BTreeSet<String> {
            let last = |n| burst.order(n).order_no.chars().rev().take(10).collect();
            (0..100).map(last).collect()
        });
        assert!(lasts[0].is_disjoint(&lasts[1]), "{lasts:?}");
    }

    #[test]
    fn orders_of_a_burst_are_all_different() {
        let keys = keys();
        let burst = burst(keys, Channel::WechatV3Main);
        let numbers: BTreeSet<String> = (0..100).map(|n| burst.order(n).order_no).collect();
        assert_eq!(numbers.len(), 100);
    }
}
