//! Connections: accepted up to a limit, read within a time, closed gracefully.
//!
//! Reading order: this file, `tls` (what is presented, and the handshake), `http2`.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::response::IntoResponse;
use callgate_core::time::Timestamp;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use super::ListenerSettings;
use super::error::Problem;
use super::patient::Patient;
use super::plugins;
use super::tokens::Operators;

pub mod tls;

pub mod http2;

use tls::{Handshakes, Secured, TlsKeys};

/// The answer of most listeners: a whole body in memory. Only front ends are sent streams.
pub type Answer = hyper::Response<Full<Bytes>>;

/// Why a body cannot be sent to its end.
type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Whose connection a request came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// An address that is listened on, and what is presented there.
#[derive(Debug)]
pub struct Bound {
    tcp: TcpListener,
    keys: Option<Arc<TlsKeys>>,
}

impl Bound {
    /// Binds what the settings of the listener of that name say, and reads what it presents.
    ///
    /// # Errors
    /// Which key of the settings cannot be had, and why.
    pub async fn open(
        name: &'static str,
        settings: &ListenerSettings,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let keys = match &settings.tls {
            None => None,
            Some(tls) => {
                let keys = TlsKeys::open(name, tls, now);
                Some(Arc::new(keys.map_err(|error| anyhow::anyhow!("{name}.tls.{error}"))?))
            }
        };
        let address = settings.listen;
        let tcp = TcpListener::bind(address).await.with_context(|| {
            format!("{name}.listen: cannot listen on {address}; is another server there?")
        })?;
        Ok(Self { tcp, keys })
    }

    /// The address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// What is presented; a copy of it replaces it while the listener serves.
    #[must_use]
    pub fn keys(&self) -> Option<Arc<TlsKeys>> {
        self.keys.clone()
    }
}

/// Serves connections until `shutdown` says so, then lets requests under way finish.
pub async fn serve<F, Fut, B>(
    bound: Bound,
    settings: ListenerSettings,
    answer: F,
    shutdown: watch::Receiver<bool>,
) where
    F: Fn(hyper::Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = hyper::Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static,
{
    serve_peers(bound, settings, move |_, request| answer(request), shutdown).await;
}

/// The same for who wants to know whose connection it is.
pub async fn serve_peers<F, Fut, B>(
    bound: Bound,
    settings: ListenerSettings,
    answer: F,
    mut shutdown: watch::Receiver<bool>,
) where
    F: Fn(Peer, hyper::Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = hyper::Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static,
{
    let Bound { tcp, keys } = bound;
    let handshakes = keys.zip(settings.tls.as_ref());
    let handshakes = handshakes.map(|(keys, tls)| Arc::new(Handshakes::new(keys, tls)));
    let settings = Arc::new(settings);
    let connections = Arc::new(Semaphore::new(settings.connections_max));
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, address) = tokio::select! {
            accepted = tcp.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: give connections time to end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = told_to_stop(&mut shutdown) => break,
        };
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            metrics::counter!("callgate_connections_refused_total").increment(1);
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection refuses to send without delay");
        }
        let (answer, peer) = (answer.clone(), Peer(address.ip()));
        let answer = move |request| answer(peer, request);
        let watcher = graceful.watcher();
        if let Some(handshakes) = &handshakes {
            let (handshakes, settings) = (Arc::clone(handshakes), Arc::clone(&settings));
            let secure = secure(stream, handshakes, settings, answer, (watcher, shutdown.clone()));
            tokio::spawn(async move {
                secure.await;
                drop(permit);
            });
        } else {
            let patience = Duration::from_millis(settings.read_timeout_ms);
            let connection =
                watcher.watch(http1(Patient::new(stream, patience), &settings, answer));
            tokio::spawn(async move {
                ended(connection.await);
                drop(permit);
            });
        }
    }
    drop(tcp);
    if tokio::time::timeout(SHUTDOWN_PATIENCE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests under way did not end in time and are cut off");
    }
}

/// One connection with TLS, from its first byte to its end.
async fn secure<F, Fut, B>(
    stream: TcpStream,
    handshakes: Arc<Handshakes>,
    settings: Arc<ListenerSettings>,
    answer: F,
    (watcher, mut shutdown): (Watcher, watch::Receiver<bool>),
) where
    F: Fn(hyper::Request<Incoming>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = hyper::Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static,
{
    let patience = Duration::from_millis(settings.read_timeout_ms);
    let secured = tokio::select! {
        // Boxed: what a handshake needs is given back before the connection is served.
        secured = Box::pin(handshakes.shake(stream, patience)) => secured,
        () = told_to_stop(&mut shutdown) => None,
    };
    drop(handshakes);
    match secured {
        None => {}
        Some(Secured::Http1(stream)) => {
            ended(Box::pin(watcher.watch(http1(stream, &settings, answer))).await);
        }
        Some(Secured::Http2(stream)) => {
            Box::pin(http2::serve(stream, &settings, answer, shutdown)).await;
            // Until here the shutdown of the whole waited for us.
            drop(watcher);
        }
    }
}

fn ended(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Ends when the server is to stop; holds nothing while it waits.
async fn told_to_stop(shutdown: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

fn http1<I, F, Fut, B>(
    stream: I,
    settings: &ListenerSettings,
    answer: F,
) -> impl GracefulConnection<Error = hyper::Error> + use<I, F, Fut, B>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(hyper::Request<Incoming>) -> Fut + Send + 'static,
    Fut: Future<Output = hyper::Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answering = answer(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(settings.read_timeout_ms))
        .max_buf_size(settings.head_bytes_max.max(HEAD_BYTES_MIN))
        .max_headers(settings.headers_max)
        .serve_connection(TokioIo::new(stream), service)
}

/// Why a body is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// Longer than the listener takes.
    TooLarge,
    /// Not there in time, or the connection broke.
    Incomplete,
}

/// Reads a whole body within the listener's limits.
///
/// # Errors
/// [`BodyFault`].
pub async fn read_body(
    body: Incoming,
    bytes_max: usize,
    patience: Duration,
) -> Result<Bytes, BodyFault> {
    let announced = body.size_hint().lower();
    if announced > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
        return Err(BodyFault::TooLarge);
    }
    let whole = Limited::new(body, bytes_max).collect();
    match tokio::time::timeout(patience, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyFault::TooLarge),
        Ok(Err(_)) | Err(_) => Err(BodyFault::Incomplete),
    }
}

