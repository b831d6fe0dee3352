//! The writer's part of outgoing calls: what begins and what ended, many in one transaction.

use std::collections::{HashMap, HashSet};

use callgate_core::time::Timestamp;

use super::{CallBegun, CallEnd, CallKept, EndedCall, NewCall, StoredCall, columns};
use crate::batch::{Cell, Statement, fetch};
use crate::dialect::{Dialect, Lock};
use crate::error::{Fault, StoreError};
use crate::sql::Connection;

/// A beginning or an end, on its way.
#[derive(Debug)]
pub(crate) enum Calling {
    Begin { call: Box<NewCall>, now: Timestamp },
    End { call: Box<EndedCall>, now: Timestamp },
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Called {
    Begun(CallBegun),
    Ended(CallKept),
}

/// Begins and ends calls: a constant number of statements for any number of them.
pub(crate) async fn run(
    connection: &mut Connection,
    dialect: Dialect,
    group: &[Calling],
) -> Result<Vec<Called>, Fault> {
    if group.is_empty() {
        return Ok(Vec::new());
    }
    let mut begun = begin(connection, dialect, group).await?.into_iter();
    let mut kept = end_all(connection, group).await?;
    let answer = |calling: &Calling| match calling {
        Calling::Begin { .. } => Called::Begun(begun.next().unwrap_or(CallBegun::LostLease)),
        Calling::End { call, .. } => {
            let kept = kept.remove(&(call.notification_id.clone(), call.name.clone(), call.tries));
            Called::Ended(if kept { CallKept::Kept } else { CallKept::Superseded })
        }
    };
    Ok(group.iter().map(answer).collect())
}

/// Notification and name.
type CallKey = (String, String);

/// What stands behind the beginnings of a group.
struct Standing {
    /// Owner, attempts and the last place in the log, by notification.
    leases: HashMap<String, (Option<String>, i64, i64)>,
    calls: HashMap<CallKey, StoredCall>,
}

/// One answer for each beginning of the group, in their order.
async fn begin(
    connection: &mut Connection,
    dialect: Dialect,
    group: &[Calling],
) -> Result<Vec<CallBegun>, Fault> {
    let mut wanted: Vec<(&NewCall, Timestamp)> = Vec::new();
    for calling in group {
        if let Calling::Begin { call, now } = calling {
            wanted.push((call, *now));
        }
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut standing = look(connection, dialect, &wanted).await?;
    let (mut answers, mut rows, mut leases) = (Vec::new(), Vec::new(), Vec::new());
    let mut once = HashSet::new();
    for (call, now) in wanted {
        let id = call.lease.id();
        let held = standing.leases.get(id).filter(|(owner, attempts, _)| {
            owner.as_deref() == Some(call.lease.owner.as_str()) && *attempts == call.lease.attempt
        });
        // One run makes one call at a time: a second one in the same group is nobody's.
        let Some((_, _, last)) = held.filter(|_| once.insert(id)) else {
            answers.push(CallBegun::LostLease);
            continue;
        };
        let known = standing.calls.remove(&(id.to_owned(), call.name.clone()));
        let seq = known.as_ref().map_or_else(|| last.saturating_add(1), |known| known.seq);
        let begun = match known {
            Some(known) => known.again(call, seq >= *last),
            None => CallBegun::Send { tries: 1, key: call.key.clone() },
        };
        if let CallBegun::Send { tries, key } = &begun {
            rows.push(cells(call, (seq, *tries, key), now));
            leases.push([id.into(), now.plus_ms(call.lease_ms).as_ms().into()]);
        }
        answers.push(begun);
    }
    fetch(connection, RENEW, &leases).await?;
    fetch(connection, BEGIN, &rows).await?;
    Ok(answers)
}

/// Reads and locks the notifications, in the order in which everybody locks them.
async fn look(
    connection: &mut Connection,
    dialect: Dialect,
    wanted: &[(&NewCall, Timestamp)],
) -> Result<Standing, Fault> {
    let ids: Vec<[Cell; 1]> = wanted.iter().map(|(call, _)| [call.lease.id().into()]).collect();
    let locked = Statement { suffix: dialect.lock(Lock::Update), ..LEASES };
    let mut leases = HashMap::new();
    for row in fetch(connection, locked, &ids).await? {
        let lease = (row.try_get("lease_owner")?, row.try_get("attempts")?, row.try_get("last")?);
        leases.insert(row.try_get("id")?, lease);
    }
    let names: Vec<[Cell; 2]> = wanted
        .iter()
        .map(|(call, _)| [call.lease.id().into(), call.name.as_str().into()])
        .collect();
    let mut calls = HashMap::new();
    for row in fetch(connection, STANDING, &names).await? {
        let call = StoredCall::read(&row)?;
        calls.insert((row.try_get("notification_id")?, call.name.clone()), call);
    }
    Ok(Standing { leases, calls })
}

fn cells(call: &NewCall, (seq, tries, key): (i64, i64, &str), now: Timestamp) -> [Cell; 15] {
    [
        call.lease.id().into(),
        call.name.as_str().into(),
        seq.into(),
        call.phase.into(),
        call.endpoint.as_str().into(),
        key.into(),
        call.plugin.as_str().into(),
        call.lease.attempt.into(),
        call.method.into(),
        call.path.as_str().into(),
        call.request_bytes.into(),
        call.digest.as_str().into(),
        tries.into(),
        now.as_ms().into(),
        call.answer_bytes_max.into(),
    ]
}

/// Writes the ends of a group; which of them were kept.
async fn end_all(
    connection: &mut Connection,
    group: &[Calling],
) -> Result<HashSet<(String, String, i64)>, Fault> {
    let mut rows = Vec::new();
    let mut once = HashSet::new();
    for calling in group {
        let Calling::End { call, now } = calling else { continue };
        if once.insert((call.notification_id.as_str(), call.name.as_str(), call.tries)) {
            rows.push(end_cells(call, *now)?);
        }
    }
    let mut kept = HashSet::new();
    for row in fetch(connection, END, &rows).await? {
        let (id, name) = (row.try_get("notification_id")?, row.try_get("name")?);
        kept.insert((id, name, row.try_get("tries")?));
    }
    Ok(kept)
}

fn end_cells(call: &EndedCall, now: Timestamp) -> Result<[Cell; 9], StoreError> {
    let (status, headers, body, error) = match &call.end {
        CallEnd::Answered { status, headers, body } => {
            let headers = serde_json::to_string(headers)
                .map_err(|error| StoreError::invalid(format!("headers of a call: {error}")))?;
            (Some(*status), Some(headers), Some(body.as_slice()), None)
        }
        CallEnd::TooLarge { status } => (Some(*status), None, None, Some(TOO_LARGE)),
        CallEnd::Failed(code) => (None, None, None, Some(code.as_str())),
    };
    Ok([
        call.notification_id.as_str().into(),
        call.name.as_str().into(),
        call.tries.into(),
        now.as_ms().into(),
        call.duration_us.max(0).into(),
        status.map(i64::from).into(),
        headers.as_deref().into(),
        body.into(),
        error.into(),
    ])
}

/// The error of an answer that was too large; its status stands beside it.
const TOO_LARGE: &str = "calls.too-large";

const LEASES: Statement = Statement {
    columns: "row_id",
    text: "select t.id, t.lease_owner, t.attempts, \
           (select cast(coalesce(max(c.seq), 0) as bigint) from calls c \
               where c.notification_id = t.id) as last \
           from v join inbox t on t.id = v.row_id order by t.channel, t.delivery_key, t.part",
    suffix: "",
};

const STANDING: Statement = Statement {
    columns: "row_id, row_name",
    text: concat!(
        "select ",
        columns!(),
        " from v join calls t on t.notification_id = v.row_id and t.name = v.row_name"
    ),
    suffix: "",
};

/// A guest may wait for an endpoint longer than a lease was meant to last.
const RENEW: Statement = Statement {
    columns: "row_id, until_ms",
    text: "update inbox set leased_until_ms = v.until_ms from v where inbox.id = v.row_id \
           and inbox.leased_until_ms < v.until_ms returning inbox.id",
    suffix: "",
};

const BEGIN: Statement = Statement {
    columns: "row_id, name, seq, phase, endpoint, idempotency_key, plugin, attempt, method, path, \
              request_bytes, request_digest, tries, begun_at_ms, answer_bytes_max",
    text: "insert into calls (notification_id, name, seq, phase, endpoint, idempotency_key, \
           plugin, attempt, method, path, request_bytes, request_digest, tries, begun_at_ms, \
           answer_bytes_max) \
           select v.row_id, v.name, v.seq, v.phase, v.endpoint, v.idempotency_key, v.plugin, \
           v.attempt, v.method, v.path, v.request_bytes, v.request_digest, v.tries, \
           v.begun_at_ms, v.answer_bytes_max from v where v.row_id is not null \
           on conflict (notification_id, name) do update set phase = excluded.phase, \
           endpoint = excluded.endpoint, idempotency_key = excluded.idempotency_key, \
           plugin = excluded.plugin, attempt = excluded.attempt, method = excluded.method, \
           path = excluded.path, request_bytes = excluded.request_bytes, \
           request_digest = excluded.request_digest, tries = excluded.tries, \
           begun_at_ms = excluded.begun_at_ms, answer_bytes_max = excluded.answer_bytes_max, \
           ended_at_ms = null, duration_us = null, status = null, headers = null, body = null, \
           error = null",
    suffix: "",
};

const END: Statement = Statement {
    columns: "row_id, row_name, row_tries, now_ms, took_us, new_status, new_headers, new_body, \
              new_error",
    text: "update calls set ended_at_ms = v.now_ms, duration_us = v.took_us, \
           status = v.new_status, headers = v.new_headers, body = v.new_body, \
           error = v.new_error from v where calls.notification_id = v.row_id \
           and calls.name = v.row_name and calls.tries = v.row_tries \
           and calls.ended_at_ms is null \
           returning calls.notification_id, calls.name, calls.tries",
    suffix: "",
};
