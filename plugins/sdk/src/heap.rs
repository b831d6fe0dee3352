//! Memory for an instance that lives for one run: quick to give out, never handed back to the host.
//!
//! Growing the memory of an instance costs the host far more than everything that a run allocates:
//! pages change their protection, and all its processors are told of it, when the memory grows and
//! again when the next instance in its place is small. So the first blocks come out of a region that
//! is part of the instance from the start, and most runs never leave it.
//!
//! Blocks have sizes in steps; a block that is given back waits in the list of its size, the last
//! one of a region goes back to the region. This file decides where blocks are and is free of
//! pointers; `guest_memory` has the pointers.

/// The bytes that blocks are made of.
///
/// # Contract
/// What [`Heap`] relies on: words that were written are read back, and no region that is given out
/// overlaps another, or holds anything else.
pub(crate) trait Room {
    /// Reads the word at an address that lies in a block which the heap has not given out.
    fn read(&self, at: usize) -> usize;

    /// Writes a word to such an address.
    fn write(&mut self, at: usize, word: usize);

    /// Gets a region of at least so many bytes that nobody else uses: its first byte and the byte
    /// after its last one, both multiples of [`STEP`] and the first not 0. `None` where there is
    /// none.
    fn region(&mut self, bytes: usize) -> Option<(usize, usize)>;
}

/// Where blocks are: those that nobody has yet, and those that came back.
#[derive(Debug)]
pub(crate) struct Heap<R> {
    pub(crate) room: R,
    /// The first byte of the region that was never in a block.
    next: usize,
    /// The byte after the region.
    end: usize,
    /// For each size the block that came back last, 0 for none. Each holds the address of the one
    /// before it.
    back: [usize; SIZES],
}

/// A block that was asked for: its size and its alignment, a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) bytes: usize,
    pub(crate) align: usize,
}

impl<R: Room> Heap<R> {
    /// A heap that has no region yet.
    pub(crate) const fn new(room: R) -> Self {
        Self { room, next: 0, end: 0, back: [0; SIZES] }
    }

    /// Gives out a block; `None` where there is no room for it.
    pub(crate) fn take(&mut self, wish: Wish) -> Option<usize> {
        let size = Size::of(wish.bytes)?;
        let head = self.back.get_mut(size.place)?;
        if *head != 0 && is_aligned(*head, wish.align) {
            let block = *head;
            *head = self.room.read(block);
            return Some(block);
        }
        self.cut(size, wish.align)
    }

    /// Takes back a block that was given out for this wish.
    pub(crate) fn give_back(&mut self, block: usize, wish: Wish) {
        let Some(size) = Size::of(wish.bytes) else { return };
        if block.checked_add(size.bytes) == Some(self.next) {
            self.next = block;
            return;
        }
        if let Some(head) = self.back.get_mut(size.place) {
            self.room.write(block, *head);
            *head = block;
        }
    }

    /// Makes a block longer or shorter where it lies; false where it has to move.
    pub(crate) fn resize(&mut self, block: usize, before: Wish, bytes: usize) -> bool {
        let (Some(old), Some(new)) = (Size::of(before.bytes), Size::of(bytes)) else {
            return false;
        };
        if old.place == new.place {
            return true;
        }
        let is_last = block.checked_add(old.bytes) == Some(self.next);
        let Some(next) = block.checked_add(new.bytes).filter(|next| is_last && *next <= self.end)
        else {
            return false;
        };
        self.next = next;
        true
    }

    /// Cuts a new block off the region, or off a new one.
    fn cut(&mut self, size: Size, align: usize) -> Option<usize> {
        if let Some(block) = self.fitting(size, align) {
            return Some(block);
        }
        // What is left of the region is lost: less than this block, and most runs never get here.
        let spare = align.saturating_sub(STEP);
        let (next, end) = self.room.region(size.bytes.checked_add(spare)?)?;
        // Where the two are neighbours, nothing is lost.
        if next != self.end {
            self.next = next;
        }
        self.end = end;
        self.fitting(size, align)
    }

