//! Notices: written with what they tell of, taken by one host at a time, counted by the minute.

use callgate_core::outcome::Reason;
use callgate_core::time::Timestamp;

use super::{AlertStep, DueNotice, Notice, NoticeClaim, NoticeEnd, WebhookStanding};
use crate::error::{Fault, StoreError};
use crate::sql::{Connection, Pool, query};

/// Writes a notice for everybody who wants to hear it. What they did not hear yet of the same
/// condition is replaced: the newest says it all.
pub(super) async fn write(
    connection: &mut Connection,
    (said, ids): (&AlertStep, &mut std::slice::Iter<'_, String>),
    notice: &Notice,
) -> Result<(), Fault> {
    let text = serde_json::to_string(notice)
        .map_err(|error| StoreError::invalid(format!("notice: {error}")))?;
    for (webhook, least) in &said.webhooks {
        if notice.severity < *least {
            continue;
        }
        let Some(id) = ids.next() else { break };
        query(REPLACE)
            .bind(webhook.as_str())
            .bind(notice.condition.as_str())
            .bind(notice.at.as_ms())
            .execute(&mut *connection)
            .await?;
        query(WRITE)
            .bind(id.as_str())
            .bind(webhook.as_str())
            .bind(notice.condition.as_str())
            .bind(text.as_str())
            .bind(notice.at.as_ms())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Takes the oldest one that is due, where the webhook may hear another one.
pub(super) async fn take(
    connection: &mut Connection,
    claim: &NoticeClaim,
    now: Timestamp,
) -> Result<Option<DueNotice>, Fault> {
    let webhook = claim.webhook.as_str();
    let heard: i64 = query(HEARD)
        .bind(webhook)
        .bind(now.plus_ms(-MINUTE_MS).as_ms())
        .bind(now.as_ms())
        .bind(now.plus_ms(-REMEMBERED_MS).as_ms())
        .fetch_one(&mut *connection)
        .await?
        .try_get("heard")?;
    if heard >= i64::from(claim.per_minute) {
        return Ok(None);
    }
    let row = query(TAKE)
        .bind(webhook)
        .bind(now.as_ms())
        .bind(claim.owner.as_str())
        .bind(now.plus_ms(claim.lease_ms).as_ms())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let notice: String = row.try_get("notice")?;
    let notice = serde_json::from_str(&notice)
        .map_err(|error| StoreError::corrupt(format!("notice of an alert: {error}")))?;
    Ok(Some(DueNotice { id: row.try_get("id")?, notice, attempt: row.try_get("attempts")? }))
}

/// Ends an attempt; whoever has no right to it any more changes nothing.
pub(super) async fn end(
    connection: &mut Connection,
    (id, owner, attempt): (&str, &str, i64),
    end: &NoticeEnd,
    now: Timestamp,
) -> Result<(), Fault> {
    let (sent_at, due_at, reason) = match end {
        NoticeEnd::Sent => (Some(now.as_ms()), None, None),
        NoticeEnd::Failed(reason, due_at) => (None, due_at.map(Timestamp::as_ms), Some(reason)),
    };
    query(END)
        .bind(id)
        .bind(owner)
        .bind(attempt)
        .bind(sent_at)
        .bind(due_at)
        .bind(reason.map(|reason| reason.code.to_string()))
        .bind(reason.map(|reason| reason.text.clone()))
        .execute(connection)
        .await?;
    Ok(())
}

/// When the next one is due.
pub(super) async fn next(pool: &Pool, webhook: &str) -> Result<Option<Timestamp>, StoreError> {
    let row = query(
        "select min(due_at_ms) as due_at from alert_notices \
         where webhook = $1 and due_at_ms is not null",
    )
    .bind(webhook)
    .fetch_one(pool)
    .await?;
    Ok(row.try_get::<Option<i64>, _>("due_at")?.map(Timestamp::from_ms))
}

/// How it stands with a webhook.
pub(super) async fn standing(pool: &Pool, webhook: &str) -> Result<WebhookStanding, StoreError> {
    let row = query(STANDING).bind(webhook).fetch_one(pool).await?;
    let failed = query(FAILED).bind(webhook).fetch_optional(pool).await?;
    let failed = failed.map(|row| {
        let (code, text): (String, String) =
            (row.try_get("reason_code")?, row.try_get("reason_text")?);
        Ok::<_, StoreError>(Reason::new(code, text))
    });
    Ok(WebhookStanding {
        webhook: webhook.to_owned(),
        waiting: row.try_get("waiting")?,
        sent_at: row.try_get::<Option<i64>, _>("sent_at")?.map(Timestamp::from_ms),
        failed: failed.transpose()?,
    })
}

/// Forgets what nobody asks for any more.
pub(super) async fn forget(connection: &mut Connection, now: Timestamp) -> Result<(), Fault> {
    for (sql, age_ms) in [
        ("delete from alert_notices where created_at_ms < $1", REMEMBERED_MS),
        ("delete from alerts where cleared_at_ms < $1", CLEARED_MS),
    ] {
        let before = now.plus_ms(age_ms.saturating_neg()).as_ms();
        query(sql).bind(before).execute(&mut *connection).await?;
    }
    Ok(())
}

const REPLACE: &str = "delete from alert_notices where webhook = $1 and condition = $2 \
    and due_at_ms is not null and (leased_until_ms is null or leased_until_ms <= $3)";

const WRITE: &str = "insert into alert_notices (id, webhook, condition, notice, created_at_ms, \
    due_at_ms) values ($1, $2, $3, $4, $5, $5)";

/// Sent in the last minute, or on its way. A notice is forgotten before the bound of the last
/// condition, which lets the index be used.
const HEARD: &str = "select cast(count(*) as bigint) as heard from alert_notices \
    where webhook = $1 and created_at_ms > $4 \
    and (sent_at_ms > $2 or (sent_at_ms is null and leased_until_ms > $3))";

const TAKE: &str = "update alert_notices set attempts = attempts + 1, lease_owner = $3, \
    leased_until_ms = $4, due_at_ms = $4 where id = (select id from alert_notices \
    where webhook = $1 and due_at_ms <= $2 and (leased_until_ms is null or leased_until_ms <= $2) \
    order by due_at_ms, id limit 1) returning id, notice, attempts";

const END: &str = "update alert_notices set lease_owner = null, leased_until_ms = null, \
    sent_at_ms = $4, due_at_ms = $5, reason_code = $6, reason_text = $7 \
    where id = $1 and lease_owner = $2 and attempts = $3";

const STANDING: &str = "select cast(coalesce(sum(case when due_at_ms is null then 0 else 1 end), \
    0) as bigint) as waiting, max(sent_at_ms) as sent_at from alert_notices where webhook = $1";

const FAILED: &str = "select reason_code, coalesce(reason_text, '') as reason_text \
    from alert_notices where webhook = $1 and reason_code is not null \
    order by created_at_ms desc, id desc limit 1";

const MINUTE_MS: i64 = 60_000;

/// How long a notice is remembered, sent or not; longer than any is tried.
const REMEMBERED_MS: i64 = 2 * 86_400_000;

/// How long a condition is remembered that is over.
const CLEARED_MS: i64 = 7 * 86_400_000;
