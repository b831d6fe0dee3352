//! Runs of canaries and of the active versions beside them, counted here and handed in in steps:
//! no run writes a row for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use callgate_core::canary::Runs;
use callgate_sandbox::plugin::Plugin;
use callgate_store::CountedRuns;

use super::plan::Standing;

/// The trials under way on this host, by the name of the plugin.
#[derive(Debug, Default)]
pub struct Trials(RwLock<BTreeMap<String, Trial>>);

#[derive(Debug)]
struct Trial {
    round: i64,
    canary: Arc<Plugin>,
    active: Counter,
    tried: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    total: AtomicI64,
    failed: AtomicI64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it should.
    Well,
    /// In a fault, a rejection or a review.
    Failed,
    /// A phase after a run that was counted failed.
    FailedAfter,
}

impl Trials {
    /// Counts a run, where its plugin has a canary.
    pub fn note(&self, plugin: &Arc<Plugin>, ended: Ended) {
        let trials = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(trial) = trials.get(plugin.descriptor().name.as_str()) else { return };
        let counter = if Arc::ptr_eq(plugin, &trial.canary) { &trial.tried } else { &trial.active };
        if ended != Ended::FailedAfter {
            counter.total.fetch_add(1, Ordering::Relaxed);
        }
        if ended != Ended::Well {
            counter.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts what is under way now. What was counted of a trial that goes on stays counted.
    pub(super) fn follow(&self, standing: &BTreeMap<String, Standing>) {
        let mut trials = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *trials);
        for (name, standing) in standing {
            let Some(canary) = &standing.canary else { continue };
            let known = before.remove(name).filter(|trial| trial.round == canary.round);
            let (active, tried) =
                known.map(|trial| (trial.active, trial.tried)).unwrap_or_default();
            let plugin = Arc::clone(&canary.plugin);
            let trial = Trial { round: canary.round, canary: plugin, active, tried };
            trials.insert(name.clone(), trial);
        }
    }

    /// Takes out what was counted.
    pub(super) fn take(&self) -> Vec<CountedRuns> {
        let trials = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let counted = trials.iter().map(|(name, trial)| CountedRuns {
            name: name.clone(),
            round: trial.round,
            active: trial.active.take(),
            canary: trial.tried.take(),
        });
        let nothing = Runs::default();
        counted.filter(|one| one.active != nothing || one.canary != nothing).collect()
    }

    /// Puts back what could not be handed in.
    pub(super) fn put_back(&self, counted: Vec<CountedRuns>) {
        let trials = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for one in counted {
            if let Some(trial) = trials.get(&one.name).filter(|trial| trial.round == one.round) {
                trial.active.add(one.active);
                trial.tried.add(one.canary);
            }
        }
    }
}

impl Counter {
    fn take(&self) -> Runs {
        Runs {
            total: self.total.swap(0, Ordering::Relaxed),
            failed: self.failed.swap(0, Ordering::Relaxed),
        }
    }

    fn add(&self, runs: Runs) {
        self.total.fetch_add(runs.total, Ordering::Relaxed);
        self.failed.fetch_add(runs.failed, Ordering::Relaxed);
    }
}
