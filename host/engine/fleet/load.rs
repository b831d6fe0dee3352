//! From the store to a plugin: admitted, compiled, asked to describe itself, each version once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use callgate_core::time::Timestamp;
use callgate_package::{Admitted, Policies, Refused, admit};
use callgate_sandbox::engine::Sandbox;
use callgate_sandbox::load::{LoadError, Source};
use callgate_sandbox::plugin::Plugin;
use callgate_store::{Store, StoreError};
use serde_json::Value;
use tokio::sync::watch;

use super::plan::Version;
use crate::clock::Clock;

/// Why a version cannot be put in force on this host.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotLoaded {
    /// Its manifest, its signature or its configuration is refused.
    #[error("{0}")]
    Package(Refused),
    /// Its component is refused.
    #[error("{0}")]
    Component(LoadError),
    /// The store does not have it.
    #[error("version {0} was never pushed")]
    Missing(String),
    /// The store cannot answer.
    #[error("{0}")]
    Store(StoreError),
    /// The host failed while it loaded it.
    #[error("the host failed while it loaded the component: {0}")]
    Host(String),
}

impl NotLoaded {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Package(refused) => refused.code(),
            Self::Component(error) => error.code(),
            Self::Missing(_) => "plugin.missing",
            Self::Store(error) => error.code(),
            Self::Host(_) => "plugin.host",
        }
    }
}

/// A version that was let in and compiled, without a configuration.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) plugin: Arc<Plugin>,
    pub(super) admitted: Arc<Admitted>,
}

/// Loads versions, and keeps them as long as they are of use.
pub(super) struct Loader {
    store: Store,
    sandbox: Sandbox,
    policies: Arc<Policies>,
    guests: tokio::runtime::Handle,
    clock: Clock,
    bell: watch::Sender<u64>,
    retry_ms: i64,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    loaded: BTreeMap<Key, (Loaded, Timestamp)>,
    configured: BTreeMap<Version, Arc<Plugin>>,
    failed: BTreeMap<Key, (NotLoaded, Timestamp)>,
    /// Whoever wants a version that is being loaded waits for its turn.
    turns: BTreeMap<Key, Arc<tokio::sync::Mutex<()>>>,
}

/// Name and version.
type Key = (String, String);

/// Where a version is.
pub(super) enum Place {
    Ready(Arc<Plugin>),
    Loading,
    Failed(NotLoaded),
}

impl Loader {
    pub(super) fn new(
        (store, sandbox, policies): (Store, Sandbox, Policies),
        guests: tokio::runtime::Handle,
        clock: Clock,
        (bell, retry_ms): (watch::Sender<u64>, u32),
    ) -> Arc<Self> {
        let (policies, shelf) = (Arc::new(policies), Mutex::default());
        let retry_ms = i64::from(retry_ms);
        Arc::new(Self { store, sandbox, policies, guests, clock, bell, retry_ms, shelf })
    }

    /// The plugin of a version with its configuration, loaded now where it is not yet.
    pub(super) async fn plugin(&self, wanted: &Version) -> Result<Arc<Plugin>, NotLoaded> {
        let loaded = self.loaded(&wanted.name, &wanted.version).await?;
        self.configured(&loaded, wanted)
    }

    /// The same without waiting: what is not there is loaded in the background, and the bell rings
    /// when that has ended.
    pub(super) fn ready_or_start(self: &Arc<Self>, wanted: &Version) -> Place {
        let key = (wanted.name.clone(), wanted.version.clone());
        let now = self.clock.now();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((loaded, used)) = shelf.loaded.get_mut(&key) {
            *used = now;
            let loaded = loaded.clone();
            drop(shelf);
            return match self.configured(&loaded, wanted) {
                Ok(plugin) => Place::Ready(plugin),
                Err(refused) => Place::Failed(refused),
            };
        }
        let failed = shelf.failed.get(&key).cloned();
        let waits = failed.as_ref().is_some_and(|(_, again)| *again > now);
        if !waits && !shelf.turns.contains_key(&key) {
            shelf.turns.insert(key.clone(), Arc::default());
            let loader = Arc::clone(self);
            tokio::spawn(async move {
                // What came of it is on the shelf.
                drop(loader.loaded(&key.0, &key.1).await);
                loader.bell.send_modify(|count| *count = count.wrapping_add(1));
            });
        }
        // While it is tried again, what is known of it stays true.
        failed.map_or(Place::Loading, |(refused, _)| Place::Failed(refused))
    }

