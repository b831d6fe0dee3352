//! Replays of many: any host takes the next step when it is due. What was done, and when the next
//! step may be taken, stands in the store, so that a replay survives whoever works on it.

use tokio::sync::watch;

use super::Engine;

/// Works until `shutdown` says so; a step under way is let end.
pub async fn replay(engine: Engine, mut shutdown: watch::Receiver<bool>) {
    while !*shutdown.borrow() {
        let look = engine.clock.now().plus_ms(i64::from(engine.settings.poll_ms));
        let next = match engine.store.next_replay_at().await {
            Ok(next) => next.map_or(look, |at| at.min(look)),
            Err(error) => {
                tracing::error!(%error, code = error.code(), "no replay can be looked for");
                look
            }
        };
        let now = engine.clock.now();
        if next <= now && step(&engine).await {
            continue;
        }
        // Another host was faster, or nothing is due: either way not at once again.
        let next = if next <= now { look } else { next };
        tokio::select! {
            () = engine.clock.wait_until(next) => {}
            _ = shutdown.wait_for(|stop| *stop) => break,
        }
    }
}

/// Takes one step; tells whether there was one to take.
async fn step(engine: &Engine) -> bool {
    match engine.store.step_replay(engine.clock.now()).await {
        Ok(Some(stepped)) => {
            let (replayed, skipped) = (stepped.replayed, stepped.skipped);
            metrics::counter!("callgate_replayed_total")
                .increment(u64::try_from(replayed).unwrap_or(0));
            tracing::info!(replay.id = %stepped.id, replayed, skipped,
                state = stepped.state.as_str(), "a step of a replay");
            true
        }
        Ok(None) => false,
        Err(error) => {
            tracing::error!(%error, code = error.code(), "a step of a replay failed");
            false
        }
    }
}
