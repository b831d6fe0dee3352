//! The inbox: stored notifications, as rows and as values, and looking at them.

use callgate_core::money::{Currency, Money};
use callgate_core::notification::{AccountMismatch, EventType, Notification};
use callgate_core::outcome::Reason;
use callgate_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::plain::Found;
use crate::sql::{Pool, Row, query};

/// Where a stored notification is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InboxState {
    /// Waits for a run.
    Ready,
    /// Waits for its order to be registered.
    Parked,
    /// Committed; its last phase is due.
    After,
    /// Nothing left to do.
    Done,
    /// A person must look.
    Review,
}

impl InboxState {
    /// The state as the database has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Parked => "parked",
            Self::After => "after",
            Self::Done => "done",
            Self::Review => "review",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Ready, Self::Parked, Self::After, Self::Done, Self::Review]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| StoreError::corrupt(format!("inbox state `{text}`")))
    }
}

/// How delivery keys of answers begin.
const ANSWERS: &str = "query:";

/// A notification with everything the store keeps about it, but the raw callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNotification {
    /// The idempotency key of every run: a UUID of version 7.
    pub id: String,
    /// The channel that it came through.
    pub channel: String,
    /// Who owns the order.
    pub business: String,
    /// How it is paid.
    pub scene: String,
    /// The gateway's identity of the message.
    pub delivery_key: String,
    /// Place in a combined callback, from 0.
    pub part: i64,
    /// What the gateway says happened.
    pub notification: Notification,
    /// The order that is spoken of: its own number once registered, until then as given.
    pub subject: Option<String>,
    /// The kept request headers, as JSON; a job does not carry them.
    pub headers: String,
    /// When the host received it.
    pub received_at: Timestamp,
    /// Where it is.
    pub state: InboxState,
    /// When it may be claimed; for parked ones when the wait is over; `None` when finished.
    pub due_at: Option<Timestamp>,
    /// Until when a worker owns it.
    pub leased_until: Option<Timestamp>,
    /// How often it was claimed.
    pub attempts: i64,
    /// Of those, the ones before an operator's last replay.
    pub attempts_before: i64,
    /// Races that it lost in a row.
    pub races: i64,
    /// When an operator last had it run again.
    pub replayed_at: Option<Timestamp>,
    /// How often the gateway sent it.
    pub seen: i64,
    /// When the gateway sent it last.
    pub last_seen_at: Timestamp,
    /// Why it is where it is.
    pub reason: Option<Reason>,
    /// What was decided last: `advance`, `keep`, `park`, `retry`, `defer`, `review`, `repeated`,
    /// or by an operator: `discarded`.
    pub outcome: Option<String>,
    /// JSON that a run left for its later phases.
    pub scratch: Option<String>,
    /// The processor of the last run.
    pub plugin: Option<String>,
    /// The entry of the history that its last commit wrote, where its last phase follows.
    pub history_id: Option<String>,
    /// When it reached done or review.
    pub finished_at: Option<Timestamp>,
    /// When its content (body, headers, raw callback, payer) went to an archive file. It is empty
    /// here since, so the notification cannot run again.
    pub archived_at: Option<Timestamp>,
}

impl StoredNotification {
    /// Whether the gateway told this on being asked, instead of by a callback of its own. Delivery
    /// keys are part of what a gateway signs, and none begins like those of answers.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.delivery_key.starts_with(ANSWERS)
    }

    pub(crate) fn read(row: &Row) -> Result<Self, StoreError> {
        let time = |name: &str| -> Result<_, sqlx::Error> {
            Ok(row.try_get::<Option<i64>, _>(name)?.map(Timestamp::from_ms))
        };
        let reason = match row.try_get::<Option<String>, _>("reason_code")? {
            Some(code) => {
                let text: Option<String> = row.try_get("reason_text")?;
                Some(Reason::new(code, text.unwrap_or_default()))
            }
            None => None,
        };
        Ok(Self {
            id: row.try_get("id")?,
            channel: row.try_get("channel")?,
            business: row.try_get("business")?,
            scene: row.try_get("scene")?,
            delivery_key: row.try_get("delivery_key")?,
            part: row.try_get("part")?,
            notification: notification(row)?,
            subject: row.try_get("subject")?,
            headers: row.try_get("headers")?,
            received_at: Timestamp::from_ms(row.try_get("received_at_ms")?),
            state: InboxState::parse(row.try_get("state")?)?,
            due_at: time("due_at_ms")?,
            leased_until: time("leased_until_ms")?,
            attempts: row.try_get("attempts")?,
            attempts_before: row.try_get("attempts_before")?,
            races: row.try_get("races")?,
            replayed_at: time("replayed_at_ms")?,
            seen: row.try_get("seen")?,
            last_seen_at: Timestamp::from_ms(row.try_get("last_seen_at_ms")?),
            reason,
            outcome: match time("discarded_at_ms")? {
                Some(_) => Some("discarded".to_owned()),
                None => row.try_get("outcome")?,
            },
            scratch: row.try_get("scratch")?,
            plugin: row.try_get("plugin")?,
            history_id: row.try_get("history_id")?,
            finished_at: time("finished_at_ms")?,
            archived_at: time("archived_at_ms")?,
        })
    }
}

