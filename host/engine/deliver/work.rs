//! The loop of one sink: own it, read what is new, send what is due, write down what happened.
//!
//! Only the host that holds the sink's lease sends. What it knows lives in memory and is written
//! after every round that ended something; a host that takes over reads the store and may send
//! again what was not written yet, with the same ids.

use std::sync::Arc;

use callgate_core::outcome::Reason;
use callgate_core::time::Timestamp;
use callgate_store::{Bell, SinkHold, SinkStep, StoreError, StoredEvent};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::gauges::{self, Gauges};
use super::queue::{Queue, Retry};
use super::{Attempt, Blame, Delivery, Failure, Sink, SinkSettings};
use crate::outbound::circuit::{Circuit, Probe, SPREAD};

/// The right to deliver.
#[derive(Debug, Clone, Copy)]
struct Hold {
    epoch: i64,
    revision: i64,
    until: Timestamp,
    renew_at: Timestamp,
}

/// An attempt that ended.
#[derive(Debug)]
struct Ended {
    /// The ownership under which it began.
    epoch: i64,
    seq: i64,
    probe: Probe,
    attempt: Attempt,
}

/// Whether there may be more to do right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Again,
    Wait,
    /// The store does not answer: nothing before the next poll.
    Pause,
}

/// The loop and what it knows.
pub(super) struct Work {
    delivery: Delivery,
    sink: Sink,
    hold: Option<Hold>,
    queue: Queue,
    /// More is kept than was read: nothing new is begun before that is delivered.
    more_kept: bool,
    circuit: Circuit,
    sending: JoinSet<Ended>,
    on_their_way: usize,
    /// So that a store that is down makes one line and not one each poll.
    complained: bool,
}

impl Work {
    pub(super) fn new(delivery: Delivery, sink: Sink) -> Self {
        let circuit = Circuit::new(sink.settings.circuit);
        Self {
            delivery,
            sink,
            hold: None,
            queue: Queue::default(),
            more_kept: false,
            circuit,
            sending: JoinSet::new(),
            on_their_way: 0,
            complained: false,
        }
    }

