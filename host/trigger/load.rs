//! Load: many callbacks of many orders, and a share of what else comes to a door.
//!
//! A plan is drawn from a seed before anything is sent, so that the time of signing is not part
//! of what is measured and a run can be made again.

use callgate_core::time::Timestamp;

use crate::burst::{Burst, Delivery};
use crate::cases::{Order, Stage};
use crate::channel::{Channel, Gateway};
use crate::draw::Draw;
use crate::keys::Keys;
use crate::message::{CannotSign, Expectation, Flaw, Message, Sending};

/// What is sent, of whom, in which shares.
#[derive(Debug, Clone)]
pub struct Load {
    /// One for each channel; orders go to them in turn.
    bursts: Vec<Burst>,
    seed: u64,
    callbacks: u32,
    mix: Mix,
}

/// Shares of a load in percent; what is left is genuine and new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mix {
    /// The bytes of an earlier callback once more.
    pub repeated: u32,
    /// Rightly signed, one bit flipped afterwards.
    pub forged: u32,
    /// Names a key that no channel knows.
    pub unknown_key: u32,
    /// Lacks what the gateway always sends, or has it twice.
    pub malformed: u32,
    /// Announces a body that is too large.
    pub oversized: u32,
}

/// One kind of callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Genuine and new.
    Genuine,
    /// See [`Mix::repeated`].
    Repeated,
    /// See [`Mix::forged`].
    Forged,
    /// See [`Mix::unknown_key`].
    UnknownKey,
    /// See [`Mix::malformed`].
    Malformed,
    /// See [`Mix::oversized`].
    Oversized,
}

/// One callback of a load, not signed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shot {
    /// What it is.
    pub kind: Kind,
    /// The order that it speaks of, from 0.
    pub order: u32,
}

impl Load {
    /// A load of some callbacks for these channels.
    ///
    /// # Errors
    /// [`BadLoad`] where there is no channel or the shares are more than a whole.
    pub fn new(
        (keys, channels): (&Keys, &[Channel]),
        at: Timestamp,
        seed: u64,
        (callbacks, mix): (u32, Mix),
    ) -> Result<Self, BadLoad> {
        if channels.is_empty() {
            return Err(BadLoad::NoChannel);
        }
        let whole = mix.others();
        if whole > 100 {
            return Err(BadLoad::Shares { found: whole });
        }
        let bursts = channels.iter().zip(0..).map(|(channel, place): (_, u64)| Burst {
            stage: Stage::new(&keys.accounts, *channel, at),
            // Channels share no order number.
            seed: Draw::seeded(seed.wrapping_add(place)).number(),
            orders: callbacks,
            deliveries: 1,
        });
        Ok(Self { bursts: bursts.collect(), seed, callbacks, mix })
    }

    /// Everything that is sent, in this order. What repeats comes after what it repeats.
    #[must_use]
    pub fn shots(&self) -> Vec<Shot> {
        let mut draw = Draw::seeded(self.seed ^ MIXING);
        let mut orders = 0u32;
        let mut shots = Vec::new();
        for _ in 0..self.callbacks {
            let drawn = self.mix.draw(&mut draw);
            let too_early = drawn == Kind::Repeated && orders == 0;
            let kind = if too_early { Kind::Genuine } else { drawn };
            let order = if kind == Kind::Genuine {
                orders = orders.saturating_add(1);
                orders.saturating_sub(1)
            } else {
                let earlier = draw.below(u64::from(orders));
                u32::try_from(earlier).unwrap_or(0)
            };
            shots.push(Shot { kind, order });
        }
        shots
    }

    /// The order with a number, as it has to be registered.
    #[must_use]
    pub fn order(&self, order: u32) -> Option<Order> {
        let (burst, index) = self.place(order)?;
        Some(burst.order(index))
    }

    /// Signs a callback. A repeat is made the same as what it repeats.
    ///
    /// # Errors
    /// [`CannotSign`], such as for a kind that a gateway's messages cannot be.
    pub fn message(&self, keys: &Keys, shot: Shot, at: Timestamp) -> Result<Message, CannotSign> {
        let Some((burst, index)) = self.place(shot.order) else {
            return Err(CannotSign::Cryptography);
        };
        let genuine = || burst.message(keys, Delivery { order: index, delivery: 0 }, at);
        let flawed = |flaw| {
            let mut draw = Draw::branch(self.seed ^ MIXING, shot.order);
            burst.notice(index).sign(keys, Sending::flawed(at, flaw), &mut draw)
        };
        match shot.kind {
            Kind::Genuine | Kind::Repeated => genuine(),
            Kind::Forged => flawed(Flaw::FlippedBit),
            Kind::UnknownKey => flawed(Flaw::UnknownSerial),
            Kind::Malformed => flawed(malformed(burst.stage.channel.gateway())),
            Kind::Oversized => {
                let mut message = genuine()?;
                message.body = vec![b' '; OVERSIZED_BYTES];
                message.expect = Expectation::Refused { code: "gateway.too-large" };
                Ok(message)
            }
        }
    }

