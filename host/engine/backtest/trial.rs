//! One run again, from its record, without an effect.

use std::sync::{Arc, PoisonError};

use callgate_sandbox::plugin::Plugin;
use callgate_store::StoredNotification;
use tokio::runtime::Handle;

use super::decision::{Decision, digest};
use super::inputs::Inputs;
use super::recorded::Recorded;
use crate::engine::convert;

/// What a run came to when it was run again.
#[derive(Debug, Clone)]
pub(crate) struct Again {
    pub(crate) decision: Decision,
    /// The hash of what it proposed, to be held against the recorded one.
    pub(crate) proposed: String,
}

/// Runs a processor on what a recorded run was told. It reads nothing but the record, and nothing
/// that it proposes goes anywhere; it is told the mode that the recorded run was told, or it might
/// decide otherwise.
///
/// # Errors
/// Where the host failed, which is nobody's decision.
pub(crate) async fn run(
    guests: &Handle,
    plugin: &Arc<Plugin>,
    stored: &StoredNotification,
    inputs: &Arc<Inputs>,
) -> Result<Again, String> {
    let (outside, unrecorded) = Recorded::new(Arc::clone(inputs));
    let (guest, input) = (Arc::clone(plugin), inputs.again(stored));
    let running = guests.spawn(async move { guest.run(input, Box::new(outside)).await });
    let report = running.await.map_err(|error| format!("the host failed: {error}"))?;
    let proposed = digest(&report.result);
    let table = convert::table(plugin.descriptor());
    let fuel = report.costs.iter().fold(0u64, |sum, cost| sum.saturating_add(cost.fuel));
    let decision = Decision::of(report.result, &table, inputs.state());
    let unrecorded =
        std::mem::take(&mut *unrecorded.lock().unwrap_or_else(PoisonError::into_inner));
    let decision = Decision { fuel, unrecorded: unrecorded.into_iter().collect(), ..decision };
    Ok(Again { decision, proposed })
}
