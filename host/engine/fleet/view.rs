//! What operators see of plugins, as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use callgate_core::canary::{Runs, percent};
use callgate_core::time::Timestamp;
use callgate_package::{Admitted, Manifest};
use callgate_sandbox::plugin::Plugin;
use callgate_store::{Activation, Canary, HostReport, PluginVersion, Rollout};
use serde_json::{Value, json};

use super::State;
use super::plan::Standing;

/// What a host says of itself.
pub(super) fn report(state: &State) -> Value {
    let names: BTreeSet<&String> = state.standing.keys().chain(state.problems.keys()).collect();
    let wanted: BTreeMap<&str, &Rollout> =
        state.rollouts.iter().map(|rollout| (rollout.name.as_str(), rollout)).collect();
    let version = |plugin: &Arc<Plugin>| plugin.descriptor().version.to_string();
    let line = |name: &String| {
        let rollout = wanted.get(name.as_str());
        let none = Standing::default();
        let standing = state.standing.get(name).unwrap_or(&none);
        let canary = standing.canary.as_ref().map(|canary| &canary.plugin);
        json!({
            "name": name,
            "wanted": rollout.and_then(|one| one.active.as_ref()).map(|one| &one.version),
            "in_force": standing.active.as_ref().map(version),
            "component": standing.active.as_ref().map(|plugin| plugin.sha256()),
            "canary_wanted": rollout.and_then(|one| one.canary.as_ref()).map(|one| &one.version),
            "canary_in_force": canary.map(version),
            "problem": state.problems.get(name),
        })
    };
    Value::Array(names.into_iter().map(line).collect())
}

/// One plugin with all its versions.
pub(super) fn plugin(
    (name, configured): (&str, Option<&Arc<Plugin>>),
    rollout: Option<&Rollout>,
    versions: &[PluginVersion],
    runs: Option<(Runs, Runs)>,
) -> Value {
    json!({
        "name": name,
        "revision": rollout.map_or(0, |rollout| rollout.revision),
        "configured": configured.map(|plugin| plugin.descriptor().version.to_string()),
        "active": rollout.and_then(|rollout| rollout.active.as_ref()).map(activation),
        "before": rollout.and_then(|rollout| rollout.before.as_ref()).map(activation),
        "canary": rollout.and_then(|rollout| rollout.canary.as_ref()).map(|one| canary(one, runs)),
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
    })
}

/// How a plugin stands after an act.
pub(super) fn acted(name: &str, rollout: Option<&Rollout>, told: &str) -> Value {
    let mut shown = plugin((name, None), rollout, &[], None);
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("versions");
        fields.remove("configured");
        fields.insert("told".to_owned(), json!(told));
    }
    shown
}

fn activation(one: &Activation) -> Value {
    json!({ "version": one.version, "config": json_of(&one.config), "at_ms": one.at.as_ms(),
        "who": one.who })
}

fn canary(one: &Canary, runs: Option<(Runs, Runs)>) -> Value {
    let (active, canary) = runs.unwrap_or_default();
    json!({
        "version": one.version,
        "config": json_of(&one.config),
        "percent": percent(i64::from(one.share.parts)),
        "orders": one.share.orders,
        "at_ms": one.at.as_ms(),
        "who": one.who,
        "budget_runs": one.budget.runs,
        "budget_percent": percent(i64::from(one.budget.parts)),
        "runs": { "canary": canary, "active": active },
    })
}

fn version(one: &PluginVersion) -> Value {
    json!({
        "version": one.version,
        "sha256": one.sha256,
        "size": one.size,
        "signed_by": one.signed_by,
        "pushed_at_ms": one.pushed_at.as_ms(),
        "pushed_by": one.pushed_by,
        "retired_at_ms": one.retired_at.map(Timestamp::as_ms),
    })
}

/// What a push answers: the version, and what its manifest says.
pub(super) fn pushed(state: &str, stored: &PluginVersion, admitted: &Admitted) -> Value {
    let Manifest { routes, transitions, grants, limits, contract, .. } = &admitted.manifest;
    let mut shown = version(stored);
    let route = |route: &callgate_sandbox::descriptor::Route| route.to_string();
    let more = json!({
        "name": stored.name,
        "state": state,
        "contract": contract.to_string(),
        "routes": routes.iter().map(route).collect::<Vec<_>>(),
        "transitions": transitions.as_ref().map(Vec::len),
        "read": grants.read,
        "write": grants.write,
        "topics": grants.topics,
        "blind_writes": grants.blind_writes,
        "limits": limits,
        "unsigned": admitted.unsigned,
    });
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
    shown
}

/// A host, and whether it is to be believed: one that has not been heard of for a while may be
/// gone.
pub(super) fn host(report: &HostReport, this: &str, (now, silent_ms): (Timestamp, i64)) -> Value {
    json!({
        "host": report.host,
        "machine": report.machine,
        "this": report.host == this,
        "revision": report.revision,
        "seen_at_ms": report.seen_at.as_ms(),
        "silent": now.ms_since(report.seen_at) > silent_ms,
        "plugins": json_of(&report.report),
    })
}

/// JSON is checked when it is stored; a text that does not read back is shown as text.
fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
