//! Server-Sent Events: each version of an order as it comes, with signs of life between them.
//!
//! A reader that is slow finds the last version: what lies between is not kept for it. Source:
//! HTML Living Standard, section 9.2, read 2026-11-22.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use callgate_core::time::Timestamp;
use futures_util::stream;
use http::{HeaderValue, header};
use hyper::body::Bytes;
use tokio::sync::watch;

use super::Settings;
use super::repair::Repair;
use super::told::{Told, guard};
use super::told_to_stop;
use super::waiting::Seat;
use crate::clock::Clock;

/// One event stream.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) seat: Seat,
    pub(super) repair: Repair,
    pub(super) clock: Clock,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) settings: Arc<Settings>,
    /// When the token is over.
    pub(super) expires_at: Timestamp,
}

/// A stream that has begun.
#[derive(Debug)]
struct Running {
    feed: Feed,
    /// Whether the last event was told.
    over: bool,
    /// What it is told first.
    first: Option<Bytes>,
    ends_at: Timestamp,
    beat_at: Timestamp,
    last: Arc<Told>,
}

impl Feed {
    /// Begins with where the order stands, unless the client has that version already.
    pub(super) fn begin(self, told: Arc<Told>, has: Option<i64>) -> Response {
        let now = self.clock.now();
        let life = u64::from(self.settings.stream_max_ms);
        let life = life.saturating_sub(jitter(life / 4));
        let ends_at = now.plus_ms(i64::try_from(life).unwrap_or(i64::MAX));
        let retry = u64::from(self.settings.retry_ms);
        let mut first =
            format!("retry: {}\n\n", retry.saturating_add(jitter(retry.saturating_mul(2))));
        if has != Some(told.version()) {
            first.push_str(&String::from_utf8_lossy(&told.event));
        }
        let running = Running {
            over: false,
            first: Some(first.into()),
            ends_at,
            beat_at: now.plus_ms(i64::from(self.settings.heartbeat_ms)),
            last: told,
            feed: self,
        };
        let events = stream::unfold(Box::new(running), |mut running| async move {
            let next = running.next().await?;
            Some((Ok::<_, Infallible>(next), running))
        });
        let mut response = Body::from_stream(events).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        // What nginx keeps back otherwise.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        guard(headers);
        response
    }
}

impl Running {
    /// What the client is told next; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.over {
            let Feed { seat, clock, stopped, expires_at, repair, settings } = &mut self.feed;
            let ends_at = self.ends_at.min(*expires_at);
            tokio::select! {
                () = seat.news() => {
                    let Some(told) = seat.look() else { continue };
                    if self.last.version() == told.version() {
                        continue;
                    }
                    metrics::counter!("callgate_status_woken_total", "how" => "stream")
                        .increment(1);
                    let event = told.event.clone();
                    self.last = told;
                    return Some(event);
                }
                () = clock.wait_until(ends_at) => {
                    // At the end of the token the page is told to fetch another; at the end of
                    // the stream it connects again by itself.
                    self.over = true;
                    return (ends_at == *expires_at).then_some(EXPIRED);
                }
                () = clock.wait_until(self.beat_at) => {
                    let now = clock.now();
                    self.beat_at = now.plus_ms(i64::from(settings.heartbeat_ms));
                    repair.looked(&self.last.standing, now);
                    return Some(BEAT);
                }
                () = told_to_stop(stopped) => return None,
            }
        }
        None
    }
}

/// A number from 0 to `most`, so that not everybody does the same at the same time.
fn jitter(most: u64) -> u64 {
    RandomState::new().hash_one(0).checked_rem(most.saturating_add(1)).unwrap_or(0)
}

/// A comment: it keeps proxies from closing the connection.
const BEAT: Bytes = Bytes::from_static(b":\n\n");

/// The last event of a stream whose token is over.
const EXPIRED: Bytes = Bytes::from_static(b"event: expired\ndata: {}\n\n");
