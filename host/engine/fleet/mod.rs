//! What is in force on this host: the plugins of its configuration, and over them what the store
//! says is active on every host.
//!
//! A host looks at one number at each poll, and at once where an act was done on it. What it does
//! not have yet is loaded in the background; until then the version before stays in force. Whoever
//! acts loads first, so that an act which cannot be followed is refused.
//!
//! Reading order: this file (the fleet, and the loop), `plan` (what is wanted, and the registry
//! made of it), `load` (from the store to a plugin), `trial` (runs of canaries are counted),
//! `calls` (what operators ask for), `view` (what they see).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use callgate_core::canary::Budget;
use callgate_core::time::Timestamp;
use callgate_package::Policies;
use callgate_sandbox::engine::Sandbox;
use callgate_sandbox::plugin::Plugin;
use callgate_sandbox::registry::{InForce, Registry};
use callgate_store::{HostReport, Rollout, Store, StoreError};
use serde::Deserialize;
use tokio::sync::{Mutex, watch};

use crate::clock::Clock;

mod calls;
mod load;
mod plan;
mod trial;
mod view;

use self::load::Loader;
pub use self::load::NotLoaded;
use self::plan::{Standing, Wanted};
pub use self::trial::{Ended, Trials};

/// Settings of what is in force.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Plugins for which this host keeps to its configuration, whatever the store says.
    pub pinned: BTreeSet<String>,
    /// How long to wait before what could not be loaded is tried again, in milliseconds.
    pub retry_ms: u32,
    /// How often a host says what it has in force where nothing changed, in milliseconds.
    pub report_ms: u32,
    /// Runs of a canary before it is judged, unless its start says otherwise.
    pub budget_runs: u32,
    /// Percent of a canary's runs that may fail beyond what fails anyway, unless its start says
    /// otherwise.
    pub budget_percent: u32,
}

impl Settings {
    /// When a canary has failed too often, unless its start says otherwise.
    #[must_use]
    pub fn budget(&self) -> Budget {
        Budget { runs: self.budget_runs, parts: self.budget_percent.saturating_mul(100) }
    }
}

/// What a fleet is made of.
pub struct Parts {
    /// Where versions and rollouts are.
    pub store: Store,
    /// Compiles.
    pub sandbox: Sandbox,
    /// Who signs for whom, and what may be asked for.
    pub policies: Policies,
    /// The plugins of the configuration.
    pub configured: Vec<Arc<Plugin>>,
    /// Where guests run: they are asked to describe themselves there.
    pub guests: tokio::runtime::Handle,
    /// The time.
    pub clock: Clock,
    /// Limits and delays.
    pub settings: Settings,
    /// Names this process.
    pub host: String,
}

/// Keeps in force what is to be in force.
pub struct Fleet {
    store: Store,
    loader: Arc<Loader>,
    configured: BTreeMap<String, Arc<Plugin>>,
    in_force: Arc<InForce>,
    trials: Arc<Trials>,
    clock: Clock,
    settings: Settings,
    host: String,
    state: Mutex<State>,
    bell: watch::Sender<u64>,
}

/// What this host has looked at, and what it has.
#[derive(Default)]
struct State {
    revision: i64,
    rollouts: Vec<Rollout>,
    standing: BTreeMap<String, Standing>,
    problems: BTreeMap<String, String>,
    /// What was said last, and when.
    reported: Option<(i64, String, Timestamp)>,
}

impl Fleet {
    /// Loads all that is to be in force, so that a host never starts half.
    ///
    /// # Errors
    /// Which plugin cannot be loaded, and why.
    pub async fn start(parts: Parts) -> anyhow::Result<Arc<Self>> {
        let Parts { store, sandbox, policies, configured, guests, clock, settings, host } = parts;
        let (bell, _) = watch::channel(0);
        let named = |plugin: Arc<Plugin>| (plugin.descriptor().name.clone(), plugin);
        let ring = (bell.clone(), settings.retry_ms);
        let loader = Loader::new((store.clone(), sandbox, policies), guests, clock.clone(), ring);
        let fleet = Self {
            store,
            loader,
            configured: configured.into_iter().map(named).collect(),
            in_force: Arc::new(InForce::default()),
            trials: Arc::new(Trials::default()),
            clock,
            settings,
            host,
            state: Mutex::default(),
            bell,
        };
        fleet.load_all().await?;
        Ok(Arc::new(fleet))
    }

