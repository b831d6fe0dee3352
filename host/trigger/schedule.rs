//! When a gateway sends again what was not answered with success.

use std::num::NonZeroU32;

use crate::channel::Gateway;

/// The waits between one try and the next, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    gaps_s: &'static [u32],
}

impl Schedule {
    /// The schedule that a gateway documents for payment notices.
    ///
    /// WeChat Pay, "payment notice" (v3 and v2, read 2026-11-21): 15 further tries within
    /// 24 h 4 m. Alipay, "asynchronous notification" (read 2026-11-21): 7 further tries within
    /// 24 h 24 m. Other products of both have other schedules.
    #[must_use]
    pub const fn of(gateway: Gateway) -> Self {
        match gateway {
            Gateway::WechatV3 | Gateway::WechatV2 => Self { gaps_s: &WECHAT_S },
            Gateway::Alipay => Self { gaps_s: &ALIPAY_S },
        }
    }

    /// How often a notice is sent at most: the first try and every repeat.
    #[must_use]
    pub const fn tries_max(self) -> usize {
        self.gaps_s.len().saturating_add(1)
    }

    /// From the first try to the last, in seconds.
    #[must_use]
    pub fn span_s(self) -> u64 {
        self.gaps_s.iter().map(|gap| u64::from(*gap)).sum()
    }

    /// The waits before the second, third, … try in milliseconds, each divided by `faster`.
    ///
    /// No wait becomes shorter than a millisecond, so that tries keep their order.
    pub fn waits_ms(self, faster: NonZeroU32) -> impl Iterator<Item = u64> {
        self.gaps_s.iter().map(move |gap| {
            let ms = u64::from(*gap).saturating_mul(1000);
            ms.checked_div(u64::from(faster.get())).unwrap_or(ms).max(1)
        })
    }
}

const MINUTE: u32 = 60;
const HOUR: u32 = 3600;

const WECHAT_S: [u32; 15] = [
    15,
    15,
    30,
    3 * MINUTE,
    10 * MINUTE,
    20 * MINUTE,
    30 * MINUTE,
    30 * MINUTE,
    30 * MINUTE,
    60 * MINUTE,
    3 * HOUR,
    3 * HOUR,
    3 * HOUR,
    6 * HOUR,
    6 * HOUR,
];

const ALIPAY_S: [u32; 7] =
    [4 * MINUTE, 10 * MINUTE, 10 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, 15 * HOUR];

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::Schedule;
    use crate::channel::Gateway;

    fn waits(gateway: Gateway, faster: u32) -> Vec<u64> {
        Schedule::of(gateway).waits_ms(NonZeroU32::new(faster).unwrap()).collect()
    }

    #[test]
    fn the_spans_are_the_documented_ones() {
        assert_eq!(Schedule::of(Gateway::WechatV3).span_s(), 24 * 3600 + 4 * 60);
        assert_eq!(Schedule::of(Gateway::WechatV3).tries_max(), 16);
        assert_eq!(Schedule::of(Gateway::Alipay).span_s(), 24 * 3600 + 24 * 60);
        assert_eq!(Schedule::of(Gateway::Alipay).tries_max(), 8);
    }

    #[test]
    fn waits_scale_down_in_whole_milliseconds() {
        assert_eq!(waits(Gateway::WechatV2, 1)[..4], [15_000, 15_000, 30_000, 180_000]);
        assert_eq!(waits(Gateway::WechatV2, 1000)[..4], [15, 15, 30, 180]);
        assert_eq!(waits(Gateway::Alipay, 7)[..2], [34_285, 85_714]);
    }

    #[test]
    fn no_wait_vanishes() {
        assert!(waits(Gateway::Alipay, u32::MAX).iter().all(|wait| *wait == 1));
    }
}
