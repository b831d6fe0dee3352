//! Rows that were stored as their decisions leave them.
//!
//! A callback that is decided before it is stored is written once, as it ends. Whether its decision
//! holds is found out in the same transaction; where it does not, which is rare, the row becomes what
//! it would have been after a claim, and is then changed like any other.

use std::collections::{HashMap, HashSet};

use callgate_core::time::Timestamp;

use crate::batch::{Cell, Statement, change, fetch};
use crate::callback::Arrival;
use crate::ending::RowChange;
use crate::error::Fault;
use crate::history::is_used;
use crate::inbox::has_put_off;
use crate::sql::Connection;
use crate::verdict::{Known, LeasedRow, meaning};

/// A row that is stored as its decision leaves it.
#[derive(Debug)]
pub(crate) struct Foretold<'a> {
    /// As it would be, were it only leased.
    row: LeasedRow,
    /// As it is.
    ending: &'a RowChange,
    received_at: Timestamp,
    leased_until: Timestamp,
}

/// All of a group, by their ids.
pub(crate) type AllForetold<'a> = HashMap<&'a str, Foretold<'a>>;

impl<'a> Foretold<'a> {
    /// The row of an arrival whose order is this; `None` for what nobody decided about.
    pub(crate) fn new(
        arrival: &Arrival,
        subject: Option<String>,
        ending: &'a RowChange,
    ) -> Option<Self> {
        let [told] = arrival.callback.verified.notifications() else { return None };
        let (owner, leased_until) = arrival.lease.as_ref()?;
        let row = LeasedRow {
            business: arrival.callback.business.clone(),
            subject,
            channel: arrival.callback.channel.clone(),
            event_type: told.event_type.as_str().to_owned(),
            meaning_key: told.meaning_key.clone(),
            state: "ready".to_owned(),
            owner: Some(owner.clone()),
            attempts: 1,
            put_off: false,
            replayed: false,
        };
        let (received_at, leased_until) = (arrival.now, *leased_until);
        Some(Self { row, ending, received_at, leased_until })
    }

    /// As it would be after a claim.
    fn leased(&self, id: &str) -> [Cell; 5] {
        [
            id.into(),
            self.received_at.as_ms().into(),
            self.leased_until.as_ms().into(),
            self.row.owner.as_deref().into(),
            self.row.attempts.into(),
        ]
    }
}

/// Looks at what stands around the rows, and adds them to what is known.
pub(crate) async fn look(
    connection: &mut Connection,
    foretold: &mut AllForetold<'_>,
    known: &mut Known,
) -> Result<(), Fault> {
    let cells = |(id, told): (&&str, &Foretold<'_>)| {
        let LeasedRow { business, subject, meaning_key, .. } = &told.row;
        let subject = subject.as_deref();
        [Cell::from(*id), business.as_str().into(), subject.into(), meaning_key.as_str().into()]
    };
    let rows: Vec<_> = foretold.iter().map(cells).collect();
    for row in fetch(connection, AROUND, &rows).await? {
        let Some(told) = foretold.get_mut(row.try_get::<&str, _>("row_id")?) else { continue };
        told.row.put_off = row.try_get::<i64, _>("put_off")? > 0;
        if row.try_get::<i64, _>("used")? > 0 {
            known.meanings.insert(meaning(&told.row));
        }
    }
    let rows = foretold.iter().map(|(id, told)| ((*id).to_owned(), told.row.clone()));
    known.rows.extend(rows);
    Ok(())
}

/// Leaves out of the changes what is so already, and takes back what was not decided after all.
pub(crate) async fn settle(
    connection: &mut Connection,
    foretold: &AllForetold<'_>,
    changes: &mut Vec<RowChange>,
) -> Result<(), Fault> {
    let mut right = HashSet::new();
    changes.retain(|change| {
        let so = foretold.get_key_value(&*change.id).filter(|(_, told)| told.ending == change);
        right.extend(so.map(|(id, _)| *id));
        so.is_none()
    });
    let wrong = foretold.iter().filter(|(id, _)| !right.contains(**id));
    let rows: Vec<_> = wrong.map(|(id, told)| told.leased(id)).collect();
    change(connection, TAKE_BACK, &rows).await?;
    Ok(())
}

/// What a look at the row itself would tell beside what is known of it. That it is put off itself
/// is nothing to wake it for.
pub(crate) const AROUND: Statement = Statement {
    columns: "row_id, business, subject, meaning_key",
    text: concat!(
        "select v.row_id as row_id, ",
        has_put_off!("v", " and d.id <> v.row_id"),
        " as put_off, ",
        is_used!("v"),
        " as used from v where v.row_id is not null"
    ),
    suffix: "",
};

const TAKE_BACK: Statement = Statement {
    columns: "row_id, due_ms, until_ms, owner, attempts",
    text: "update inbox set state = 'ready', due_at_ms = v.due_ms, leased_until_ms = v.until_ms, \
           lease_owner = v.owner, attempts = v.attempts, attempts_before = 0, races = 0, \
           reason_code = null, reason_text = null, outcome = null, scratch = null, plugin = null, \
           finished_at_ms = null, history_id = null from v where inbox.id = v.row_id",
    suffix: "",
};