    fn fitting(&mut self, size: Size, align: usize) -> Option<usize> {
        let block = self.next.checked_next_multiple_of(align.max(STEP))?;
        let next = block.checked_add(size.bytes).filter(|next| *next <= self.end)?;
        self.next = next;
        Some(block)
    }
}

/// A size that blocks have, and its place among all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    bytes: usize,
    place: usize,
}

impl Size {
    /// The least size that holds so many bytes: small ones in steps of 16, larger ones in four
    /// steps from each power of two to the next. `None` past half of the address space.
    fn of(bytes: usize) -> Option<Self> {
        if bytes <= SMALL {
            let place = bytes.saturating_sub(1) / STEP;
            return Some(Self { bytes: place.checked_add(1)?.checked_mul(STEP)?, place });
        }
        let last = bytes.checked_sub(1)?;
        let power = usize::try_from(last.ilog2()).ok()?;
        let quarter = power.checked_sub(2)?;
        // 4 to 7: how many quarters of the power of two are full.
        let full = last >> quarter;
        let bytes = full.checked_add(1)?.checked_mul(1 << quarter)?;
        let doublings = power.checked_sub(SMALL_POWER)?;
        let place = (SMALL / STEP).checked_add(doublings.checked_mul(4)?)?.checked_add(full & 3)?;
        (place < SIZES).then_some(Self { bytes, place })
    }
}

fn is_aligned(block: usize, align: usize) -> bool {
    block & align.saturating_sub(1) == 0
}