/// Reads a body of at most so many bytes, and keeps none of it.
async fn discard(mut body: Incoming, bytes_max: usize) {
    let mut left = bytes_max;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}

/// The private listener's calls behind its limits: the body is read whole before a route sees it.
#[derive(Debug, Clone)]
pub struct Private {
    router: Router,
    settings: ListenerSettings,
    requests: Arc<Semaphore>,
    pushes: Arc<Pushes>,
}

/// What may come with a push: the one call that carries megabytes, so it opens only to an
/// operator, and to few at once.
#[derive(Debug)]
pub struct Pushes {
    operators: Arc<Operators>,
    body_bytes_max: usize,
    places: Semaphore,
}

impl Pushes {
    /// Pushes of components of at most so many bytes.
    #[must_use]
    pub fn new(operators: Arc<Operators>, component_bytes_max: usize) -> Self {
        let body_bytes_max = component_bytes_max.saturating_add(plugins::HEAD_BYTES_MAX);
        Self { operators, body_bytes_max, places: Semaphore::new(PUSHES_AT_ONCE) }
    }
}

impl Private {
    /// Puts the limits in front of the routes.
    #[must_use]
    pub fn new(router: Router, settings: ListenerSettings, pushes: Pushes) -> Self {
        let requests = Arc::new(Semaphore::new(settings.requests_max));
        Self { router, settings, requests, pushes: Arc::new(pushes) }
    }

    /// Answers one request.
    pub async fn answer(self, request: hyper::Request<Incoming>) -> Answer {
        let response = match self.requests.try_acquire() {
            Err(_) => Problem::Unavailable.into_response(),
            Ok(_permit) => {
                let pushed =
                    request.method() == http::Method::POST && request.uri().path() == plugins::PUSH;
                if pushed { self.push(request).await } else { self.call(request).await }
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes);
        hyper::Response::from_parts(head, Full::new(body.unwrap_or_default()))
    }

    async fn call(&self, request: hyper::Request<Incoming>) -> axum::response::Response {
        let patience = Duration::from_millis(self.settings.read_timeout_ms);
        self.read_and_route(request, (self.settings.body_bytes_max, patience)).await
    }

    /// A push: who it is comes first, so that nobody else makes us read megabytes.
    async fn push(&self, request: hyper::Request<Incoming>) -> axum::response::Response {
        if let Err(problem) = self.pushes.operators.admit(request.headers()) {
            // A peer that is still sending would not hear the answer.
            let patience = Duration::from_millis(self.settings.read_timeout_ms);
            let rest = discard(request.into_body(), self.pushes.body_bytes_max);
            drop(tokio::time::timeout(patience, rest).await);
            return problem.into_response();
        }
        let Ok(_place) = self.pushes.places.try_acquire() else {
            return Problem::Unavailable.into_response();
        };
        self.read_and_route(request, (self.pushes.body_bytes_max, PUSH_PATIENCE)).await
    }

    async fn read_and_route(
        &self,
        request: hyper::Request<Incoming>,
        (bytes_max, patience): (usize, Duration),
    ) -> axum::response::Response {
        let (head, body) = request.into_parts();
        match read_body(body, bytes_max, patience).await {
            Ok(body) => self.route(hyper::Request::from_parts(head, body)).await,
            Err(BodyFault::TooLarge) => Problem::TooLarge.into_response(),
            Err(BodyFault::Incomplete) => Problem::Incomplete.into_response(),
        }
    }

    async fn route(&self, request: hyper::Request<Bytes>) -> axum::response::Response {
        let request = request.map(axum::body::Body::from);
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Pushes that are read and compiled at once.
const PUSHES_AT_ONCE: usize = 2;

/// How long a component may take to come: 32 MiB over a slow line.
const PUSH_PATIENCE: Duration = Duration::from_secs(120);

/// The HTTP library's own least buffer.
const HEAD_BYTES_MIN: usize = 8192;

/// A pause after a failed accept, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a shutdown waits for requests under way: a little more than a gateway would.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(6);
