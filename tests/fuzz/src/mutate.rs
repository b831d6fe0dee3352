//! Inputs made from seeds: one number decides everything, so a run can be had again.

use std::ops::Range;

/// Numbers from a seed (SplitMix64): even spread is all that is asked of them.
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// Starts at a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0 where `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        let number = self.number().checked_rem(end).unwrap_or(0);
        usize::try_from(number).unwrap_or(0)
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &'a [Box<T>]) -> Option<&'a T> {
        from.get(self.below(from.len())).map(|boxed| &**boxed)
    }
}

/// Seeds and tokens of one target.
pub struct Stock {
    seeds: Vec<Box<[u8]>>,
    tokens: Vec<Box<str>>,
}

impl Stock {
    /// Takes seeds and tokens.
    #[must_use]
    pub fn new(seeds: Vec<Vec<u8>>, tokens: &[&str]) -> Self {
        Self {
            seeds: seeds.into_iter().map(Vec::into_boxed_slice).collect(),
            tokens: tokens.iter().map(|token| Box::from(*token)).collect(),
        }
    }

    /// A seed with one to four changes.
    pub fn input(&self, draw: &mut Draw) -> Vec<u8> {
        let mut input = draw.pick(&self.seeds).unwrap_or_default().to_vec();
        for _ in 0..=draw.below(4) {
            self.change(&mut input, draw);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&self, input: &mut Vec<u8>, draw: &mut Draw) {
        let at = draw.below(input.len());
        let to = at + draw.below((input.len() - at).min(64) + 1);
        match draw.below(8) {
            0 => flip(input, at, draw),
            1 => insert(input, at, &[draw.byte()]),
            2 => insert(input, at, draw.pick(&self.tokens).unwrap_or_default().as_bytes()),
            3 => drop(input.drain(at..to)),
            4 => repeat(input, at..to, draw),
            5 => input.truncate(at),
            6 => self.splice(input, at, draw),
            _ => insert(input, at, &vec![draw.byte(); draw.below(300)]),
        }
    }

    /// The head of this input and the tail of a seed.
    fn splice(&self, input: &mut Vec<u8>, at: usize, draw: &mut Draw) {
        let other = draw.pick(&self.seeds).unwrap_or_default();
        input.truncate(at);
        input.extend_from_slice(&other[draw.below(other.len())..]);
    }
}

fn flip(input: &mut [u8], at: usize, draw: &mut Draw) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << draw.below(8);
    }
}

fn repeat(input: &mut Vec<u8>, range: Range<usize>, draw: &mut Draw) {
    let piece = input[range].to_vec();
    insert(input, draw.below(input.len()), &piece);
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.iter().copied());
}

/// The longest input: above what gateways send, below what would only take time.
const INPUT_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::{Draw, Stock};

    fn inputs(seed: u64) -> Vec<Vec<u8>> {
        let stock = Stock::new(vec![b"<xml><a>1</a></xml>".to_vec()], &["<b/>"]);
        let mut draw = Draw::new(seed);
        (0..100).map(|_| stock.input(&mut draw)).collect()
    }

    #[test]
    fn the_seed_decides_every_input() {
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
    }

    #[test]
    fn nothing_to_begin_with_still_makes_inputs() {
        let stock = Stock::new(Vec::new(), &[]);
        let mut draw = Draw::new(1);
        assert!((0..1000).map(|_| stock.input(&mut draw)).any(|input| !input.is_empty()));
    }
}