    /// What processors are picked from.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force)
    }

    /// Where runs of canaries are counted.
    #[must_use]
    pub fn trials(&self) -> Arc<Trials> {
        Arc::clone(&self.trials)
    }

    async fn load_all(&self) -> anyhow::Result<()> {
        let revision = self.store.plugin_revision().await?;
        let rollouts = self.store.rollouts().await?;
        for wanted in self.wanted(&rollouts).values() {
            for one in wanted.needed() {
                self.loader.plugin(one).await.map_err(|refused| {
                    anyhow::anyhow!(
                        "plugin {} {} is to be in force and is refused by this host: {}: {}; \
                         change the configuration, put another version in force from another \
                         host, or keep this host to its configuration with fleet.pinned",
                        one.name,
                        one.version,
                        refused.code(),
                        refused
                    )
                })?;
            }
        }
        let mut state = self.state.lock().await;
        state.revision = revision;
        state.rollouts = rollouts;
        self.switch(&mut state);
        match state.problems.iter().next() {
            None => Ok(()),
            Some((name, problem)) => anyhow::bail!("plugin {name}: {problem}"),
        }
    }

    /// Follows what is to be in force until `shutdown` says so.
    pub async fn follow(self: Arc<Self>, poll_ms: u32, mut shutdown: watch::Receiver<bool>) {
        let mut bell = self.bell.subscribe();
        while !*shutdown.borrow() {
            // Listening begins before looking, so that nothing slips between.
            bell.mark_unchanged();
            self.settle_trials().await;
            if let Err(error) = self.look().await {
                tracing::warn!(%error, code = error.code(),
                    "nobody can tell what is to be in force; what is stays");
            }
            let next = self.clock.now().plus_ms(i64::from(poll_ms));
            tokio::select! {
                changed = bell.changed() => if changed.is_err() { break },
                () = self.clock.wait_until(next) => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
        }
        self.settle_trials().await;
        if self.state.lock().await.reported.is_none() {
            return;
        }
        if let Err(error) = self.store.leave_plugins(&self.host).await {
            tracing::debug!(%error, "a host that stops stays in the list for a while");
        }
    }

    /// Looks at what is to be in force, and switches to what is loaded of it.
    async fn look(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let revision = self.store.plugin_revision().await?;
        if revision != state.revision {
            // Read after the revision: it may say more, never less.
            state.rollouts = self.store.rollouts().await?;
            state.revision = revision;
        }
        self.switch(&mut state);
        self.report(&mut state).await
    }

    /// Puts in force what is loaded of what is wanted; starts to load the rest.
    fn switch(&self, state: &mut State) {
        let wanted = self.wanted(&state.rollouts);
        let mut problems = BTreeMap::new();
        let mut next = BTreeMap::new();
        for (name, wanted) in &wanted {
            for one in wanted.before.iter() {
                // So that a rollback has nothing to wait for.
                drop(self.loader.ready_or_start(one));
            }
            match plan::standing(wanted, self.configured.get(name), &self.loader) {
                Ok(standing) => {
                    next.insert(name.clone(), standing);
                }
                Err(problem) => {
                    problems.insert(name.clone(), problem);
                }
            }
        }
        let changed = plan::merge(&mut state.standing, next, &wanted, &mut problems);
        self.complain(&state.problems, &problems);
        state.problems = problems;
        let kept = self.loader.keep(wanted.values().flat_map(Wanted::all));
        if changed {
            match plan::registry(&state.standing, kept) {
                Ok(registry) => self.put_in_force(registry, state),
                // Each change was tried before it was taken over.
                Err(error) => tracing::error!(%error, "the registry cannot be built; it stays"),
            }
        }
    }

    fn put_in_force(&self, registry: Registry, state: &State) {
        self.trials.follow(&state.standing);
        self.in_force.swap(registry);
        for (name, standing) in &state.standing {
            let active = standing.active.as_ref().map(|one| one.descriptor().version.to_string());
            let canary = standing.canary.as_ref();
            let canary = canary.map(|canary| canary.plugin.descriptor().version.to_string());
            tracing::info!(plugin = %name, revision = state.revision,
                active = active.as_deref().unwrap_or("none"),
                canary = canary.as_deref().unwrap_or("none"), "in force");
        }
    }

    /// Each problem is told once, and shown as long as it lasts.
    fn complain(&self, before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) {
        for (name, problem) in now {
            metrics::gauge!("callgate_plugin_behind", "plugin" => name.clone()).set(1.0);
            if before.get(name) != Some(problem) {
                match problem.as_str() {
                    plan::LOADING => tracing::info!(plugin = %name, "{problem}"),
                    _ => tracing::error!(plugin = %name, problem,
                        "what is to be in force cannot be loaded; what was stays in force"),
                }
            }
        }
        for name in before.keys().filter(|name| !now.contains_key(*name)) {
            metrics::gauge!("callgate_plugin_behind", "plugin" => name.clone()).set(0.0);
        }
    }

    /// What is wanted of each plugin, by its name.
    fn wanted(&self, rollouts: &[Rollout]) -> BTreeMap<String, Wanted> {
        let mut wanted: BTreeMap<_, _> =
            self.configured.keys().map(|name| (name.clone(), Wanted::configured(name))).collect();
        for rollout in rollouts {
            if !self.settings.pinned.contains(&rollout.name) {
                wanted.insert(rollout.name.clone(), Wanted::of(rollout));
            }
        }
        wanted
    }

    /// Says what this host has in force, where that changed or was not said for a while.
    async fn report(&self, state: &mut State) -> Result<(), StoreError> {
        let (now, text) = (self.clock.now(), view::report(state).to_string());
        let fresh = state.reported.as_ref().is_some_and(|(revision, said, at)| {
            *revision == state.revision
                && *said == text
                && now.ms_since(*at) < i64::from(self.settings.report_ms)
        });
        // A host alone with its configuration has nothing to say.
        if fresh || (state.revision == 0 && state.reported.is_none()) {
            return Ok(());
        }
        let report = HostReport {
            host: self.host.clone(),
            machine: callgate_store::machine_name(),
            revision: state.revision,
            report: text.clone(),
            seen_at: now,
        };
        self.store.report_plugins(report).await?;
        state.reported = Some((state.revision, text, now));
        Ok(())
    }

    /// Hands in what was counted of canaries; one that has failed too often is ended by it.
    async fn settle_trials(&self) {
        let counted = self.trials.take();
        if counted.is_empty() {
            return;
        }
        match self.store.count_plugin_runs(counted.clone(), self.clock.now()).await {
            Ok(crossed) => {
                for one in crossed {
                    metrics::counter!("callgate_canary_rollbacks_total",
                        "plugin" => one.name.clone())
                    .increment(1);
                    tracing::error!(plugin = %one.name, version = %one.version, why = %one.why,
                        "a canary failed too often and was rolled back");
                }
            }
            Err(error) => {
                tracing::warn!(%error, code = error.code(), "runs of canaries are counted later");
                self.trials.put_back(counted);
            }
        }
    }
}
