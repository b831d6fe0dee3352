//! Reproducible randomness: what a seed drew once it draws again.
//!
//! Good enough for order numbers and nonces of test messages, never for a key.

/// A generator of 64-bit numbers by `SplitMix64` (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Draw {
    state: u64,
}

impl Draw {
    /// Starts a sequence.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A sequence of its own for each index: drawing from one does not move another.
    #[must_use]
    pub fn branch(seed: u64, index: u32) -> Self {
        let mut own = Self::seeded(seed ^ mixed(u64::from(index).wrapping_add(GAMMA)));
        Self::seeded(own.number())
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mixed(self.state)
    }

    /// A number below `limit`; 0 where the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number().checked_rem(limit).unwrap_or(0)
    }

    /// Decimal digits.
    pub fn digits(&mut self, count: usize) -> String {
        self.text(b"0123456789", count)
    }

    /// Lower-case hexadecimal digits.
    pub fn hex(&mut self, count: usize) -> String {
        self.text(b"0123456789abcdef", count)
    }

    /// ASCII letters and digits.
    pub fn letters(&mut self, count: usize) -> String {
        self.text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", count)
    }

    /// A random UUID (version 4) in the usual writing.
    pub fn uuid(&mut self) -> String {
        let (a, b, c) = (self.hex(8), self.hex(4), self.hex(3));
        let (variant, d, e) = (self.text(b"89ab", 1), self.hex(3), self.hex(12));
        format!("{a}-{b}-4{c}-{variant}{d}-{e}")
    }

    /// Puts a list into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let limit = u64::try_from(last).unwrap_or(u64::MAX).saturating_add(1);
            let other = usize::try_from(self.below(limit)).unwrap_or(last);
            list.swap(last, other);
        }
    }

    fn text(&mut self, alphabet: &[u8], count: usize) -> String {
        let limit = u64::try_from(alphabet.len()).unwrap_or(0);
        let mut pick = || {
            let place = usize::try_from(self.below(limit)).unwrap_or(0);
            alphabet.get(place).map_or('0', |byte| char::from(*byte))
        };
        (0..count).map(|_| pick()).collect()
    }
}

fn mixed(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The step of the counter: 2^64 divided by the golden ratio, made odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Draw;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut draw = Draw::seeded(1_234_567);
        let drawn = [draw.number(), draw.number(), draw.number()];
        let published =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(drawn, published);
    }

    #[test]
    fn one_seed_draws_the_same_again_and_another_seed_does_not() {
        assert_eq!(Draw::seeded(7).uuid(), Draw::seeded(7).uuid());
        assert_ne!(Draw::seeded(7).uuid(), Draw::seeded(8).uuid());
    }

    #[test]
    fn branches_differ_from_each_other() {
        let firsts: BTreeSet<u64> = (0..10_000).map(|n| Draw::branch(7, n).number()).collect();
        assert_eq!(firsts.len(), 10_000);
    }

    #[test]
    fn a_shuffled_list_keeps_every_member_and_changes_places() {
        let sorted: Vec<u32> = (0..100).collect();
        let mut shuffled = sorted.clone();
        Draw::seeded(3).shuffle(&mut shuffled);
        assert_ne!(shuffled, sorted);
        shuffled.sort_unstable();
        assert_eq!(shuffled, sorted);
    }

    #[test]
    fn texts_have_the_wanted_form() {
        let mut draw = Draw::seeded(1);
        let digits = draw.digits(28);
        assert!(digits.len() == 28 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        let uuid = draw.uuid();
        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
    }
}
