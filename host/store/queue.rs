//! The line in front of the writer: bounded in operations and in bytes.
//!
//! Who finds it full waits in front of it, in order of arrival. A gateway's callback waits no
//! longer than its answer may take, and then hears that it was not stored.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::error::StoreError;
use crate::group::Operation;
use crate::settings::Settings;

/// What may stand in line, and what may share a commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Operations in one commit.
    pub(crate) group_max: usize,
    /// Bytes in one commit; what is larger alone is committed alone.
    pub(crate) group_bytes_max: usize,
    /// Operations in line.
    pub(crate) queue_max: usize,
    /// Bytes in line and in the commit under way.
    pub(crate) queue_bytes_max: usize,
}

impl Bounds {
    pub(crate) fn of(settings: &Settings) -> Self {
        let Settings { group_max, group_bytes_max, queue_max, queue_bytes_max, .. } = *settings;
        Self { group_max, group_bytes_max, queue_max, queue_bytes_max }
    }
}

/// Makes a line: its end, where operations are put in, and its front.
pub(crate) fn line(bounds: Bounds) -> (Queue, Line) {
    let (sender, waiting) = mpsc::channel(bounds.queue_max);
    let bytes = Arc::new(Semaphore::new(bounds.queue_bytes_max.min(Semaphore::MAX_PERMITS)));
    let room = Arc::clone(&bytes);
    let queue = Queue { sender, bytes, bytes_max: bounds.queue_bytes_max };
    (queue, Line { waiting, front: VecDeque::new(), bounds, room })
}

/// Where operations are put in.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: mpsc::Sender<Waiting>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
}

/// An operation in line, and the room that it takes.
#[derive(Debug)]
struct Waiting {
    operation: Operation,
    bytes: usize,
    room: Room,
}

/// Room that operations take in line, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room(#[expect(dead_code, reason = "held, not looked at")] OwnedSemaphorePermit);

impl Queue {
    /// Puts an operation in line; waits in front of it while it is full.
    ///
    /// # Errors
    /// [`StoreError::Closed`] where nothing is taken any more.
    pub(crate) async fn put(&self, operation: Operation) -> Result<(), StoreError> {
        let bytes = operation.bytes();
        // What is larger than the whole line stands in it alone.
        let wanted = u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.bytes).acquire_many_owned(wanted).await;
        let room = Room(room.map_err(|_| StoreError::Closed)?);
        let waiting = Waiting { operation, bytes, room };
        self.sender.send(waiting).await.map_err(|_| StoreError::Closed)
    }
}

/// The front of the line.
#[derive(Debug)]
pub(crate) struct Line {
    waiting: mpsc::Receiver<Waiting>,
    /// Taken from the channel, and too much for the last commit.
    front: VecDeque<Waiting>,
    bounds: Bounds,
    room: Arc<Semaphore>,
}

/// What shares a commit, and the room that it takes until it has ended.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) operations: Vec<Operation>,
    pub(crate) rooms: Vec<Room>,
}

impl Line {
    /// Lets nothing more in; what is in line is still taken.
    pub(crate) fn close(&mut self) {
        self.waiting.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.is_closed()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len().saturating_add(self.front.len())
    }

    /// Bytes in line and in the commit under way.
    pub(crate) fn bytes(&self) -> usize {
        self.bounds.queue_bytes_max.saturating_sub(self.room.available_permits())
    }

    /// Waits for the next operations; none where the line is closed and empty. Dropping the
    /// future loses nothing.
    pub(crate) async fn take(&mut self) -> Taken {
        if self.front.is_empty() {
            let mut found = Vec::new();
            self.waiting.recv_many(&mut found, self.bounds.group_max).await;
            self.front.extend(found);
        }
        while self.front.len() < self.bounds.group_max
            && let Ok(next) = self.waiting.try_recv()
        {
            self.front.push_back(next);
        }
        self.first()
    }

    /// The first ones that fit into one commit; at least one, if there is one.
    fn first(&mut self) -> Taken {
        let mut taken = Taken { operations: Vec::new(), rooms: Vec::new() };
        let mut sum = 0usize;
        while let Some(next) = self.front.front() {
            sum = sum.saturating_add(next.bytes);
            let full = taken.operations.len() >= self.bounds.group_max
                || sum > self.bounds.group_bytes_max;
            if full && !taken.operations.is_empty() {
                break;
            }
            let Some(next) = self.front.pop_front() else { break };
            taken.operations.push(next.operation);
            taken.rooms.push(next.room);
        }
        taken
    }
}
