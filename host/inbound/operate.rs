//! Repair: operators look at notifications, replay, park, release and discard them, and see who
//! did what. The same words as on the command line.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use callgate_core::time::Timestamp;
use callgate_store::{
    AUDIT_MAX, Act, Acted, AuditQuery, Cancelled, Cursor, Filter, InboxState, Instruction,
    NewReplay, RATE_MAX, SEARCH_MAX, WHY_MAX,
};
use http::{HeaderMap, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::error::Problem;
use super::operate_query::{Asked, check_filter, number};
use super::operate_view as view;
use super::operator::Operator;

/// `/operator/notifications`, `/operator/replays` and `/operator/audit`.
pub(super) fn routes() -> Router<Operator> {
    Router::new()
        .route("/operator/notifications", get(search))
        .route("/operator/notifications/{id}", get(inspect))
        .route("/operator/notifications/{id}/{act}", post(act))
        .route("/operator/replays", get(replays).post(start))
        .route("/operator/replays/{id}", get(replay))
        .route("/operator/replays/{id}/cancel", post(cancel))
        .route("/operator/audit", get(audit))
}

type Pairs = Query<Vec<(String, String)>>;

async fn search(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Query(pairs): Pairs,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let mut asked = Asked::new(pairs)?;
    let limit = number(&mut asked, "limit", 1..=SEARCH_MAX)?.unwrap_or(LIMIT);
    let cursor = cursor(&mut asked)?;
    let filter = asked.filter()?;
    let found = operator.store.search(&filter, cursor.as_ref(), limit).await?;
    let full = i64::try_from(found.len()).is_ok_and(|length| length == limit);
    let next = found.last().filter(|_| full);
    let next = next.map(|last| format!("{}.{}", last.received_at().as_ms(), last.id()));
    let list: Vec<_> = found.iter().map(view::line).collect();
    Ok(Json(json!({ "notifications": list, "next_cursor": next })).into_response())
}

async fn inspect(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(pairs): Pairs,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let mut asked = Asked::new(pairs)?;
    let raw = match asked.take("raw").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::asked("raw", "must be true or false")),
    };
    asked.end()?;
    check_id(&id, "notification")?;
    let found = operator.store.inspect(&id).await?;
    let found = found.ok_or(Problem::NotFound { what: "notification" })?;
    let mut shown = view::inspection(&found);
    if raw {
        let callback = operator.store.raw_callback(&id).await?;
        view::add_raw(&mut shown, &found, callback.as_deref());
    }
    Ok(Json(shown).into_response())
}

/// The body of an act.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    why: String,
    #[serde(default)]
    for_ms: Option<i64>,
}

