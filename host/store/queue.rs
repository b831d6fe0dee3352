//! The line in front of the writer: bounded in operations and in bytes.
//!
//! Who finds it full waits in front of it, in order of arrival. A gateway's callback waits no
//! longer than its answer may take, and then hears that it was not stored.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

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
    let crowd = Arc::new(Crowd { wanted: AtomicUsize::new(usize::MAX), there: Notify::new() });
    let queue =
        Queue { sender, bytes, bytes_max: bounds.queue_bytes_max, crowd: Arc::clone(&crowd) };
    (
        queue,
        Line {
            waiting,
            front: VecDeque::new(),
            bounds,
            room,
            crowd,
            last: 0,
            wanted: 0,
            gather: GATHER,
        },
    )
}

/// Where operations are put in.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: mpsc::Sender<Waiting>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    crowd: Arc<Crowd>,
}

/// What the front of the line waits for: a wake-up for each that comes would cost more than a
/// common commit saves.
#[derive(Debug)]
struct Crowd {
    /// So many are to stand in line; more than ever can where nobody waits for them.
    wanted: AtomicUsize,
    there: Notify,
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
        self.sender.send(waiting).await.map_err(|_| StoreError::Closed)?;
        let standing = self.sender.max_capacity().saturating_sub(self.sender.capacity());
        if standing >= self.crowd.wanted.load(Ordering::Relaxed) {
            self.crowd.there.notify_one();
        }
        Ok(())
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
    crowd: Arc<Crowd>,
    /// Operations of the last commit.
    last: usize,
    /// Operations that the next one waits for, while there is hope for them.
    wanted: usize,
    /// How long after the end of a commit the next one may wait for company.
    gather: Duration,
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
    ///
    /// A commit costs much the same whatever its size. Where the last one was large and has just
    /// ended, this one waits a moment for as many again, since those who were answered by it come
    /// back with what is next. What comes alone, or later than that, waits for nobody.
    pub(crate) async fn take(&mut self) -> Taken {
        let until = Instant::now().checked_add(self.gather);
        if self.front.is_empty() {
            let mut found = Vec::new();
            self.waiting.recv_many(&mut found, self.bounds.group_max).await;
            self.front.extend(found);
        }
        self.fill();
        if let Some(until) = until
            && self.last >= GATHER_FROM
        {
            self.gather(until).await;
        }
        let taken = self.first();
        self.last = taken.operations.len();
        // As many as came, or twice as many as were hoped for and came.
        let hoped = self.last >= self.wanted;
        self.wanted = if hoped { self.last.saturating_mul(2) } else { self.last };
        taken
    }

    /// Takes what is there into the front.
    fn fill(&mut self) {
        while self.front.len() < self.bounds.group_max
            && let Ok(next) = self.waiting.try_recv()
        {
            self.front.push_back(next);
        }
    }

    /// Waits until there are as many as are wanted, at most until then.
    async fn gather(&mut self, until: Instant) {
        let most = self.wanted.min(self.bounds.group_max);
        let late = sleep_until(until);
        tokio::pin!(late);
        while self.front.len() < most
            && self.bytes() < self.bounds.group_bytes_max
            && !self.waiting.is_closed()
        {
            let missing = most.saturating_sub(self.front.len());
            self.crowd.wanted.store(missing, Ordering::Relaxed);
            let came = if self.waiting.len() >= missing {
                true
            } else {
                tokio::select! {
                    biased;
                    () = self.crowd.there.notified() => true,
                    () = &mut late => false,
                }
            };
            self.crowd.wanted.store(usize::MAX, Ordering::Relaxed);
            self.fill();
            if !came {
                break;
            }
        }
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

/// Operations of a commit that the next one waits for company after: what comes from one worker
/// and one gateway alone is less.
const GATHER_FROM: usize = 8;

/// How long after the end of a commit the next one may wait for company.
const GATHER: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use callgate_core::time::Timestamp;
    use tokio::sync::oneshot;

    use super::{Bounds, GATHER_FROM, Line, Queue, line};
    use crate::group::Operation;
    use crate::probe::Probe;

    /// A line that waits for company as long as it takes.
    fn patient(group_max: usize) -> (Queue, Line) {
        let bytes = 65_536;
        let bounds = Bounds {
            group_max,
            group_bytes_max: bytes,
            queue_max: 1_024,
            queue_bytes_max: 16 * bytes,
        };
        let (queue, mut line) = line(bounds);
        line.gather = Duration::from_secs(86_400);
        (queue, line)
    }

    async fn put(queue: &Queue, count: usize) {
        for _ in 0..count {
            let probe = Probe { id: String::new(), now: Timestamp::from_ms(0) };
            let (reply, _) = oneshot::channel();
            queue.put(Operation::Probe(probe, reply)).await.unwrap();
        }
    }

    /// How many share the next commit.
    async fn taken(line: &mut Line) -> usize {
        line.take().await.operations.len()
    }

    #[tokio::test]
    async fn what_comes_alone_waits_for_nobody() {
        let (queue, mut line) = patient(256);
        for count in [1, 1, GATHER_FROM - 1, 1, 2] {
            put(&queue, count).await;
            assert_eq!(taken(&mut line).await, count);
        }
    }

    #[tokio::test]
    async fn after_a_large_commit_as_many_again_are_waited_for() {
        let (queue, mut line) = patient(256);
        put(&queue, GATHER_FROM).await;
        assert_eq!(taken(&mut line).await, GATHER_FROM);
        let come = async {
            for _ in 0..2 * GATHER_FROM {
                tokio::task::yield_now().await;
                put(&queue, 1).await;
            }
        };
        let (found, ()) = tokio::join!(taken(&mut line), come);
        assert_eq!(found, 2 * GATHER_FROM);
    }

    #[tokio::test]
    async fn nobody_waits_for_more_than_fit() {
        let (queue, mut line) = patient(GATHER_FROM);
        put(&queue, 2 * GATHER_FROM).await;
        assert_eq!(taken(&mut line).await, GATHER_FROM);
        assert_eq!(taken(&mut line).await, GATHER_FROM);
    }

    #[tokio::test]
    async fn who_does_not_come_in_time_is_not_waited_for() {
        let (queue, mut line) = patient(256);
        put(&queue, GATHER_FROM).await;
        assert_eq!(taken(&mut line).await, GATHER_FROM);
        line.gather = Duration::ZERO;
        put(&queue, GATHER_FROM).await;
        assert_eq!(taken(&mut line).await, GATHER_FROM);
        // Twice as many did not come, so no more than these are hoped for.
        line.gather = Duration::from_secs(86_400);
        put(&queue, GATHER_FROM).await;
        assert_eq!(taken(&mut line).await, GATHER_FROM);
    }

    #[tokio::test]
    async fn a_line_that_closes_waits_for_nobody() {
        let (queue, mut line) = patient(256);
        put(&queue, GATHER_FROM).await;
        assert_eq!(taken(&mut line).await, GATHER_FROM);
        put(&queue, 1).await;
        line.close();
        assert_eq!(taken(&mut line).await, 1);
        assert_eq!(taken(&mut line).await, 0);
    }
}
