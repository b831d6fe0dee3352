//! What operators ask about versions at work: what runs cost, and shadows. The same words as on the
//! command line.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use callgate_core::canary::{PARTS, parts};
use callgate_core::time::Timestamp;
use callgate_store::{ATTEMPTS_PAGE_MAX, MeasuredQuery, NewShadow, Shadow, ShadowStarted};
use http::{HeaderMap, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Problem;
use super::operate::{check_why, read};
use super::operate_query::{Asked, number};
use super::operator::Operator;
use super::statistics::Statistics;

/// `/operator/plugins/stats` and `/operator/plugins/shadow`.
pub(super) fn routes() -> Router<Operator> {
    Router::new()
        .route("/operator/plugins/stats", get(stats))
        .route("/operator/plugins/shadow", get(report).post(start))
        .route("/operator/plugins/shadow/stop", post(stop))
}

type Pairs = Query<Vec<(String, String)>>;

async fn stats(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Query(pairs): Pairs,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let now = operator.clock.now();
    let mut asked = Asked::new(pairs)?;
    let plugin = named(&mut asked)?;
    let from = number(&mut asked, "since_ms", 0..=i64::MAX)?.map(Timestamp::from_ms);
    let to = number(&mut asked, "until_ms", 0..=i64::MAX)?.map(Timestamp::from_ms);
    asked.end()?;
    let from = from.unwrap_or_else(|| now.plus_ms(WINDOW_MS.saturating_neg()));
    let query = MeasuredQuery { plugin, from, to: to.unwrap_or_else(|| now.plus_ms(1)) };
    let mut statistics = Statistics::default();
    let mut last = None;
    let mut complete = false;
    while statistics.attempts() < ATTEMPTS_MAX {
        let page = operator.store.measured(&query, last.as_ref(), ATTEMPTS_PAGE_MAX).await?;
        page.iter().for_each(|one| statistics.add(one));
        complete = i64::try_from(page.len()).is_ok_and(|found| found < ATTEMPTS_PAGE_MAX);
        last = page.into_iter().last();
        if complete {
            break;
        }
    }
    let mut told = statistics.json(|component| operator.plugins.limits(component));
    let oldest = last.map(|one| one.attempt.at.as_ms());
    let window = json!({
        "plugin": query.plugin,
        "since_ms": from.as_ms(),
        "until_ms": query.to.as_ms(),
        "complete": complete,
        "oldest_at_ms": oldest,
    });
    merge(&mut told, window);
    Ok(Json(told).into_response())
}

/// The body of a start.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    name: String,
    version: String,
    why: String,
    #[serde(default)]
    percent: Option<String>,
    #[serde(default)]
    config: Option<Value>,
}

async fn start(
    State(operator): State<Operator>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let who = operator.operators.admit(&headers)?;
    let asked: Start = read(&body)?;
    check_why(&asked.why)?;
    for (field, text) in [("name", &asked.name), ("version", &asked.version)] {
        check_name(field, text)?;
    }
    let rule = "must be a percentage above 0 such as 5 or 0.25%, 100% at most";
    let parts = asked.percent.as_deref().map_or(Some(PARTS), parts).filter(|parts| *parts > 0);
    let new = NewShadow {
        name: asked.name,
        version: asked.version,
        config: asked.config.map(|config| config.to_string()),
        parts: parts.ok_or_else(|| Problem::asked("percent", rule))?,
        who,
        why: asked.why,
    };
    match operator.store.start_shadow(new, operator.clock.now()).await? {
        ShadowStarted::Done(shadow) => {
            Ok((StatusCode::CREATED, Json(view(&shadow))).into_response())
        }
        ShadowStarted::NotFound => Err(Problem::NotFound { what: "version of this plugin" }),
    }
}

/// The body of an end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    name: String,
    why: String,
}

async fn stop(
    State(operator): State<Operator>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let who = operator.operators.admit(&headers)?;
    let asked: Stop = read(&body)?;
    check_why(&asked.why)?;
    check_name("name", &asked.name)?;
    let words = (who.as_str(), asked.why.as_str());
    let stopped = operator.store.stop_shadow(&asked.name, words, operator.clock.now()).await?;
    let stopped = stopped.ok_or(Problem::NotFound { what: "running shadow of this plugin" })?;
    Ok(Json(view(&stopped)).into_response())
}

