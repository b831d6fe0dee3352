//! Rows of the inbox on their way in: what stands in them, and the statements that store them.

use std::collections::HashSet;

use callgate_core::money::Money;
use callgate_core::notification::{AccountMismatch, Notification};
use callgate_core::time::Timestamp;

use crate::batch::{self, Cell, Statement, change, fetch};
use crate::callback::{Arrival, Callback};
use crate::ending::{LeaseEnd, RowChange};
use crate::error::Fault;
use crate::inbox::InboxState;
use crate::settlement::Budget;
use crate::sql::Connection;

/// Channel, delivery key and part.
pub(crate) type Key<'a> = (&'a str, &'a str, i64);

/// A row to be inserted, or to be counted where it is there already.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    pub(crate) arrival: &'a Arrival,
    pub(crate) notification: &'a Notification,
    pub(crate) id: &'a str,
    pub(crate) subject: Option<&'a str>,
    pub(crate) ending: Option<&'a RowChange>,
    pub(crate) seen: i64,
    pub(crate) last_seen: Timestamp,
}

impl Pending<'_> {
    fn cells(&self, (channel, delivery_key, part): Key<'_>) -> [Cell; 38] {
        let Callback { business, scene, .. } = &*self.arrival.callback;
        let found = self.notification;
        let minor = |money: Option<Money>| Cell::from(money.map(|money| money.minor));
        let currency = |money: Option<Money>| match &money {
            Some(money) => Cell::from(money.currency.as_str()),
            None => Cell::Text(None),
        };
        let mismatch = found.mismatch.map(|mismatch| match mismatch {
            AccountMismatch::Merchant => "merchant",
            AccountMismatch::Application => "application",
        });
        let now = self.arrival.now.as_ms();
        let (ending, lease) = (self.ending, self.lease());
        let reason = ending.and_then(|ending| ending.reason.as_ref());
        let due_at = ending.map_or(Some(self.arrival.now), |ending| ending.due_at);
        let (attempts, before) = self.attempts();
        [
            self.id.into(),
            channel.into(),
            business.as_str().into(),
            scene.as_str().into(),
            delivery_key.into(),
            part.into(),
            found.event_type.as_str().into(),
            found.meaning_key.as_str().into(),
            found.order_no.as_deref().into(),
            self.subject.into(),
            found.transaction_id.as_deref().into(),
            found.refund_id.as_deref().into(),
            found.refund_no.as_deref().into(),
            found.payer.as_deref().into(),
            minor(found.amount),
            currency(found.amount.or(found.refunded_total)),
            minor(found.order_amount),
            currency(found.order_amount),
            minor(found.refunded_total),
            mismatch.into(),
            found.occurred_at.map(Timestamp::as_ms).into(),
            found.body.as_str().into(),
            now.into(),
            due_at.map(Timestamp::as_ms).into(),
            self.seen.into(),
            self.last_seen.as_ms().into(),
            lease.map(|(_, until)| until.as_ms()).into(),
            lease.map(|(owner, _)| owner.as_str()).into(),
            attempts.into(),
            before.into(),
            ending.map_or(InboxState::Ready, |ending| ending.state).as_str().into(),
            reason.map(|reason| reason.code.as_ref()).into(),
            reason.map(|reason| reason.text.as_str()).into(),
            ending.and_then(|ending| ending.outcome).into(),
            ending.and_then(|ending| ending.scratch.as_deref()).into(),
            ending.and_then(|ending| ending.plugin.as_deref()).into(),
            ending.and_then(|ending| ending.finished_at).map(Timestamp::as_ms).into(),
            ending.and_then(|ending| ending.history_id.as_deref()).into(),
        ]
    }

    /// Who has it, and until when.
    fn lease(&self) -> Option<&(String, Timestamp)> {
        let held = self.ending.is_none_or(|ending| ending.lease == LeaseEnd::Held);
        self.arrival.lease.as_ref().filter(|_| held)
    }

    /// How many attempts were made, and how many of them cost nothing.
    fn attempts(&self) -> (i64, i64) {
        let made = i64::from(self.arrival.lease.is_some());
        match self.ending.map(|ending| ending.budget) {
            None | Some(Budget::Spent) => (made, 0),
            Some(Budget::Kept | Budget::Raced | Budget::Anew) => (made, made),
        }
    }

    /// Where it is, and how often it came again.
    fn again(&self, (channel, delivery_key, part): Key<'_>) -> [Cell; 5] {
        let last_seen = self.last_seen.as_ms();
        [channel.into(), delivery_key.into(), part.into(), self.seen.into(), last_seen.into()]
    }

    /// What came with it.
    fn evidence(&self, part: i64) -> [Cell; 3] {
        let Callback { headers, raw, .. } = &*self.arrival.callback;
        let raw = (part == 0).then_some(raw.as_slice());
        [self.id.into(), headers.as_str().into(), raw.into()]
    }
}

