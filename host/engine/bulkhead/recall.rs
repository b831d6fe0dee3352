//! Calling back what is held: when a run ends and leaves room, and at each poll.
//!
//! The poll also learns what other hosts hold, and which versions are in force: one that was just
//! activated is tried at once.

use std::sync::Arc;

use callgate_core::time::Timestamp;
use callgate_sandbox::plugin::Plugin;
use callgate_store::{Recall, StoreError};
use tokio::sync::watch;

use super::Bulkhead;
use crate::engine::Engine;

/// Calls back until `shutdown` says so.
pub async fn recall(engine: Engine, mut shutdown: watch::Receiver<bool>) {
    let bulkhead = engine.bulkhead.clone();
    let mut next_look = Timestamp::default();
    while !*shutdown.borrow() {
        let now = engine.clock.now();
        let polls = now >= next_look;
        if polls {
            next_look = now.plus_ms(i64::from(engine.settings.poll_ms));
            bulkhead.in_force(engine.registry.current().plugins(), now);
        }
        if let Err(error) = round(&engine, polls, now).await {
            // The next poll tries again; what is held is due by itself at last.
            tracing::warn!(%error, code = error.code(), "held notifications cannot be called back");
        }
        tokio::select! {
            () = bulkhead.0.wanted.notified() => {}
            () = engine.clock.wait_until(next_look) => {}
            _ = shutdown.wait_for(|stop| *stop) => break,
        }
    }
}

async fn round(engine: &Engine, polls: bool, now: Timestamp) -> Result<(), StoreError> {
    let bulkhead = &engine.bulkhead;
    if polls {
        let held = engine.store.held().await?;
        for (name, gate) in &mut *bulkhead.gates() {
            let count = held.get(&**name).copied().unwrap_or(0);
            gate.counted(u64::try_from(count).unwrap_or(0));
        }
        bulkhead.show();
    }
    for (plugin, room) in bulkhead.rooms(now) {
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let recall = Recall { plugin: plugin.clone(), limit };
        let called = engine.store.recall(recall, now).await?;
        bulkhead.called(&plugin, called, u64::from(limit));
    }
    Ok(())
}

impl Bulkhead {
    /// These plugins are in force, and no others.
    fn in_force(&self, plugins: &[Arc<Plugin>], now: Timestamp) {
        let mut gates = self.gates();
        for plugin in plugins {
            self.gate(&mut gates, plugin, now);
        }
        for (name, gate) in &mut *gates {
            let of_name = plugins.iter().filter(|plugin| plugin.name() == name);
            let versions: Vec<_> = of_name.map(|plugin| Arc::clone(plugin.identity())).collect();
            gate.forget_all_but(&versions);
        }
    }

    /// Plugins of which something is held and could be run, and how many.
    fn rooms(&self, now: Timestamp) -> Vec<(String, usize)> {
        let patience_us = self.patience_us();
        let mut gates = self.gates();
        let rooms = gates.iter_mut().map(|(name, gate)| (name, gate.room(patience_us, now)));
        rooms.filter(|(_, room)| *room > 0).map(|(name, room)| (name.to_string(), room)).collect()
    }

    /// So many were called back, of so many that there was room for.
    fn called(&self, plugin: &str, called: u64, wanted: u64) {
        if let Some(gate) = self.gates().get_mut(plugin) {
            gate.called(called);
            if called < wanted {
                // There were no more; the next poll counts anew.
                gate.none_held();
            }
        }
    }
}
