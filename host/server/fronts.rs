//! The listener for front ends, where it is wanted.

use std::sync::Arc;

use anyhow::Context;
use callgate_core::time::Timestamp;
use callgate_store::Store;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::inbound::Finished;
use crate::inbound::asking::{About, SharedAsks};
use crate::inbound::listener::Bound;
use crate::inbound::orders::Orders;
use crate::inbound::status::back_end::BackEnd;
use crate::inbound::status::{self, AskGateway, Parts};

/// Listens, if front ends are to be answered.
pub(super) async fn bind(config: &Config, now: Timestamp) -> anyhow::Result<Option<Bound>> {
    if !config.status.enabled {
        return Ok(None);
    }
    Ok(Some(Bound::open("status.listener", &config.status.listener, now).await?))
}

/// Who answers gateways' questions, and whose news wake.
pub(super) struct News {
    pub(super) finished: broadcast::Receiver<Finished>,
    pub(super) ask: Option<AskGateway>,
}

/// Has gateways asked about payments beside whatever else is done.
pub(super) fn asking(asks: SharedAsks) -> AskGateway {
    Arc::new(move |business, order| {
        let about =
            About { business: business.to_owned(), order: order.to_owned(), refund_no: None };
        let asks = Arc::clone(&asks);
        tokio::spawn(async move {
            if let Err(error) = asks.ask_now(about).await {
                tracing::debug!(%error, "a gateway is not asked on behalf of who waits");
            }
        });
    })
}

/// Starts to answer front ends.
pub(super) fn serve(
    listener: Option<Bound>,
    config: &Config,
    (store, clock): (&Store, &Clock),
    (news, stopped): (News, &watch::Receiver<bool>),
) -> Vec<JoinHandle<()>> {
    let Some(listener) = listener else { return Vec::new() };
    let parts = Parts {
        store: store.clone(),
        fronts: config.fronts.clone(),
        clock: clock.clone(),
        settings: Arc::new(config.status.clone()),
        poll_ms: config.engine.poll_ms,
        finished: news.finished,
        ask: news.ask,
    };
    status::serve(listener, parts, stopped.clone()).into()
}

/// The calls of back ends about front ends.
pub(super) fn back_end(config: &Config, orders: &Orders) -> axum::Router {
    status::back_end::router(BackEnd {
        orders: orders.clone(),
        fronts: config.fronts.clone(),
        settings: Arc::new(config.status.clone()),
    })
}

/// The address of a listener, where there is one.
pub(super) fn address(listener: Option<&Bound>) -> anyhow::Result<Option<std::net::SocketAddr>> {
    listener.map(Bound::local_addr).transpose().context("status.listener.listen")
}
