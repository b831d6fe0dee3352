//! Copying SQLite's write-ahead log into its file, beside the writer.
//!
//! By itself SQLite does it within the commit that makes the log long: everybody of that group waits
//! until the pages are copied and synced. Here a thread of its own copies while the writer goes on,
//! until little is left; the writer copies the rest before its next group, and since nothing in the
//! log is needed any more, that group begins it anew. A long log also means fewer copies: a page
//! that was written many times is copied once.

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
    /// Whether the rest is for the writer.
    copied: Arc<AtomicBool>,
    /// How long the log was after the last commit, in pages.
    pages: AtomicU32,
    /// How long it has to be before somebody copies.
    next: AtomicU32,
}

impl Checkpoints {
    /// Starts the thread with a connection of its own.
    pub(crate) fn start(lite: Lite) -> Result<Self, StoreError> {
        let (ask, asked) = sync_channel(1);
        let copied = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&copied);
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned());
        let thread = thread.spawn(move || work(lite, &asked, &told));
        let none = |error| StoreError::Unavailable { source: Arc::new(sqlx::Error::Io(error)) };
        Ok(Self {
            ask: Some(ask),
            thread: Some(thread.map_err(none)?),
            copied,
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
        if self.copied.swap(false, Ordering::AcqRel)
            && let Err(error) = lite.checkpoint()
        {
            complain(&error);
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

fn work(mut lite: Lite, asked: &Receiver<()>, copied: &AtomicBool) {
    while asked.recv().is_ok() {
        let mut before = 0;
        for _ in 0..PASSES_MAX {
            match lite.checkpoint() {
                Ok(pages) if pages.saturating_sub(before) <= LITTLE_PAGES => break,
                Ok(pages) => before = pages,
                Err(error) => {
                    complain(&error);
                    break;
                }
            }
        }
        copied.store(true, Ordering::Release);
    }
}

/// Nothing is lost, the log is only long. Whoever cannot write says so by itself.
fn complain(error: &sqlx::Error) {
    tracing::warn!(%error, "the write-ahead log could not be copied into the database");
}

/// Pages of the log from which on they are copied: 32 MiB.
const FROM_PAGES: u32 = 8_192;

/// What the writer may copy by itself: about a millisecond's work.
const LITTLE_PAGES: u32 = 256;

/// Copies of what came during the last copy: each is shorter than the one before, unless the
/// writer is faster than the disk.
const PASSES_MAX: usize = 4;