/// Every block begins at a multiple of this, which no usual value needs more than.
pub(crate) const STEP: usize = 16;
/// Up to here sizes grow step by step.
const SMALL: usize = 1 << SMALL_POWER;
const SMALL_POWER: usize = 9;
/// The largest size is 2 GiB.
const SIZES: usize = SMALL / STEP + (31 - SMALL_POWER) * 4;

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Heap, Room, SIZES, STEP, Size, Wish};

    /// A memory of words by address, with a first region and further ones up to a limit.
    #[derive(Debug, Default)]
    struct Memory {
        words: BTreeMap<usize, usize>,
        given: usize,
        most: usize,
        /// Bytes between two regions, as where somebody else grew the memory.
        gap: usize,
    }

    impl Room for Memory {
        fn read(&self, at: usize) -> usize {
            self.words.get(&at).copied().expect("a word is read that was never written")
        }

        fn write(&mut self, at: usize, word: usize) {
            assert!(at > 0 && at.is_multiple_of(STEP));
            self.words.insert(at, word);
        }

        fn region(&mut self, bytes: usize) -> Option<(usize, usize)> {
            let bytes = bytes.next_multiple_of(REGION);
            let first = self.given.max(STEP).checked_add(self.gap)?;
            let end = first.checked_add(bytes).filter(|end| *end <= self.most)?;
            self.given = end;
            Some((first, end))
        }
    }

    const REGION: usize = 65_536;

    fn heap(most: usize) -> Heap<Memory> {
        Heap::new(Memory { most, ..Memory::default() })
    }

    fn wish(bytes: usize) -> Wish {
        Wish { bytes, align: 8 }
    }

    #[test]
    fn every_size_holds_what_it_is_for_and_wastes_a_quarter_at_most() {
        let mut before = Size::of(1).unwrap();
        for bytes in 1..200_000usize {
            let size = Size::of(bytes).unwrap();
            assert!(size.bytes >= bytes && size.bytes.is_multiple_of(STEP), "{bytes}");
            assert!(size.bytes - bytes < STEP.max(bytes / 4 + 1), "{bytes}: {size:?}");
            assert!(size == before || size.place == before.place + 1, "{bytes}");
            // A size is its own size: who gives a block back finds the list it belongs to.
            assert_eq!(Size::of(size.bytes), Some(size));
            before = size;
        }
    }

    #[test]
    fn the_largest_size_is_half_of_the_address_space_of_a_guest() {
        let largest = Size::of(1 << 31).unwrap();
        assert_eq!((largest.bytes, largest.place), (1 << 31, SIZES - 1));
        assert_eq!(Size::of((1 << 31) + 1), None);
        assert_eq!(Size::of(usize::MAX), None);
    }

    #[test]
    fn what_comes_back_is_given_out_again() {
        let mut heap = heap(1 << 20);
        let first = heap.take(wish(100)).unwrap();
        let second = heap.take(wish(100)).unwrap();
        heap.give_back(first, wish(100));
        assert_eq!(heap.take(wish(97)), Some(first));
        heap.give_back(second, wish(100));
        assert_eq!(heap.take(wish(7)), Some(second), "the last block went back to the region");
    }

    #[test]
    fn the_last_block_grows_where_it_lies_and_another_does_not() {
        let mut heap = heap(1 << 20);
        let first = heap.take(wish(64)).unwrap();
        let last = heap.take(wish(64)).unwrap();
        assert!(heap.resize(last, wish(64), 4_000));
        assert!(!heap.resize(first, wish(64), 128));
        assert!(heap.resize(first, wish(64), 50), "it has this size already");
        assert!(!heap.resize(last, wish(4_000), 1 << 19), "the region ends before");
        let next = heap.take(wish(16)).unwrap();
        assert!(next >= last + 4_000);
    }

    #[test]
    fn a_run_that_gives_back_what_it_takes_needs_no_further_memory() {
        let mut heap = heap(STEP + REGION);
        for round in 0..10_000usize {
            let sizes = [round % 700, 1 + round % 90, 300];
            let blocks = sizes.map(|bytes| (heap.take(wish(bytes)).unwrap(), wish(bytes)));
            for (block, wish) in blocks {
                heap.give_back(block, wish);
            }
        }
    }

    #[test]
    fn where_memory_ends_there_is_no_block_and_the_heap_works_on() {
        let mut heap = heap(STEP + REGION);
        assert_eq!(heap.take(wish(1 << 20)), None);
        assert_eq!(heap.take(wish(usize::MAX)), None);
        let block = heap.take(wish(1_000)).unwrap();
        heap.give_back(block, wish(1_000));
        assert_eq!(heap.take(wish(1_000)), Some(block));
    }

    #[derive(Debug, Clone)]
    enum Act {
        Take(usize, u32),
        GiveBack(usize),
        Resize(usize, usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let bytes = prop_oneof![0usize..80, 0usize..5_000, 0usize..60_000];
        prop_oneof![
            4 => (bytes.clone(), 0u32..8).prop_map(|(bytes, align)| Act::Take(bytes, align)),
            3 => any::<usize>().prop_map(Act::GiveBack),
            2 => (any::<usize>(), bytes).prop_map(|(which, bytes)| Act::Resize(which, bytes)),
        ]
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_and_lie_within_their_regions(
            acts in proptest::collection::vec(act(), 1..300), gap in 0usize..3,
        ) {
            let room = Memory { most: 1 << 22, gap: gap * REGION, ..Memory::default() };
            let mut heap = Heap::new(room);
            let mut held: Vec<(usize, Wish)> = Vec::new();
            for act in acts {
                match act {
                    Act::Take(bytes, power) => {
                        let wish = Wish { bytes, align: 1 << power };
                        let Some(block) = heap.take(wish) else { continue };
                        prop_assert!(block.is_multiple_of(wish.align) && block > 0);
                        held.push((block, wish));
                    }
                    Act::GiveBack(which) if !held.is_empty() => {
                        let (block, wish) = held.swap_remove(which % held.len());
                        heap.give_back(block, wish);
                    }
                    Act::Resize(which, bytes) if !held.is_empty() => {
                        let which = which % held.len();
                        let (block, wish) = held[which];
                        if heap.resize(block, wish, bytes) {
                            held[which] = (block, Wish { bytes, ..wish });
                        }
                    }
                    Act::GiveBack(_) | Act::Resize(..) => {}
                }
                let mut sorted: Vec<_> = held.iter().map(|(at, wish)| (*at, wish.bytes)).collect();
                sorted.sort_unstable();
                for pair in sorted.windows(2) {
                    prop_assert!(pair[0].0 + pair[0].1 <= pair[1].0 && pair[0].0 < pair[1].0);
                }
                prop_assert!(sorted.iter().all(|(at, bytes)| at + bytes <= heap.room.given));
            }
        }
    }
}
