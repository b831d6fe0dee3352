//! The listener for front ends, where it is wanted.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use callgate_store::Store;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::inbound::Finished;
use crate::inbound::orders::Orders;
use crate::inbound::status::back_end::BackEnd;
use crate::inbound::status::{self, AskGateway, Parts};

/// Starts to answer front ends, if they are to be answered; tells where.
pub(super) async fn start(
    config: &Config,
    (store, clock): (&Store, &Clock),
    (finished, ask): (&broadcast::Sender<Finished>, Option<AskGateway>),
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<(Vec<JoinHandle<()>>, Option<SocketAddr>)> {
    if !config.status.enabled {
        return Ok((Vec::new(), None));
    }
    let listener = super::bind(&config.status.listener, "status.listener.listen").await?;
    let address = listener.local_addr().context("status.listener.listen")?;
    let parts = Parts {
        store: store.clone(),
        fronts: config.fronts.clone(),
        clock: clock.clone(),
        settings: Arc::new(config.status.clone()),
        poll_ms: config.engine.poll_ms,
        finished: finished.subscribe(),
        ask,
    };
    Ok((status::serve(listener, parts, stopped.clone()).into(), Some(address)))
}

/// The calls of back ends about front ends.
pub(super) fn back_end(config: &Config, orders: &Orders) -> axum::Router {
    status::back_end::router(BackEnd {
        orders: orders.clone(),
        fronts: config.fronts.clone(),
        settings: Arc::new(config.status.clone()),
    })
}
