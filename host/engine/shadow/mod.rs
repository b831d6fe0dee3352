//! Shadows: another version runs beside the one in force, on the same inputs and without any
//! effect, and what it would have decided is compared.
//!
//! It never delays what counts: a run is offered after its commit, taken only where a seat is free
//! and no guest waits for a thread, and left out and counted otherwise. After each run the seat
//! rests in proportion, so that a version that loops takes a bounded part of one thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use callgate_core::canary::Share;
use callgate_package::{Policies, admit};
use callgate_sandbox::engine::Sandbox;
use callgate_sandbox::load::Source;
use callgate_sandbox::plugin::Plugin;
use callgate_store::{Job, Shadow, ShadowReport, Store, StoredNotification};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use self::tally::{Compared, Tally};
use super::backtest::{Decision, Inputs, compare, trial};
use super::{Engine, convert};

mod tally;

/// The shadows of this host. Clones are the same.
#[derive(Clone)]
pub struct Shadows(Arc<Rooms>);

struct Rooms {
    sandbox: Sandbox,
    policies: Policies,
    running: RwLock<BTreeMap<String, Arc<Running>>>,
    seats: Arc<Semaphore>,
}

/// A shadow with its processor.
pub(super) struct Running {
    shadow: Shadow,
    share: Share,
    plugin: Arc<Plugin>,
    tally: Mutex<Tally>,
}

/// A run that a shadow is to do too, once it is committed.
pub(super) struct Beside {
    running: Arc<Running>,
    inputs: Arc<Inputs>,
    decision: Decision,
}

impl Beside {
    pub(super) fn new(running: Arc<Running>, inputs: Arc<Inputs>, decision: Decision) -> Self {
        Self { running, inputs, decision }
    }
}

impl Shadows {
    /// No shadows yet; [`follow`] looks for them.
    #[must_use]
    pub fn new(sandbox: Sandbox, policies: Policies) -> Self {
        let (running, seats) = (RwLock::default(), Arc::new(Semaphore::new(SEATS)));
        Self(Arc::new(Rooms { sandbox, policies, running, seats }))
    }

    /// The shadow that is to run beside a plugin for this order.
    pub(super) fn beside(&self, plugin: &Plugin, job: &Job) -> Option<Arc<Running>> {
        let running = self.0.running.read().unwrap_or_else(PoisonError::into_inner);
        let found = running.get(&plugin.descriptor().name)?;
        // The version itself is no shadow of its own.
        let other = found.plugin.sha256() != plugin.sha256();
        let order_no = convert::order_no(job).unwrap_or_default();
        (other && found.share.takes(&found.shadow.name, order_no)).then(|| Arc::clone(found))
    }

    /// Runs a shadow where there is room for it. Returns at once.
    pub(super) fn offer(&self, engine: &Engine, job: &Job, beside: Beside) {
        let tally = |change: fn(&mut Tally)| change(&mut beside.running.tally());
        tally(Tally::offered);
        let busy =
            engine.guests.metrics().num_alive_tasks() > engine.guests.metrics().num_workers();
        let seat = (!busy).then(|| Arc::clone(&self.0.seats).try_acquire_owned().ok()).flatten();
        let Some(seat) = seat else {
            metrics::counter!("callgate_shadow_dropped_total").increment(1);
            return tally(Tally::dropped);
        };
        let (engine, stored) = (engine.clone(), job.stored.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            beside.run(&engine, &stored).await;
            tokio::time::sleep(begun.elapsed().saturating_mul(RESTS).min(REST_MAX)).await;
            drop(seat);
        });
    }

    fn of(&self, name: &str) -> Option<Arc<Running>> {
        let running = self.0.running.read().unwrap_or_else(PoisonError::into_inner);
        running.get(name).cloned()
    }

    fn set(&self, name: &str, running: Option<Running>) {
        let mut all = self.0.running.write().unwrap_or_else(PoisonError::into_inner);
        match running {
            Some(running) => drop(all.insert(name.to_owned(), Arc::new(running))),
            None => drop(all.remove(name)),
        }
    }

    fn all(&self) -> Vec<Arc<Running>> {
        let running = self.0.running.read().unwrap_or_else(PoisonError::into_inner);
        running.values().cloned().collect()
    }

    /// Loads the version of a shadow on the terms of its manifest, as if it were activated.
    async fn load(&self, engine: &Engine, shadow: &Shadow) -> Result<Plugin, String> {
        let words = |error: &dyn std::error::Error| error.to_string();
        let version = engine.store.plugin_version(&shadow.name, &shadow.version).await;
        let version = version.map_err(|error| words(&error))?.ok_or("there is no such version")?;
        let bytes = engine.store.component(&version.sha256).await.map_err(|error| words(&error))?;
        let bytes = bytes.ok_or("its component is not stored")?;
        let admitted = admit(version.manifest.as_bytes(), &bytes, &self.0.policies);
        let admitted = admitted.map_err(|error| words(&error))?;
        let config = match &shadow.config {
            Some(config) => serde_json::from_str(config).map_err(|error| words(&error))?,
            None => {
                let active = engine.registry.current().named(&shadow.name, None);
                active.ok_or("its plugin is not in force")?.config().clone()
            }
        };
        admitted.manifest.check_config(&config).map_err(|error| words(&error))?;
        let (limits, grants) = (admitted.limits.clone(), admitted.grants.clone());
        let source = Source { bytes, limits, grants, config };
        let plugin = self.0.sandbox.load(source).await.map_err(|error| words(&error))?;
        admitted.check_descriptor(plugin.descriptor()).map_err(|error| words(&error))?;
        Ok(plugin)
    }
}

