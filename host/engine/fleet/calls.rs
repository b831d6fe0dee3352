//! What operators ask for. Whatever can be found wrong is found before anything is written: a
//! version is let in and compiled before it is stored, and fits the others before it is activated.

use std::collections::BTreeSet;
use std::sync::Arc;

use callgate_package::SignedManifest;
use callgate_package::admit::sha256_text;
use callgate_sandbox::limits::Limits;
use callgate_store::{
    NewVersion, PluginAct, PluginActed, PluginInstruction, PluginVersion, Pushed, Rollout,
    StoreError,
};
use serde_json::{Value, json};

use super::plan::{self, Standing, StandingCanary, Version, Wanted};
use super::{Fleet, NotLoaded, view};
use crate::inbound::plugins::{Answering, NotDone, Order, Plugins, Sent, Wish};

impl Plugins for Fleet {
    fn list(&self) -> Answering<'_> {
        Box::pin(async move { Ok(self.listed().await?) })
    }

    fn push(&self, sent: Sent) -> Answering<'_> {
        Box::pin(self.pushed(sent))
    }

    fn act(&self, order: Order) -> Answering<'_> {
        Box::pin(self.acted(order))
    }

    fn limits(&self, component: &str) -> Option<Limits> {
        let plugin = self.in_force.current().of_component(component)?;
        Some(plugin.limits().clone())
    }
}

impl Fleet {
    async fn listed(&self) -> Result<Value, StoreError> {
        let rollouts = self.store.rollouts().await?;
        let versions = self.store.plugin_versions().await?;
        let names: BTreeSet<&str> = self
            .configured
            .keys()
            .map(String::as_str)
            .chain(rollouts.iter().map(|one| one.name.as_str()))
            .chain(versions.iter().map(|one| one.name.as_str()))
            .collect();
        let mut plugins = Vec::new();
        for name in names {
            let rollout = rollouts.iter().find(|one| one.name == name);
            let canary = rollout.and_then(|one| one.canary.as_ref());
            let runs = match canary {
                Some(canary) => Some(self.store.plugin_runs(name, canary.round).await?),
                None => None,
            };
            let own: Vec<PluginVersion> =
                versions.iter().filter(|one| one.name == name).cloned().collect();
            plugins.push(view::plugin((name, self.configured.get(name)), rollout, &own, runs));
        }
        let silent = (self.clock.now(), i64::from(self.settings.report_ms).saturating_mul(3));
        let hosts = self.store.plugin_hosts().await?;
        let hosts: Vec<_> = hosts.iter().map(|one| view::host(one, &self.host, silent)).collect();
        let revision = self.store.plugin_revision().await?;
        Ok(json!({ "revision": revision, "plugins": plugins, "hosts": hosts,
            "pinned": self.settings.pinned }))
    }

    async fn pushed(&self, sent: Sent) -> Result<Value, NotDone> {
        let manifest = sent.manifest.as_bytes();
        let signed = SignedManifest::parse(manifest).map_err(NotLoaded::Package)?;
        let manifest_sha256 = sha256_text(signed.body());
        let component = sent.component.to_vec();
        let loaded = self.loader.check(manifest.to_vec(), component.clone()).await?;
        let admitted = &loaded.admitted;
        let signers: Vec<String> = admitted.signed_by.iter().map(ToString::to_string).collect();
        if !admitted.unsigned.is_empty() {
            tracing::warn!(plugin = %admitted.manifest.name, version = %admitted.manifest.version,
                businesses = %admitted.unsigned.join(", "),
                "a plugin was pushed unsigned; it is taken because allow_unsigned is set");
        }
        let version = NewVersion {
            name: admitted.manifest.name.clone(),
            version: admitted.manifest.version.to_string(),
            sha256: loaded.plugin.sha256().to_owned(),
            component,
            manifest: sent.manifest,
            manifest_sha256,
            signed_by: signers.join(", "),
            who: sent.who,
            why: sent.why,
        };
        let (state, stored) = match self.store.push_plugin(version, self.clock.now()).await? {
            Pushed::New(stored) => ("new", stored),
            Pushed::Known(stored) if stored.retired_at.is_some() => ("retired", stored),
            Pushed::Known(stored) => ("known", stored),
            Pushed::Differs(stored) => {
                return Err(NotDone::Refused {
                    code: "plugin.version-taken",
                    text: format!(
                        "{} {} is there already with other bytes or another manifest, component \
                         {}: a version never changes, push it under another one",
                        stored.name, stored.version, stored.sha256
                    ),
                });
            }
        };
        self.loader.put(&loaded);
        Ok(view::pushed(state, &stored, admitted))
    }