/// Stores rows, or counts them where they are there already; the ids of the new ones.
pub(crate) async fn insert(
    connection: &mut Connection,
    rows: &[(Key<'_>, Pending<'_>)],
) -> Result<HashSet<String>, Fault> {
    let cells: Vec<_> = rows.iter().map(|(key, pending)| pending.cells(*key)).collect();
    let Connection::Lite(lite) = connection else {
        let stored = fetch(connection, INSERT_OR_COUNT, &cells).await?;
        return Ok(stored.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?);
    };
    batch::count();
    let stored = lite.change_each((INSERT.columns, INSERT.text), &cells)?;
    let (new, known): (Vec<_>, Vec<_>) =
        rows.iter().zip(stored).partition(|(_, stored)| *stored > 0);
    let known: Vec<_> = known.into_iter().map(|((key, row), _)| row.again(*key)).collect();
    change(connection, COUNT, &known).await?;
    Ok(new.into_iter().map(|((_, row), _)| row.id.to_owned()).collect())
}

const COLUMNS: &str = "id, channel, business, scene, delivery_key, part, event_type, meaning_key, order_no, subject, \
     transaction_id, refund_id, refund_no, payer, amount_minor, currency, order_amount_minor, \
     order_currency, refunded_total_minor, mismatch, occurred_at_ms, body, received_at_ms, \
     due_at_ms, seen, last_seen_at_ms, leased_until_ms, lease_owner, attempts, attempts_before, \
     state, reason_code, reason_text, outcome, scratch, plugin, finished_at_ms, history_id";

/// Stores a row unless its delivery key is known; what is done then follows.
macro_rules! insert {
    ($known:literal) => {
        concat!(
            "insert into inbox (id, channel, business, scene, delivery_key, part, event_type, \
             meaning_key, order_no, subject, transaction_id, refund_id, refund_no, payer, \
             amount_minor, currency, order_amount_minor, order_currency, refunded_total_minor, \
             mismatch, occurred_at_ms, body, received_at_ms, due_at_ms, seen, last_seen_at_ms, \
             leased_until_ms, lease_owner, attempts, attempts_before, state, reason_code, \
             reason_text, outcome, scratch, plugin, finished_at_ms, history_id, headers) \
             select v.*, '' from v where v.id is not null \
             on conflict (channel, delivery_key, part) do ",
            $known
        )
    };
}

const INSERT_OR_COUNT: Statement = Statement {
    columns: COLUMNS,
    text: insert!(
        "update set seen = inbox.seen + excluded.seen, last_seen_at_ms = excluded.last_seen_at_ms \
         returning id"
    ),
    suffix: "",
};

const INSERT: Statement = Statement { columns: COLUMNS, text: insert!("nothing"), suffix: "" };

const COUNT: Statement = Statement {
    columns: "at_channel, at_key, at_part, more, last_ms",
    text: "update inbox set seen = inbox.seen + v.more, last_seen_at_ms = v.last_ms from v \
           where inbox.channel = v.at_channel and inbox.delivery_key = v.at_key \
           and inbox.part = v.at_part",
    suffix: "",
};

/// Keeps what came with new rows.
pub(crate) async fn keep(
    connection: &mut Connection,
    new: &[(Key<'_>, Pending<'_>)],
) -> Result<(), Fault> {
    let evidence: Vec<_> = new.iter().map(|(key, pending)| pending.evidence(key.2)).collect();
    change(connection, KEEP, &evidence).await?;
    Ok(())
}

/// Beside the rows that were stored now: a repeat brings nothing new.
const KEEP: Statement = Statement {
    columns: "row_id, headers, raw",
    text: "insert into callbacks (notification_id, headers, raw) \
           select v.* from v where v.row_id is not null",
    suffix: "",
};
