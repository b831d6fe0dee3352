//! Retention in the background: a small step, a pause, the next step.

use callgate_store::{Retention, RetentionSettings, Step};
use tokio::sync::watch;

use crate::clock::Clock;

/// Archives and removes what is old enough until `shutdown` says so. A step under way is ended; a
/// file that was begun is begun anew by the next start.
pub async fn retain(
    mut retention: Retention,
    settings: RetentionSettings,
    clock: Clock,
    mut shutdown: watch::Receiver<bool>,
) {
    while !*shutdown.borrow() {
        let wait_ms = match retention.step(clock.now()).await {
            Ok(Step::Idle | Step::Elsewhere) => settings.look_ms,
            Ok(step) => {
                if let Step::Archived { file, rows } = &step {
                    tracing::info!(file = %file.display(), rows, "rows were archived");
                }
                settings.pause_ms
            }
            Err(error) => {
                tracing::error!(%error, code = error.code(), "retention failed and begins anew");
                settings.look_ms
            }
        };
        let next = clock.now().plus_ms(i64::from(wait_ms));
        tokio::select! {
            () = clock.wait_until(next) => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }
}
