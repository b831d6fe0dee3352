//! The allocator of a guest: the heap of `heap`, on the instance's own memory.
//!
//! Why this is sound, for all the unsafe code of this file:
//!
//! - *One at a time.* The target has no threads (with atomics this file does not compile), no
//!   signals, and the host never calls a component that is inside an import. Nothing in [`Heap`]
//!   allocates, panics on purpose or calls back, so no second borrow of it begins while one lasts.
//! - *Regions are its own.* The first is a static that nothing else names. Further ones come from
//!   `memory.grow`, which gives pages that nobody had before, also where others grow the memory.
//! - *Blocks are apart.* Given the above, [`Heap`] gives out blocks that do not overlap, lie within
//!   regions, and are aligned as asked; its tests hold it to that with random sequences.
//! - *Words.* The heap reads and writes words only in blocks that it has not given out, each at
//!   least 16 bytes long and aligned to 16.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32;
use core::cell::UnsafeCell;
use core::ptr;

use crate::heap::{Heap, Room, STEP, Wish};

#[cfg(target_feature = "atomics")]
compile_error!("the guest's allocator is for one thread; leave the feature `memory` out");

#[global_allocator]
static MEMORY: Memory = Memory(UnsafeCell::new(Heap::new(Linear { begun: false })));

/// A heap behind a shared reference.
struct Memory(UnsafeCell<Heap<Linear>>);

// SAFETY: see "one at a time" at the head of this file.
unsafe impl Sync for Memory {}

impl Memory {
    #[expect(clippy::mut_from_ref, reason = "an allocator is shared; see the head of this file")]
    fn heap(&self) -> &mut Heap<Linear> {
        // SAFETY: no other borrow lasts; see "one at a time" at the head of this file.
        unsafe { &mut *self.0.get() }
    }
}

// SAFETY: blocks are as `GlobalAlloc` asks for; see "blocks are apart" at the head of this file.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.heap().take(wish(layout)).map_or(ptr::null_mut(), ptr::with_exposed_provenance_mut)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.heap().give_back(block.addr(), wish(layout));
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if self.heap().resize(block.addr(), wish(layout), bytes) {
            return block;
        }
        // SAFETY: the caller of `realloc` vouches that `bytes` is right for this alignment.
        let moved = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        // SAFETY: `bytes` is not 0, says the caller of `realloc`.
        let to = unsafe { self.alloc(moved) };
        if !to.is_null() {
            // SAFETY: both blocks are at least that long, and a new block overlaps no other.
            unsafe { ptr::copy_nonoverlapping(block, to, layout.size().min(bytes)) };
            // SAFETY: the block was given out for this layout, says the caller of `realloc`.
            unsafe { self.dealloc(block, layout) };
        }
        to
    }
}

fn wish(layout: Layout) -> Wish {
    Wish { bytes: layout.size(), align: layout.align() }
}

/// The memory of the instance.
struct Linear {
    /// Whether the first region is given out.
    begun: bool,
}

impl Room for Linear {
    fn read(&self, at: usize) -> usize {
        // SAFETY: see "words" at the head of this file.
        unsafe { ptr::with_exposed_provenance::<usize>(at).read() }
    }

    fn write(&mut self, at: usize, word: usize) {
        // SAFETY: see "words" at the head of this file.
        unsafe { ptr::with_exposed_provenance_mut::<usize>(at).write(word) };
    }

    fn region(&mut self, bytes: usize) -> Option<(usize, usize)> {
        if !self.begun && bytes <= FIRST {
            self.begun = true;
            let first = FIRST_REGION.0.get().expose_provenance();
            return Some((first, first.checked_add(FIRST)?));
        }
        let pages = bytes.max(GROWTH).div_ceil(PAGE);
        let before = wasm32::memory_grow::<0>(pages);
        // What the engine says where there is no more.
        let before = (before != usize::MAX).then_some(before)?;
        let first = before.checked_mul(PAGE)?;
        // The last byte of a full memory of 4 GiB is not used: its end has no address.
        let end = first.saturating_add(pages.saturating_mul(PAGE));
        Some((first, end & !(STEP - 1)))
    }
}

/// Zeros, which take no room in the component.
#[repr(C, align(16))]
struct First(UnsafeCell<[u8; FIRST]>);

// SAFETY: it is touched through the heap alone; see "one at a time" at the head of this file.
unsafe impl Sync for First {}

static FIRST_REGION: First = First(UnsafeCell::new([0; FIRST]));

/// Bytes that an instance has without growing: some ten times what a usual run needs.
const FIRST: usize = 256 << 10;
/// Bytes that it grows by at least.
const GROWTH: usize = 256 << 10;
/// A page of WebAssembly.
const PAGE: usize = 64 << 10;