impl Running {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn report(&self, store: &Store, (host, now): (&str, callgate_core::time::Timestamp)) {
        let Some(report) = self.tally().report() else { return };
        let (run, host) = (self.shadow.run.clone(), host.to_owned());
        if let Err(error) = store.report_shadow(ShadowReport { run, host, at: now, report }).await {
            tracing::warn!(%error, code = error.code(), "what a shadow found is not written down");
        }
    }
}

impl Beside {
    async fn run(&self, engine: &Engine, stored: &StoredNotification) {
        let running = &self.running;
        let ran = trial::run(&engine.guests, &running.plugin, stored, &self.inputs).await;
        let second = match ran {
            Ok(again) => again.decision,
            Err(error) => {
                tracing::warn!(notification.id = %stored.id, error, "a shadow could not run");
                return running.tally().failed();
            }
        };
        let differences = compare(&self.decision, &second);
        let same = if differences.is_empty() { "true" } else { "false" };
        metrics::counter!("callgate_shadow_runs_total", "plugin" => running.shadow.name.clone(),
            "same" => same)
        .increment(1);
        running.tally().compared(&Compared {
            notification: &stored.id,
            order_no: stored.subject.as_deref(),
            at_ms: engine.clock.now().as_ms(),
            a: &self.decision,
            b: &second,
            differences: &differences,
        });
    }
}

/// Looks for shadows that are to run, and reports what they find, until `shutdown` says so.
pub async fn follow(engine: Engine, mut shutdown: watch::Receiver<bool>) {
    let mut refused: BTreeMap<String, String> = BTreeMap::new();
    let mut report_at = engine.clock.now();
    while !*shutdown.borrow() {
        look(&engine, &mut refused).await;
        let now = engine.clock.now();
        if now >= report_at {
            report(&engine).await;
            report_at = now.plus_ms(REPORT_MS);
        }
        let next = now.plus_ms(i64::from(engine.settings.poll_ms));
        tokio::select! {
            () = engine.clock.wait_until(next) => {}
            _ = shutdown.wait_for(|stop| *stop) => break,
        }
    }
    report(&engine).await;
}

async fn report(engine: &Engine) {
    for running in engine.shadows.all() {
        running.report(&engine.store, (&engine.owner, engine.clock.now())).await;
    }
}

/// Starts and ends shadows as the store has them.
async fn look(engine: &Engine, refused: &mut BTreeMap<String, String>) {
    let shadows = match engine.store.shadows().await {
        Ok(shadows) => shadows,
        Err(error) => {
            tracing::warn!(%error, code = error.code(), "shadows cannot be looked for");
            return;
        }
    };
    for shadow in shadows {
        let held = engine.shadows.of(&shadow.name);
        if shadow.stopped_at.is_some() {
            if let Some(ended) = held {
                ended.report(&engine.store, (&engine.owner, engine.clock.now())).await;
                engine.shadows.set(&shadow.name, None);
            }
            continue;
        }
        let same = held.is_some_and(|held| held.shadow.run == shadow.run);
        if same || refused.get(&shadow.name) == Some(&shadow.run) {
            continue;
        }
        let (name, version) = (shadow.name.clone(), shadow.version.clone());
        match engine.shadows.load(engine, &shadow).await {
            Ok(plugin) => {
                tracing::info!(plugin = name, version, "a shadow runs beside");
                let share = Share { parts: shadow.parts, ..Share::default() };
                let (plugin, tally) = (Arc::new(plugin), Mutex::default());
                engine.shadows.set(&name, Some(Running { shadow, share, plugin, tally }));
            }
            Err(error) => {
                tracing::error!(plugin = name, version, error, "a shadow is refused");
                engine.shadows.set(&name, None);
                // Whoever started it looks at its report, not at the logs of all hosts.
                let report = serde_json::json!({ "refused": error }).to_string();
                let (run, host) = (shadow.run.clone(), engine.owner.clone());
                let report = ShadowReport { run, host, at: engine.clock.now(), report };
                if let Err(error) = engine.store.report_shadow(report).await {
                    tracing::warn!(%error, code = error.code(), "a refusal is not written down");
                }
                refused.insert(name, shadow.run);
            }
        }
    }
}

/// Shadows that run at once.
const SEATS: usize = 1;

/// So many times as long as a run took, its seat rests: shadows take a fourth of one thread.
const RESTS: u32 = 3;

/// No rest is longer.
const REST_MAX: Duration = Duration::from_secs(5);

/// How often what was found is written down, in milliseconds.
const REPORT_MS: i64 = 2_000;
