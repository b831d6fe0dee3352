//! Repeats that are none: a message with a known delivery key that says something else.
//!
//! The first message stands: it may have had its effect already, and a delivery key is what makes
//! a repeat a repeat. But the second one was verified and answered with success, so it must not
//! vanish silently: it is counted and logged, without what it says.

use metrics::counter;

use crate::batch::{Cell, Statement, fetch};
use crate::callback::Arrival;
use crate::sql::Connection;

/// A repeat that says something else than the message that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contradiction {
    channel: String,
    /// The stored notification.
    id: String,
    /// The first fact that differs.
    fact: String,
}

impl Contradiction {
    /// Counts and logs it; only after the commit, for a group may be run again.
    pub(crate) fn report(&self) {
        let Self { channel, id, fact } = self;
        counter!("callgate_store_contradictions_total", "channel" => channel.clone()).increment(1);
        tracing::warn!(
            channel,
            notification.id = id,
            fact,
            code = SAME_KEY_OTHER_CONTENT,
            "a message with a known delivery key says something else; the first one stands"
        );
    }
}

/// Holds repeats against what is stored under their delivery keys.
///
/// Compared are the facts that a business effect can rest on, not the text: gateways stamp a
/// repeat anew.
pub(crate) async fn contradictions(
    connection: &mut Connection,
    repeats: &[&Arrival],
) -> Result<Vec<Contradiction>, sqlx::Error> {
    let mut rows = Vec::new();
    for arrival in repeats {
        let callback = &arrival.callback;
        for (part, told) in callback.verified.notifications().iter().enumerate() {
            let currency = told.amount.or(told.refunded_total).map(|money| money.currency);
            let currency = currency.as_ref().map(|currency| currency.as_str());
            rows.push([
                Cell::from(callback.channel.as_str()),
                callback.verified.delivery_key().into(),
                i64::try_from(part).unwrap_or(i64::MAX).into(),
                told.event_type.as_str().into(),
                told.meaning_key.as_str().into(),
                told.order_no.as_deref().into(),
                told.amount.map(|money| money.minor).into(),
                currency.into(),
                told.order_amount.map(|money| money.minor).into(),
                told.refunded_total.map(|money| money.minor).into(),
            ]);
        }
    }
    let found = fetch(connection, DIFFERING, &rows).await?;
    let read = |row: &crate::sql::Row| {
        Ok(Contradiction {
            channel: row.try_get("channel")?,
            id: row.try_get("id")?,
            fact: row.try_get("fact")?,
        })
    };
    found.iter().map(read).collect()
}

const DIFFERING: Statement = Statement {
    columns: "at_channel, at_key, at_part, event_type, meaning_key, order_no, amount_minor, \
              currency, order_amount_minor, refunded_total_minor",
    text: "select * from (select t.id, t.channel, case \
           when t.event_type is distinct from v.event_type then 'event-type' \
           when t.order_no is distinct from v.order_no then 'order' \
           when t.amount_minor is distinct from v.amount_minor then 'amount' \
           when t.currency is distinct from v.currency then 'currency' \
           when t.order_amount_minor is distinct from v.order_amount_minor then 'order-amount' \
           when t.refunded_total_minor is distinct from v.refunded_total_minor \
               then 'refunded-total' \
           when t.meaning_key is distinct from v.meaning_key then 'meaning' end as fact \
           from v join inbox t on t.channel = v.at_channel and t.delivery_key = v.at_key \
           and t.part = v.at_part) d where d.fact is not null",
    suffix: "",
};

/// The code of a repeat that says something else.
const SAME_KEY_OTHER_CONTENT: &str = "store.same-key-other-content";