fn notification(row: &Row) -> Result<Notification, StoreError> {
    let money = |minor: &str, currency: &str| -> Result<Option<Money>, StoreError> {
        match row.try_get::<Option<i64>, _>(minor)? {
            Some(minor) => {
                Ok(Some(Money { minor, currency: parse_currency(row.try_get(currency)?)? }))
            }
            None => Ok(None),
        }
    };
    let event_type: String = row.try_get("event_type")?;
    let (gateway, name) = event_type.split_once('.').unwrap_or((&event_type, ""));
    let mismatch = match row.try_get::<Option<&str>, _>("mismatch")? {
        Some("merchant") => Some(AccountMismatch::Merchant),
        Some("application") => Some(AccountMismatch::Application),
        Some(other) => return Err(StoreError::corrupt(format!("inbox mismatch `{other}`"))),
        None => None,
    };
    Ok(Notification {
        event_type: EventType::other(gateway, name),
        meaning_key: row.try_get("meaning_key")?,
        order_no: row.try_get("order_no")?,
        transaction_id: row.try_get("transaction_id")?,
        refund_id: row.try_get("refund_id")?,
        refund_no: row.try_get("refund_no")?,
        payer: row.try_get("payer")?,
        amount: money("amount_minor", "currency")?,
        refunded_total: money("refunded_total_minor", "currency")?,
        order_amount: money("order_amount_minor", "order_currency")?,
        occurred_at: row.try_get::<Option<i64>, _>("occurred_at_ms")?.map(Timestamp::from_ms),
        mismatch,
        body: row.try_get("body")?,
    })
}

/// Reads a stored currency.
pub(crate) fn parse_currency(text: &str) -> Result<Currency, StoreError> {
    Currency::parse(text).map_err(|error| StoreError::corrupt(error.to_string()))
}

/// One notification.
pub(crate) async fn notification_by_id(
    pool: &Pool,
    id: &str,
) -> Result<Option<StoredNotification>, StoreError> {
    let sql = format!("select {COLUMNS} from inbox where id = $1");
    let row = query(sql).bind(id).fetch_optional(pool).await?;
    row.as_ref().map(StoredNotification::read).transpose()
}

/// One notification, whether it can be read or not.
pub(crate) async fn found_by_id(pool: &Pool, id: &str) -> Result<Option<Found>, StoreError> {
    let sql = format!("select {COLUMNS} from inbox where id = $1");
    let row = query(sql).bind(id).fetch_optional(pool).await?;
    row.as_ref().map(Found::of).transpose()
}

/// The callback that a notification came in, as received; none for later parts of a callback.
pub(crate) async fn raw(pool: &Pool, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let row = query(RAW).bind(id).fetch_optional(pool).await?;
    Ok(row.map(|row| row.try_get("raw")).transpose()?.flatten())
}

/// What was heard of one order, in order of arrival; without what cannot be read, which operators
/// find in review.
pub(crate) async fn of_subject(
    pool: &Pool,
    business: &str,
    subject: &str,
) -> Result<Vec<StoredNotification>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from inbox where business = $1 and subject = $2 \
         order by received_at_ms, id limit {NOTIFICATIONS_MAX}"
    );
    let query = query(sql).bind(business).bind(subject);
    let rows = query.fetch_all(pool).await?;
    Ok(rows.iter().filter_map(|row| StoredNotification::read(row).ok()).collect())
}