    fn place(&self, order: u32) -> Option<(&Burst, u32)> {
        let channels = u32::try_from(self.bursts.len()).ok()?;
        let burst = order.checked_rem(channels).and_then(|place| usize::try_from(place).ok())?;
        Some((self.bursts.get(burst)?, order.checked_div(channels)?))
    }
}

impl Mix {
    fn shares(self) -> [(Kind, u32); 5] {
        [
            (Kind::Repeated, self.repeated),
            (Kind::Forged, self.forged),
            (Kind::UnknownKey, self.unknown_key),
            (Kind::Malformed, self.malformed),
            (Kind::Oversized, self.oversized),
        ]
    }

    fn others(self) -> u32 {
        self.shares().iter().fold(0, |sum, (_, share)| sum.saturating_add(*share))
    }

    fn draw(self, draw: &mut Draw) -> Kind {
        let mut left = draw.below(100);
        for (kind, share) in self.shares() {
            match left.checked_sub(u64::from(share)) {
                None => return kind,
                Some(rest) => left = rest,
            }
        }
        Kind::Genuine
    }
}

impl Kind {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Genuine => "genuine",
            Self::Repeated => "repeated",
            Self::Forged => "forged",
            Self::UnknownKey => "unknown-key",
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
        }
    }
}

fn malformed(gateway: Gateway) -> Flaw {
    match gateway {
        Gateway::WechatV3 => Flaw::MissingHeader,
        Gateway::WechatV2 | Gateway::Alipay => Flaw::RepeatedField,
    }
}

/// Why there is no load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLoad {
    /// Nobody to send for.
    #[error("no channel is given, expected at least one")]
    NoChannel,
    /// The shares are more than everything.
    #[error("the shares are {found} percent in all, expected at most 100")]
    Shares {
        /// Their sum.
        found: u32,
    },
}

/// Keeps what kinds are drawn from apart from what purchases are drawn from.
const MIXING: u64 = 0x4d49_5849_4e47;

/// Above the listener's default limit of 256 KiB.
const OVERSIZED_BYTES: usize = 300_000;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{BadLoad, Kind, Load, Mix, Shot};
    use crate::channel::Channel;
    use crate::message::{CannotSign, Expectation};
    use crate::proof::{NOW, keys};

    fn load(mix: Mix, channels: &[Channel]) -> Result<Load, BadLoad> {
        Load::new((keys(), channels), NOW, 7, (1000, mix))
    }

    #[test]
    fn shares_are_drawn_as_asked_and_each_speaks_of_an_order_that_came_before() {
        let mix = Mix { repeated: 20, forged: 10, unknown_key: 5, malformed: 5, oversized: 10 };
        let shots = load(mix, &[Channel::WechatV3Main]).unwrap().shots();
        let mut counted: BTreeMap<Kind, usize> = BTreeMap::new();
        let mut orders = 0;
        for shot in &shots {
            *counted.entry(shot.kind).or_default() += 1;
            if shot.kind == Kind::Genuine {
                assert_eq!(shot.order, orders);
                orders += 1;
            }
            assert!(shot.order < orders.max(1), "{shot:?}");
        }
        assert_eq!(shots.len(), 1000);
        for (kind, share) in [(Kind::Genuine, 50), (Kind::Repeated, 20), (Kind::Malformed, 5)] {
            let found = counted[&kind];
            assert!((share * 6..share * 14).contains(&found), "{kind:?}: {found}");
        }
    }

    #[test]
    fn more_than_everything_is_refused() {
        let whole = Mix { repeated: 60, forged: 40, ..Mix::default() };
        assert!(load(whole, &[Channel::WechatV3Main]).is_ok());
        let more = Mix { oversized: 1, ..whole };
        let found = load(more, &[Channel::WechatV3Main]).err();
        assert_eq!(found, Some(BadLoad::Shares { found: 101 }));
        assert_eq!(load(whole, &[]).err(), Some(BadLoad::NoChannel));
    }

    #[test]
    fn a_repeat_has_the_bytes_of_what_it_repeats_and_the_others_differ() {
        let load = load(Mix::default(), &[Channel::WechatV3Main]).unwrap();
        let body = |kind| load.message(keys(), Shot { kind, order: 3 }, NOW).unwrap();
        assert_eq!(body(Kind::Genuine), body(Kind::Repeated));
        for kind in [Kind::Forged, Kind::UnknownKey, Kind::Malformed, Kind::Oversized] {
            let message = body(kind);
            assert_ne!(message, body(Kind::Genuine));
            assert!(matches!(message.expect, Expectation::Refused { .. }), "{kind:?}");
        }
    }

    #[test]
    fn orders_of_all_channels_are_different() {
        let load = load(Mix::default(), &Channel::ALL).unwrap();
        let orders: BTreeSet<_> = (0..1000).map(|n| load.order(n).unwrap().order_no).collect();
        assert_eq!(orders.len(), 1000);
        let shot = Shot { kind: Kind::UnknownKey, order: 1 };
        let refused = load.message(keys(), shot, NOW);
        assert!(matches!(refused, Err(CannotSign::NoSuchFlaw { .. })), "{refused:?}");
    }
}