    async fn acted(&self, order: Order) -> Result<Value, NotDone> {
        let rollouts = self.store.rollouts().await?;
        let now = rollouts.iter().find(|one| one.name == order.name);
        let revision = now.map_or(0, |now| now.revision);
        if revision != order.revision {
            return Err(stale(revision));
        }
        let act = self.checked(&order, now).await?;
        let Order { name, who, why, .. } = order;
        let instruction = PluginInstruction { name, act, revision, who, why };
        let name = instruction.name.clone();
        match self.store.act_on_plugin(instruction, self.clock.now()).await? {
            PluginActed::Done { rollout, told } => {
                // What comes of it on this host is in the list, whatever it is.
                if let Err(error) = self.look().await {
                    tracing::warn!(%error, code = error.code(), "an act is followed a little later");
                }
                self.bell.send_modify(|count| *count = count.wrapping_add(1));
                Ok(view::acted(&name, rollout.as_deref(), &told))
            }
            PluginActed::Stale { revision } => Err(stale(revision)),
            PluginActed::NotFound => Err(NotDone::NotFound),
            PluginActed::Refused { why } => Err(NotDone::State(why)),
        }
    }

    /// What is to be written, where this host could follow it at once.
    async fn checked(&self, order: &Order, now: Option<&Rollout>) -> Result<PluginAct, NotDone> {
        let name = order.name.as_str();
        match &order.wish {
            Wish::Activate { version, config, canary } => {
                let config = match config {
                    Some(config) => config.to_string(),
                    None => self.config_before(name, now),
                };
                let version = version.clone();
                let wanted = Version { name: name.to_owned(), version: version.clone(), config };
                let plugin = self.loader.plugin(&wanted).await?;
                let config = wanted.config;
                let mut standing = self.standing(name, now).await;
                let Some((share, budget)) = canary.clone() else {
                    standing = Standing { active: Some(plugin), canary: None };
                    self.fits(name, standing).await?;
                    return Ok(PluginAct::Activate { version, config });
                };
                if standing.active.is_none() {
                    let text = "nothing is active that it could be tried beside: activate it";
                    return Err(NotDone::State(text.to_owned()));
                }
                standing.canary = Some(StandingCanary { plugin, share: share.clone(), round: 0 });
                self.fits(name, standing).await?;
                Ok(PluginAct::StartCanary { version, config, share, budget })
            }
            Wish::Act(PluginAct::Rollback) => {
                let canary = now.is_some_and(|now| now.canary.is_some());
                let before = now.map(Wanted::of).and_then(|wanted| wanted.before);
                if let Some(before) = before.filter(|_| !canary) {
                    let plugin = self.loader.plugin(&before).await?;
                    let standing = Standing { active: Some(plugin), canary: None };
                    self.fits(name, standing).await?;
                }
                Ok(PluginAct::Rollback)
            }
            Wish::Act(act) => Ok(act.clone()),
        }
    }

    /// The configuration of what is active.
    fn config_before(&self, name: &str, now: Option<&Rollout>) -> String {
        let active = now.and_then(|now| now.active.as_ref());
        let configured = || self.configured.get(name).map(|plugin| plugin.config().to_string());
        let config = active.map(|active| active.config.clone()).or_else(configured);
        config.unwrap_or_else(|| "{}".to_owned())
    }

    /// What is in force of a plugin on this host.
    async fn standing(&self, name: &str, now: Option<&Rollout>) -> Standing {
        let state = self.state.lock().await;
        let standing = state.standing.get(name).cloned().unwrap_or_default();
        let configured = || self.configured.get(name).map(Arc::clone);
        // A plugin that was rolled back to nothing has nothing to be tried beside.
        let active = match now.and_then(|now| now.active.as_ref()) {
            Some(_) => standing.active,
            None => configured(),
        };
        Standing { active, canary: None }
    }

    /// Whether a plugin could be in force together with all others.
    async fn fits(&self, name: &str, standing: Standing) -> Result<(), NotDone> {
        let state = self.state.lock().await;
        let mut all = state.standing.clone();
        all.insert(name.to_owned(), standing);
        drop(state);
        plan::registry(&all, Vec::new())
            .map(drop)
            .map_err(|error| NotDone::Refused { code: error.code(), text: error.to_string() })
    }
}

fn stale(revision: i64) -> NotDone {
    NotDone::State(format!(
        "somebody acted on this plugin in between: it is at revision {revision} now; look at it, \
         and act again if you still want to"
    ))
}

impl From<NotLoaded> for NotDone {
    fn from(refused: NotLoaded) -> Self {
        match refused {
            NotLoaded::Store(error) => Self::Store(error),
            NotLoaded::Missing(_) => Self::NotFound,
            NotLoaded::Package(_) | NotLoaded::Component(_) | NotLoaded::Host(_) => {
                Self::Refused { code: refused.code(), text: refused.to_string() }
            }
        }
    }
}

impl From<StoreError> for NotDone {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
