//! The loop: listen for a wake-up, then look, then wait; stop gracefully.

use std::sync::Arc;

use callgate_store::ClaimRequest;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Engine, run};

/// Works until `shutdown` says so, then lets runs under way end.
pub async fn work(engine: Engine, mut shutdown: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(engine.settings.workers.max(1)));
    let mut jobs = JoinSet::new();
    let mut bell = engine.store.work_bell();
    while !*shutdown.borrow() {
        // Listening begins before looking, so that nothing slips between.
        bell.listen();
        let free = slots.available_permits();
        let taken = if free == 0 { 0 } else { take(&engine, free, &slots, &mut jobs).await };
        while let Some(ended) = jobs.try_join_next() {
            note(ended);
        }
        if taken > 0 {
            continue;
        }
        let next_look = engine.clock.now().plus_ms(i64::from(engine.settings.poll_ms));
        tokio::select! {
            () = bell.rung() => {}
            // A slot came free, or a job of an order ended and its next one may go.
            Some(ended) = jobs.join_next() => note(ended),
            () = engine.clock.wait_until(next_look) => {}
            _ = shutdown.wait_for(|stop| *stop) => break,
        }
    }
    while let Some(ended) = jobs.join_next().await {
        note(ended);
    }
}

/// Claims as many jobs as there are free slots and starts them; tells how many.
async fn take(
    engine: &Engine,
    free: usize,
    slots: &Arc<Semaphore>,
    jobs: &mut JoinSet<()>,
) -> usize {
    let now = engine.clock.now();
    let request = ClaimRequest {
        limit: u32::try_from(free).unwrap_or(u32::MAX).min(CLAIM_MAX),
        owner: engine.owner.clone(),
        lease_ms: i64::from(engine.settings.lease_ms),
    };
    let claimed = match engine.store.claim(request, now).await {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::error!(%error, code = error.code(), "no work can be claimed");
            return 0;
        }
    };
    let count = claimed.len();
    for job in claimed {
        let Ok(permit) = Arc::clone(slots).try_acquire_owned() else {
            // Never more are claimed than slots are free; if so, the lease lapses.
            break;
        };
        let (engine, guests) = (engine.clone(), engine.guests.clone());
        let work = async move {
            run::job(&engine, job, permit).await;
        };
        // The whole job runs where its guest does: it changes threads neither before nor after.
        jobs.spawn_on(work, &guests);
    }
    count
}

/// A panic in a job is our mistake: the process lives, and the lease lapses.
fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a job ended badly and will be taken again");
    }
}

/// Jobs of one claim: they share the commit that leases them.
const CLAIM_MAX: u32 = 256;