    pub(super) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut bell = self.delivery.store.settled_bell();
        while !*shutdown.borrow() {
            // Listening begins before looking, so that nothing slips between.
            bell.listen();
            while let Some(ended) = self.sending.try_join_next() {
                self.note(ended);
            }
            let next = match self.round().await {
                Ok(next) => {
                    self.complained = false;
                    next
                }
                Err(error) => {
                    self.complain(&error);
                    Next::Pause
                }
            };
            self.show();
            if next != Next::Again {
                self.wait(next, &mut bell, &mut shutdown).await;
            }
        }
        self.end().await;
    }

    /// One look at everything.
    async fn round(&mut self) -> Result<Next, StoreError> {
        let now = self.delivery.clock.now();
        let due = self.hold.is_none_or(|hold| hold.renew_at <= now);
        if due || self.queue.has_changes() {
            self.step(self.settings().lease_ms).await?;
        }
        if self.hold.is_none() {
            return Ok(Next::Wait);
        }
        let read = self.read().await?;
        let sent = self.send().await?;
        Ok(if read || sent { Next::Again } else { Next::Wait })
    }

    /// Takes or renews the lease and writes what happened.
    async fn step(&mut self, lease_ms: u32) -> Result<(), StoreError> {
        let now = self.delivery.clock.now();
        let step = SinkStep {
            sink: self.settings().name.clone(),
            start: self.settings().start,
            owner: self.delivery.owner.clone(),
            lease_ms: i64::from(lease_ms),
            record: self.hold.map(|hold| self.queue.record(hold.epoch)),
        };
        let (epoch, cursor, revision) = match self.delivery.store.step_sink(step, now).await? {
            SinkHold::Held { epoch, cursor, revision } => (epoch, cursor, revision),
            SinkHold::Elsewhere => {
                self.lose();
                return Ok(());
            }
        };
        let (before, lease_ms) = (self.hold, i64::from(lease_ms));
        let (until, renew_at) = (now.plus_ms(lease_ms), now.plus_ms(lease_ms / 4));
        self.hold = Some(Hold { epoch, revision, until, renew_at });
        match before {
            Some(before) if before.epoch == epoch => {
                self.queue.recorded(cursor);
                if before.revision != revision
                    && let Err(error) = self.read_kept().await
                {
                    // The change was not read: the next step has to notice it again.
                    let revision = before.revision;
                    self.hold = Some(Hold { epoch, revision, until, renew_at });
                    return Err(error);
                }
            }
            Some(_) | None => {
                self.queue = Queue::at(cursor);
                if let Err(error) = self.read_kept().await {
                    // Half an ownership is none: the next round begins it again.
                    self.hold = None;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Reads what is kept for this sink, up to the bound.
    async fn read_kept(&mut self) -> Result<(), StoreError> {
        let settings = self.settings();
        let limit = i64::try_from(settings.held_max).unwrap_or(i64::MAX);
        let kept = self.delivery.store.waiting_deliveries(&settings.name, limit).await?;
        self.more_kept = i64::try_from(kept.len()).is_ok_and(|count| count >= limit);
        for waiting in kept {
            self.queue.add_waiting(waiting);
        }
        Ok(())
    }

    /// Reads what is new; tells whether there may be more.
    async fn read(&mut self) -> Result<bool, StoreError> {
        let settings = Arc::clone(&self.sink.settings);
        if self.more_kept && self.queue.held() < settings.held_max.div_ceil(2) {
            self.read_kept().await?;
        }
        let room = WINDOW.saturating_sub(self.queue.fresh());
        if self.more_kept || room < PAGE || self.queue.held() >= settings.held_max {
            return Ok(false);
        }
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let found = self.delivery.store.events_after(self.queue.read(), limit).await?;
        let full = found.len() >= PAGE;
        for event in found {
            if self.sink.takes(&event) {
                self.queue.add(event);
            } else {
                self.queue.skip_to(event.seq);
            }
        }
        Ok(full)
    }

    /// Sends what is due and whose turn it is, as far as there is room.
    async fn send(&mut self) -> Result<bool, StoreError> {
        let now = self.delivery.clock.now();
        let timeout_ms = i64::from(self.settings().timeout_ms);
        let Some(hold) = self.hold.filter(|hold| now.plus_ms(timeout_ms) <= hold.until) else {
            return Ok(false);
        };
        let room = self.circuit.room(now, self.on_their_way, self.settings().in_flight_max);
        let probe = if self.circuit.is_open() { Probe::Yes } else { Probe::No };
        let turns = self.queue.take(now, room);
        let any = !turns.is_empty();
        let mut failed = None;
        for turn in turns {
            let event = match (turn.event, &failed) {
                (Some(event), _) => Ok(Some(event)),
                (None, None) => self.delivery.store.event_at(turn.seq).await,
                (None, Some(_)) => Ok(None),
            };
            match event {
                Ok(Some(StoredEvent { unreadable: Some(problem), .. })) => {
                    self.give_up(turn.seq, (0, Reason::new("store.corrupt", problem)), now);
                }
                Ok(Some(event)) => self.spawn((hold.epoch, probe), event),
                Ok(None) if failed.is_none() => {
                    let text = "the event is no longer stored".to_owned();
                    let reason = Reason::new("sink.unsendable", text);
                    self.give_up(turn.seq, (0, reason), now);
                }
                Ok(None) => self.queue.put_back(turn.seq),
                Err(error) => {
                    self.queue.put_back(turn.seq);
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(any), Err)
    }

    fn spawn(&mut self, (epoch, probe): (i64, Probe), event: StoredEvent) {
        let (sink, clock) = (self.sink.clone(), self.delivery.clock.clone());
        self.on_their_way = self.on_their_way.saturating_add(1);
        self.sending.spawn(async move {
            let attempt = sink.attempt(&event, &clock).await;
            Ended { epoch, seq: event.seq, probe, attempt }
        });
    }

    /// What an attempt that ended means.
    fn note(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        self.on_their_way = self.on_their_way.saturating_sub(1);
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // A mistake of ours. Giving the ownership up makes everything be read again.
                tracing::error!(%error, sink = %self.settings().name, "an attempt ended badly");
                return self.lose();
            }
        };
        let (now, name) = (self.delivery.clock.now(), self.settings().name.clone());
        let owned = self.hold.is_some_and(|hold| hold.epoch == ended.epoch);
        match ended.attempt {
            Attempt::Delivered => {
                gauges::delivered(name);
                self.circuit.success();
                if owned {
                    self.queue.delivered(ended.seq);
                }
            }
            Attempt::Gone => {
                self.circuit.success();
                let (attempts, _) = self.queue.tries(ended.seq);
                let reason = Reason::new("sink.gone", "status 410, the sink wants no more of it");
                if owned {
                    self.give_up(ended.seq, (attempts.saturating_add(1), reason), now);
                }
            }
            Attempt::Failed(failure) => {
                gauges::failed(name.clone(), failure.code);
                if self.circuit.failure(ended.seq, ended.probe, now) {
                    tracing::warn!(sink = %name, code = failure.code, reason = %failure.text,
                        "sink is left in peace: several events failed in a row");
                }
                if owned {
                    self.failed((ended.seq, ended.probe), failure, now);
                }
            }
        }
    }

    fn failed(&mut self, (seq, probe): (i64, Probe), failure: Failure, now: Timestamp) {
        let settings = Arc::clone(&self.sink.settings);
        let (before, first_failed_at) = self.queue.tries(seq);
        // While the sink is down it is the sink that fails, not the event that asks how it is.
        let counts = probe == Probe::No || failure.blame == Blame::Event;
        let attempts = if counts { before.saturating_add(1) } else { before };
        tracing::debug!(sink = %settings.name, event.seq = seq, attempts, code = failure.code,
            reason = %failure.text, "an attempt failed");
        let seed = (seq.unsigned_abs() ^ now.as_ms().unsigned_abs()).wrapping_mul(SPREAD);
        let delay = settings.retry.delay_ms(attempts.max(1), failure.wait_ms, seed);
        if failure.blame == Blame::Sink
            && let Some(wish_ms) = failure.wait_ms
        {
            let wait_ms = wish_ms.min(settings.circuit.max_ms);
            self.circuit.hold(now.plus_ms(i64::from(wait_ms)));
        }
        let age_ms = first_failed_at.map_or(0, |first| now.ms_since(first));
        let reason = Reason::new(failure.code, failure.text);
        // A probe uses no attempt up, so it cannot have been the last one.
        let delay = delay.or_else(|| (!counts).then(|| i64::from(settings.retry.max_ms)));
        match delay.filter(|_| age_ms < settings.give_up_ms) {
            Some(delay_ms) => {
                let due_at = now.plus_ms(delay_ms);
                self.queue.failed(seq, Retry { attempts, due_at, reason }, now);
            }
            None => self.give_up(seq, (attempts, reason), now),
        }
    }

    fn give_up(&mut self, seq: i64, (attempts, reason): (u32, Reason), now: Timestamp) {
        let name = self.settings().name.clone();
        tracing::warn!(sink = %name, event.seq = seq, attempts, code = %reason.code,
            reason = %reason.text, "an event is given up and needs a person");
        gauges::dead(name, reason.code.to_string());
        self.queue.dead(seq, (attempts, reason), now);
    }

    /// Another host delivers now: what is known here is worth nothing any more.
    fn lose(&mut self) {
        if self.hold.take().is_some() {
            tracing::info!(sink = %self.settings().name, "another host delivers to this sink");
        }
        self.queue = Queue::default();
        self.more_kept = false;
    }

    async fn wait(&mut self, next: Next, bell: &mut Bell, shutdown: &mut watch::Receiver<bool>) {
        let now = self.delivery.clock.now();
        let poll = now.plus_ms(i64::from(self.delivery.poll_ms));
        let until = if next == Next::Pause { poll } else { self.next_look(now, poll) };
        let clock = self.delivery.clock.clone();
        tokio::select! {
            () = bell.rung(), if next == Next::Wait && self.hold.is_some() => {}
            Some(ended) = self.sending.join_next() => self.note(ended),
            () = clock.wait_until(until) => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }

    /// When something may happen that nobody announces.
    fn next_look(&self, now: Timestamp, poll: Timestamp) -> Timestamp {
        let Some(hold) = self.hold else { return poll };
        let held_back = self.circuit.until();
        let room =
            self.circuit.room(now.max(held_back), self.on_their_way, self.settings().in_flight_max);
        let due = self.queue.next_due().filter(|_| room > 0).map(|due| due.max(held_back));
        let next = due.map_or(poll, |due| due.min(poll));
        // Where the lease is too short for an attempt, only its renewal helps.
        if next <= now { hold.renew_at.min(poll).max(now.plus_ms(1)) } else { next }
    }

    /// Waits for what is on its way, writes it down, and gives the sink up to another host.
    async fn end(mut self) {
        while let Some(ended) = self.sending.join_next().await {
            self.note(ended);
        }
        if self.hold.is_some() {
            self.queue.hold_gaps();
            if let Err(error) = self.step(0).await {
                self.complain(&error);
            }
        }
    }

    fn complain(&mut self, error: &StoreError) {
        if !self.complained {
            tracing::error!(%error, code = error.code(), sink = %self.settings().name,
                "the store does not answer: nothing is delivered until it does");
        }
        self.complained = true;
    }

    /// A host that does not deliver to the sink shows nothing amiss.
    fn show(&self) {
        let now = self.delivery.clock.now();
        let gauges = Gauges {
            circuit_open: self.hold.is_some() && self.circuit.is_open(),
            held: self.queue.held(),
            lag_ms: self.queue.oldest().map_or(0, |oldest| now.ms_since(oldest)),
        };
        gauges.show(&self.settings().name);
    }

    fn settings(&self) -> &SinkSettings {
        &self.sink.settings
    }
}

/// Events that are read ahead of the cursor: as many may be sent again after a crash.
const WINDOW: usize = 256;

/// Events of one read.
const PAGE: usize = 64;
