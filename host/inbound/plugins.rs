//! Plugins, for operators: push, list, activate, roll back, retire, try on some orders. The same
//! words as on the command line.
//!
//! What a call does is done by whoever keeps processors in force; this room knows the words alone.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use callgate_core::canary::{Budget, Share, parts, percent};
use callgate_sandbox::limits::Limits;
use callgate_store::{PluginAct, StoreError};
use http::{HeaderMap, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Problem;
use super::operate::{check_why, read};
use super::operator::Operator;

/// A package that somebody pushes.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The manifest file.
    pub manifest: String,
    /// The component.
    pub component: Bytes,
    /// Who pushes it.
    pub who: String,
    /// Why.
    pub why: String,
}

/// An act that somebody wants.
#[derive(Debug, Clone)]
pub struct Order {
    /// Name of the plugin.
    pub name: String,
    /// What to do.
    pub wish: Wish,
    /// The revision of the plugin that it rests on.
    pub revision: i64,
    /// Who wants it.
    pub who: String,
    /// Why.
    pub why: String,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Wish {
    /// Put a version in force, for all orders or as a canary.
    Activate {
        /// Which one.
        version: String,
        /// Its configuration; that of the version before where none is given.
        config: Option<Value>,
        /// Which orders it is tried on; all where this is not given.
        canary: Option<(Share, Budget)>,
    },
    /// What needs nothing but the store's word.
    Act(PluginAct),
}

/// Why a call is not done.
#[derive(Debug, Clone)]
pub enum NotDone {
    /// There is no such version.
    NotFound,
    /// The plugin is not let in.
    Refused {
        /// The stable code.
        code: &'static str,
        /// For its author.
        text: String,
    },
    /// It makes no sense as things stand.
    State(String),
    /// The store cannot do it now.
    Store(StoreError),
}

/// An answer on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Value, NotDone>> + Send + 'a>>;

/// Whoever keeps processors in force.
pub trait Plugins: Send + Sync {
    /// Everything there is, and what each host has in force.
    fn list(&self) -> Answering<'_>;

    /// Checks, compiles and stores a version.
    fn push(&self, sent: Sent) -> Answering<'_>;

    /// Does an act; afterwards this host has it in force.
    fn act(&self, order: Order) -> Answering<'_>;

    /// The limits of a component, by its SHA-256, where this host has it in force.
    fn limits(&self, component: &str) -> Option<Limits>;
}

/// Shared by all calls.
pub type SharedPlugins = Arc<dyn Plugins>;

/// `/operator/plugins`.
pub(super) fn routes() -> Router<Operator> {
    Router::new()
        .route(PUSH, get(list).post(push))
        .route("/operator/plugins/activate", post(activate))
        .route("/operator/plugins/rollback", post(rollback))
        .route("/operator/plugins/retire", post(retire))
        .route("/operator/plugins/canary", post(canary))
}

/// Where packages are pushed to: the one call with a long body.
pub(super) const PUSH: &str = "/operator/plugins";

async fn list(State(operator): State<Operator>, headers: HeaderMap) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    Ok(Json(operator.plugins.list().await?).into_response())
}

/// The first line of a push; the component follows it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    manifest: String,
    why: String,
}

async fn push(
    State(operator): State<Operator>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let who = operator.operators.admit(&headers)?;
    let end = body.iter().take(HEAD_BYTES_MAX).position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| {
        let rule = format!(
            "must begin with one line of JSON, {{\"manifest\": …, \"why\": …}}, of at most \
             {HEAD_BYTES_MAX} bytes; the component follows it"
        );
        Problem::asked("body", rule)
    })?;
    let head: Head = read(body.get(..end).unwrap_or_default())?;
    check_why(&head.why)?;
    let component = body.slice(end.saturating_add(1)..);
    let sent = Sent { manifest: head.manifest, component, who, why: head.why };
    let told = operator.plugins.push(sent).await?;
    let status =
        if told.get("state") == Some(&json!("new")) { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(told)).into_response())
}

/// The body of an activation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Activate {
    name: String,
    version: String,
    why: String,
    revision: i64,
    #[serde(default)]
    config: Option<Value>,
    #[serde(default)]
    canary: Option<Trial>,
}

/// Which orders a canary gets, and when it has failed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Trial {
    percent: Option<String>,
    orders: Vec<String>,
    budget_runs: Option<u32>,
    budget_percent: Option<String>,
}

async fn activate(
    State(operator): State<Operator>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked: Activate = read(&body)?;
    let canary = match asked.canary {
        None => None,
        Some(trial) => {
            let budget = trial.budget(operator.budget)?;
            Some((trial.share("canary.")?, budget))
        }
    };
    let wish = Wish::Activate { version: asked.version, config: asked.config, canary };
    done(&operator, &headers, (asked.name, wish), (asked.revision, asked.why)).await
}