/// How many notifications are where. Finished ones are not counted: there are too many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for a run.
    pub ready: i64,
    /// Waiting for their order.
    pub parked: i64,
    /// Committed, with their last phase due.
    pub after: i64,
    /// Waiting for a person.
    pub review: i64,
}

pub(crate) async fn counts(pool: &Pool) -> Result<Counts, StoreError> {
    let rows = query(
        "select state, cast(count(*) as bigint) as rows_found from inbox \
         where due_at_ms is not null group by state \
         union all select 'review', cast(count(*) as bigint) from inbox where state = 'review'",
    )
    .fetch_all(pool)
    .await?;
    let mut counts = Counts::default();
    for row in rows {
        let count = row.try_get("rows_found")?;
        match InboxState::parse(row.try_get("state")?) {
            Ok(InboxState::Ready) => counts.ready = count,
            Ok(InboxState::Parked) => counts.parked = count,
            Ok(InboxState::After) => counts.after = count,
            Ok(InboxState::Review) => counts.review = count,
            // A word of a newer host is none of ours to count.
            Ok(InboxState::Done) | Err(_) => {}
        }
    }
    Ok(counts)
}

/// How many wait for a person, by reason code, the most frequent first.
pub(crate) async fn reviews(pool: &Pool) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = query(
        "select coalesce(reason_code, '') as code, cast(count(*) as bigint) as rows_found \
         from inbox where state = 'review' group by 1 order by 2 desc, 1 limit $1",
    )
    .bind(REASONS_MAX)
    .fetch_all(pool)
    .await?;
    let read = |row: &Row| Ok((row.try_get("code")?, row.try_get("rows_found")?));
    rows.iter().map(read).collect()
}

/// When the oldest notification that is not finished was received.
pub(crate) async fn oldest_open(pool: &Pool) -> Result<Option<Timestamp>, StoreError> {
    // The sum keeps the planner from going through all arrivals, oldest first, until one is open:
    // the small index over what is open holds every time that is asked for.
    let row =
        query("select min(received_at_ms + 0) as oldest from inbox where due_at_ms is not null")
            .fetch_one(pool)
            .await?;
    Ok(row.try_get::<Option<i64>, _>("oldest")?.map(Timestamp::from_ms))
}

/// Whether a processor put something of the same order off, as a column: 1 or 0. Takes what names
/// the order, and what else is wanted of the row `d`.
macro_rules! has_put_off {
    ($row:literal) => {
        crate::inbox::has_put_off!($row, "")
    };
    ($row:literal, $more:literal) => {
        concat!(
            "coalesce((select cast(1 as bigint) from inbox d where d.business = ",
            $row,
            ".business and d.subject = ",
            $row,
            ".subject and d.state = 'ready' and d.outcome = 'defer'",
            $more,
            " limit 1), cast(0 as bigint))"
        )
    };
}
pub(crate) use has_put_off;

/// Everything that [`StoredNotification::read`] reads, for who does not need the headers.
macro_rules! columns {
    () => {
        crate::inbox::columns!("headers")
    };
    ($headers:literal) => {
        concat!(
            "id, channel, business, scene, delivery_key, part, event_type, meaning_key, order_no, \
             subject, transaction_id, refund_id, refund_no, payer, amount_minor, currency, \
             order_amount_minor, order_currency, refunded_total_minor, mismatch, occurred_at_ms, \
             body, received_at_ms, state, due_at_ms, leased_until_ms, lease_owner, attempts, seen, \
             last_seen_at_ms, reason_code, reason_text, outcome, scratch, plugin, finished_at_ms, \
             attempts_before, replayed_at_ms, discarded_at_ms, archived_at_ms, history_id, \
             races, ",
            $headers
        )
    };
}
pub(crate) use columns;

/// The same with the headers, which stand with the callback; in older programs' rows with the
/// notification.
macro_rules! shown {
    () => {
        crate::inbox::columns!(
            "coalesce((select c.headers from callbacks c where c.notification_id = id), headers) \
             as headers"
        )
    };
}
pub(crate) use shown;

const COLUMNS: &str = shown!();

/// Older programs kept it with the notification.
const RAW: &str = "select coalesce(c.raw, t.raw) as raw from inbox t \
                   left join callbacks c on c.notification_id = t.id where t.id = $1";

/// Reason codes that are counted apart: processors make their own.
const REASONS_MAX: i64 = 100;

/// Notifications that a look at one order shows.
pub const NOTIFICATIONS_MAX: usize = 200;
