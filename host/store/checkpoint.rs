//! Copying SQLite's write-ahead log into its file, beside the writer.
//!
//! By itself SQLite does it within the commit that makes the log long: everybody of that group waits
//! until the pages are copied and synced. Here a thread of its own copies while the writer goes on,
//! until little is left; the writer copies the rest before its next group, and since nothing in the
//! log is needed any more, that group begins it anew. A long log also means fewer copies: a page
//! that was written many times is copied once.
//!
//! Where the file cannot grow, the log does in its place, and then there is no room for either. So a
//! copy that failed is tried again before every group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::error::StoreError;
use crate::lite::Lite;

/// The thread that copies, as the writer sees it.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// `None` when it has to end.
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    /// How long the log was after the last commit, in pages.
    pages: AtomicU32,
    /// How long it has to be before somebody copies.
    next: AtomicU32,
}

/// What the thread and the writer tell each other.
#[derive(Debug, Default)]
struct Shared {
    /// Whether the rest is for the writer.
    rest: AtomicBool,
    /// Whether the last copy failed.
    failed: AtomicBool,
}

impl Shared {
    /// Copies; `None` where that failed.
    fn copy(&self, lite: &mut Lite) -> Option<u32> {
        let copied = lite.checkpoint();
        let failed_before = self.failed.swap(copied.is_err(), Ordering::AcqRel);
        if let Err(error) = &copied
            && !failed_before
        {
            // Nothing is lost, the log is only long. Whoever cannot write says so by itself.
            tracing::warn!(%error, "the write-ahead log cannot be copied into the database");
        }
        copied.ok()
    }
}

impl Checkpoints {
    /// Starts the thread with a connection of its own.
    pub(crate) fn start(lite: Lite) -> Result<Self, StoreError> {
        let (ask, asked) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned());
        let thread = thread.spawn(move || work(lite, &asked, &told));
        let none = |error| StoreError::Unavailable { source: Arc::new(sqlx::Error::Io(error)) };
        Ok(Self {
            ask: Some(ask),
            thread: Some(thread.map_err(none)?),
            shared,
            pages: AtomicU32::new(0),
            next: AtomicU32::new(FROM_PAGES),
        })
    }

    /// The log has so many pages after a commit.
    pub(crate) fn committed(&self, pages: u32) {
        if pages < self.pages.swap(pages, Ordering::Relaxed) {
            self.next.store(FROM_PAGES, Ordering::Relaxed);
        }
        if pages >= self.next.load(Ordering::Relaxed) {
            // Where a reader needs the log as it was, it goes on growing for a while.
            self.next.store(pages.saturating_add(FROM_PAGES), Ordering::Relaxed);
            // Who is still at it need not be asked again.
            let _ = self.ask.as_ref().map(|ask| ask.try_send(()));
        }
    }

    /// Before a group: copies what the thread left.
    pub(crate) fn finish(&self, lite: &mut Lite) {
        let Shared { rest, .. } = &*self.shared;
        if rest.swap(false, Ordering::AcqRel) && self.shared.copy(lite).is_none() {
            rest.store(true, Ordering::Release);
        }
    }
}

impl Drop for Checkpoints {
    /// Nobody has the file open when the store is closed.
    fn drop(&mut self) {
        drop(self.ask.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that copies the log ended badly");
        }
    }
}

fn work(mut lite: Lite, asked: &Receiver<()>, shared: &Shared) {
    while asked.recv().is_ok() {
        let mut before = 0;
        for _ in 0..PASSES_MAX {
            let Some(pages) = shared.copy(&mut lite) else { break };
            if pages.saturating_sub(before) <= LITTLE_PAGES {
                break;
            }
            before = pages;
        }
        shared.rest.store(true, Ordering::Release);
    }
}

/// Pages of the log from which on they are copied: 8 MiB. With more of them the sync of the file
/// holds up those of the log for longer; with fewer, what is written often is copied more often.
const FROM_PAGES: u32 = 2_048;

/// What the writer may copy by itself: about a millisecond's work.
const LITTLE_PAGES: u32 = 256;

/// Copies of what came during the last copy: each is shorter than the one before, unless the
/// writer is faster than the disk.
const PASSES_MAX: usize = 4;