/// The body of an act on a plugin as a whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    name: String,
    why: String,
    revision: i64,
}

async fn rollback(
    State(operator): State<Operator>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked: Words = read(&body)?;
    let wish = Wish::Act(PluginAct::Rollback);
    done(&operator, &headers, (asked.name, wish), (asked.revision, asked.why)).await
}

/// The body of the end of a version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retire {
    name: String,
    version: String,
    why: String,
    revision: i64,
}

async fn retire(
    State(operator): State<Operator>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked: Retire = read(&body)?;
    let wish = Wish::Act(PluginAct::Retire { version: asked.version });
    done(&operator, &headers, (asked.name, wish), (asked.revision, asked.why)).await
}

/// The body of an act on a canary.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnCanary {
    name: String,
    act: CanaryAct,
    why: String,
    revision: i64,
    #[serde(default)]
    percent: Option<String>,
    #[serde(default)]
    orders: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CanaryAct {
    Change,
    Promote,
    Stop,
}

async fn canary(
    State(operator): State<Operator>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked: OnCanary = read(&body)?;
    let trial = Trial { percent: asked.percent, orders: asked.orders, ..Trial::default() };
    let empty = trial.percent.is_none() && trial.orders.is_empty();
    let act = match asked.act {
        CanaryAct::Change => PluginAct::ChangeCanary { share: trial.share("")? },
        CanaryAct::Promote | CanaryAct::Stop if !empty => {
            return Err(Problem::asked("percent", "goes with change alone, and so do orders"));
        }
        CanaryAct::Promote => PluginAct::PromoteCanary,
        CanaryAct::Stop => PluginAct::StopCanary,
    };
    done(&operator, &headers, (asked.name, Wish::Act(act)), (asked.revision, asked.why)).await
}

impl Trial {
    fn share(&self, prefix: &str) -> Result<Share, Problem> {
        let share = Share {
            parts: percentage(&format!("{prefix}percent"), self.percent.as_deref())?.unwrap_or(0),
            orders: self.orders.iter().cloned().collect(),
        };
        share.check().map_err(|rule| Problem::asked(format!("{prefix}percent"), rule))?;
        Ok(share)
    }

    fn budget(&self, usual: Budget) -> Result<Budget, Problem> {
        let parts = percentage("canary.budget_percent", self.budget_percent.as_deref())?;
        let budget = Budget {
            runs: self.budget_runs.unwrap_or(usual.runs),
            parts: parts.unwrap_or(usual.parts),
        };
        budget.check().map_err(|rule| Problem::asked("canary.budget", rule))?;
        Ok(budget)
    }
}

fn percentage(field: &str, text: Option<&str>) -> Result<Option<u32>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let most = percent(i64::from(callgate_core::canary::PARTS));
    let rule = || format!("must be a percentage such as 5 or 0.25%, {most} at most");
    parts(text).map(Some).ok_or_else(|| Problem::asked(field, rule()))
}

async fn done(
    operator: &Operator,
    headers: &HeaderMap,
    (name, wish): (String, Wish),
    (revision, why): (i64, String),
) -> Result<Response, Problem> {
    let who = operator.operators.admit(headers)?;
    check_why(&why)?;
    for (field, text) in [("name", Some(name.as_str())), ("version", version(&wish))] {
        let fits = |text: &str| (1..=NAME_MAX).contains(&text.len()) && !text.contains('\0');
        if text.is_some_and(|text| !fits(text)) {
            return Err(Problem::asked(field, format!("must have 1 to {NAME_MAX} bytes")));
        }
    }
    let order = Order { name, wish, revision, who, why };
    Ok(Json(operator.plugins.act(order).await?).into_response())
}

fn version(wish: &Wish) -> Option<&str> {
    match wish {
        Wish::Activate { version, .. } | Wish::Act(PluginAct::Retire { version }) => Some(version),
        Wish::Act(_) => None,
    }
}

impl From<NotDone> for Problem {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::NotFound => Self::NotFound { what: "version of this plugin" },
            NotDone::Refused { code, text } => Self::Refused { code, text },
            NotDone::State(rule) => Self::State { rule },
            NotDone::Store(error) => error.into(),
        }
    }
}

/// Bytes of the first line of a push: a manifest of the longest kind, every character escaped.
pub(super) const HEAD_BYTES_MAX: usize = 512 << 10;

/// Bytes of the name of a plugin or of its version.
const NAME_MAX: usize = 128;
