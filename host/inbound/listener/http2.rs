//! HTTP/2: many requests on one connection, with limits that HTTP/1.1 has by its nature.
//!
//! A connection on which nothing is asked for a while is closed as one that does not send a head;
//! so is one that keeps asking and taking back.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};

use super::{BodyError, told_to_stop};
use crate::inbound::ListenerSettings;

/// Limits of one HTTP/2 connection.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Requests at once on one connection.
    pub streams_max: u32,
    /// Requests that the peer may take back within `read_timeout_ms`.
    pub resets_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { streams_max: 100, resets_max: 100 }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve<F, Fut, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    settings: &ListenerSettings,
    answer: F,
    mut shutdown: watch::Receiver<bool>,
) where
    F: Fn(hyper::Request<Incoming>) -> Fut,
    Fut: Future<Output = hyper::Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static,
{
    let tally = Arc::new(Tally::default());
    let service = {
        let (tally, headers_max, resets_max) =
            (Arc::clone(&tally), settings.headers_max, settings.http2.resets_max);
        service_fn(move |request: hyper::Request<Incoming>| {
            let turn = Turn::begin(&tally, resets_max);
            let answering = (request.headers().len() <= headers_max).then(|| answer(request));
            async move {
                let answer = match answering {
                    Some(answering) => answering.await.map(Some),
                    None => too_many_headers(),
                };
                Ok::<_, Infallible>(answer.map(|body| Held::new(body, turn)))
            }
        })
    };
    let connection = builder(settings).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let period = Duration::from_millis(settings.read_timeout_ms);
    let mut look = tokio::time::interval(period);
    look.reset();
    let mut closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = tally.abused.notified() => {
                metrics::counter!("callgate_http2_cut_off_total", "why" => "resets").increment(1);
                return;
            }
            () = told_to_stop(&mut shutdown), if !closing => {
                connection.as_mut().graceful_shutdown();
                closing = true;
            }
            _ = look.tick() => match (tally.look(), closing) {
                (Seen::Busy, _) => {}
                (Seen::Idle, false) => {
                    connection.as_mut().graceful_shutdown();
                    closing = true;
                }
                (Seen::Idle, true) => {
                    // It was told, nothing is under way, and it stays: it does not read.
                    metrics::counter!("callgate_http2_cut_off_total", "why" => "deaf").increment(1);
                    return;
                }
            },
        }
    }
}

fn builder(settings: &ListenerSettings) -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.http2.streams_max)
        .max_header_list_size(u32::try_from(settings.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(ERRORS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

fn too_many_headers<B>() -> hyper::Response<Option<B>> {
    let mut answer = hyper::Response::new(None);
    *answer.status_mut() = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    answer
}

/// What happens on a connection.
#[derive(Debug, Default)]
struct Tally {
    begun: AtomicU32,
    under_way: AtomicU32,
    taken_back: AtomicU32,
    abused: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Idle,
    Busy,
}

impl Tally {
    /// Whether anything was under way since the last look; begins to count anew.
    fn look(&self) -> Seen {
        self.taken_back.store(0, Ordering::Relaxed);
        let begun = self.begun.swap(0, Ordering::Relaxed);
        let under_way = self.under_way.load(Ordering::Relaxed);
        if begun == 0 && under_way == 0 { Seen::Idle } else { Seen::Busy }
    }
}

/// A request from its head to its answer. One whose answer nobody asks for was taken back.
#[derive(Debug)]
struct Turn {
    tally: Arc<Tally>,
    resets_max: u32,
    under_way: bool,
    taken: bool,
}

impl Turn {
    fn begin(tally: &Arc<Tally>, resets_max: u32) -> Self {
        tally.begun.fetch_add(1, Ordering::Relaxed);
        tally.under_way.fetch_add(1, Ordering::Relaxed);
        Self { tally: Arc::clone(tally), resets_max, under_way: true, taken: false }
    }

    /// What is left to do is the peer's.
    fn end(&mut self) {
        if std::mem::take(&mut self.under_way) {
            self.tally.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end();
        if !self.taken && self.tally.taken_back.fetch_add(1, Ordering::Relaxed) >= self.resets_max {
            self.tally.abused.notify_one();
        }
    }
}

/// A body of an answer. One that comes piece by piece keeps its request under way; one that is
/// whole does not: a peer that never takes it would keep the connection.
struct Held<B> {
    /// None for an answer that has none.
    body: Option<B>,
    turn: Turn,
}

impl<B: Body> Held<B> {
    fn new(body: Option<B>, mut turn: Turn) -> Self {
        if body.as_ref().is_none_or(|body| body.size_hint().exact().is_some()) {
            turn.end();
        }
        // Of an answer without a body nobody knows whether it was taken.
        turn.taken = body.as_ref().is_none_or(Body::is_end_stream);
        Self { body, turn }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Held<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.turn.taken = true;
        match &mut self.body {
            None => Poll::Ready(None),
            Some(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Requests that are taken back before they are even looked at; one more ends the connection.
const RESETS_PENDING_MAX: usize = 20;

/// Requests that break the protocol; one more ends the connection.
const ERRORS_MAX: usize = 64;

/// Bytes of a body that may be on their way: most are smaller.
const STREAM_WINDOW: u32 = 64 << 10;

/// The same for all bodies of a connection.
const CONNECTION_WINDOW: u32 = 256 << 10;

/// Bytes of answers that wait for the peer: they are short.
const SEND_BUFFER: usize = 64 << 10;
