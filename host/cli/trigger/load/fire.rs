//! Sends: at a fixed rate whatever the server does, or as fast as the answers come.
//!
//! At a fixed rate a callback has its moment from the beginning, and its latency counts from
//! there, sent or not: a server that stands still for a second is late for all of that second.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::wire::{Connection, Request};

/// How requests are sent.
#[derive(Debug, Clone)]
pub(super) struct Fire {
    /// `host:port` of each server; connections go to them in turn.
    pub(super) hosts: Vec<String>,
    /// Connections in all.
    pub(super) connections: usize,
    pub(super) pace: Pace,
}

/// When the next one is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// As soon as a connection is free.
    Free,
    /// So many a second.
    PerSecond(u32),
}

/// What came of one request.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    /// From its moment to its answer.
    pub(super) latency: Duration,
    /// From its moment to the first byte sent.
    pub(super) late: Duration,
    /// What is wrong: no answer, or another than expected.
    pub(super) wrong: Option<Wrong>,
}

/// Why a request did not end as it should.
#[derive(Debug, Clone)]
pub(super) enum Wrong {
    /// No answer came.
    Failed(String),
    /// Another answer came.
    Unexpected(String),
}

/// Every request's end, and the time from the first moment to the last answer.
#[derive(Debug)]
pub(super) struct Fired {
    pub(super) hits: Vec<Hit>,
    pub(super) took: Duration,
}

impl Fire {
    /// Sends everything, on a thread of its own.
    pub(super) async fn all(self, requests: Vec<Request>) -> anyhow::Result<Fired> {
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, self.run(requests))
        })
        .await
        .context("the load ended badly")?
    }

    async fn run(self, requests: Vec<Request>) -> anyhow::Result<Fired> {
        let range = Rc::new(Range {
            requests,
            next: Cell::new(0),
            released: Semaphore::new(0),
            hits: RefCell::default(),
        });
        let mut connections = Vec::with_capacity(self.connections);
        for host in self.hosts.iter().cycle().take(self.connections.max(1)) {
            let mut connection = Connection::new(host);
            connection.open().await.with_context(|| format!("{host} cannot be reached"))?;
            connections.push(connection);
        }
        let started = Instant::now();
        let moments = Moments { started, pace: self.pace };
        let posters: Vec<_> = connections
            .into_iter()
            .map(|connection| {
                let range = Rc::clone(&range);
                tokio::task::spawn_local(range.post(connection, moments))
            })
            .collect();
        if let Pace::PerSecond(rate) = self.pace {
            range.release(started, rate).await;
        }
        range.released.close();
        for poster in posters {
            poster.await.context("a connection's task ended badly")?;
        }
        let took = started.elapsed();
        Ok(Fired { hits: range.hits.take(), took })
    }
}

/// What is sent, and how far it has come.
struct Range {
    requests: Vec<Request>,
    next: Cell<usize>,
    /// One permit for each request whose moment has come.
    released: Semaphore,
    hits: RefCell<Vec<Hit>>,
}

impl Range {
    /// Takes one after the other, until nothing is left.
    async fn post(self: Rc<Self>, mut connection: Connection, moments: Moments) {
        loop {
            if let Pace::PerSecond(_) = moments.pace {
                // Once everything is released the semaphore closes, and the rest is free.
                if let Ok(permit) = self.released.acquire().await {
                    permit.forget();
                }
            }
            let place = self.next.get();
            let Some(request) = self.requests.get(place) else { return };
            self.next.set(place.saturating_add(1));
            let begun = Instant::now();
            let moment = moments.of(place).unwrap_or(begun);
            let wrong = match connection.send(request).await {
                Ok(reply) => reply.wrong.map(Wrong::Unexpected),
                Err(error) => Some(Wrong::Failed(error.to_string())),
            };
            let late = begun.saturating_duration_since(moment);
            let latency = moment.elapsed();
            self.hits.borrow_mut().push(Hit { latency, late, wrong });
        }
    }

    /// Releases what is due, each millisecond.
    async fn release(&self, started: Instant, rate: u32) {
        let mut ticks = interval_at(started, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut released = 0usize;
        let mut tick = 0u64;
        while released < self.requests.len() {
            ticks.tick().await;
            let due = due(tick, rate).min(self.requests.len());
            self.released.add_permits(due.saturating_sub(released));
            released = released.max(due);
            tick = tick.saturating_add(1);
        }
    }
}

/// When each request is to be sent.
#[derive(Debug, Clone, Copy)]
struct Moments {
    started: Instant,
    pace: Pace,
}

impl Moments {
    /// `None` where it is whenever a connection is free.
    fn of(&self, place: usize) -> Option<Instant> {
        let Pace::PerSecond(rate) = self.pace else { return None };
        let tick = tick_of(place, rate);
        self.started.checked_add(Duration::from_millis(tick))
    }
}

/// How many requests are due at the `tick`th millisecond.
fn due(tick: u64, rate: u32) -> usize {
    let due = tick.saturating_mul(u64::from(rate)) / 1000;
    usize::try_from(due).unwrap_or(usize::MAX).saturating_add(1)
}

/// The millisecond at which a request is due: the first with `due(tick) > place`.
fn tick_of(place: usize, rate: u32) -> u64 {
    let place = u64::try_from(place).unwrap_or(u64::MAX);
    place.saturating_mul(1000).div_ceil(u64::from(rate.max(1)))
}

const TICK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::{due, tick_of};

    #[test]
    fn a_request_is_due_at_its_own_millisecond_and_not_before() {
        for rate in [1, 7, 999, 1000, 1001, 12_345] {
            for place in 0..5000 {
                let tick = tick_of(place, rate);
                assert!(due(tick, rate) > place, "{rate} {place}");
                assert!(tick == 0 || due(tick - 1, rate) <= place, "{rate} {place}");
            }
        }
    }

    #[test]
    fn a_second_has_as_many_as_were_asked_for() {
        assert_eq!(due(0, 500), 1);
        assert_eq!(due(1000, 500), 501);
        assert_eq!(due(10_000, 3), 31);
    }
}