async fn act(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Path((id, act)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Problem> {
    let who = operator.operators.admit(&headers)?;
    let now = operator.clock.now();
    if !ACTS.contains(&act.as_str()) {
        return Err(Problem::NotFound { what: "act" });
    }
    let words: Words = read(&body)?;
    check_why(&words.why)?;
    let act = match (act.as_str(), words.for_ms) {
        ("park", for_ms) => Act::Park { until: now.plus_ms(check_wait(for_ms)?) },
        (_, Some(_)) => return Err(Problem::asked("for_ms", "goes with park alone")),
        ("release", None) => Act::Release,
        ("discard", None) => Act::Discard,
        (_, None) => Act::Replay,
    };
    check_id(&id, "notification")?;
    let instruction = Instruction { id: id.clone(), act, who, why: words.why };
    match operator.store.operate(instruction, now).await? {
        Acted::Done { from, to } => {
            let told = json!({ "id": id, "act": act.as_str(), "from": from, "to": to });
            Ok(Json(told).into_response())
        }
        Acted::NotFound => Err(Problem::NotFound { what: "notification" }),
        Acted::Busy => Err(Problem::State {
            rule: "a worker has this notification right now; try again in a moment".to_owned(),
        }),
        Acted::Refused { state } => {
            let (act, state) = (act.as_str(), state.as_str());
            Err(Problem::State { rule: format!("{act} makes no sense in state {state}") })
        }
    }
}

/// The body of a replay of many.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    filter: Filter,
    #[serde(default = "dry")]
    dry_run: bool,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    rate_per_s: Option<i64>,
}

/// Looking comes first: a replay is only started where that is said.
fn dry() -> bool {
    true
}

async fn start(
    State(operator): State<Operator>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let who = operator.operators.admit(&headers)?;
    let wanted: Wanted = read(&body)?;
    check_filter(&wanted.filter, "filter.")?;
    if matches!(wanted.filter.state, None | Some(InboxState::After)) {
        let rule = "must be given: ready, parked, done or review";
        return Err(Problem::asked("filter.state", rule));
    }
    let rate_per_s = wanted.rate_per_s.unwrap_or(RATE);
    if !(1..=RATE_MAX).contains(&rate_per_s) {
        return Err(Problem::asked("rate_per_s", format!("must be 1 to {RATE_MAX}")));
    }
    if wanted.dry_run {
        let preview = operator.store.preview_replay(&wanted.filter).await?;
        let sample: Vec<_> = preview.sample.iter().map(view::line).collect();
        let told = json!({ "dry_run": true, "total": preview.total, "sample": sample });
        return Ok(Json(told).into_response());
    }
    let why = wanted.why.unwrap_or_default();
    check_why(&why)?;
    let new = NewReplay { filter: wanted.filter, who, why, rate_per_s };
    let replay = operator.store.start_replay(new, operator.clock.now()).await?;
    Ok((StatusCode::CREATED, Json(view::replay(&replay))).into_response())
}

async fn replays(
    State(operator): State<Operator>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let found = operator.store.replays().await?;
    let list: Vec<_> = found.iter().map(view::replay).collect();
    Ok(Json(json!({ "replays": list })).into_response())
}

async fn replay(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    check_id(&id, "replay")?;
    let found = operator.store.replay(&id).await?.ok_or(Problem::NotFound { what: "replay" })?;
    Ok(Json(view::replay(&found)).into_response())
}

async fn cancel(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let who = operator.operators.admit(&headers)?;
    let words: Words = read(&body)?;
    check_why(&words.why)?;
    if words.for_ms.is_some() {
        return Err(Problem::asked("for_ms", "goes with park alone"));
    }
    check_id(&id, "replay")?;
    let words = (who.as_str(), words.why.as_str());
    match operator.store.cancel_replay(&id, words, operator.clock.now()).await? {
        Cancelled::Done(replay) => Ok(Json(view::replay(&replay)).into_response()),
        Cancelled::Ended(replay) => {
            let state = replay.state.as_str();
            Err(Problem::State { rule: format!("the replay is {state}, expected running") })
        }
        Cancelled::NotFound => Err(Problem::NotFound { what: "replay" }),
    }
}

async fn audit(
    State(operator): State<Operator>,
    headers: HeaderMap,
    Query(pairs): Pairs,
) -> Result<Response, Problem> {
    operator.operators.admit(&headers)?;
    let mut asked = Asked::new(pairs)?;
    let query = AuditQuery {
        limit: number(&mut asked, "limit", 1..=AUDIT_MAX)?.unwrap_or(LIMIT),
        before: cursor(&mut asked)?,
        target: asked.take("target"),
        who: asked.take("who"),
    };
    asked.end()?;
    let found = operator.store.audit(&query).await?;
    let full = i64::try_from(found.len()).is_ok_and(|length| length == query.limit);
    let next = found.last().filter(|_| full);
    let next = next.map(|last| format!("{}.{}", last.at.as_ms(), last.id));
    let list: Vec<_> = found.iter().map(view::entry).collect();
    Ok(Json(json!({ "audit": list, "next_cursor": next })).into_response())
}

pub(super) fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let sent = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| Problem::asked(error.path().to_string(), error.inner().to_string()))?;
    reader.end().map_err(|_| Problem::asked(".", "there is more after the JSON object"))?;
    Ok(sent)
}

pub(super) fn check_why(why: &str) -> Result<(), Problem> {
    if (1..=WHY_MAX).contains(&why.chars().count()) && !why.trim().is_empty() && !why.contains('\0')
    {
        return Ok(());
    }
    Err(Problem::asked("why", format!("must be written: 1 to {WHY_MAX} characters")))
}

/// Ids are UUIDs; anything else names nothing.
fn check_id(id: &str, what: &'static str) -> Result<(), Problem> {
    let fits = id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(Problem::NotFound { what }) }
}

fn check_wait(for_ms: Option<i64>) -> Result<i64, Problem> {
    let for_ms = for_ms.unwrap_or(PARK_MS);
    if (PARK_MS_MIN..=PARK_MS_MAX).contains(&for_ms) {
        return Ok(for_ms);
    }
    Err(Problem::asked("for_ms", format!("must be {PARK_MS_MIN} to {PARK_MS_MAX}")))
}

/// Where the last look ended: `{milliseconds}.{id}`.
pub(super) fn cursor(asked: &mut Asked) -> Result<Option<Cursor>, Problem> {
    let Some(text) = asked.take("cursor") else { return Ok(None) };
    let parts = text.split_once('.').and_then(|(ms, id)| Some((ms.parse().ok()?, id.to_owned())));
    let (ms, id) = parts.ok_or_else(|| Problem::asked("cursor", "is not of an earlier answer"))?;
    Ok(Some((Timestamp::from_ms(ms), id)))
}

const ACTS: [&str; 4] = ["replay", "park", "release", "discard"];

/// What one look shows, unless more is asked for.
const LIMIT: i64 = 50;

/// Notifications a second of a replay of many, unless something else is said.
const RATE: i64 = 10;

/// How long a notification is parked, unless something else is said: a day.
const PARK_MS: i64 = 86_400_000;

/// A second at least, and thirty days at most.
const PARK_MS_MIN: i64 = 1_000;
const PARK_MS_MAX: i64 = 2_592_000_000;