async fn report(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Query(pairs): Pairs,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let mut asked = Asked::new(pairs)?;
    let name = named(&mut asked)?;
    let raw = match asked.take("raw").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::asked("raw", "must be true or false")),
    };
    asked.end()?;
    let shadows = operator.store.shadows().await?;
    let found = shadows.into_iter().find(|shadow| shadow.name == name);
    let shadow = found.ok_or(Problem::NotFound { what: "shadow of this plugin" })?;
    let mut total = serde_json::Map::new();
    let (mut last, mut hosts) = (Vec::new(), Vec::new());
    for report in operator.store.shadow_reports(&shadow.run).await? {
        let mut told: Value = serde_json::from_str(&report.report).unwrap_or_default();
        if let Some(Value::Array(differences)) = told.get_mut("last").map(Value::take) {
            last.extend(differences);
        }
        sum(&mut total, &told);
        hosts.push(json!({ "host": report.host, "at_ms": report.at.as_ms(),
            "offered": told.get("offered"), "refused": told.get("refused") }));
    }
    last.sort_by_key(|one| std::cmp::Reverse(one["at_ms"].as_i64()));
    last.truncate(LAST_MAX);
    if !raw {
        last.iter_mut().for_each(veil);
    }
    let mut told = view(&shadow);
    merge(&mut told, json!({ "found": total, "last": last, "hosts": hosts }));
    Ok(Json(told).into_response())
}

/// Adds up what hosts counted.
fn sum(total: &mut serde_json::Map<String, Value>, told: &Value) {
    for (name, value) in told.as_object().into_iter().flatten() {
        match value {
            Value::Number(number) => {
                let more = number.as_u64().unwrap_or(0);
                let before = total.get(name).and_then(Value::as_u64).unwrap_or(0);
                total.insert(name.clone(), json!(before.saturating_add(more)));
            }
            Value::Object(_) => {
                let inner = total.entry(name.clone()).or_insert_with(|| json!({}));
                if let Some(inner) = inner.as_object_mut() {
                    sum(inner, value);
                }
            }
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
        }
    }
}

/// Takes out what documents and events say: it may be personal, and is shown where it is asked
/// for by name.
fn veil(one: &mut Value) {
    let differences = one.get_mut("differences").and_then(Value::as_array_mut);
    for difference in differences.into_iter().flatten() {
        let kind = difference.get("kind").and_then(Value::as_str).unwrap_or_default();
        if let ("write" | "event", Some(difference)) =
            (kind.to_owned().as_str(), difference.as_object_mut())
        {
            difference.remove("a");
            difference.remove("b");
        }
    }
}

fn view(shadow: &Shadow) -> Value {
    json!({
        "name": shadow.name,
        "version": shadow.version,
        "percent": callgate_core::canary::percent(i64::from(shadow.parts)),
        "since_ms": shadow.since.as_ms(),
        "who": shadow.who,
        "stopped_at_ms": shadow.stopped_at.map(Timestamp::as_ms),
    })
}

fn merge(told: &mut Value, more: Value) {
    if let (Some(told), Value::Object(more)) = (told.as_object_mut(), more) {
        told.extend(more);
    }
}

fn named(asked: &mut Asked) -> Result<String, Problem> {
    let name = asked.take("name").ok_or_else(|| Problem::asked("name", "must be given"))?;
    check_name("name", &name)?;
    Ok(name)
}

fn check_name(field: &str, text: &str) -> Result<(), Problem> {
    if (1..=NAME_MAX).contains(&text.len()) && !text.contains('\0') {
        return Ok(());
    }
    Err(Problem::asked(field, format!("must have 1 to {NAME_MAX} bytes")))
}

/// What statistics are about, unless something else is said: a day.
const WINDOW_MS: i64 = 86_400_000;

/// Attempts that one answer looks at: the last ones.
const ATTEMPTS_MAX: u64 = 200_000;

/// Differences that one answer shows.
const LAST_MAX: usize = 50;

/// Bytes of the name of a plugin or of its version.
const NAME_MAX: usize = 128;