    /// A version without its configuration, loaded now where it is not yet.
    pub(super) async fn loaded(&self, name: &str, version: &str) -> Result<Loaded, NotLoaded> {
        let key = (name.to_owned(), version.to_owned());
        let turn = {
            let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(shelf.turns.entry(key.clone()).or_default())
        };
        let turn = turn.lock().await;
        let result = match self.find(&key) {
            Some(loaded) => Ok(loaded),
            None => self.load(name, version).await,
        };
        let now = self.clock.now();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.turns.remove(&key);
        match &result {
            Ok(loaded) => {
                shelf.failed.remove(&key);
                shelf.loaded.insert(key, (loaded.clone(), now));
            }
            Err(refused) => {
                shelf.failed.insert(key, (refused.clone(), now.plus_ms(self.retry_ms)));
            }
        }
        drop(shelf);
        drop(turn);
        result
    }

    fn find(&self, key: &Key) -> Option<Loaded> {
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.loaded.get(key).map(|(loaded, _)| loaded.clone())
    }

    async fn load(&self, name: &str, version: &str) -> Result<Loaded, NotLoaded> {
        let found = self.store.plugin_version(name, version).await.map_err(NotLoaded::Store)?;
        let missing = || NotLoaded::Missing(format!("{name} {version}"));
        let found = found.ok_or_else(missing)?;
        let component = self.store.component(&found.sha256).await.map_err(NotLoaded::Store)?;
        let component = component.ok_or_else(missing)?;
        self.check(found.manifest.into_bytes(), component).await
    }

    /// Lets a package in, or says why not: first signature and policy, then the compiler sees it.
    pub(super) async fn check(
        &self,
        manifest: Vec<u8>,
        component: Vec<u8>,
    ) -> Result<Loaded, NotLoaded> {
        let (policies, sandbox) = (Arc::clone(&self.policies), self.sandbox.clone());
        // Away from the threads that answer gateways: it hashes, compiles and runs a guest.
        let checked = self.guests.spawn(async move {
            let admitted = admit(&manifest, &component, &policies).map_err(NotLoaded::Package)?;
            let source = Source {
                bytes: component,
                limits: admitted.limits.clone(),
                grants: admitted.grants.clone(),
                config: Value::Object(serde_json::Map::new()),
            };
            let plugin = sandbox.load(source).await.map_err(NotLoaded::Component)?;
            admitted.check_descriptor(plugin.descriptor()).map_err(NotLoaded::Package)?;
            Ok(Loaded { plugin: Arc::new(plugin), admitted: Arc::new(admitted) })
        });
        checked.await.map_err(|error| NotLoaded::Host(error.to_string()))?
    }

    /// Keeps what a push has loaded: it is most likely activated next.
    pub(super) fn put(&self, loaded: &Loaded) {
        let descriptor = loaded.plugin.descriptor();
        let key = (descriptor.name.clone(), descriptor.version.to_string());
        let now = self.clock.now();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.failed.remove(&key);
        shelf.loaded.insert(key, (loaded.clone(), now));
    }

    fn configured(&self, loaded: &Loaded, wanted: &Version) -> Result<Arc<Plugin>, NotLoaded> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = shelf.configured.get(wanted) {
            return Ok(Arc::clone(plugin));
        }
        let config: Value = serde_json::from_str(&wanted.config)
            .map_err(|error| NotLoaded::Host(format!("its stored configuration: {error}")))?;
        loaded.admitted.manifest.check_config(&config).map_err(NotLoaded::Package)?;
        let plugin = Arc::new(loaded.plugin.with_config(config));
        shelf.configured.insert(wanted.clone(), Arc::clone(&plugin));
        Ok(plugin)
    }

    /// Lets go of what is not wanted and was not used for a while; gives all of what is wanted
    /// that is there.
    pub(super) fn keep<'a>(&self, wanted: impl Iterator<Item = &'a Version>) -> Vec<Arc<Plugin>> {
        let now = self.clock.now();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = BTreeMap::new();
        let mut names = BTreeSet::new();
        for one in wanted {
            names.insert((one.name.clone(), one.version.clone()));
            if let Some((_, used)) = shelf.loaded.get_mut(&(one.name.clone(), one.version.clone()))
            {
                *used = now;
            }
            if let Some(plugin) = shelf.configured.get(one) {
                kept.insert(one.clone(), Arc::clone(plugin));
            }
        }
        let mut spare: Vec<Timestamp> =
            shelf.loaded.values().map(|(_, used)| *used).filter(|used| *used < now).collect();
        spare.sort_unstable_by(|one, other| other.cmp(one));
        let newest = spare.get(SPARE_MAX).copied();
        shelf.loaded.retain(|_, (_, used)| {
            now.ms_since(*used) < KEPT_MS && newest.is_none_or(|newest| *used > newest)
        });
        shelf.failed.retain(|key, _| names.contains(key));
        shelf.configured.clone_from(&kept);
        kept.into_values().collect()
    }
}

/// So many that nobody wants stay loaded at most.
const SPARE_MAX: usize = 8;

/// How long what nobody wants stays loaded: somebody may be about to activate it.
const KEPT_MS: i64 = 600_000;
