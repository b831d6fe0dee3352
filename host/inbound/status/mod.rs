//! Status for front ends: where an order stands, told to browsers that wait for it.
//!
//! May call store and core, and of inbound what every listener has. Absent: a state change, a
//! body, anything about who pays.
//!
//! Reading order: `answer` (at once, by long poll, or as a stream), `token` (who may ask) and
//! `front` (what a business allows), `told` (what is said), `waiting` (who waits for what),
//! `follow` (one reader and one follower for all of them), `feed` (event streams), `repair` (asks
//! gateways about orders that stand too long), `back_end` (calls of the private listener),
//! `refusal` (what a front end hears instead).

use std::sync::Arc;

use callgate_store::Store;
use hyper::body::{Bytes, Incoming};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use self::answer::Desk;
use self::follow::{Following, Reader};
use self::front::Fronts;
use self::repair::Repair;
use self::waiting::Waiting;
use super::listener::Bound;
use super::{Finished, listener};
use crate::clock::Clock;

mod answer;

pub mod back_end;

mod feed;

mod follow;

pub mod front;

pub mod refusal;

mod repair;

mod settings;

mod told;

pub mod token;

mod waiting;

pub use repair::AskGateway;
pub use settings::Settings;

/// Ends when the server is to stop; holds nothing while it waits.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// What the listener for front ends needs.
pub struct Parts {
    /// Where orders are.
    pub store: Store,
    /// What the businesses allow.
    pub fronts: Fronts,
    /// The time.
    pub clock: Clock,
    /// Limits.
    pub settings: Arc<Settings>,
    /// How often to look for what other hosts committed, in milliseconds.
    pub poll_ms: u32,
    /// Tells of what this host decides.
    pub finished: broadcast::Receiver<Finished>,
    /// Asks gateways, where there is somebody who can.
    pub ask: Option<AskGateway>,
}

/// Serves front ends until `stopped` says so: the listener, and who follows changes for it.
pub fn serve(listener: Bound, parts: Parts, stopped: watch::Receiver<bool>) -> [JoinHandle<()>; 2] {
    let Parts { store, fronts, clock, settings, poll_ms, finished, ask } = parts;
    let waiting = Waiting::new(&settings);
    let following =
        Following { waiting: waiting.clone(), store: store.clone(), clock: clock.clone(), poll_ms };
    let desk = Desk {
        fronts,
        reader: Reader::start(store.clone()),
        waiting,
        repair: Repair::new(ask, store, &settings),
        clock,
        requests: Semaphore::new(settings.listener.requests_max),
        settings: Arc::clone(&settings),
        stopped: stopped.clone(),
    };
    let router = answer::router(Arc::new(desk));
    let answer = move |request: hyper::Request<Incoming>| {
        // Nobody asks with a body, and none is read.
        let request = request.map(|_| axum::body::Body::from(Bytes::new()));
        let answering = router.clone().oneshot(request);
        async move {
            match answering.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    [
        tokio::spawn(follow::follow(following, finished, stopped.clone())),
        tokio::spawn(listener::serve(listener, settings.listener.clone(), answer, stopped)),
    ]
}
