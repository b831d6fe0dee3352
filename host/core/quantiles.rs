//! Quantiles of many numbers in little memory: counts in buckets whose width grows with the
//! number, so that every answer is at most one part in 64 too high.

use std::collections::BTreeMap;

/// Counts of numbers, from which quantiles are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// By bucket; empty ones are not held, so there are at most a few thousand.
    buckets: BTreeMap<u32, u64>,
    count: u64,
    sum: u128,
    max: u64,
}

impl Quantiles {
    /// Counts a number.
    pub fn add(&mut self, number: u64) {
        let bucket = self.buckets.entry(bucket(number)).or_default();
        *bucket = bucket.saturating_add(1);
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.saturating_add(number.into());
        self.max = self.max.max(number);
    }

    /// How many numbers were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest number; 0 where none was counted.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// All numbers together.
    #[must_use]
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The number that so many percent of all are not above: exact below 128, else the upper end
    /// of its bucket, and never above the largest. 0 where none was counted.
    #[must_use]
    pub fn percentile(&self, percent: u32) -> u64 {
        let rank = u128::from(self.count).saturating_mul(percent.min(100).into()).div_ceil(100);
        let mut passed = 0u128;
        for (bucket, count) in &self.buckets {
            passed = passed.saturating_add((*count).into());
            if passed >= rank.max(1) {
                return last_of(*bucket).min(self.max);
            }
        }
        0
    }
}

/// Numbers below 128 have a bucket each; above, each doubling has 64.
fn bucket(number: u64) -> u32 {
    let shift = shift(number);
    let within = u32::try_from(number.checked_shr(shift).unwrap_or(0)).unwrap_or(0);
    shift.saturating_mul(HALF).saturating_add(within)
}

/// How many low bits of a number do not count.
fn shift(number: u64) -> u32 {
    let bits = u64::BITS.saturating_sub(number.leading_zeros());
    bits.saturating_sub(BITS)
}

/// The largest number of a bucket.
fn last_of(bucket: u32) -> u64 {
    if bucket < HALF.saturating_mul(2) {
        return bucket.into();
    }
    let shift = bucket.checked_div(HALF).unwrap_or(0).saturating_sub(1);
    let within = bucket.saturating_sub(shift.saturating_mul(HALF));
    let next = u128::from(within).saturating_add(1).checked_shl(shift).unwrap_or(u128::MAX);
    u64::try_from(next.saturating_sub(1)).unwrap_or(u64::MAX)
}

/// Bits of a number that count.
const BITS: u32 = 7;

/// Buckets of one doubling.
const HALF: u32 = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Quantiles, bucket, last_of};

    #[test]
    fn small_numbers_are_exact() {
        let mut quantiles = Quantiles::default();
        (1..=100).for_each(|number| quantiles.add(number));
        let found = [0, 1, 50, 90, 99, 100].map(|percent| quantiles.percentile(percent));
        assert_eq!(found, [1, 1, 50, 90, 99, 100]);
        assert_eq!((quantiles.count(), quantiles.max(), quantiles.sum()), (100, 100, 5050));
    }

    #[test]
    fn nothing_counted_is_nothing() {
        assert_eq!(Quantiles::default().percentile(99), 0);
    }

    #[test]
    fn the_largest_number_there_is_has_a_bucket() {
        let mut quantiles = Quantiles::default();
        quantiles.add(u64::MAX);
        assert_eq!(quantiles.percentile(50), u64::MAX);
    }

    proptest! {
        #[test]
        fn a_bucket_ends_at_most_one_part_in_64_above_each_of_its_numbers(number: u64) {
            let last = last_of(bucket(number));
            prop_assert!(last >= number);
            prop_assert!(last.abs_diff(number) <= number / 64);
            prop_assert_eq!(bucket(last), bucket(number));
        }

        #[test]
        fn a_percentile_is_not_below_the_true_one(
            mut numbers in prop::collection::vec(0u64..1 << 40, 1..200),
            percent in 1usize..=100,
        ) {
            let mut quantiles = Quantiles::default();
            numbers.iter().for_each(|number| quantiles.add(*number));
            numbers.sort_unstable();
            let rank = numbers.len().saturating_mul(percent).div_ceil(100);
            let truth = numbers[rank.saturating_sub(1)];
            let found = quantiles.percentile(u32::try_from(percent).unwrap());
            prop_assert!(found >= truth && found.abs_diff(truth) <= truth / 64);
        }
    }
}
